"""The figures of the engineering page: what counts in them, over which days, and that nothing unsealed does."""

import datetime as dt
from fractions import Fraction

import pytest
from msgspec.structs import replace

from events.envelope import Recorded
from events.gate import Answer
from events.host import Energy, HostFenced, HostIdled, HostRegistered, HostRemoved, Residency
from events.stored import Stored
from events.tlog.checkpoint import Checkpoint
from events.tlog.leaf import entry, leaf_hash
from events.tlog.tree import Frontier
from replay.figures.answers import Answers
from replay.figures.draw import Draw
from replay.figures.idle import Idle
from replay.figures.parts import Parts
from replay.figures.sealed import Sealed, SealError
from replay.figures.span import Span, nanoseconds, trailing
from replay.figures.trips import TOTAL, Trips, quantiles
from schemas.codes import Code, Outcome
from tests.given import Past
from tests.papers import NOW
from tests.rules.archives import messages
from tests.rules.report_day import Day

HOUR_NS = 3600 * 10**9
ALWAYS = Span(0, 1 << 62)


def hours(idle_of: Span, *told: tuple[float, Recorded]) -> Idle:
    """The fold over events, each stored so many hours after the epoch."""
    idle = Idle(idle_of)
    for at, recorded in told:
        idle.apply(replace(recorded, stored_ns=round(at * HOUR_NS)))
    idle.close()
    return idle


def a_past() -> tuple[Past, int]:
    """One VM of two vCPU serves and two sleep; the events of that are told first."""
    past = Past().contract(vcpu=100).pool("web").host()
    past.serving("web", 1)
    past.asleep("web", 2)
    return past, len(past.lines)


def test_the_idle_ratio_is_sleep_over_what_was_held_each_pool_by_its_size() -> None:
    past, so_far = a_past()
    lines = [(1.0, one) for one in past.lines]
    idle = hours(Span(HOUR_NS, 5 * HOUR_NS), *lines)
    assert idle.ratio() == Fraction(2, 3)
    (held,) = idle.pools.values()
    assert (held.asleep_ns, held.awake_ns) == (2 * 2 * 4 * HOUR_NS, 2 * 4 * HOUR_NS)
    past.decided(past.wake("web-2"))
    later = hours(Span(HOUR_NS, 5 * HOUR_NS), *lines, *((3.0, one) for one in past.lines[so_far:]))
    assert later.ratio() == Fraction(2 * 2 + 1 * 2, 3 * 4), "two hours with two asleep, two with one"


def test_of_the_idle_ratio_only_what_lies_in_its_days_counts_and_a_clock_set_back_adds_nothing() -> None:
    past, so_far = a_past()
    lines = [(1.0, one) for one in past.lines]
    past.decided(past.wake("web-2"))
    woken = [(4.0, one) for one in past.lines[so_far:]]
    idle = hours(Span(3 * HOUR_NS, 5 * HOUR_NS), *lines, *woken, (2.0, past.lines[0]))
    assert idle.ratio() == Fraction(1 * 2 + 1 * 1, 2 * 3)


def test_a_vm_that_is_off_is_neither_asleep_nor_awake() -> None:
    past, _ = a_past()
    past.quiesced_died("web-2")
    assert hours(Span(HOUR_NS, 2 * HOUR_NS), *((1.0, one) for one in past.lines)).ratio() == Fraction(1, 2)
    past.happened(HostFenced("platform", "h1", "me", "dead", NOW))
    assert hours(Span(HOUR_NS, 2 * HOUR_NS), *((1.0, one) for one in past.lines)).ratio() is None


def test_sleep_on_disk_is_sleep_and_is_told_apart_and_a_vm_that_is_being_saved_is_still_in_memory() -> None:
    past, so_far = a_past()
    lines = [(1.0, one) for one in past.lines]
    past.save(paused=1)
    past.round()
    ordered = len(past.lines)
    (saving,) = past.fleet.members(past.org, "web", "saving")
    past.saved(saving)
    later = [(2.0, one) for one in past.lines[so_far:ordered]] + [(3.0, one) for one in past.lines[ordered:]]
    idle = hours(Span(HOUR_NS, 5 * HOUR_NS), *lines, *later)
    assert idle.ratio() == Fraction(2, 3)
    (held,) = idle.pools.values()
    assert (held.asleep_ns, held.on_disk_ns) == (2 * 2 * 4 * HOUR_NS, 2 * 2 * HOUR_NS)


# -------------------------------------------------------------------------------------------------------- trips


def trips_of(day: Day, span: Span = ALWAYS) -> Trips:
    trips = Trips(span)
    for recorded in day.recorded():
        trips.apply(recorded)
    return trips


def a_short_day() -> Day:
    day = Day()
    day.begin()
    day.boot("web", 2)
    day.sleep("web", 1)
    day.now += dt.timedelta(hours=1)
    day.wake("web", 1, 300.0)
    return day


