"""A past with VMs that are kept for their own sake, what is asked about them, and what becomes of them."""

import datetime as dt
from typing import Any, Self

from events.envelope import Recorded
from events.gate import GrowOrdered, Order
from events.ids import derive
from events.keep import VmChangeRequested, VmCreateRequested, VmResizeRequested
from events.vm import VmBooted, VmReady, VmStopped
from events.volume import VolumeCreated, VolumeGrown
from schemas.capacity import Capacity, Size
from schemas.vm_intake import VmChange
from tests.given import ORG, Past

ONE = Size("own-1x1024", 1, 1024)
TWO = Size("own-2x2048", 2, 2048)
SIX = Size("own-6x1024", 6, 1024)
GIB = 2**30


def named(asked: Recorded, *parts: str) -> str:
    """The id that whatever follows from the request has, whichever gate says it and how often."""
    return derive(asked.id, asked.seq, *parts)


class Keeping(Past):
    """A past with a pool `apps` that keeps VMs, and what is asked about them."""

    def setting(self, vcpu: int = 4, disk_gib: int = 100, **pool: Any) -> Self:
        quota = Capacity(vcpu=vcpu, memory_mib=1 << 18, block_bytes=disk_gib * GIB)
        self.contract(quota=quota, valid_until=self.now + dt.timedelta(days=400))
        self.pool("apps", ONE, kind="kept", profile="lab", **pool)
        self.host()
        return self

    def create(self, vm: str = "db", **terms: Any) -> Recorded:
        members: dict[str, Any] = {
            "pool": "apps",
            "size": ONE,
            "image": "tiny",
            "kind": "lab",
            "readiness": "http",
            "disk_bytes": 10 * GIB,
            "seed": None,
            "start": True,
            "protected": False,
            "actor": "kim",
        }
        return self.happened(
            VmCreateRequested(
                org=ORG,
                vm=vm,
                publisher="operator",
                key=str(self.seq + 1),
                received_at=self.now,
                **members | terms,
            )
        )

    def change(self, change: VmChange, vm: str = "db", **terms: Any) -> Recorded:
        members: dict[str, Any] = {
            "publisher": "operator",
            "when": "now",
            "reason": "because",
            "pool": "apps",
        }
        return self.happened(
            VmChangeRequested(
                org=ORG,
                vm=vm,
                key=str(self.seq + 1),
                actor="kim",
                change=change,
                received_at=self.now,
                **members | terms,
            )
        )

    def resize(self, size: Size | None = None, disk_gib: int | None = None, **terms: Any) -> Recorded:
        members: dict[str, Any] = {
            "pool": "apps",
            "actor": "kim",
            "when": "now",
            "plug": False,
            "publisher": "operator",
        }
        return self.happened(
            VmResizeRequested(
                org=ORG,
                vm="db",
                key=str(self.seq + 1),
                size=size,
                disk_bytes=None if disk_gib is None else disk_gib * GIB,
                received_at=self.now,
                **members | terms,
            )
        )

    def runs(self, vm: str = "db") -> None:
        """The VM was started and answered."""
        who: dict[str, Any] = {"org": ORG, "vm": vm, "reservation": self.reservation(vm)}
        pool = self.fleet.pools[ORG, self.fleet.vms[ORG, vm].pool]
        if (ORG, vm) not in self.state.volumes.disks:
            self.happened(
                VolumeCreated(
                    org=ORG,
                    vm=vm,
                    host="h1",
                    volume=f"org-{ORG}/{vm}" if pool.storage == "ceph" else f"/disks/{ORG}.{vm}.qcow2",
                    template="tiny",
                    size_bytes=10 * GIB,
                    order=self.reservation(vm),
                    created_at=self.now,
                )
            )
        self.happened(VmBooted(**who, host="h1", started_at=self.now, booted_at=self.now, attempts=1))
        self.happened(
            VmReady(
                **who,
                boot_id="b",
                rebooted=False,
                clock_offset_ms=0,
                probe_started_at=self.now,
                answered_at=self.now,
                probes=1,
            )
        )

    def off(self, vm: str = "db") -> None:
        """The VM does not run any more."""
        self.happened(
            VmStopped(
                org=ORG,
                vm=vm,
                host="h1",
                reservation=self.reservation(vm),
                asleep_since=None,
                cause="ordered",
                found="off",
                stopped_at=self.now,
            )
        )

    def running(self, **pool: Any) -> Self:
        """VM db runs."""
        self.setting(**pool)
        self.create()
        self.round()
        self.runs()
        return self

    def grown(self, order: Order) -> None:
        """The VM's disk has the size that it shall have."""
        assert isinstance(order, GrowOrdered)
        self.happened(
            VolumeGrown(
                org=ORG,
                vm=order.vm,
                host=order.host,
                volume=order.volume,
                order=order.id,
                size_bytes=order.size_bytes,
                grown_at=self.now,
            )
        )

    def state_of(self, vm: str = "db") -> str:
        return self.fleet.vms[ORG, vm].state

    @property
    def used(self) -> tuple[int, int]:
        """vCPU that count, and GiB of disk."""
        usage = self.state.usage
        both = usage.used(ORG) + usage.reserved(ORG)
        return both.vcpu, usage.stored(ORG) // GIB
