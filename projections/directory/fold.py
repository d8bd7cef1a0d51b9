"""VMs that are kept for their own sake, folded from the ledger: each until its disk is erased. Who has which name, the leases say."""

import datetime as dt
from collections.abc import Iterator
from typing import Final, get_args

import msgspec
from msgspec.structs import replace

from events.awaited import Awaited, OfAwaited
from events.deletion import DeletionBegun, DeletionCompleted
from events.drift import VolumeDrifted
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import AdoptOrdered, GateDecided
from events.keep import VmCreated, VmProtected, VmResized, VmUnprotected
from events.once import Once
from events.volume import VolumeGrowFailed, VolumeGrown
from schemas.capacity import Size
from schemas.image import Kind, Readiness
from schemas.request import SeedRef


class Kept(msgspec.Struct, frozen=True):
    """One VM as it shall be. How it is, the fleet says: until its next boot it may have another size."""

    org: str
    name: str
    pool: str
    image: str
    kind: Kind
    readiness: Readiness
    size: Size
    disk_bytes: int
    seed: SeedRef | None
    protected: bool
    actor: str
    """Who had it made."""
    created_at: dt.datetime
    created_seq: int
    awaits: str | None = None
    """The order that gives it its disk, where that is not its first boot: it does not start before."""


class Directory:
    """Every VM that was made by name, also before it first runs."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            GateDecided,
            VmCreated,
            VmResized,
            VmProtected,
            VmUnprotected,
            VolumeGrown,
            VolumeGrowFailed,
            VolumeDrifted,
            DeletionBegun,
            DeletionCompleted,
            *get_args(OfAwaited),
        }
    )

    def __init__(self) -> None:
        self.vms: dict[tuple[str, str], Kept] = {}
        self.departed: dict[tuple[str, str], Kept] = {}
        """VMs whose disks are erased, until their names are free: what a new VM from their backups is made like."""
        self.adopting: dict[tuple[str, str], AdoptOrdered] = {}
        """Orders to adopt without an outcome."""
        self._pools: dict[tuple[str, str], dict[str, None]] = {}
        self._awaited = Awaited()
        self._fences = Fences()
        self._once = Once()

    def get(self, org: str, vm: str) -> Kept | None:
        """The VM of this name; None where nobody made one."""
        return self.vms.get((org, vm))

    def of_pool(self, org: str, pool: str) -> Iterator[Kept]:
        """The pool's VMs in the order in which they were made."""
        return (self.vms[org, name] for name in self._pools.get((org, pool), ()))

    def apply(self, recorded: Recorded) -> None:
        """The directory now includes the event; a second VM of one name is none."""
        match recorded.fact:
            case VmCreated(org=org, vm=vm) as made:
                if (org, vm) not in self.vms:
                    self.vms[org, vm] = _new(made, recorded.seq)
                    self._pools.setdefault((org, made.pool), {})[vm] = None
            case VmResized(org=org, vm=vm, size=size):
                self._change(org, vm, size=size)
            case VmProtected(org=org, vm=vm):
                self._change(org, vm, protected=True)
            case VmUnprotected(org=org, vm=vm):
                self._change(org, vm, protected=False)
            case (
                VolumeGrown(org=org, vm=vm, size_bytes=size_bytes)
                | VolumeGrowFailed(
                    org=org, vm=vm, size_bytes=size_bytes
                )  # as large as a former order made it
            ):
                kept = self.get(org, vm)
                if kept is not None:  # told late, it says what the disk had before it grew again
                    self._change(org, vm, disk_bytes=max(size_bytes, kept.disk_bytes))
            case VolumeDrifted(org=org, vm=vm, what="size", size_bytes=int(size_bytes)):
                self._change(org, vm, disk_bytes=size_bytes)
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        if self._awaited.order(org, order):
                            self._change(org, order.vm, awaits=order.id)
                        if isinstance(order, AdoptOrdered):
                            self.adopting[org, order.vm] = order
            case fact if isinstance(fact, OfAwaited):
                how = self._awaited.ended(fact)
                if how is not None:
                    self.adopting.pop((fact.org, fact.vm), None)
                    self._change(fact.org, fact.vm, awaits=None)
                if how == "failed":
                    self._leave(fact.org, fact.vm)
            case DeletionBegun(org=org, vm=vm, deletion=deletion, stage="hard") if self._once.first(deletion):
                kept = self._leave(org, vm)
                if kept is not None:
                    self.departed[org, vm] = kept
            case DeletionCompleted(org=org, vm=vm, deletion=deletion, stage="recycle") if self._once.first(
                deletion, "recycle"
            ):
                self.departed.pop((org, vm), None)
            case _:
                pass

    def _leave(self, org: str, vm: str) -> Kept | None:
        kept = self.vms.pop((org, vm), None)
        if kept is not None:
            del self._pools[org, kept.pool][vm]
        return kept

    def _change(self, org: str, vm: str, **members: object) -> None:
        known = self.vms.get((org, vm))
        if known is not None:
            self.vms[org, vm] = replace(known, **members)


def _new(made: VmCreated, seq: int) -> Kept:
    return Kept(
        org=made.org,
        name=made.vm,
        pool=made.pool,
        image=made.image,
        kind=made.kind,
        readiness=made.readiness,
        size=made.size,
        disk_bytes=made.disk_bytes,
        seed=made.seed,
        protected=made.protected,
        actor=made.actor,
        created_at=made.created_at,
        created_seq=seq,
    )
