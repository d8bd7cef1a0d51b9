"""A past with copies of kept VMs' disks: what is asked about them, and what becomes of them."""

import datetime as dt
from typing import Any

from events.copy import (
    CopyDropped,
    CopyDropRequested,
    CopyDue,
    CopyMade,
    CopyRequested,
    CopyRestored,
    RestoreRequested,
)
from events.envelope import Recorded
from events.gate import CopyOrdered, DropOrdered, RestoreOrdered
from schemas.copy import CopyKind
from tests.given import ORG
from tests.keeping import GIB, Keeping

NIGHT = dt.date(2026, 11, 22)


class Copying(Keeping):
    """What people and nights ask about copies, and what storage says of them."""

    def copy(self, name: str = "before", kind: CopyKind = "snapshot", vm: str = "db") -> Recorded:
        """Somebody wants a copy."""
        return self.happened(CopyRequested(vm=vm, kind=kind, copy=name, **self.asked()))

    def night(
        self, name: str = "nightly-20261122", day: dt.date = NIGHT, vm: str = "db", attempt: int = 1
    ) -> Recorded:
        """The night wants a backup."""
        return self.happened(
            CopyDue(
                org=ORG,
                vm=vm,
                pool="apps",
                copy=name,
                night=day,
                attempt=attempt,
                due_at=self.now,
            )
        )

    def drop(self, name: str = "before", vm: str = "db") -> Recorded:
        """Somebody wants the copy gone."""
        return self.happened(CopyDropRequested(vm=vm, copy=name, **self.asked()))

    def restore(
        self, name: str = "before", into: str | None = None, vm: str = "db", **terms: Any
    ) -> Recorded:
        """Somebody wants its contents back, or in a new VM."""
        return self.happened(RestoreRequested(vm=vm, copy=name, into=into, **self.asked() | terms))

    def made(self, order: CopyOrdered, gib: int = 10) -> None:
        """Storage made it."""
        self.happened(
            CopyMade(
                org=ORG,
                vm=order.vm,
                host=order.host,
                copy=order.copy,
                kind=order.kind,
                order=order.id,
                place=order.volume if order.kind == "snapshot" else f"/backups/{order.vm}/{order.copy}",
                disk_bytes=10 * GIB,
                size_bytes=gib * GIB,
                sha256=None if order.kind == "snapshot" else "ab" * 32,
                taken_at=self.now,
                made_at=self.now,
            )
        )

    def dropped(self, order: DropOrdered) -> None:
        """Storage removed it."""
        self.happened(
            CopyDropped(
                org=ORG,
                vm=order.vm,
                host=order.host,
                copy=order.copy,
                kind=order.kind,
                order=order.id,
                cause=order.cause,
                dropped_at=self.now,
            )
        )

    def restored(self, order: RestoreOrdered) -> None:
        """Storage gave the VM its disk."""
        self.happened(
            CopyRestored(
                org=ORG,
                vm=order.vm,
                host=order.host,
                of=order.of,
                copy=order.copy,
                order=order.id,
                volume=f"/disks/{ORG}.{order.vm}.qcow2",
                template=order.template,
                size_bytes=order.size_bytes,
                restored_at=self.now,
            )
        )

    def copied(self, name: str = "before", kind: CopyKind = "snapshot", gib: int = 10) -> CopyOrdered:
        """There is such a copy of VM db; the order that made it."""
        self.copy(name, kind)
        _, (order, *drops) = self.answer()
        assert isinstance(order, CopyOrdered)
        self.made(order, gib)
        for one in drops:
            assert isinstance(one, DropOrdered)
            self.dropped(one)
        return order

    @property
    def names(self) -> list[str]:
        """The copies of VM db."""
        return [one.name for one in self.state.copies.of(ORG, "db")]

    @property
    def copies_gib(self) -> int:
        """What they count."""
        return self.state.copies.stored(ORG) // GIB

    def asked(self) -> dict[str, Any]:
        """What every request says."""
        return {
            "org": ORG,
            "pool": "apps",
            "publisher": "operator",
            "key": str(self.seq + 1),
            "actor": "kim",
            "reason": "because",
            "received_at": self.now,
        }
