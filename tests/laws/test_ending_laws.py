"""What holds of deletions whatever is asked, whoever dies and however late anybody comes: in order, never early, and one of two wins."""

import datetime as dt
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.deletion import (
    BackupsErased,
    DeletionBegun,
    DeletionCancelled,
    DeletionCompleted,
    DeletionDue,
    DeletionScheduled,
    VmUndefined,
    VolumeErased,
)
from events.envelope import Recorded
from events.gate import BootOrdered, EraseOrdered, GateDecided, Order, RebootOrdered, StopOrdered
from events.keep import VmCreated
from schemas.deletion import STAGES, Schedule, earliest
from schemas.maintenance import Window
from services.deleter.decide import SELDOM, Forget, Said, decide
from services.deleter.state import State
from tests.given import ORG
from tests.laws.strength import examples
from tests.rules.endings import Endings
from tests.rules.windows import DAY

ZONES = ("Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Kathmandu", "Pacific/Apia", "UTC")
MORNINGS = (
    dt.datetime(2026, 3, 26, 8, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 20, 8, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 24, 23, 30, tzinfo=dt.UTC),
    dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC),
)
REPEATED = (DeletionDue, DeletionCompleted, VmUndefined, VolumeErased, BackupsErased)
"""What is told at least once, and may so be told again."""


