"""What no order of requests, delays and postponements does to maintenance: surprise anybody, or leave anything half done."""

import datetime as dt
from itertools import combinations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.activity import Activity, Change, Kind, Maintenance, activity
from schemas.maintenance import AtOnce, Window, chosen
from services.steward.crowd import is_notice
from services.steward.plan import (
    Placed,
    Target,
    Terms,
    announce,
    begun,
    cancel,
    ended,
    fallen_due,
    place,
    postpone,
    postponed,
    replan,
)
from services.steward.stages import OCCUPYING
from services.steward.turns import turns
from services.steward.work import combine, needed_seconds, restores_notice
from tests.laws.strength import examples

VMS = (("web-1", "web"), ("web-2", "web"), ("web-3", "web"), ("db-1", None))
KINDS: tuple[Kind, ...] = ("reboot", "cold-reboot", "image-update", "other")
WINDOWS = (Window(), Window("America/Havana", "00:00", "03:30"), Window(weekdays=("mon", "thu")))
BEGIN = dt.datetime(2026, 10, 23, 8, tzinfo=dt.UTC)


class Calendar(RuleBasedStateMachine):
    """An org's maintenance around a change of clocks, with a steward that is sometimes away for hours."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN
        self.entries: dict[str, Maintenance] = {}
        self.told: dict[str, tuple[dt.datetime, Maintenance]] = {}
        self.sizes = dict.fromkeys((vm for vm, _ in VMS), 2)
        self.count = 0

    @initialize(
        window=st.sampled_from(WINDOWS),
        policy=st.sampled_from(("maintenance-24h", "maintenance-12h")),
        at_once=st.builds(AtOnce, st.integers(1, 2), st.integers(1, 3)),
    )
    def begin(self, window: Window, policy: str, at_once: AtOnce) -> None:
        self.terms = Terms(chosen(policy), window, at_once)

    def key(self) -> str:
        self.count += 1
        return f"{self.count:032x}"

    @property
    def known(self) -> tuple[Maintenance, ...]:
        return tuple(self.entries.values())

    def keep(self, entry: object) -> None:
        if isinstance(entry, Maintenance):
            before = self.entries.get(entry.id)
            if before is not None:
                assert entry.revision >= before.revision
                assert entry.slot == before.slot or entry.revision > before.revision
            self.entries[entry.id] = entry

    @rule(
        vm=st.sampled_from(VMS),
        kind=st.sampled_from(KINDS),
        minutes=st.none() | st.integers(1, 150),
        significant=st.none() | st.booleans(),
    )
    def ask(
        self, vm: tuple[str, str | None], kind: Kind, minutes: int | None, *, significant: bool | None
    ) -> None:
        seconds = None if minutes is None else minutes * 60
        asked = activity(self.key(), kind, estimate_seconds=seconds, significant=significant)
        self.put(place(self.now, asked, Target("acme", *vm), self.known, self.terms, key=self.key()))

    @rule(vm=st.sampled_from(VMS), vcpu=st.integers(1, 3))
    def resize(self, vm: tuple[str, str | None], vcpu: int) -> None:
        change = Change("vcpu", str(self.sizes[vm[0]]), str(vcpu))
        asked = activity(self.key(), "resize", changes=[change])
        self.put(place(self.now, asked, Target("acme", *vm), self.known, self.terms, key=self.key()))

    def put(self, placed: object) -> None:
        if isinstance(placed, Placed):
            self.keep(placed.maintenance)

    @rule(minutes=st.sampled_from((1, 10, 29, 31, 60, 300, 720, 1500)))
    def time_passes(self, minutes: int) -> None:
        self.now += dt.timedelta(minutes=minutes, seconds=7)

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), days=st.none() | st.integers(0, 9))
    def somebody_postpones(self, data: st.DataObject, days: int | None) -> None:
        entry = data.draw(st.sampled_from(self.known))
        not_before = None if days is None else self.now + dt.timedelta(days=days)
        self.keep(postpone(self.now, entry, self.known, self.terms, not_before=not_before))

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def somebody_cancels(self, data: st.DataObject) -> None:
        self.keep(cancel(data.draw(st.sampled_from(self.known)), "no"))

    @precondition(lambda self: any(entry.stage == "running" for entry in self.known))
    @rule()
    def what_runs_ends(self) -> None:
        entry = next(entry for entry in self.known if entry.stage == "running")
        for step in combine(entry.asked).steps:
            for change in step.changes:
                self.sizes[entry.vm] = int(change.after)
        self.keep(ended(self.now, entry, "done"))

    @rule()
    def the_steward_looks(self) -> None:
        for turn in turns(self.now, self.known, self.terms.policy, self.terms.at_once):
            entry = self.entries[turn.id]
            match turn.step:
                case "announce":
                    told = announce(self.now, entry, self.known, self.terms)
                    self.keep(told)
                    if isinstance(told, Maintenance):
                        self.told[entry.id] = (self.now, told)
                case "fall-due":
                    self.keep(fallen_due(entry))
                case "begin":
                    self.starts(entry)
                case "postpone":
                    self.keep(postponed(entry, turn.reason))
                case "replan":
                    self.keep(replan(self.now, entry, self.known, self.terms))
                case "lapse":
                    raise AssertionError(turn)

    @rule(late=st.sampled_from((0, 0, 1, 10, 29, 31, 600)))
    def the_next_start_comes(self, late: int) -> None:
        """Told in time, and then the steward is there, or a little late, or was away for the night."""
        self.the_steward_looks()
        ahead = [entry.slot.start for entry in self.known if entry.stage == "announced"]
        if ahead:
            self.now = max(self.now, min(ahead) + dt.timedelta(minutes=late))
        for _ in range(2):
            self.the_steward_looks()

    def starts(self, entry: Maintenance) -> None:
        """Contacts were told of what they feel a full notice before, and it is done when they were told."""
        policy = self.terms.policy
        at, told = self.told[entry.id]
        assert entry.slot.start - at >= dt.timedelta(seconds=policy.notice_seconds)
        assert entry.slot.start == told.slot.start
        assert not restores_notice(combine(told.asked), combine(entry.asked), policy)
        assert entry.slot.start <= self.now <= entry.slot.start + dt.timedelta(seconds=policy.overdue_seconds)
        need = dt.timedelta(seconds=needed_seconds(combine(entry.asked), policy))
        assert self.now + need <= entry.slot.closes
        self.keep(begun(self.now, entry))

    @invariant()
    def no_slot_leaves_its_window(self) -> None:
        for entry in self.known:
            assert entry.slot.opens <= entry.slot.start < entry.slot.end <= entry.slot.closes

    @invariant()
    def no_vm_is_worked_on_twice_at_once(self) -> None:
        for one, other in combinations((e for e in self.known if e.stage in OCCUPYING), 2):
            if one.vm == other.vm:
                assert one.slot.end <= other.slot.start or other.slot.end <= one.slot.start

    @invariant()
    def no_more_are_worked_on_at_once_than_may_be(self) -> None:
        running = [entry for entry in self.known if entry.stage == "running"]
        assert len(running) <= (self.terms.at_once.org if running else 0)
        assert sum(entry.pool == "web" for entry in running) <= (self.terms.at_once.pool if running else 0)

    @invariant()
    def plans_leave_as_many_alone_as_must_be(self) -> None:
        planned = [entry for entry in self.known if entry.stage in OCCUPYING and not is_notice(entry)]
        for one in planned:
            at = one.slot.start
            beside = [entry for entry in planned if entry.slot.start <= at < entry.slot.end]
            assert len(beside) <= self.terms.at_once.org
            assert sum(entry.pool == "web" for entry in beside) <= self.terms.at_once.pool

    @invariant()
    def one_entry_has_one_reboot_and_it_comes_last(self) -> None:
        for entry in self.known:
            work = combine(entry.asked)
            felt = [step.reboots for step in work.steps]
            assert felt == sorted(felt)
            assert combine(work.steps) == work
            assert combine(told_twice(entry)) == work


def told_twice(entry: Maintenance) -> list[Activity]:
    """What was asked, each told twice."""
    return [asked for asked in entry.asked for _ in range(2)]


TestCalendar = Calendar.TestCase
TestCalendar.settings = examples(40, steps=25)
