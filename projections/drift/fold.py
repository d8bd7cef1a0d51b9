"""What was found otherwise than the ledger has it and is so still, and what guests' kernels killed for want of memory."""

import datetime as dt
from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from events.deletion import VmUndefined, VolumeErased
from events.drift import DomainDrifted, DomainSettled, VmOomKilled, VolumeDrifted, VolumeSettled
from events.envelope import Recorded
from events.fact import Fact
from events.host import HostRemoved
from events.vm import VmRebooted
from schemas.capacity import Size

Part = Literal["domain", "volume"]

Place = tuple[str, str, str, Part, str]
"""Org, VM, host, the part, and what of it is otherwise."""


class Drift(msgspec.Struct, frozen=True):
    """One thing about one VM that is otherwise than the ledger has it."""

    org: str
    vm: str
    host: str
    part: Part
    what: str
    expected: str
    found: str
    repair: str
    since: dt.datetime
    """When it was first seen."""
    observed_at: dt.datetime
    """When it was last told, since it may have become something else again."""
    reservation: str | None = None
    size: Size | None = None
    """With which it runs."""
    size_bytes: int | None = None

    @property
    def place(self) -> Place:
        """What there is one difference about at a time."""
        return self.org, self.vm, self.host, self.part, self.what


class Kills(msgspec.Struct, frozen=True):
    """What the kernel of one VM's guest killed in the latest life in which it killed anything."""

    reservation: str
    kills: int
    of_boot: int
    """Of those, the ones that this boot of the guest counts."""
    memory_mib: int
    advice: str
    observed_at: dt.datetime


class Drifts:
    """The differences that stand, by what they are about; and the latest kills of each VM's guest."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            DomainDrifted,
            DomainSettled,
            VolumeDrifted,
            VolumeSettled,
            VmOomKilled,
            VmRebooted,
            VmUndefined,
            VolumeErased,
            HostRemoved,
        }
    )

    def __init__(self) -> None:
        self.standing: dict[Place, Drift] = {}
        self.kills: dict[tuple[str, str], Kills] = {}
        self._settled: dict[Place, dt.datetime] = {}
        """When each thing was last as it should be: what is told late of before then changes nothing."""

    def get(self, org: str, vm: str, host: str, part: Part, what: str) -> Drift | None:
        """The difference that stands there; None where there is none."""
        return self.standing.get((org, vm, host, part, what))

    def of(self, host: str, part: Part) -> Iterator[Drift]:
        """The differences that were found on a host."""
        return (one for one in self.standing.values() if (one.host, one.part) == (host, part))

    def apply(self, recorded: Recorded) -> None:
        """The differences now include the event; a second telling of one changes nothing."""
        match recorded.fact:
            case DomainDrifted() as told:
                self._stand(
                    Drift(
                        told.org,
                        told.vm,
                        told.host,
                        "domain",
                        told.what,
                        told.expected,
                        told.found,
                        told.repair,
                        told.observed_at,
                        told.observed_at,
                        told.reservation,
                        told.size,
                    )
                )
            case VolumeDrifted() as told:
                self._stand(
                    Drift(
                        told.org,
                        told.vm,
                        told.host,
                        "volume",
                        told.what,
                        told.expected,
                        told.found,
                        told.repair,
                        told.observed_at,
                        told.observed_at,
                        size_bytes=told.size_bytes,
                    )
                )
            case DomainSettled(org=org, vm=vm, host=host, what=what, settled_at=at):
                self._end((org, vm, host, "domain", what), at)
            case VolumeSettled(org=org, vm=vm, host=host, what=what, settled_at=at):
                self._end((org, vm, host, "volume", what), at)
            case VmOomKilled() as killed:
                self._killed(killed)
            case VmRebooted(org=org, vm=vm, reservation=reservation):
                known = self.kills.get((org, vm))
                if known is not None and known.reservation == reservation:
                    self.kills[org, vm] = replace(known, of_boot=0)
            case VmUndefined(org=org, vm=vm, host=host, undefined_at=at):
                self._drop([one for one in self.of(host, "domain") if (one.org, one.vm) == (org, vm)], at)
                self.kills.pop((org, vm), None)
            case VolumeErased(org=org, vm=vm, erased_at=at):
                gone = [
                    one
                    for one in self.standing.values()
                    if (one.org, one.vm, one.part) == (org, vm, "volume")
                ]
                self._drop(gone, at)
            case HostRemoved(host=host):
                for place in [place for place in self.standing if place[2] == host]:
                    del self.standing[place]
            case _:
                pass

    def _stand(self, drift: Drift) -> None:
        known = self.standing.get(drift.place)
        latest = known.observed_at if known is not None else self._settled.get(drift.place)
        if latest is None or drift.observed_at > latest:
            since = known.since if known is not None else drift.since
            self.standing[drift.place] = replace(drift, since=since)

    def _end(self, place: Place, at: dt.datetime) -> None:
        known = self.standing.get(place)
        if known is not None and at >= known.observed_at:
            del self.standing[place]
        self._settled[place] = max(at, self._settled.get(place, at))

    def _drop(self, gone: list[Drift], at: dt.datetime) -> None:
        for one in gone:
            self._end(one.place, at)

    def _killed(self, killed: VmOomKilled) -> None:
        known = self.kills.get((killed.org, killed.vm))
        if known is not None and killed.observed_at <= known.observed_at:
            return
        same = known is not None and known.reservation == killed.reservation
        self.kills[killed.org, killed.vm] = Kills(
            reservation=killed.reservation,
            kills=killed.kills + (known.kills if same and known is not None else 0),
            of_boot=killed.kills + (known.of_boot if same and known is not None else 0),
            memory_mib=killed.memory_mib,
            advice=killed.advice,
            observed_at=killed.observed_at,
        )
