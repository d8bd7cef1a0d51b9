"""What may become of an order: the outcomes that workers write, as a few events in a row.

That a VM came up is told by three workers one after another; here they speak without a pause, for what stands
between them changes nothing about who holds what.
"""

from typing import Final, Literal

from events.fact import Fact
from events.gate import (
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    Order,
    SaveOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.vm import (
    Sleep,
    VmAnnounced,
    VmBooted,
    VmDrained,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmSaved,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from tests.given import NOW, ORG

Ending = Literal["up", "failed", "refused", "unready"]
"""How a start may end: it serves (or is ready, where it is stock), it is proven not to run, because nobody tried in time or because
the host refused (then another VM takes its place), or it runs and is mute."""

TOLD_AGAIN: Final = (VmResumed, VmBooted, VmWakeFailed, VmQuiesced, VmStopped)
"""The outcomes that the usage fold reads: one of them may be told a second time, at any later moment."""


def outcomes(order: Order, endings: tuple[Ending, ...]) -> list[tuple[Fact, ...]]:
    """Each way in which the order may end."""
    match order:
        case WakeOrdered() | BootOrdered():
            return [_start(order, ending) for ending in endings]
        case DrainOrdered(vm=vm, reservation=reservation, id=id):
            drained = VmDrained(
                org=ORG, vm=vm, reservation=reservation, drain=id, sessions_cut=0, drained_at=NOW
            )
            return [(drained,)]
        case DrainCancelled(vm=vm, pool=pool, reservation=reservation, id=id):
            return [(_announced(vm, pool, reservation, id),)]
        case SuspendOrdered(vm=vm, host=host, reservation=reservation):
            quiesced = VmQuiesced(
                org=ORG, vm=vm, host=host, reservation=reservation, cause="ordered", quiesced_at=NOW
            )
            return [(quiesced,)]
        case SaveOrdered(vm=vm, host=host, id=id, asleep_since=asleep_since):
            saved = VmSaved(
                org=ORG, vm=vm, host=host, order=id, asleep_since=asleep_since, image_bytes=1, saved_at=NOW
            )
            return [(saved,)]
        case StopOrdered(vm=vm, host=host, reservation=reservation):
            stopped = VmStopped(
                org=ORG,
                vm=vm,
                host=host,
                reservation=reservation,
                asleep_since=None,
                cause="ordered",
                found="off",
                stopped_at=NOW,
            )
            return [(stopped,)]
        case _:
            raise AssertionError(order)  # no VM of these worlds is kept for its own sake


def _start(order: WakeOrdered | BootOrdered, ending: Ending) -> tuple[Fact, ...]:
    match ending:
        case "failed" | "refused":
            found: Sleep = "paused" if isinstance(order, WakeOrdered) else "off"
            failed = VmWakeFailed(
                org=ORG,
                vm=order.vm,
                host=order.host,
                reservation=order.id,
                code="host-full" if ending == "failed" else "wake-refused",
                text="",
                found=found,
                observed_at=NOW,
            )
            return (failed,)
        case "unready":
            unready = VmUnready(
                org=ORG,
                vm=order.vm,
                reservation=order.id,
                code="probe-timeout",
                text="",
                observed_at=NOW,
                probes=1,
            )
            return (_runs(order), unready)
        case "up" if order.purpose == "stock":
            return (_runs(order), _ready(order))
        case "up":
            return (_runs(order), _ready(order), _announced(order.vm, order.pool, order.id, order.id))


def _runs(order: WakeOrdered | BootOrdered) -> Fact:
    if isinstance(order, WakeOrdered):
        return VmResumed(
            depth="paused",
            refreshed=None,
            org=ORG,
            vm=order.vm,
            host=order.host,
            reservation=order.id,
            started_at=NOW,
            resumed_at=NOW,
            attempts=1,
        )
    return VmBooted(
        org=ORG,
        vm=order.vm,
        host=order.host,
        reservation=order.id,
        started_at=NOW,
        booted_at=NOW,
        attempts=1,
    )


def _ready(order: WakeOrdered | BootOrdered) -> VmReady:
    return VmReady(
        org=ORG,
        vm=order.vm,
        reservation=order.id,
        boot_id="b",
        rebooted=False,
        clock_offset_ms=0,
        probe_started_at=NOW,
        answered_at=NOW,
        probes=1,
    )


def _announced(vm: str, pool: str, reservation: str, order: str) -> VmAnnounced:
    return VmAnnounced(
        org=ORG,
        vm=vm,
        pool=pool,
        reservation=reservation,
        order=order,
        backend="be",
        address="127.0.0.1:1",
        announced_at=NOW,
    )