class Unruly(Endings):
    """A house whose deleters have clocks and memories of their own, and whose waker comes when it likes."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        super().__init__()

    def gates(self) -> list[GateDecided]:
        said = super().gates()
        for decided in said:
            self.orders += decided.orders
        return said

    def gate_rounds(self, off: dt.timedelta) -> None:
        """A gate whose clock is off answers what waits; a second one, that decided beside it, comes too late at the fence."""
        true_now, self.now = self.now, self.now + off
        while (decision := self.decide()) is not None:
            beside = self.decide()
            self.orders += self.stored(decision).orders
            assert beside is not None
            assert beside.decided.follows != self.docket.fence_seq(self.org), "the fence has moved"
        self.now = true_now

    def a_deleter_says(self, state: State, off: dt.timedelta) -> None:
        """A deleter with this memory and a clock that is off says what it has to say, once round."""
        for deletion in list(state.deletions.standing()):
            step = decide(deletion, state, self.now + off, forgotten=self.forgotten)
            if isinstance(step, Forget):
                self.forgotten.add(step.deletion)
            elif isinstance(step, Said):
                self.happened(step.fact, step.id)

    def carry_out(self, dice: random.Random) -> None:
        """The waker comes round to one of its orders, if it still holds."""
        if not self.orders:
            return
        order = self.orders.pop(dice.randrange(len(self.orders)))
        vm = self.fleet.vms.get((ORG, order.vm))
        if vm is None:
            return
        if isinstance(order, StopOrdered) and vm.state == "stopping":
            self.off(order.vm)
        elif isinstance(order, BootOrdered) and vm.state == "booting" and vm.reservation == order.id:
            self.runs(order.vm)
        elif isinstance(order, RebootOrdered) and vm.reservation == order.id:
            self.rebooted(order)

    def settles(self) -> None:
        """Everybody is there again, and does all there is to do."""
        for _ in range(200):
            before = self.seq
            self.look()
            self.deletes()
            self.gate_rounds(dt.timedelta())
            while self.orders:
                self.carry_out(random.Random(0))
            self.erases()
            if self.seq == before:
                return
        raise AssertionError("they never come to an end")


def kept(house: Endings) -> None:
    """Each promise, as the ledger alone shows it."""
    schedules: dict[str, Schedule] = {}
    standing: dict[str, str] = {}
    begun: dict[str, list[str]] = {}
    completed: dict[str, list[str]] = {}
    over: set[str] = set()
    erased: Counter[tuple[str, str]] = Counter()
    names: set[str] = set()
    for line in house.lines:
        match line.fact:
            case VmCreated(vm=vm):
                assert vm not in names, "a name has two holders"
                names.add(vm)
            case DeletionScheduled() as told:
                assert told.vm not in standing, "one deletion of a VM at a time"
                standing[told.vm] = told.deletion
                schedules[told.deletion] = told.schedule
                begun[told.deletion], completed[told.deletion] = [], []
                assert told.scheduled_at < told.schedule.soft
            case DeletionBegun() as told:
                assert told.deletion not in over, "nothing begins after somebody took it back"
                assert told.begun_at >= dict(schedules[told.deletion].instants())[told.stage], "early"
                assert begun[told.deletion] == completed[told.deletion], "one after the other"
                assert told.stage == STAGES[len(begun[told.deletion])], "in order, and once"
                begun[told.deletion].append(told.stage)
            case DeletionCompleted() as told if told.stage not in completed[told.deletion]:
                if told.deletion in over:
                    continue  # it was on its way when somebody was faster, and counts for nothing
                assert begun[told.deletion][-1] == told.stage
                completed[told.deletion].append(told.stage)
                if told.stage == "recycle":
                    names.discard(told.vm)
                    over.add(told.deletion)
                    del standing[told.vm]
            case DeletionCancelled() as told:
                assert "hard" not in begun[told.deletion], "too late"
                assert standing.pop(told.vm) == told.deletion
                over.add(told.deletion)
            case GateDecided(orders=orders):
                for order in orders:
                    if isinstance(order, EraseOrdered):
                        erased[order.deletion, order.what] += 1
                        needed = "hard" if order.what == "disk" else "purge"
                        assert begun[order.deletion][-1] == needed, "erased without its stage"
                    elif isinstance(order, BootOrdered) and order.vm in standing:
                        assert "soft" not in begun[standing[order.vm]], "started while it is deleted"
            case _:
                pass
    assert all(count == 1 for count in erased.values()), erased
    for deletion in house.deleter.deletions.all():
        assert list(deletion.begun) == begun[deletion.id]
        assert list(deletion.completed) == completed[deletion.id]
        assert bool(deletion.over) == (deletion.id in over)


def proven(house: Endings) -> None:
    """What a stage removes is gone, as others have said, before it is complete."""
    ordered: dict[tuple[str, str], EraseOrdered] = {}
    gone: set[tuple[type, str]] = set()
    for line in house.lines:
        match line.fact:
            case GateDecided(orders=orders):
                for order in orders:
                    if isinstance(order, EraseOrdered):
                        ordered[order.deletion, order.what] = order
            case (VmUndefined() | VolumeErased() | BackupsErased()) as told:
                gone.add((type(told), told.order))
            case DeletionCompleted(deletion=deletion, stage="hard"):
                order = ordered[deletion, "disk"]
                assert (VolumeErased, order.id) in gone
                assert order.host is None or (VmUndefined, order.id) in gone
            case DeletionCompleted(deletion=deletion, stage="purge"):
                assert (BackupsErased, ordered[deletion, "backups"].id) in gone
            case _:
                pass


ACTIONS = (
    "time", "instant", "away", "delete", "delete", "cancel", "race", "protect", "unprotect", "start", "stop", "reboot",
    "gate", "gate", "deleter", "deleter", "late deleter", "steward", "waker", "waker", "erase", "again", "create", "confused",
)  # fmt: skip


class Story:
    """A random past of two VMs."""

    def __init__(self, house: Unruly, zone: str, seed: int) -> None:
        self.house, self.zone = house, zone
        self.dice = random.Random(seed)
        self.stale = State()
        self.read = 0
        self.ends = house.now + 300 * DAY

    def step(self) -> None:
        house, dice = self.house, self.dice
        vm, action = dice.choice(("db0x", "db1x")), dice.choice(ACTIONS)
        off = dt.timedelta(minutes=dice.choice((0, 0, -90, 5, 90)))
        match action:
            case "gate":
                house.gate_rounds(off)
            case "deleter":
                house.a_deleter_says(house.deleter, off)
            case "late deleter":
                self.late_deleter(off)
            case "steward":
                house.look()
            case "waker":
                house.carry_out(dice)
            case "erase":
                house.erases()
            case "again":
                told = [line for line in house.lines if isinstance(line.fact, REPEATED)]
                if told:
                    again: Recorded = dice.choice(told)
                    house.happened(again.fact, again.id)
            case "time" | "instant" | "away":
                self.time(action, vm)
            case "confused":
                self.confused_deleter(vm)
            case _:
                self.ask(action, vm)

    def time(self, action: str, vm: str) -> None:
        house, standing = self.house, self.house.deleter.deletions.of(ORG, vm)
        stage = None if standing is None else standing.running or standing.next
        if action == "instant" and standing is not None and stage is not None:
            before = dt.timedelta(seconds=self.dice.choice((0, 1)))
            house.to(max(house.now, standing.instant(stage) - before))
        elif action == "away" and house.now < self.ends:
            house.later(40 * 86_400)
        else:
            house.later(self.dice.choice((1, 60, 3600, 86_400)))

    def ask(self, action: str, vm: str) -> None:
        house, dice = self.house, self.dice
        match action:
            case "delete" if (ORG, vm) in house.steward.directory.vms:
                day = earliest(house.now, self.zone) + dice.randrange(10) * DAY
                house.delete(vm, day, dice.choice((None, "deletion-2019-03")))
            case "cancel":
                house.asks_back(vm, start=dice.random() < 0.5)
            case "race":
                for due in dice.sample((True, False), 2):
                    if due:
                        house.a_deleter_says(house.deleter, dt.timedelta())
                    else:
                        house.asks_back(vm)
                house.gate_rounds(dt.timedelta())
            case "protect" | "unprotect" | "start" | "stop" as change:
                house.change(change, vm)
            case "reboot":
                house.change("reboot", vm, when=dice.choice(("now", "window")))
            case "create":
                house.create(vm)
            case _:
                pass

    def confused_deleter(self, vm: str) -> None:
        """One that says any stage to be due at any time."""
        standing = self.house.deleter.deletions.of(ORG, vm)
        if standing is not None:
            who: dict[str, Any] = {"org": ORG, "vm": vm, "pool": "apps", "deletion": standing.id}
            attempt = self.dice.randint(1, 3)
            self.house.happened(
                DeletionDue(**who, stage=self.dice.choice(STAGES), attempt=attempt, due_at=self.house.now)
            )

    def late_deleter(self, off: dt.timedelta) -> None:
        """One that has read less than there is."""
        upto = self.dice.randint(self.read, len(self.house.lines))
        for line in self.house.lines[self.read : upto]:
            self.stale.apply(line)
        self.read = upto
        self.house.a_deleter_says(self.stale, off)


@examples(150)
@given(
    morning=st.sampled_from(MORNINGS),
    zone=st.sampled_from(ZONES),
    seed=st.integers(0, 2**32),
    steps=st.integers(10, 80),
)
def test_stages_come_in_order_never_early_and_of_cancel_and_begin_exactly_one_wins(
    morning: dt.datetime, zone: str, seed: int, steps: int
) -> None:
    house = Unruly()
    house.now = morning
    house.house(vms=2, window=Window(zone=zone))
    story = Story(house, zone, seed)
    for _ in range(steps):
        story.step()
    kept(house)
    proven(house)
    house.settles()
    for left in list(house.deleter.deletions.standing()):
        house.to(max(house.now, left.schedule.recycle + DAY))
    for _ in range(2 * len(STAGES)):  # a stage that found the VM on its way is due again in a while
        house.settles()
        house.later(SELDOM.total_seconds())
    assert list(house.deleter.deletions.standing()) == [], "whatever happened, it is worked off"
    kept(house)
    proven(house)


@examples(40)
@given(
    zone=st.sampled_from(ZONES),
    morning=st.sampled_from(MORNINGS),
    ahead=st.integers(0, 30),
    old=st.sampled_from((None, "deletion-2019-03")),
    outages=st.lists(st.integers(0, 60), max_size=5),
)
def test_after_any_outage_stages_are_caught_up_in_order(
    zone: str, morning: dt.datetime, ahead: int, old: str | None, outages: list[int]
) -> None:
    house = Unruly()
    house.now = morning
    house.house(window=Window(zone=zone))
    answer = house.delete(day=earliest(house.now, zone) + ahead * DAY, policy=old)
    assert answer.code == "Done"
    schedule = house.standing().schedule
    for days in outages:
        house.later(days * 86_400)
        house.settles()
        due = [stage for stage, instant in schedule.instants() if instant <= house.now]
        assert house.completed() == due
    house.to(max(house.now, schedule.recycle))
    house.settles()
    assert house.completed() == list(STAGES)
    kept(house)
    proven(house)


@pytest.mark.parametrize("vms", [30, pytest.param(200, marks=pytest.mark.long)])
def test_a_year_of_many_vms_that_are_deleted_taken_back_and_deleted_again(vms: int) -> None:
    """Both changes of clocks are in it; every tenth day everybody is away for two."""
    house, dice = Unruly(), random.Random(7)
    house.now = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)
    house.house(vms=vms, vcpu=2 * vms)
    begin, tally = house.now, Counter[str]()
    for day in range(365):
        house.to(max(house.now, begin + day * DAY))
        for _ in range(max(1, vms // 40)):
            vm = f"db{dice.randrange(vms)}x"
            known: Any = house.steward.directory.vms.get((ORG, vm))
            standing = house.deleter.deletions.of(ORG, vm)
            if standing is not None and dice.random() < 0.3:
                tally[house.undelete(vm).code] += 1
                house.settles()
            elif known is not None and standing is None:
                soon = earliest(house.now) + dice.randrange(14) * DAY
                tally[house.delete(vm, soon).code] += 1
            elif known is None and not house.state.leases.holds_name(ORG, vm):
                house.create(vm)
                house.settles()
                tally["made again"] += 1
        if day % 10 not in {8, 9}:
            house.settles()
    house.to(house.now + 60 * DAY)
    house.settles()
    kept(house)
    proven(house)
    assert list(house.deleter.deletions.standing()) == []
    assert tally["Done"] > 100
    assert tally["DeletionFinal"] > 0
    assert tally["made again"] > 0
