"""VMs that are kept, as they really are beside what the ledger counts: workers come round to their orders late, in any order, or fail."""

import random
from typing import Any

from events.copy import CopyFailed, CopyMade, CopyRestored, CopyRestoreFailed
from events.deletion import BackupsErased, DeletionCompleted, VmUndefined, VolumeErased
from events.envelope import Recorded
from events.gate import (
    BootOrdered,
    CopyOrdered,
    DropOrdered,
    EraseOrdered,
    GrowOrdered,
    Order,
    PlugOrdered,
    RebootOrdered,
    RestoreOrdered,
    StopOrdered,
)
from events.vm import VmBooted, VmPlugFailed, VmPlugged, VmReady, VmRebootFailed, VmStopped, VmWakeFailed
from events.volume import VolumeCreated, VolumeGrowFailed, VolumeGrown
from projections.fleet.life import ASLEEP
from schemas.capacity import Size
from tests.copying import Copying
from tests.given import ORG
from tests.keeping import GIB, ONE


class Truth(Copying):
    """A past whose orders are carried out by the dice. `disks`, `held` and `guests` are what there is, whoever knows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.disks: dict[str, int] = {}
        self.held: dict[tuple[str, str], tuple[str, int]] = {}
        """Copies by VM and name: their kind and their bytes."""
        self.guests: dict[str, tuple[str, Size]] = {}
        """By VM, the life that runs and its size."""
        self.orders: list[Order] = []
        self.told: list[Recorded] = []
        """What workers said, which may be told again."""

    def gates(self) -> None:
        """The gate answers all that waits."""
        while (decision := self.decide()) is not None:
            for order in self.stored(decision).orders:
                # Of two orders about one disk storage carries out the later.
                if isinstance(order, GrowOrdered):
                    self.orders = [
                        one
                        for one in self.orders
                        if not (isinstance(one, GrowOrdered) and one.vm == order.vm)
                    ]
                self.orders.append(order)

    def work(self, dice: random.Random) -> None:
        """One worker comes round to one order."""
        if self.orders:
            order = self.orders.pop(dice.randrange(len(self.orders)))
            before = len(self.lines)
            self._carry_out(order, ok=dice.random() < 0.7)
            self.told += self.lines[before:]

    def tell_again(self, dice: random.Random) -> None:
        """Somebody did not hear that he was heard."""
        if self.told:
            said = self.told[dice.randrange(len(self.told))]
            self.happened(said.fact, said.id)

    def goes_on(self) -> None:
        """The stages that are done are complete."""
        for one in list(self.state.deletions.standing()):
            vm = self.fleet.vms.get((ORG, one.vm))
            done = {
                "prepare": True,
                "soft": vm is None or vm.state in ASLEEP,
                "hard": one.undefined and one.erased,
                "purge": one.backups_erased,
                "recycle": True,
            }
            if one.running is not None and done[one.running]:
                self.happened(DeletionCompleted(ORG, one.vm, "apps", one.id, one.running, self.now))

    @property
    def counted(self) -> tuple[int, int]:
        """vCPU and bytes that count."""
        usage = self.state.usage
        both = usage.used(ORG) + usage.reserved(ORG)
        return both.vcpu, usage.stored(ORG) + self.state.copies.stored(ORG)

    @property
    def there(self) -> tuple[int, int]:
        """vCPU of guests that run, and bytes of disks and copies that exist."""
        stored = sum(self.disks.values()) + sum(size for _, size in self.held.values())
        return sum(size.vcpu for _, size in self.guests.values()), stored

    def _carry_out(self, order: Order, *, ok: bool) -> None:
        vm = self.fleet.vms.get((ORG, order.vm))
        life = None if vm is None else vm.reservation
        match order:
            case BootOrdered() if life == order.id and vm is not None and vm.state == "booting":
                self._boot(order, ok=ok)
            case RebootOrdered() if life == order.id and vm is not None and vm.state == "booting":
                self._reboot(order, ok=ok)
            case StopOrdered() if life == order.reservation:
                self.guests.pop(order.vm, None)
                self._off(order)
            case PlugOrdered():
                self._plug(order, ok=ok)
            case GrowOrdered() if order.vm in self.disks:
                self._grow(order, ok=ok)
            case CopyOrdered() if (ORG, order.vm, order.copy) in self.state.copies.making:
                self._copy(order, ok=ok)
            case DropOrdered() if self.state.copies.dropping.get((ORG, order.vm, order.copy)) == order:
                if any(one.request == order.request for one in self.state.copies.making.values()):
                    self.orders.append(order)  # it goes for a copy that is not there yet
                else:
                    self.held.pop((order.vm, order.copy), None)
                    self.dropped(order)
            case RestoreOrdered():
                self._restore(order, ok=ok)
            case EraseOrdered():
                self._erase(order)
            case _:
                pass  # it is another life by now

    def _boot(self, order: BootOrdered, *, ok: bool) -> None:
        who: dict[str, Any] = {"org": ORG, "vm": order.vm, "reservation": order.id}
        if not ok:
            failed = VmWakeFailed(
                **who, host="h1", code="wake-refused", text="no", found="off", observed_at=self.now
            )
            self.happened(failed)
            return
        if order.vm not in self.disks:
            kept = self.state.directory.get(ORG, order.vm)
            assert kept is not None
            self.disks[order.vm] = kept.disk_bytes
            volume = f"/disks/{order.vm}"
            self.happened(
                VolumeCreated(ORG, order.vm, "h1", volume, "tiny", kept.disk_bytes, order.id, self.now)
            )
        self._up(order)

    def _up(self, order: BootOrdered | RebootOrdered) -> None:
        self.guests[order.vm] = order.id, order.size
        who: dict[str, Any] = {"org": ORG, "vm": order.vm, "reservation": order.id}
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

    def _reboot(self, order: RebootOrdered, *, ok: bool) -> None:
        if ok:
            self._up(order)
            return
        _, size = self.guests.get(order.vm, ("", ONE))
        self.guests[order.vm] = order.id, size
        self.happened(
            VmRebootFailed(
                ORG, order.vm, "h1", order.id, size, "order-expired", "It came too late.", self.now
            )
        )

    def _off(self, order: StopOrdered) -> None:
        self.happened(
            VmStopped(
                org=ORG,
                vm=order.vm,
                host="h1",
                reservation=order.reservation,
                asleep_since=None,
                cause="ordered",
                found="off",
                stopped_at=self.now,
            )
        )

    def _plug(self, order: PlugOrdered, *, ok: bool) -> None:
        who: dict[str, Any] = {"org": ORG, "vm": order.vm, "host": "h1", "reservation": order.reservation}
        life, _ = self.guests.get(order.vm, ("", ONE))
        if ok and life == order.reservation:
            self.guests[order.vm] = life, order.size
            self.happened(VmPlugged(**who, order=order.id, size=order.size, plugged_at=self.now))
        else:
            self.happened(
                VmPlugFailed(**who, order=order.id, code="plug-refused", text="no", observed_at=self.now)
            )

    def _grow(self, order: GrowOrdered, *, ok: bool) -> None:
        who: dict[str, Any] = {
            "org": ORG,
            "vm": order.vm,
            "host": "h1",
            "volume": order.volume,
            "order": order.id,
        }
        if ok:
            self.disks[order.vm] = max(self.disks[order.vm], order.size_bytes)
        has = self.disks[order.vm]
        self.happened(
            VolumeGrown(**who, size_bytes=has, grown_at=self.now)
            if ok
            else VolumeGrowFailed(**who, size_bytes=has, code="Storage", text="full", observed_at=self.now)
        )

    def _copy(self, order: CopyOrdered, *, ok: bool) -> None:
        if not ok:
            self.happened(
                CopyFailed(ORG, order.vm, "h1", order.copy, order.kind, order.id, "Storage", "full", self.now)
            )
            return
        has = self.disks[order.vm]
        size_bytes = has if order.kind == "snapshot" else 3 * GIB
        self.held[order.vm, order.copy] = order.kind, size_bytes
        self.happened(
            CopyMade(
                org=ORG,
                vm=order.vm,
                host="h1",
                copy=order.copy,
                kind=order.kind,
                order=order.id,
                place=f"/copies/{order.vm}/{order.copy}",
                disk_bytes=has,
                size_bytes=size_bytes,
                sha256=None,
                taken_at=self.now,
                made_at=self.now,
            )
        )

    def _restore(self, order: RestoreOrdered, *, ok: bool) -> None:
        who: dict[str, Any] = {"org": ORG, "vm": order.vm, "host": "h1", "of": order.of, "copy": order.copy}
        if not ok:
            self.happened(
                CopyRestoreFailed(**who, order=order.id, code="Storage", text="full", observed_at=self.now)
            )
            return
        has = self.disks[order.vm] = max(self.disks.get(order.vm, 0), order.size_bytes)
        self.happened(
            CopyRestored(
                **who,
                order=order.id,
                volume=f"/disks/{order.vm}",
                template="tiny",
                size_bytes=has,
                restored_at=self.now,
            )
        )

    def _erase(self, order: EraseOrdered) -> None:
        kind = "snapshot" if order.what == "disk" else "backup"
        self.held = {key: one for key, one in self.held.items() if (key[0], one[0]) != (order.vm, kind)}
        if order.what == "backups":
            self.happened(BackupsErased(ORG, order.vm, order.host, order.id, 0, self.now))
            return
        self.disks.pop(order.vm, None)
        if order.host is not None:
            self.happened(VmUndefined(ORG, order.vm, order.host, order.id, self.now))
        self.happened(VolumeErased(ORG, order.vm, order.host, order.id, order.volume, 0, self.now))
