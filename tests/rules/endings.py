"""A house in which VMs are deleted, for tests: the real gate, steward and deleter on one ledger, and the workers played by the call."""

import datetime as dt
from typing import Any

from events.deletion import (
    BackupsErased,
    DeletionBegun,
    DeletionCancelRequested,
    DeletionCompleted,
    DeletionDue,
    DeletionRequested,
    SilenceSet,
    VmUndefined,
    VolumeErased,
)
from events.envelope import Recorded
from events.fact import Fact
from events.gate import Answer, BootOrdered, GateDecided, Order, StopOrdered
from projections.deletions.fold import Deletion
from schemas.deletion import Stage
from services.deleter.decide import Forget, Said, decide
from services.deleter.state import State
from tests.given import ORG
from tests.rules.windows import Windows

FIRST = dt.date(2026, 11, 30)
"""A Monday, eight days after the morning on which these houses begin."""


class Endings(Windows):
    """A house of kept VMs with a deleter; what is ordered is carried out when the test says so."""

    def __init__(self) -> None:
        self.deleter = State()
        self.forgotten: set[str] = set()
        self.forgets: list[Forget] = []
        self.silencing = False
        super().__init__()

    def happened(self, fact: Fact, id: str | None = None) -> Recorded:
        recorded = super().happened(fact, id)
        self.deleter.apply(recorded)
        return recorded

    # ------------------------------------------------------------------------------------------------ what is asked

    def delete(self, vm: str = "db", day: dt.date = FIRST, policy: str | None = None) -> Answer:
        """Somebody wants the VM deleted; the gate's answer."""
        asked = self.happened(
            DeletionRequested(
                org=ORG,
                vm=vm,
                pool="apps",
                publisher="operator",
                key=str(self.seq + 1),
                actor="kim",
                day=day,
                policy=policy,
                reason="no longer needed",
                received_at=self.now,
            )
        )
        return self.answer_to(asked.id)

    def undelete(self, vm: str = "db", *, start: bool = True) -> Answer:
        """Somebody takes it back; the gate's answer."""
        return self.answer_to(self.asks_back(vm, start=start))

    def asks_back(self, vm: str = "db", *, start: bool = True) -> str:
        """Somebody takes it back, and nobody has answered yet; the request's id."""
        return self.happened(
            DeletionCancelRequested(
                org=ORG,
                vm=vm,
                pool="apps",
                publisher="operator",
                key=str(self.seq + 1),
                actor="kim",
                start=start,
                reason="needed after all",
                received_at=self.now,
            )
        ).id

    def answer_to(self, request: str) -> Answer:
        """What the gate answers to it, with whatever else waits."""
        (found,) = [one for decided in self.gates() for one in decided.answers if one.request == request]
        return found

    # --------------------------------------------------------------------------------------------------- the deleter

    def says_next(self, deletion: Deletion) -> Said | Forget | None:
        return decide(deletion, self.deleter, self.now, silencing=self.silencing, forgotten=self.forgotten)

    def deletes(self) -> list[Fact]:
        """What the deleter says until it has nothing to say; it is in the ledger."""
        told: list[Fact] = []
        for _ in range(1000):
            steps = [
                step
                for deletion in list(self.deleter.deletions.standing())
                if (step := self.says_next(deletion)) is not None
            ]
            if not steps:
                return told
            for step in steps:
                if isinstance(step, Forget):
                    self.forgotten.add(step.deletion)
                    self.forgets.append(step)
                else:
                    self.happened(step.fact, step.id)
                    told.append(step.fact)
        raise AssertionError(f"the deleter never comes to an end: {told[-4:]}")

    def works(self, rounds: int = 50, *, steward: bool = True) -> None:
        """Everybody does what there is to do now, until nothing is left; the steward may be off."""
        for _ in range(rounds):
            before = self.seq
            if steward:
                self.look()
            self.deletes()
            for decided in self.gates():
                for order in decided.orders:
                    self.carries_out(order)
            self.erases()
            if self.seq == before:
                return
        raise AssertionError("they never come to an end")

    def carries_out(self, order: Order) -> None:
        """The waker stops or starts it."""
        if isinstance(order, StopOrdered):
            self.off(order.vm)
        elif isinstance(order, BootOrdered):
            self.runs(order.vm)

    def erases(self) -> None:
        """The waker undefines, and storage erases, whatever is ordered to be."""
        for (_, vm, what), order in list(self.deleter.deletions.erasing.items()):
            who: dict[str, Any] = {"org": ORG, "vm": vm, "host": order.host, "order": order.id}
            if what == "backups":
                self.happened(BackupsErased(**who, backups=1, erased_at=self.now))
                continue
            if order.host is not None:
                self.happened(
                    VmUndefined(org=ORG, vm=vm, host=order.host, order=order.id, undefined_at=self.now)
                )
            self.happened(VolumeErased(**who, volume=order.volume, snapshots=2, erased_at=self.now))

    def silenced(self, vm: str = "db") -> None:
        """The Alertmanager has a silence."""
        standing = self.standing(vm)
        self.happened(
            SilenceSet(
                org=ORG,
                vm=vm,
                deletion=standing.id,
                silence="a-silence",
                starts_at=standing.schedule.soft,
                ends_at=standing.schedule.recycle,
                set_at=self.now,
            )
        )

    # ------------------------------------------------------------------------------------------------------- what is so

    def standing(self, vm: str = "db") -> Deletion:
        found = self.deleter.deletions.of(ORG, vm)
        assert found is not None
        return found

    def at(self, stage: Stage, vm: str = "db") -> dt.datetime:
        """When the stage comes."""
        return self.standing(vm).instant(stage)

    def all(self, kind: type[Fact]) -> list[Any]:
        return [line.fact for line in self.lines if isinstance(line.fact, kind)]

    def begun(self, vm: str = "db") -> list[tuple[Stage, dt.datetime]]:
        """The stages that began, and when."""
        return [(one.stage, one.begun_at) for one in self.all(DeletionBegun) if one.vm == vm]

    def completed(self, vm: str = "db") -> list[Stage]:
        return [one.stage for one in self.all(DeletionCompleted) if one.vm == vm]

    def dues(self, vm: str = "db") -> list[tuple[Stage, int]]:
        return [(one.stage, one.attempt) for one in self.all(DeletionDue) if one.vm == vm]

    def all_ids(self) -> list[str]:
        """Every deletion there ever was, oldest first."""
        return [one.id for one in self.deleter.deletions.all()]

    def decisions(self) -> list[GateDecided]:
        return self.all(GateDecided)
