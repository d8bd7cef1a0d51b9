"""Outcomes of orders that differ from the recorded ones: which recorded ones hold all the same, and modelled ones.

What a hypervisor would have done with a VM that never woke is nobody's knowledge. It is taken to succeed, after the time
that the same took elsewhere in the window, and whatever rests on it is labelled as modelled.
"""

import datetime as dt
from collections.abc import Iterator

import msgspec

from events.fact import Fact
from events.order import OrderOverdue
from events.vm import (
    VmAnnounced,
    VmBooted,
    VmDefined,
    VmDrained,
    VmFoundAwake,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmSaved,
    VmStopped,
)
from projections.fleet.fold import Vm
from projections.fleet.life import ASLEEP

_NO_BOOT = "modelled"


def holding(fact: Fact, now: Vm | None, *, same: bool) -> Fact | None:
    """What a recorded event about a VM says where things went otherwise; None when it lost its cause.

    `same`: the VM follows the recorded one. What came of itself (a domain that crashed, or was found asleep or awake) came
    in the same life as well; what a worker did on an order that was not given, or not yet, did not come.
    """
    match fact:
        case VmStopped(reservation=None) if now is not None and now.state in ASLEEP:
            return msgspec.structs.replace(
                fact, asleep_since=now.since_seq
            )  # the very sleep in which it died
        case _ if same:
            return fact
        case VmDefined() | VmFoundAwake() | OrderOverdue():
            return fact
        case VmResumed(reservation=reservation) | VmBooted(reservation=reservation):
            return fact if _in_life(now, reservation) else None
        case VmStopped(reservation=str() as reservation, cause=cause) if cause != "ordered":
            return fact if _in_life(now, reservation) else None
        case VmQuiesced(reservation=reservation, cause=cause) if cause != "ordered":
            return fact if _in_life(now, reservation) else None
        case _:
            return None


def _in_life(vm: Vm | None, reservation: str) -> bool:
    return vm is not None and vm.reservation == reservation


def modelled(vm: Vm, at: dt.datetime) -> Iterator[Fact]:
    """What the workers would have said of the VM's order, all at once and at its end."""
    if vm.state == "saving":
        assert vm.order is not None, vm
        yield VmSaved(
            org=vm.org,
            vm=vm.name,
            host=vm.host,
            order=vm.order,
            asleep_since=vm.since_seq,
            image_bytes=0,
            saved_at=at,
        )
        return
    assert vm.reservation is not None, vm
    life = {"org": vm.org, "vm": vm.name, "reservation": vm.reservation}
    match vm.state:
        case "waking":
            yield VmResumed(
                depth="paused", refreshed=None, **life, host=vm.host, started_at=at, resumed_at=at, attempts=1
            )
            yield from _answered(vm, at)
        case "booting":
            yield VmBooted(**life, host=vm.host, started_at=at, booted_at=at, attempts=1)
            yield from _answered(vm, at)
        case "warm":
            yield from _announced(vm, at)
        case "draining":
            assert vm.order is not None, vm
            yield VmDrained(**life, drain=vm.order, sessions_cut=0, drained_at=at)
        case "suspending":
            yield VmQuiesced(**life, host=vm.host, cause="ordered", quiesced_at=at)
        case _:
            yield VmStopped(
                **life, host=vm.host, asleep_since=None, cause="ordered", found="off", stopped_at=at
            )


def _answered(vm: Vm, at: dt.datetime) -> Iterator[Fact]:
    assert vm.reservation is not None, vm
    yield VmReady(
        org=vm.org,
        vm=vm.name,
        reservation=vm.reservation,
        boot_id=vm.boot_id or _NO_BOOT,
        rebooted=False,
        clock_offset_ms=None,
        probe_started_at=at,
        answered_at=at,
        probes=1,
    )
    if vm.purpose == "serve":
        yield from _announced(vm, at)


def _announced(vm: Vm, at: dt.datetime) -> Iterator[Fact]:
    assert vm.reservation is not None, vm
    assert vm.order is not None, vm
    yield VmAnnounced(
        org=vm.org,
        vm=vm.name,
        pool=vm.pool,
        reservation=vm.reservation,
        order=vm.order,
        backend=_NO_BOOT,
        address=vm.address or _NO_BOOT,
        announced_at=at,
    )
