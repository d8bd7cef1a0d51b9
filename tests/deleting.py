"""A past in which the kept VM `db` is deleted: what is asked about it, and what becomes of it."""

import datetime as dt
from typing import Any

from events.deletion import (
    DeletionCancelRequested,
    DeletionCompleted,
    DeletionDue,
    DeletionRequested,
    VmUndefined,
    VolumeErased,
)
from events.gate import Answer, EraseOrdered, Order
from projections.deletions.fold import Deletion
from schemas.deletion import STAGES, Stage
from tests.copying import Copying
from tests.given import ORG

DAY = dt.date(2026, 12, 1)


class Deleting(Copying):
    """VM db, and what is asked about its deletion."""

    def delete(self, day: dt.date = DAY, policy: str | None = None) -> Answer:
        self.happened(DeletionRequested(vm="db", day=day, policy=policy, **self.asked()))
        return self.answer()[0]

    def undelete(self, *, start: bool = True) -> tuple[Answer, tuple[Order, ...]]:
        self.happened(DeletionCancelRequested(vm="db", start=start, **self.asked()))
        return self.answer()

    def due(self, stage: Stage, *, deletion: str | None = None) -> tuple[Answer, tuple[Order, ...]]:
        own = deletion or self.deletion.id
        self.happened(DeletionDue(ORG, "db", "apps", own, stage, 1, self.now))
        return self.answer()

    def complete(self, stage: Stage) -> None:
        self.happened(DeletionCompleted(ORG, "db", "apps", self.deletion.id, stage, self.now))

    @property
    def deletion(self) -> Deletion:
        found = self.state.deletions.of(ORG, "db")
        assert found is not None
        return found

    def until(self, stage: Stage) -> None:
        """It is the instant of the stage."""
        self.later((self.deletion.instant(stage) - self.now).total_seconds())

    def come_to(self, stage: Stage) -> tuple[Order, ...]:
        """The stage begins, each one before it is complete; what is ordered by it."""
        for one in STAGES:
            self.until(one)
            answer, orders = self.due(one)
            assert answer.code == "Done", (one, answer)
            if one == stage:
                return orders
            if one == "soft" and orders:
                self.off()
            if one == "hard":
                self.erased(orders)
            self.complete(one)
        raise AssertionError(stage)

    def erased(self, orders: tuple[Order, ...]) -> None:
        (order,) = orders
        assert isinstance(order, EraseOrdered)
        self.happened(VmUndefined(ORG, "db", "h1", order.id, self.now))
        self.happened(VolumeErased(ORG, "db", "h1", order.id, order.volume, 1, self.now))


def running(**pool: Any) -> Deleting:
    past = Deleting()
    past.running(**pool)
    return past
