"""The simulation can fail, of what came later: breakers, replacements, batches, the reserve, and clocks that are set."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from events.breaker import BreakerOpened
from events.forecast import ForecastMade
from events.gate import GateDecided
from events.host import HostFenced
from events.ids import derive
from events.pool import PoolDefined
from projections.breakers import fold as breakers_fold
from projections.breakers.fold import Breakers
from projections.fleet.fold import Vm
from projections.freezes import fold as freezes_fold
from projections.freezes.fold import Freeze
from projections.usage.fold import Usage
from schemas.pool import Trigger
from services.announcer.decide import drain_seconds_left
from services.announcer.route import Routes
from services.forecaster import decide as forecaster_rules
from services.forecaster import worker as forecaster
from services.forecaster.decide import Sight, Standing
from services.forecaster.roster import NEVER, Roster, Span
from services.forecaster.telling import Telling
from services.forecaster.timing import BusTime
from services.gate import growing, pace
from services.gate.draft import Draft
from services.signal import decide as signal_rules
from services.signal import observer
from services.waker import decide as waker_rules
from services.waker import effects, outcomes
from services.waker.batches import Turns
from tests.lives import Lives
from tests.rules.desk import pool
from tests.simulation.afterwards import behind
from tests.simulation.clock import EPOCH
from tests.simulation.test_can_fail import Break, catches
from tests.simulation.trips import IN_A_ROW, LEAST, Trips

_NEVER_TO_COME = staticmethod(lambda *_: False)


def failures_that_nobody_counts(patch: pytest.MonkeyPatch) -> None:
    """No breaker opens, whatever fails."""
    patch.setattr(breakers_fold, "FAILURES", 1_000)


def breakers_that_nobody_heeds(patch: pytest.MonkeyPatch) -> None:
    """The gate starts VMs behind an open breaker."""
    patch.setattr(Breakers, "until", lambda *_: None)


def breakers_that_stay_open(patch: pytest.MonkeyPatch) -> None:
    """What woke behind a breaker closes none."""
    patch.setattr(Breakers, "_worked", lambda *_: None)


def breakers_for_an_hour(patch: pytest.MonkeyPatch) -> None:
    """The first failure counts like the sixth."""
    patch.setattr(breakers_fold, "_FIRST", dt.timedelta(minutes=30))


def two_in_the_place_of_one(patch: pytest.MonkeyPatch) -> None:
    """Who was replaced is lost still."""
    patch.setattr(Breakers, "_replaced", staticmethod(lambda *_: None))


def what_replaced_is_replaced(patch: pytest.MonkeyPatch) -> None:
    """A replacement that fails is replaced as well."""
    decide = Breakers._decide

    def all_replaceable(self: Breakers, decided: GateDecided, seq: int) -> None:
        decide(self, decided, seq)
        for key, trip in self._trips.items():
            if trip.seq == seq and key[0] == decided.org:
                self._trips[key] = replace(trip, replaceable=True)

    patch.setattr(Breakers, "_decide", all_replaceable)


def failed_wakes_that_count(patch: pytest.MonkeyPatch) -> None:
    """A VM that never ran counts on."""
    release = Usage._release

    def proven_only(self: Usage, org: str, vm: str, reservation: str | None) -> None:
        holding = self.holdings.get((org, vm))
        if holding is not None and holding.proven:
            release(self, org, vm, reservation)

    patch.setattr(Usage, "_release", proven_only)


def wakes_all_at_once(patch: pytest.MonkeyPatch) -> None:
    """Everybody's turn comes at once."""
    patch.setattr(Turns, "comes", lambda *_: True)


def no_floor(patch: pytest.MonkeyPatch) -> None:
    """The gate sends away whoever may go."""
    patch.setattr(Draft, "floor", lambda *_: 0)


def refills_that_are_refused(patch: pytest.MonkeyPatch) -> None:
    """A forecaster does not see what others took meanwhile, and the gate does not know what of its wish is reserve."""

    def wanted(sight: Sight, standing: Standing, *, lost: bool) -> tuple[int, bool]:
        need = standing.staying if lost else sight.target + standing.reserve
        return min(max(need, standing.floor), standing.pool.max_vms), False

    patch.setattr(forecaster_rules, "_wanted", wanted)
    patch.setattr(growing, "_spare", lambda *_: 0)


