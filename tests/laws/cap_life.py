"""What a worker would say next about a VM under order: a step of its life, or its end."""

import datetime as dt
from typing import Any

from events.vm import (
    VmAnnounced,
    VmDrained,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from projections.fleet.fold import Vm


def step(vm: Vm, now: dt.datetime) -> VmReady | VmUnready | VmAnnounced | VmDrained | VmResumed | None:
    """The next good or bad news that ends nothing; None where there is none."""
    assert vm.reservation is not None, vm
    named: dict[str, Any] = {"org": vm.org, "vm": vm.name, "reservation": vm.reservation}
    match vm.state:
        case "waking" | "booting" if not vm.proven:
            return VmResumed(
                depth="paused",
                refreshed=None,
                **named,
                host=vm.host,
                started_at=now,
                resumed_at=now,
                attempts=1,
            )
        case "waking" if vm.since_seq % 3 == 0:
            code = "not-refreshed" if vm.since_seq % 2 else "probe-timeout"
            return VmUnready(**named, code=code, text="", observed_at=now, probes=1)
        case "waking" | "booting":
            return VmReady(
                **named,
                boot_id="b",
                rebooted=False,
                clock_offset_ms=None,
                probe_started_at=now,
                answered_at=now,
                probes=1,
            )
        case "warm" if vm.order is not None:
            return VmAnnounced(
                **named, pool=vm.pool, order=vm.order, backend="be", address="a:1", announced_at=now
            )
        case "draining" if vm.order is not None:
            return VmDrained(**named, drain=vm.order, sessions_cut=0, drained_at=now)
        case _:
            return None


def end(vm: Vm, now: dt.datetime) -> VmQuiesced | VmStopped | VmWakeFailed:
    """Proof that the domain does not run."""
    assert vm.reservation is not None, vm
    named: dict[str, Any] = {"org": vm.org, "vm": vm.name, "host": vm.host, "reservation": vm.reservation}
    match vm.state:
        case "waking" | "booting":
            code = "order-expired" if vm.since_seq % 2 else "wake-refused"
            return VmWakeFailed(**named, code=code, text="", found="paused", observed_at=now)
        case "suspending":
            return VmQuiesced(**named, cause="ordered", quiesced_at=now)
        case "unready" | "stopping" if vm.since_seq % 2:
            return VmQuiesced(**named, cause="found", quiesced_at=now)
        case _:
            return VmStopped(**named, asleep_since=None, cause="crashed", found="off", stopped_at=now)


def rest(vm: Vm, now: dt.datetime) -> tuple[VmSaved, VmSaveFailed]:
    """What may become of a sleeper that is to be saved."""
    assert vm.order is not None, vm
    named: dict[str, Any] = {"org": vm.org, "vm": vm.name, "host": vm.host, "order": vm.order}
    named |= {"asleep_since": vm.since_seq}
    return (
        VmSaved(**named, image_bytes=1, saved_at=now),
        VmSaveFailed(**named, code="disk-full", text="", observed_at=now),
    )
