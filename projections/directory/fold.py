"""VMs that are kept for their own sake, folded from the ledger: a name is given once, and stays the VM's."""

import datetime as dt
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from events.envelope import Recorded
from events.fact import Fact
from events.keep import VmCreated, VmProtected, VmResized, VmUnprotected
from events.volume import VolumeGrown
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


class Directory:
    """Every VM that was made by name, also before it first runs."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {VmCreated, VmResized, VmProtected, VmUnprotected, VolumeGrown}
    )

    def __init__(self) -> None:
        self.vms: dict[tuple[str, str], Kept] = {}
        self._pools: dict[tuple[str, str], dict[str, None]] = {}

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
            case VolumeGrown(org=org, vm=vm, size_bytes=size_bytes):
                self._change(org, vm, disk_bytes=size_bytes)
            case _:
                pass

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
