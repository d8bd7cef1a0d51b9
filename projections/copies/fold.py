"""Copies of kept VMs' disks, folded from the ledger: ordered, made, on their way out; and disks that are being restored from one."""

import datetime as dt
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from events.copy import (
    CopyDropped,
    CopyDue,
    CopyFailed,
    CopyMade,
    CopyRestored,
    CopyRestoreFailed,
)
from events.deletion import BackupsErased, VolumeErased
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import CopyOrdered, DropOrdered, GateDecided, Order, RestoreOrdered
from events.once import Once
from schemas.copy import CopyKind, DropCause

_MOST_NIGHTS: Final = 16
"""Nights of one VM that are remembered: the last two are ever asked about."""


class Copy(msgspec.Struct, frozen=True):
    """One copy of one VM's disk."""

    org: str
    vm: str
    name: str
    kind: CopyKind
    state: Literal["ordered", "made", "dropping"]
    host: str
    place: str
    disk_bytes: int
    """Of the disk in it."""
    size_bytes: int
    """What it counts."""
    order: str
    """The order that made it, or by which it goes."""
    request: str
    """The request behind that order."""
    seq: int
    """Where it was ordered, so that copies have an order of their own."""
    sha256: str | None = None
    taken_at: dt.datetime | None = None
    cause: DropCause | None = None
    """Why it goes."""
    night: dt.date | None = None
    """The night that it is of; None for one that somebody asked for, which stays until somebody wants it gone."""


