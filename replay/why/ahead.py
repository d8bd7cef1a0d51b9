"""One sentence for each event that has to do with being ready ahead of demand: forecasts, signals, depth of sleep, disks."""

import datetime as dt

from events.breaker import BreakerClosed, BreakerOpened
from events.fact import Fact
from events.forecast import ForecastMade
from events.host import HostIdled
from events.save import SaveRequested
from events.signal import SignalFound, SignalLost
from events.vm import VmSaved, VmSaveFailed
from events.volume import SnapshotFailed, SnapshotTaken, VolumeCreated, VolumeFailed, VolumeReleased
from projections.breakers.known import STALE_GUEST, UNTAKEN


def of_readiness(fact: Fact) -> str | None:
    """What happened, in one sentence without a full stop; None for any other event."""
    match fact:
        case ForecastMade():
            return forecast(fact)
        case SaveRequested():
            return (
                f"{fact.publisher} asked that at most {_vms(fact.paused)} of {fact.org}/{fact.pool} sleep in RAM, the others on "
                "disk"
            )
        case SignalLost():
            return f"the {fact.source} of {fact.org}/{fact.pool} is lost ({fact.code}): {fact.text}"
        case SignalFound():
            return f"the {fact.source} of {fact.org}/{fact.pool} is heard again, after {_seconds(fact.found_at - fact.lost_at)}"
        case BreakerOpened():
            return f"{_held(fact)} until {fact.until:%H:%M:%S} UTC: {fact.failures} failures in a row, the last {fact.code}"
        case BreakerClosed():
            by = "" if fact.name == fact.pool else f" by the {fact.scope} {fact.name}"
            return f"VMs of {fact.org}/{fact.pool} are started{by} again"
        case HostIdled():
            return _idled(fact)
        case VmSaved():
            return f"{fact.vm} sleeps on the disk of {fact.host} in {fact.image_bytes / 2**20:.0f} MiB, and its RAM is free"
        case VmSaveFailed():
            return f"{fact.vm} goes on sleeping in the RAM of {fact.host}: {fact.code}: {fact.text}"
        case VolumeCreated():
            return f"{fact.vm} has a disk of {fact.size_bytes / 2**20:.0f} MiB on {fact.host}, over that of {fact.template}"
        case VolumeReleased():
            return f"nobody else holds the disk of {fact.vm}: {fact.host} may start it from {fact.volume}"
        case VolumeFailed():
            return f"{fact.vm} has no disk on {fact.host}: {fact.code}: {fact.text}"
        case SnapshotTaken():
            return f"the disk of {fact.vm} is pinned as it fell asleep, in {fact.layers} layers above its template's"
        case SnapshotFailed():
            return f"the disk of {fact.vm} is not pinned: {fact.code}: {fact.text}"
        case _:
            return None


def _held(fact: BreakerOpened) -> str:
    if fact.scope == "host":
        return f"nothing of {fact.org}/{fact.pool} is started on {fact.name}"
    if fact.code in STALE_GUEST:
        return f"sleepers of {fact.org}/{fact.pool} are left alone, and others boot from {fact.name} in their place,"
    if fact.code in UNTAKEN:
        return f"nothing of {fact.org}/{fact.pool} is started, since the load balancer takes none of it,"
    return f"no new VM of {fact.org}/{fact.pool} is booted from {fact.name}"


def forecast(fact: ForecastMade) -> str:
    """What a forecast said, and what it was made of."""
    much = (
        f"forecast for {fact.org}/{fact.pool} ({fact.reason}): {_vms(fact.target)} needed within {fact.horizon_seconds} s, and "
        f"{fact.reserve} in reserve; {fact.staying} stay awake, {fact.want} shall"
    )
    if fact.outlook is not None:
        out = fact.outlook
        seasonal = (
            "no pattern yet" if out.seasonal is None else f"the week's pattern says {out.seasonal / 1000:.2f}"
        )
        much += (
            f" (demand {out.level / 1000:.2f} VMs; by then its slope adds {out.slope / 1000:+.2f}, {seasonal}; margin "
            f"{out.margin / 1000:.2f} on what is expected next; {fact.history_seconds / 86_400:.1f} of 7 days known)"
        )
    if fact.ticks > 1:
        much += f"; {fact.ticks} ticks since {fact.since:%H:%M:%S} between {fact.target_min} and {fact.target_max}"
    if fact.capped:
        much += "; the contract leaves less"
    return f"{much}; nothing is moved by it" if fact.mode == "only" else much


def _idled(fact: HostIdled) -> str:
    said = (
        f"no VM was awake on {fact.host} for {_seconds(fact.idle_until - fact.idle_from)}"
        f"{'' if fact.ended else ' so far'}; {fact.paused} sleep in its RAM, {fact.saved} on its disk"
    )
    if fact.residencies:
        total_ms = (fact.idle_until - fact.idle_from) / dt.timedelta(milliseconds=1) * max(1, fact.cpus)
        deepest = fact.residencies[-1]
        said += f"; its CPUs were in {deepest.state} for {100 * deepest.milliseconds / max(1.0, total_ms):.0f} % of it"
    if fact.energies:
        joules = sum(one.millijoules for one in fact.energies) / 1000
        said += f"; it drew {joules:,.0f} J"
    return said


def _vms(count: int) -> str:
    return f"{count} VM{'' if count == 1 else 's'}"


def _seconds(span: dt.timedelta) -> str:
    return f"{span.total_seconds():,.0f} s"
