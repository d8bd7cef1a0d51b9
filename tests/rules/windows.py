"""A house with kept VMs, a gate and a steward on one ledger, for tests: time goes by the call."""

import datetime as dt
from typing import Any, Self

from msgspec.structs import replace

from events.envelope import Recorded
from events.fact import Fact
from events.gate import Answer, GateDecided, RebootOrdered
from events.keep import VmResizeRequested
from events.maintenance import MaintenanceChangeRequested, MaintenanceRequested
from events.vm import VmBooted, VmReady, VmRebootFailed
from projections.maintenance.fold import Planned
from schemas.activity import Maintenance
from schemas.capacity import Capacity, Size
from schemas.vm_intake import MaintenanceChange, MaintenanceWork
from services.steward.decide import decide
from services.steward.round import Said
from services.steward.state import State
from tests.given import ORG
from tests.keeping import ONE, Keeping

MORNING = dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC)
"""09:00 in Berlin, a Sunday: with 12 hours' notice tonight's window can be taken from 22:00 on."""

TONIGHT = dt.datetime(2026, 11, 22, 21, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
MINUTE = dt.timedelta(minutes=1)


class Windows(Keeping):
    """The gate's past with a steward beside it."""

    def __init__(self) -> None:
        self.steward = State()
        super().__init__()
        self.now = MORNING

    def happened(self, fact: Fact, id: str | None = None) -> Recorded:
        recorded = super().happened(fact, id)
        self.steward.apply(recorded)
        return recorded

    def house(self, vms: int = 1, vcpu: int = 8, **pool: Any) -> Self:
        """So many VMs run, of one vCPU each: `db`, or `db-a` and so on."""
        self.contract(
            quota=Capacity(vcpu=vcpu, memory_mib=1 << 20, block_bytes=1 << 50),
            valid_from=self.now - DAY,
            valid_until=self.now + dt.timedelta(days=800),
        )
        self.pool("apps", ONE, kind="kept", profile="lab", **pool)
        self.host(memory_mib=1 << 22)
        for number in range(vms):
            name = "db" if vms == 1 else f"db{number}x"
            self.create(name)
            self.round()
            self.runs(name)
        return self

    def to(self, when: dt.datetime) -> Self:
        """It is then."""
        assert when >= self.now, (when, self.now)
        self.now = when
        return self

    # --------------------------------------------------------------------------------------------------- the steward

    def says(self) -> list[Said]:
        """What the steward would say now, in one round."""
        said = decide(ORG, self.steward.kept().get(ORG, []), self.steward, self.now)
        every = [kept for (org, _), kept in self.steward.directory.vms.items() if org == ORG]
        assert said == decide(ORG, every, self.steward, self.now), "who is not looked at needs no look"
        return said

    def look(self) -> list[Fact]:
        """What the steward says until it has nothing to say; it is in the ledger."""
        told: list[Fact] = []
        for _ in range(1000):
            said = self.says()
            if not said:
                return told
            for one in said:
                self.happened(one.fact, one.id)
                told.append(one.fact)
        raise AssertionError(f"the steward never comes to an end: {told[-4:]}")

    def entries(self) -> list[Planned]:
        return list(self.steward.calendar.entries.values())

    @property
    def entry(self) -> Maintenance:
        """The one entry that there is."""
        (planned,) = self.entries()
        return planned.entry

    # ----------------------------------------------------------------------------------------------------- what is asked

    def reboot(self, vm: str = "db") -> str:
        """A reboot was asked for and announced; the request's id."""
        asked = self.change("reboot", vm, when="window").id
        answer, _ = self.answer()
        assert answer.code == "Announced", answer
        return asked

    def wants(self, size: Size) -> None:
        """VM db shall have another size, from its next boot on."""
        self.resize(size, when="window")
        self.round()

    def resize_of(self, vm: str, size: Size) -> None:
        """The VM shall have another size, from its next boot on."""
        self.happened(
            VmResizeRequested(
                org=ORG,
                vm=vm,
                pool="apps",
                publisher="operator",
                key=str(self.seq + 1),
                actor="kim",
                size=size,
                disk_bytes=None,
                plug=False,
                when="window",
                received_at=self.now,
            )
        )
        self.round()

    def maintain(self, work: MaintenanceWork, vm: str = "db", **said: Any) -> str:
        """Somebody asks for work; the request's id."""
        return self.happened(
            MaintenanceRequested(
                org=ORG,
                vm=vm,
                pool="apps",
                publisher="operator",
                key=str(self.seq + 1),
                actor="kim",
                work=work,
                estimate_seconds=said.get("estimate_seconds"),
                reason="a new disk controller",
                received_at=self.now,
            )
        ).id

    def please(
        self, change: MaintenanceChange, until: dt.datetime | None = None, *, entry: str = "", vm: str = "db"
    ) -> str:
        """Somebody wants an entry to be later, or gone; the request's id."""
        return self.happened(
            MaintenanceChangeRequested(
                org=ORG,
                vm=vm,
                pool="apps",
                publisher="operator",
                key=str(self.seq + 1),
                actor="kim",
                maintenance=entry or self.entry.id,
                change=change,
                until=until,
                reason="the fair is on",
                received_at=self.now,
            )
        ).id

    # ----------------------------------------------------------------------------------------------- gate and waker

    def gate(self) -> tuple[Answer, RebootOrdered | None]:
        """The gate answers what waits; the reboot that it orders."""
        answer, orders = self.answer()
        (order,) = orders or (None,)
        assert order is None or isinstance(order, RebootOrdered)
        return answer, order

    def gates(self) -> list[GateDecided]:
        """Everything that the gate has to say now."""
        said: list[GateDecided] = []
        while (decision := self.decide()) is not None:
            said.append(self.stored(decision))
        return said

    def rebooted(self, order: RebootOrdered) -> None:
        """The waker did it, and the guest answered."""
        who: dict[str, Any] = {"org": ORG, "vm": order.vm, "reservation": order.id}
        self.happened(VmBooted(**who, host="h1", started_at=self.now, booted_at=self.now, attempts=1))
        self.happened(
            VmReady(
                **who,
                boot_id="c",
                rebooted=False,
                clock_offset_ms=0,
                probe_started_at=self.now,
                answered_at=self.now,
                probes=1,
            )
        )

    def not_rebooted(self, order: RebootOrdered) -> None:
        """It runs on as it did."""
        self.happened(
            VmRebootFailed(
                org=ORG,
                vm=order.vm,
                host="h1",
                reservation=order.id,
                size=self.fleet.vms[ORG, order.vm].size if order.size == ONE else ONE,
                code="order-expired",
                text="It could not begin in time.",
                observed_at=self.now,
            )
        )

    def contract_of(self, vcpu: int) -> None:
        """The org may have so many vCPU from here on."""
        self.contract(
            quota=Capacity(vcpu=vcpu, memory_mib=1 << 20, block_bytes=1 << 50),
            version=2,
            valid_until=self.now + dt.timedelta(days=800),
        )


def later(moment: dt.datetime, **by: float) -> dt.datetime:
    return moment + dt.timedelta(**by)


def again(entry: Maintenance, **members: Any) -> Maintenance:
    return replace(entry, **members)