class Copies:
    """Every copy that there is or that is under way, by VM and name."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            GateDecided,
            CopyDue,
            CopyMade,
            CopyFailed,
            CopyDropped,
            CopyRestored,
            CopyRestoreFailed,
            VolumeErased,
            BackupsErased,
        }
    )

    def __init__(self) -> None:
        self.making: dict[tuple[str, str, str], CopyOrdered] = {}
        """Orders to copy without an outcome, by org, VM and name of the copy."""
        self.dropping: dict[tuple[str, str, str], DropOrdered] = {}
        self.restoring: dict[tuple[str, str], RestoreOrdered] = {}
        """Orders to restore without an outcome, by the VM whose disk it becomes."""
        self._copies: dict[tuple[str, str], dict[str, Copy]] = {}
        self._before: dict[tuple[str, str, str], Copy] = {}
        """Copies that are on their way out, as they were."""
        self._stored: dict[str, int] = {}
        self._fences = Fences()
        self._once = Once()
        self._due: dict[tuple[str, str], dict[str, dt.date]] = {}
        """Nights by the names of the backups that are to be of them."""
        self._tried: dict[tuple[str, str], dict[dt.date, int]] = {}
        self._nights: dict[tuple[str, str], dict[dt.date, None]] = {}

    def of(self, org: str, vm: str) -> tuple[Copy, ...]:
        """The VM's copies in the order in which they were asked for."""
        return tuple(self._copies.get((org, vm), {}).values())

    def get(self, org: str, vm: str, name: str) -> Copy | None:
        """The copy of this name; None where there is none."""
        return self._copies.get((org, vm), {}).get(name)

    def all(self) -> tuple[Copy, ...]:
        """Every copy there is."""
        return tuple(one for copies in self._copies.values() for one in copies.values())

    def stored(self, org: str) -> int:
        """Bytes of all copies of the org, those included that are being made or removed."""
        return self._stored.get(org, 0)

    def is_busy(self, org: str, vm: str) -> bool:
        """Whether a copy of the VM is being made, or its disk restored, or another's restored from its copy.

        One that is on its way out keeps nobody waiting: what cannot be removed is tried for ever.
        """
        if (org, vm) in self.restoring or any(one.state == "ordered" for one in self.of(org, vm)):
            return True
        return any(key[0] == org and order.of == vm for key, order in self.restoring.items())

    def has_night(self, org: str, vm: str, night: dt.date) -> bool:
        """Whether the VM has, or had, a backup of that night."""
        return night in self._nights.get((org, vm), ())

    def tried(self, org: str, vm: str, night: dt.date) -> int:
        """How often a backup of that night was due."""
        return self._tried.get((org, vm), {}).get(night, 0)

    def apply(self, recorded: Recorded) -> None:
        """The copies now include the event; an outcome of another order changes nothing."""
        match recorded.fact:
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        self._order(org, order, recorded.seq)
            case CopyDue(org=org, vm=vm, copy=name, night=night, attempt=attempt):
                self._due.setdefault((org, vm), {})[name] = night
                tried = self._tried.setdefault((org, vm), {})
                tried[night] = max(attempt, tried.get(night, 0))
                _forget_oldest(tried)
            case CopyMade() as made:
                self._made(made)
            case CopyFailed(org=org, vm=vm, copy=name, order=order):
                if self._is_open(self.making, (org, vm, name), order):
                    failed = self.making.pop((org, vm, name))
                    self._remove(org, vm, name)
                    self._keep_after_all(org, failed)
            case CopyDropped(org=org, vm=vm, copy=name, order=order):
                if self._is_open(self.dropping, (org, vm, name), order):
                    del self.dropping[org, vm, name]
                    self._before.pop((org, vm, name), None)
                    self._remove(org, vm, name)
            case CopyRestored(org=org, vm=vm, order=order) | CopyRestoreFailed(org=org, vm=vm, order=order):
                known = self.restoring.get((org, vm))
                if known is not None and known.id == order:
                    del self.restoring[org, vm]
            case VolumeErased(org=org, vm=vm, order=order) if self._once.first(order):
                self._erase(org, vm, "snapshot")
            case BackupsErased(org=org, vm=vm, order=order) if self._once.first(order):
                self._erase(org, vm, "backup")
                self._forget_nights((org, vm))
            case _:
                pass

    def _order(self, org: str, order: Order, seq: int) -> None:
        match order:
            case CopyOrdered():
                key = (org, order.vm, order.copy)
                self.making[key] = order
                self._put(
                    Copy(
                        org=org,
                        vm=order.vm,
                        name=order.copy,
                        kind=order.kind,
                        state="ordered",
                        host=order.host,
                        place=order.volume,
                        disk_bytes=order.size_bytes,
                        size_bytes=order.size_bytes,
                        order=order.id,
                        request=order.request,
                        seq=seq,
                        night=self._due.get((org, order.vm), {}).get(order.copy),
                    )
                )
            case DropOrdered():
                known = self.get(org, order.vm, order.copy)
                if known is not None:
                    self.dropping[org, order.vm, order.copy] = order
                    self._before[org, order.vm, order.copy] = known
                    self._put(
                        replace(
                            known, state="dropping", order=order.id, request=order.request, cause=order.cause
                        )
                    )
            case RestoreOrdered():
                self.restoring[org, order.vm] = order
            case _:
                pass

    def _made(self, made: CopyMade) -> None:
        key = (made.org, made.vm, made.copy)
        if not self._is_open(self.making, key, made.order):
            return
        del self.making[key]
        known = self._copies[made.org, made.vm][made.copy]
        self._put(
            replace(
                known,
                state="made",
                host=made.host,
                place=made.place,
                disk_bytes=made.disk_bytes,
                size_bytes=made.size_bytes,
                sha256=made.sha256,
                taken_at=made.taken_at,
            )
        )
        night = self._due.get((made.org, made.vm), {}).pop(made.copy, None)
        if night is not None:
            nights = self._nights.setdefault((made.org, made.vm), {})
            nights[night] = None
            _forget_oldest(nights)

    def _keep_after_all(self, org: str, failed: CopyOrdered) -> None:
        """What was to go because this copy came stays, since it did not come: storage removes nothing for it before."""
        for copy in self.of(org, failed.vm):
            if copy.state == "dropping" and copy.cause == "retention" and copy.request == failed.request:
                key = (org, failed.vm, copy.name)
                del self.dropping[key]
                self._put(self._before.pop(key))

    @staticmethod
    def _is_open(
        orders: dict[tuple[str, str, str], CopyOrdered] | dict[tuple[str, str, str], DropOrdered],
        key: tuple[str, str, str],
        order: str,
    ) -> bool:
        known = orders.get(key)
        return known is not None and known.id == order

    def _put(self, copy: Copy) -> None:
        copies = self._copies.setdefault((copy.org, copy.vm), {})
        former = copies.get(copy.name)
        counted = former.size_bytes if former is not None else 0
        self._stored[copy.org] = self._stored.get(copy.org, 0) + copy.size_bytes - counted
        copies[copy.name] = copy

    def _remove(self, org: str, vm: str, name: str) -> None:
        copies = self._copies[org, vm]
        self._stored[org] -= copies.pop(name).size_bytes
        if not copies:
            del self._copies[org, vm]

    def _erase(self, org: str, vm: str, kind: CopyKind) -> None:
        for copy in [one for one in self.of(org, vm) if one.kind == kind]:
            self.making.pop((org, vm, copy.name), None)
            self.dropping.pop((org, vm, copy.name), None)
            self._before.pop((org, vm, copy.name), None)
            self._remove(org, vm, copy.name)

    def _forget_nights(self, key: tuple[str, str]) -> None:
        for nights in (self._due, self._tried, self._nights):
            nights.pop(key, None)


def _forget_oldest(nights: dict[dt.date, int] | dict[dt.date, None]) -> None:
    """The latest nights that were heard of stay, whatever the dates: a clock that was ahead for a while hides none."""
    if len(nights) > _MOST_NIGHTS:
        del nights[next(iter(nights))]