def a_reserve_that_nobody_refills(patch: pytest.MonkeyPatch) -> None:
    """A forecaster is content with what there is."""

    def wanted(sight: Sight, standing: Standing, *, lost: bool) -> tuple[int, bool]:
        del sight, lost
        return min(standing.staying, standing.pool.max_vms), False

    patch.setattr(forecaster_rules, "_wanted", wanted)


def orders_without_a_deadline(patch: pytest.MonkeyPatch) -> None:
    """A waker carries out what is long over."""
    for rules in (waker_rules, effects):
        patch.setattr(rules, "too_late", lambda *_: False)


def ids_of_the_minute(patch: pytest.MonkeyPatch) -> None:
    """What a waker sees twice in a minute has one id."""
    patch.setattr(outcomes, "derive", lambda *parts: derive(*(str(part)[:16] for part in parts)))


def sessions_by_the_clock(patch: pytest.MonkeyPatch) -> None:
    """How long a drain has lasted is what two clocks make of it."""

    def left(self: Routes, vm: Vm) -> float:
        drain = self._changes.drain(vm.org, vm.name, vm.order or "")
        return 0.0 if drain is None else drain_seconds_left(drain, self._clock.now())

    patch.setattr(Routes, "_seconds_left", left)


def ticks_by_a_clock(patch: pytest.MonkeyPatch) -> None:
    """A forecaster goes by its own clock, whatever the bus's says, and never doubts it."""
    patch.setattr(BusTime, "known", lambda self: self._clock.now())
    patch.setattr(forecaster, "_DOUBT_SECONDS", float("inf"))


def ticks_once_more(patch: pytest.MonkeyPatch) -> None:
    """A forecast tells all ticks that are remembered, and nobody looks which were told."""
    span = Roster.span

    def whole(self: Roster, place: int, after: int) -> Span:
        del after
        return span(self, place, NEVER)

    def left(self: Telling, facts: Sequence[ForecastMade]) -> list[ForecastMade]:
        return [fact for fact in facts if not self.told(fact)]

    patch.setattr(Roster, "span", whole)
    patch.setattr(Telling, "_left", left)


def windows_to_come(patch: pytest.MonkeyPatch) -> None:
    """What was seen by a clock that was ahead is waited for."""
    patch.setattr(observer, "is_to_come", _NEVER_TO_COME)


def triggers_to_come(patch: pytest.MonkeyPatch) -> None:
    """So is a trigger."""
    patch.setattr(signal_rules, "is_to_come", _NEVER_TO_COME)


def cooldowns_to_come(patch: pytest.MonkeyPatch) -> None:
    """So is a cooldown."""
    patch.setattr(pace, "is_to_come", _NEVER_TO_COME)


def breakers_to_come(patch: pytest.MonkeyPatch) -> None:
    """So is a breaker."""
    patch.setattr(breakers_fold, "is_to_come", _NEVER_TO_COME)


def thaws_to_come(patch: pytest.MonkeyPatch) -> None:
    """A thaw holds from the moment on that its gate's clock said."""

    def holds(freeze: Freeze, now: dt.datetime) -> bool:
        return now < freeze.until

    patch.setattr(freezes_fold, "_holds", holds)


SET: dict[str, Any] = {"clock_step_seconds": 2.0, "bus_steps": False}
"""Clocks are set all the time."""

FORESEEN: dict[str, Any] = {"foresees": True, "metrics_fail": 0.0}

THAWED: dict[str, Any] = {"rulings": ("freeze",), "rule_seconds": 1.0, "freeze_seconds": (60,)}

NOBODY_ASKS: dict[str, Any] = {"ask_seconds": (500.0,)}

SICK: dict[str, Any] = {"host_sick_seconds": 4.0}