def test_a_trip_is_counted_once_with_all_its_steps_and_a_cold_boot_is_none() -> None:
    trips = trips_of(a_short_day())
    assert (trips.booted, trips.failed) == (2, 0)
    whole = trips.quantiles(TOTAL)
    assert whole is not None
    assert whole.count == 1
    steps = [trips.quantiles(step) for step in ("L1", "L2", "L3", "L4", "L5")]
    parts = [step.p50_ms for step in steps if step is not None]
    assert len(parts) == 5
    assert sum(parts) == pytest.approx(whole.p50_ms, abs=1.0)


def test_a_persons_request_has_no_l1_and_its_trip_begins_when_it_was_stored() -> None:
    day = a_short_day()
    day.sleep("web", 1)
    day.wake("web", 1, None)
    trips = trips_of(day)
    found = {step: trips.quantiles(step) for step in ("L1", "L2", TOTAL)}
    assert {step: one.count for step, one in found.items() if one is not None} == {"L1": 1, "L2": 2, TOTAL: 2}


def test_trips_outside_of_the_days_are_not_counted() -> None:
    day = a_short_day()
    before = trailing(nanoseconds(day.now - dt.timedelta(minutes=1)), 30)
    assert trips_of(day, before).quantiles(TOTAL) is None
    assert trips_of(day, before).booted == 2


def test_a_trip_that_did_not_arrive_is_counted_apart() -> None:
    day = a_short_day()
    day.sleep("web", 1)
    day.fail("web")
    trips = trips_of(day)
    assert trips.failed == 1
    whole = trips.quantiles(TOTAL)
    assert whole is not None
    assert whole.count == 1


def failed_of(past: Past) -> int:
    trips = Trips(ALWAYS)
    for recorded in past.lines:
        trips.apply(recorded)
    return trips.failed


def test_every_trip_that_ended_without_serving_has_failed_also_one_that_the_event_does_not_name() -> None:
    past, _ = a_past()
    past.quiesce(count=1)
    past.round()
    past.scale(add=2)
    past.round()
    assert failed_of(past) == 0
    past.quiesced("web-1")
    assert failed_of(past) == 1, "it was on its way back"
    past.happened(HostFenced("platform", "h1", "me", "dead", NOW))
    assert failed_of(past) == 2, "one was waking, and one slept"
    past.decided(past.wake("web-3"))
    assert failed_of(past) == 3, "its order was void"


@pytest.mark.parametrize(
    ("count", "median", "ninety_ninth"),
    [(1, 1, 1), (2, 1, 2), (3, 2, 3), (100, 50, 99), (101, 51, 100), (200, 100, 198)],
)
def test_quantiles_are_values_that_were_measured_by_nearest_rank(
    count: int, median: float, ninety_ninth: float
) -> None:
    found = quantiles([float(value) for value in range(1, count + 1)])
    assert found is not None
    assert (found.p50_ms, found.p99_ms) == (median, ninety_ninth)
    assert quantiles([]) is None


# ------------------------------------------------------------------------------------------------------ answers


def answered(past: Past, outcome: Outcome, code: Code, origin: str = "trigger", granted: int = 0) -> None:
    asked = past.scale("web", add=2, origin=origin)
    answer = Answer(asked.id, asked.seq, "web", outcome, code, 2, granted, (), None)
    past.decided(answers=(answer,), through=asked.seq)


def answers_of(past: Past, at_days: float) -> Answers:
    """All of it happened so many days before the newest event."""
    until_ns = 1000 * 24 * HOUR_NS
    answers = Answers(trailing(until_ns, 30), trailing(until_ns, 365))
    for recorded in past.lines:
        answers.apply(replace(recorded, stored_ns=round(until_ns - at_days * 24 * HOUR_NS)))
    return answers


def test_a_refusal_past_the_cap_counts_in_its_month_and_in_its_year_one_in_part_as_well() -> None:
    past = Past().contract().pool("web")
    answered(past, "refused", "CapExceeded")
    answered(past, "partial", "CapExceeded", granted=1)
    answered(past, "refused", "HostsFull")
    answered(past, "admitted", "Granted", granted=2)
    now = answers_of(past, 0)
    assert now.refused == {"CapExceeded": 2, "HostsFull": 1}
    assert now.capped_in_year == 2
    assert (answers_of(past, 31).refused, answers_of(past, 31).capped_in_year) == ({}, 2)
    assert answers_of(past, 366).capped_in_year == 0


def test_a_decision_that_is_told_twice_counts_once() -> None:
    past = Past().contract().pool("web")
    answered(past, "refused", "CapExceeded")
    copy = past.lines[-1]
    past.lines.append(replace(copy, seq=copy.seq + 1))
    assert answers_of(past, 0).refused == {"CapExceeded": 1}


