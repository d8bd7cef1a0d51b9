"""The tables `drift` and `oom`: what is otherwise than the ledger has it now, and guests that ran out of memory."""

from collections.abc import Iterable

from events.deletion import VmUndefined, VolumeErased
from events.drift import DomainDrifted, DomainSettled, VmOomKilled, VolumeDrifted, VolumeSettled
from events.envelope import Recorded
from events.host import HostRemoved
from projections.drift.fold import Drifts
from projections.table import ALL, Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case DomainDrifted() | DomainSettled() as told:
            yield told.org, told.vm, told.host, "domain", told.what
        case VolumeDrifted() | VolumeSettled() as told:
            yield told.org, told.vm, told.host, "volume", told.what
        case VmUndefined() | VolumeErased() as gone:
            yield gone.org, gone.vm
        case HostRemoved():
            yield ALL
        case _:
            pass


def _keys(drifts: Drifts, prefix: Key) -> Iterable[Key]:
    return [place for place in drifts.standing if place[: len(prefix)] == prefix]


def _row(drifts: Drifts, key: Key) -> tuple[Cell, ...] | None:
    org, vm, host, part, what = key
    drift = drifts.get(org, vm, host, "domain" if part == "domain" else "volume", what)
    if drift is None:
        return None
    return (
        org,
        vm,
        host,
        part,
        what,
        drift.expected,
        drift.found,
        drift.repair,
        drift.since.isoformat(),
        drift.observed_at.isoformat(),
    )


def _killed(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case VmOomKilled() | VmUndefined() as told:
            yield told.org, told.vm
        case _:
            pass


def _kills(drifts: Drifts, key: Key) -> tuple[Cell, ...] | None:
    known = drifts.kills.get((key[0], key[1]))
    if known is None:
        return None
    return (*key, known.kills, known.memory_mib, known.advice, known.observed_at.isoformat())


TABLES = (
    Table(
        "drift",
        Drifts,
        ("org", "vm", "host", "part", "what", "expected", "found", "repair", "since", "observed_at"),
        5,
        _touched,
        _row,
        _keys,
        takes=frozenset(
            {
                DomainDrifted,
                DomainSettled,
                VolumeDrifted,
                VolumeSettled,
                VmUndefined,
                VolumeErased,
                HostRemoved,
            }
        ),
    ),
    Table(
        "oom",
        Drifts,
        ("org", "vm", "kills", "memory_mib", "advice", "observed_at"),
        2,
        _killed,
        _kills,
        takes=frozenset({VmOomKilled, VmUndefined}),
    ),
)
"""A row for each difference that stands; and one for each VM whose guest's kernel killed anything in its latest such life."""