LATER: list[tuple[str, Break, str, dict[str, Any]]] = [
    ("the count of failures", failures_that_nobody_counts, "was to be opened by", SICK),
    ("open breakers", breakers_that_nobody_heeds, "is open until", SICK),
    ("the end of a breaker", breakers_that_stay_open, "is to close since", SICK),
    ("the first time of a breaker", breakers_for_an_hour, "and it is to be 0:01:00", SICK),
    ("one replacement", two_in_the_place_of_one, "and so was", SICK),
    ("replacing once", what_replaced_is_replaced, "does not answer, and nobody failed", SICK),
    ("the release of a failed wake", failed_wakes_that_count, "failed to wake at", SICK),
    ("the batch", wakes_all_at_once, "and its batch is", {}),
    ("the floor", no_floor, "nobody may bring it below", {}),
    ("the clipping of a refill", refills_that_are_refused, "that lack of its reserve", FORESEEN),
    ("the refill", a_reserve_that_nobody_refills, "nobody refills it", FORESEEN | NOBODY_ASKS),
    ("the deadline of an order", orders_without_a_deadline, "that had to begin by", {}),
    ("the moment in an id", ids_of_the_minute, "says two things under the id", {}),
    ("the time of sessions", sessions_by_the_clock, "was cut off from", SET),
    ("the time of ticks", ticks_by_a_clock, "and the forecaster has taken in", SET | FORESEEN),
    ("ticks once", ticks_once_more, "and they were told until", FORESEEN),
    ("windows to come", windows_to_come, "is left out since", SET),
    ("cooldowns to come", cooldowns_to_come, "for Cooldown, which lasts", SET),
    ("breakers to come", breakers_to_come, "for BreakerOpen, which lasts", SET | SICK | {"hosts": 1}),
    ("thaws to come", thaws_to_come, "and it was thawed", SET | THAWED),
]


@pytest.mark.parametrize(("what", "breaks", "sentence", "changes"), LATER)
def test_a_seed_catches_the_loss_of(
    what: str, breaks: Break, sentence: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    catches(what, breaks, sentence, monkeypatch, **changes)


def test_a_trigger_that_waits_for_a_moment_to_come_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_at = EPOCH + dt.timedelta(hours=1)
    web = pool("web", Trigger(query="p99_ms", above=250.0))
    signal = SimpleNamespace(
        _observer=SimpleNamespace(_windows={}), _intake=SimpleNamespace(triggered_at=lambda *_: asked_at)
    )
    world: Any = SimpleNamespace(
        signal=signal,
        forecaster=None,
        clocks=SimpleNamespace(now=lambda: EPOCH),
        truth=SimpleNamespace(fleet=SimpleNamespace(pools={("acme", "web"): web})),
    )
    assert list(behind(world)) == []
    triggers_to_come(monkeypatch)
    assert [sentence.partition(",")[0] for sentence in behind(world)] == [
        f"The triggers of acme/web ask for nothing until {asked_at}"
    ]


@pytest.mark.parametrize("read", [False, True])
def test_a_breaker_of_a_dead_host_is_opened_by_a_gate_that_had_not_read_of_it_and_by_no_other(
    *, read: bool
) -> None:
    lives, trips = Lives(), Trips(frozenset())
    lives.happened(PoolDefined(org=lives.org, pool="web", definition=pool("web")))
    for vm in lives.waking("web", IN_A_ROW):
        lives.wake_failed(vm)
    behind_failures = lives.seq
    lives.happened(HostFenced(org="platform", host="h1", actor="olga", reason="dead", fenced_at=lives.now))
    opened = BreakerOpened(
        org=lives.org,
        pool="web",
        scope="host",
        name="h1",
        failures=IN_A_ROW,
        code="wake-refused",
        opened_at=lives.now,
        until=lives.now + LEAST,
    )
    lives.happened(opened)
    lives.decided()
    decision = lives.lines.pop()
    assert isinstance(decision.fact, GateDecided)
    state_seq = behind_failures + read
    lives.lines.append(structs.replace(decision, fact=structs.replace(decision.fact, state_seq=state_seq)))
    said = [sentence for line in lives.lines for sentence in trips.fold(line)]
    of_host = [sentence for sentence in said if "the host h1" in sentence]
    assert [sentence.partition("h1 ")[2] for sentence in of_host] == (
        [f"switches what was over with #{behind_failures + 1}, which was read."] if read else []
    )