def test_growth_is_told_apart_by_who_asked_for_it() -> None:
    past = Past().contract().pool("web")
    for origin, granted in (("forecast", 2), ("forecast", 1), ("trigger", 1), ("person", 2)):
        answered(past, "partial", "CapExceeded", origin, granted)
    assert answers_of(past, 0).granted == {"forecast": 3, "trigger": 1, "person": 2}


# ------------------------------------------------------------------------------------------------ forecasts, draw


def idled(host: str, minutes: int, joules: dict[str, int], c6_ms: int = 0, from_minute: int = 0) -> HostIdled:
    begins = NOW + dt.timedelta(minutes=from_minute)
    return HostIdled(
        org="platform",
        host=host,
        idle_from=begins,
        idle_until=begins + dt.timedelta(minutes=minutes),
        ended=True,
        paused=1,
        saved=2,
        cpus=2,
        residencies=(Residency("C6", c6_ms),) if c6_ms else (),
        energies=tuple(Energy(zone, value * 1000) for zone, value in joules.items()),
    )


def draw_of(*told: HostIdled) -> Draw:
    past, draw = Past(), Draw(ALWAYS)
    for fact in told:
        draw.apply(past.happened(fact))
    return draw


def test_the_draw_is_what_meters_counted_while_hosts_were_idle_each_time_once() -> None:
    nobody = draw_of()
    assert (nobody.hosts, nobody.idle_ms, nobody.milliwatts, nobody.residency()) == (0, 0, None, {})
    first = idled("h1", 5, {"package-0": 3000, "core": 1000})
    longer = idled("h1", 10, {"package-0": 6000, "core": 2000, "dram": 600}, c6_ms=900_000)
    silent = idled("h2", 30, {})
    draw = draw_of(first, longer, first, silent)
    assert (draw.hosts, draw.idle_ms) == (2, 40 * 60_000)
    assert draw.milliwatts == 11_000, "6,600 J in 600 s; cores are within their package, h2 has no meter"
    assert draw.residency() == {"C6": Fraction(900_000, 1_200_000)}
    assert draw_of(idled("h1", 10, {"psys": 12_000, "package-0": 6000})).milliwatts == 20_000


# ------------------------------------------------------------------------------------------------------- the rest


def test_hosts_say_what_they_run_until_they_are_removed() -> None:
    past, parts = Past().contract().pool("web").host("h1").host("h2"), Parts()
    newer = HostRegistered("platform", "h2", "qemu:///h2", 9_002_001, "qemu", 16, 1 << 16, NOW)
    past.happened(newer)
    for recorded in past.lines:
        parts.apply(recorded)
    assert parts.substrates() == ["qemu, libvirt 9.2.1", "test, libvirt 9.0.0"]
    assert parts.horizons_seconds() == [90]
    parts.apply(past.happened(HostRemoved("platform", "h1", "me", "gone", NOW)))
    assert parts.substrates() == ["qemu, libvirt 9.2.1"]


class Listed:
    """A source that is a list."""

    def __init__(self, stored: list[Stored]) -> None:
        self.stored = stored

    async def last(self) -> int:
        return len(self.stored)

    async def read(self, first: int, last: int):  # noqa: ANN201 - an async generator of groups
        for seq in range(first, last + 1):
            yield [self.stored[seq - 1]]


def a_checkpoint(stored: list[Stored]) -> Checkpoint:
    frontier = Frontier()
    for one in stored:
        frontier.add(leaf_hash(entry(one)))
    return Checkpoint("ledger.example.net/one", frontier.size, frontier.root())


async def drained(sealed: Sealed) -> None:
    async for _ in sealed.read(1, await sealed.last()):
        pass


async def test_what_was_read_must_hash_to_what_was_sealed() -> None:
    stored = messages(5)
    sealed = Sealed(Listed(stored), a_checkpoint(stored))
    assert await sealed.stored_ns() == stored[-1].stored_ns
    await drained(sealed)
    sealed.check()
    assert sealed.began_ns == stored[0].stored_ns

    longer = Sealed(Listed(messages(7)), a_checkpoint(stored))
    await drained(longer)
    longer.check()

    altered = [*stored[:2], replace(stored[2], payload=b"{}"), *stored[3:]]
    other = Sealed(Listed(altered), a_checkpoint(stored))
    await drained(other)
    with pytest.raises(SealError, match=r"virtscale ledger verify"):
        other.check()

    unread = Sealed(Listed(stored), a_checkpoint(stored))
    with pytest.raises(SealError, match=r"The 0 events that were read"):
        unread.check()


async def test_a_ledger_that_ends_before_its_checkpoint_is_refused_before_anything_is_computed() -> None:
    stored = messages(5)
    short = Sealed(Listed(stored[:4]), a_checkpoint(stored))
    with pytest.raises(SealError, match=r"is of 5 events, and the ledger that was read has 4"):
        await short.last()
