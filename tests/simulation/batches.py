"""How many of a pool rise at once on a host, as its waker really does it: looked at whenever it asks a domain to wake.

A wake holds a place of its batch from when its waker begins it, in that life, to when the ledger, as far as that waker has read,
says how it ended: it serves, it failed, or it sleeps. One whose guest runs holds it no longer than it may take to answer. A wake from
disk holds one among those of its pool that are being read, and has one among the others as soon as its guest runs, unasked.
"""

import datetime as dt
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Final

from events.envelope import Recorded
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.host import HostFenced
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmBooted,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmSaved,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from schemas.pool import Pool

_NEVER: Final = 1 << 60
_ENDS: Final = (VmAnnounced, VmAnnounceFailed, VmUnready, VmWakeFailed, VmQuiesced, VmStopped)


@dataclass(frozen=True, slots=True)
class Asking:
    """A waker asks a domain to run: on which host, under which reservation, in which life, by what it had read and its clock."""

    host: str
    reservation: str | None
    life: int
    read_seq: int
    now: dt.datetime


@dataclass(slots=True)
class _Wake:
    """One order to wake a VM."""

    order: WakeOrdered
    org: str
    from_disk: bool = False
    """The VM slept on disk when it was ordered awake."""
    begun_in: int = 0
    """The life of the waker that last asked for it; 0 before any did."""
    until: dt.datetime | None = None
    """By its waker's clock: until when it holds a place, once its guest runs."""
    risen_seq: int = _NEVER
    ended_seq: int = _NEVER


class Batches:
    """Every host's wakes."""

    def __init__(self, stepped: Callable[[str], bool]) -> None:
        self._stepped = stepped
        """Whether the clock of a host's waker was ever set."""
        self._wakes: dict[tuple[str, str], _Wake] = {}
        self._saved: set[tuple[str, str]] = set()
        self._open: dict[tuple[str, str, str], dict[str, _Wake]] = {}
        """By host, org and pool; those that ended stay until their waker has read so."""

    def apply(self, line: Recorded, void: Container[str]) -> None:
        """The event is stored."""
        match line.fact:
            case GateDecided(org=org, orders=orders):
                for order in orders:
                    if isinstance(order, WakeOrdered | BootOrdered) and order.id not in void:
                        self._end((org, order.vm), None, line.seq)
                        if isinstance(order, WakeOrdered):
                            wake = _Wake(order, org, (org, order.vm) in self._saved)
                            self._wakes[org, order.vm] = wake
                            self._open.setdefault((order.host, org, order.pool), {})[order.id] = wake
                        self._saved.discard((org, order.vm))
            case VmSaved(org=org, vm=vm):
                self._saved.add((org, vm))
            case VmResumed(org=org, vm=vm, reservation=reservation, resumed_at=at):
                self._rise((org, vm), reservation, at, line.seq)
            case VmBooted(org=org, vm=vm, reservation=reservation, booted_at=at):
                self._rise((org, vm), reservation, at, line.seq)
            case VmReady(org=org, vm=vm, reservation=reservation):
                wake = self._wakes.get((org, vm))
                if wake is not None and wake.order.purpose == "stock":
                    self._end((org, vm), reservation, line.seq)
            case HostFenced(host=host):
                for key, wake in list(self._wakes.items()):
                    if wake.order.host == host:
                        self._end(key, None, line.seq)
            case fact if isinstance(fact, _ENDS):
                wake = self._wakes.get((fact.org, fact.vm))
                failed = isinstance(fact, VmWakeFailed) and fact.found == "saved"
                if failed and wake is not None and wake.order.id == fact.reservation and wake.from_disk:
                    self._saved.add((fact.org, fact.vm))
                elif isinstance(fact, VmQuiesced):
                    self._saved.discard((fact.org, fact.vm))
                self._end((fact.org, fact.vm), fact.reservation, line.seq)
            case _:
                pass

    def begins(self, asked: Asking, org: str, vm: str, pool: Pool) -> Iterator[str]:
        """The waker asks the VM's domain to run; what is wrong with that."""
        wake = self._wakes.get((org, vm))
        if wake is None or wake.order.id != asked.reservation or wake.begun_in == asked.life:
            return
        wake.begun_in = asked.life
        held = self._open[asked.host, org, pool.name]
        for order in [order for order, one in held.items() if one.ended_seq <= asked.read_seq]:
            del held[order]
        rising = sum(self._rises(one, asked, wake) for one in held.values())
        if rising > pool.wake_batch:
            yield f"{rising} VMs of {org}/{pool.name} rise on {asked.host} as {vm} begins to, and its batch is {pool.wake_batch}."

    def _rises(self, wake: _Wake, asked: Asking, beside: _Wake) -> bool:
        """Whether it holds a place beside the other one, by all that its waker can know."""
        if wake.until is None or wake.risen_seq > asked.read_seq:
            return wake.begun_in == asked.life and wake.from_disk == beside.from_disk
        # How long it holds a place its waker's clock says, which may have been set meanwhile.
        return not beside.from_disk and asked.now < wake.until and not self._stepped(asked.host)

    def _rise(self, key: tuple[str, str], reservation: str, at: dt.datetime, seq: int) -> None:
        wake = self._wakes.get(key)
        if wake is not None and wake.order.id == reservation and wake.until is None:
            wake.risen_seq = seq
            wake.until = at + dt.timedelta(seconds=wake.order.ready_seconds)

    def _end(self, key: tuple[str, str], reservation: str | None, seq: int) -> None:
        wake = self._wakes.get(key)
        if wake is not None and reservation in {None, wake.order.id}:
            del self._wakes[key]
            wake.ended_seq = seq
