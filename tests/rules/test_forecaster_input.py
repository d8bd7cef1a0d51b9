"""Which samples count for which tick, whatever comes, whenever it comes; and what is kept of them."""

import datetime as dt
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest

from events import durable
from events.bus.telemetry import Heard, end_of, tick_of
from schemas.telemetry import TICK_SECONDS, PoolTold, Told
from services.forecaster.gather import (
    FUTURE,
    IN_TIME_SECONDS,
    LATE,
    MOST_LATE_TICKS,
    PAST_TICKS,
    Gathered,
    newest_closed,
)
from services.forecaster.keeping import Directory, UnusableError, decode, encode, made_by
from services.forecaster.roster import NO_SAMPLE, RING, Roster, input_digest
from tests.rules.desk import pool
from tests.rules.forecast_desk import wave

FIRST = 118_919_520
WEB, API = ("acme", "web"), ("acme", "api")


def heard(tick: int, milli: int = 1000, *, after: float = 0.3, pool: str = "web", org: str = "acme") -> Heard:
    """What was told of a tick, `after` so many seconds from its end."""
    told = Told(tick, (PoolTold(pool, milli, 3, tick * 15_000),))
    return Heard(org, told, int(((tick + 1) * TICK_SECONDS + after) * 1e9))


def test_the_first_word_on_a_pool_and_tick_counts() -> None:
    gathered = Gathered()
    for milli in (1000, 2000, 1000):
        gathered.take(heard(FIRST, milli))
    assert gathered.close(FIRST) == {WEB: 1000}
    assert gathered.close(FIRST + 1) == {}


def test_samples_count_for_their_tick_in_whatever_order_they_come() -> None:
    messages = [heard(FIRST + tick, 100 * tick, after=-10) for tick in range(5)]
    shuffled = messages.copy()
    random.Random(7).shuffle(shuffled)
    for order in (messages, shuffled, shuffled + messages):
        gathered = Gathered()
        for message in order:
            gathered.take(message)
        assert [gathered.close(FIRST + tick) for tick in range(5)] == [{WEB: 100 * tick} for tick in range(5)]


def test_what_is_told_some_seconds_late_counts_for_the_next_tick() -> None:
    """Clocks that differ cost a forecast those seconds, and not its signal."""
    gathered = Gathered()
    for tick in range(4):
        gathered.take(heard(FIRST + tick, 100 * tick, after=IN_TIME_SECONDS + 0.001))
        assert gathered.close(FIRST + tick) == ({WEB: 100 * tick - 100} if tick else {})
    gathered.take(
        heard(FIRST + 4, 400, after=0.1)
    )  # in time again: the newer word counts, and the older no more
    assert gathered.close(FIRST + 4) == {WEB: 400}
    assert gathered.close(FIRST + 5) == {}


def test_what_comes_when_its_tick_was_given_out_counts_for_the_next_unless_it_is_known() -> None:
    gathered, before = Gathered(), LATE._value.get()
    assert gathered.close(FIRST) == {}
    gathered.take(heard(FIRST, 700, after=0.1))
    assert gathered.close(FIRST + 1) == {WEB: 700}
    gathered.take(heard(FIRST, 800, after=0.2))
    gathered.take(heard(FIRST, 700, after=16.0))
    assert gathered.close(FIRST + 2) == {}
    assert LATE._value.get() - before == 2


def test_what_is_told_a_minute_late_is_left_out_and_counted() -> None:
    gathered, before = Gathered(), LATE._value.get()
    gathered.take(heard(FIRST, after=IN_TIME_SECONDS + MOST_LATE_TICKS * TICK_SECONDS + 0.001))
    assert all(gathered.close(FIRST + tick) == {} for tick in range(8))
    assert LATE._value.get() - before == 1
    assert gathered.past == {}


def test_what_is_told_of_a_tick_that_has_not_begun_is_left_out_and_counted() -> None:
    gathered, before = Gathered(), FUTURE._value.get()
    gathered.take(heard(FIRST, after=-TICK_SECONDS - 0.001))
    gathered.take(heard(FIRST + 10**6, after=-(10**6) * TICK_SECONDS))
    assert gathered.close(FIRST) == {}
    assert FUTURE._value.get() - before == 2


def test_a_past_that_is_brought_in_is_noted_and_learnt_once_it_is_quiet() -> None:
    gathered = Gathered(closed=FIRST)
    last = heard(FIRST - 4000, after=4100 * TICK_SECONDS)
    gathered.take(heard(FIRST - 5000, after=5099 * TICK_SECONDS))
    gathered.take(last)
    at, quiet = dt.datetime.fromtimestamp(last.stored_ns / 1e9, dt.UTC), dt.timedelta(seconds=60)
    assert gathered.settled(at + dt.timedelta(seconds=58), quiet) == []
    assert gathered.settled(at + dt.timedelta(seconds=62), quiet) == [WEB]
    assert gathered.settled(at + dt.timedelta(seconds=999), quiet) == []
    gathered.take(heard(FIRST - PAST_TICKS + 1, after=(PAST_TICKS - 1) * TICK_SECONDS))
    assert gathered.past == {}


def test_a_tick_is_closed_when_what_belongs_to_it_has_been_told() -> None:
    over = end_of(FIRST)
    assert newest_closed(over + dt.timedelta(seconds=2.4)) == FIRST - 1
    assert newest_closed(over + dt.timedelta(seconds=2.6)) == FIRST


def test_ticks_count_on_through_days_of_23_and_25_hours() -> None:
    """The week of the baseline is a week in UTC: on the day that clocks are set, its local hours are one hour off."""
    spring = dt.datetime(2026, 3, 29, 0, 0, tzinfo=dt.UTC)
    for hours in range(48):
        at = spring + dt.timedelta(hours=hours)
        local = at.astimezone(dt.timezone(dt.timedelta(hours=1 if hours < 1 else 2)))
        assert tick_of(local) == tick_of(spring) + hours * 240


# ------------------------------------------------------------------------------------------------------ the roster


def roster(ticks: int, *names: tuple[str, str], first: int = FIRST) -> Roster:
    made = Roster()
    made.seat({name: pool(name[1]) for name in names})
    for tick in range(first, first + ticks):
        made.tick(
            tick, {name: wave(tick + 31 * place) for place, name in enumerate(names) if tick % 7 != place}
        )
    return made


def same(one: Roster, other: Roster) -> bool:
    mine, theirs = one.arrays(), other.arrays()
    return one.names == other.names and all(
        np.array_equal(mine[name], theirs[name], equal_nan=mine[name].dtype.kind == "f") for name in mine
    )


def test_a_pool_is_foreseen_alike_whoever_else_is_there() -> None:
    alone, both = roster(200, WEB), roster(200, WEB, API)
    both.seat({WEB: pool("web")})
    assert same(alone, both)


def test_pools_come_and_go_and_those_that_stay_do_not_notice() -> None:
    made = roster(100, WEB)
    made.seat({API: pool("api"), WEB: pool("web")})
    assert made.names == [WEB, API]
    made.seat({API: pool("api")})
    assert (made.names, made.place) == ([API], {API: 0})
    made.seat({})
    assert made.names == []
    made.tick(FIRST + 100, {WEB: 3})
    made.seat({WEB: pool("web")})
    assert made.see(made.tick(FIRST + 101, {})).outlook == [None]


def test_what_is_told_of_ticks_can_be_computed_by_whoever_has_the_samples() -> None:
    made = roster(300, WEB)
    last = FIRST + 299
    span = made.span(0, last - 3)
    samples = [wave(tick) if tick % 7 else NO_SAMPLE for tick in range(last - 2, last + 1)]
    assert (span.first, span.ticks, span.input) == (last - 2, 3, input_digest(last - 2, samples))
    assert span.target_min <= span.target_max
    assert made.span(0, 0).ticks == RING
    assert made.span(0, last).ticks == 1


# ------------------------------------------------------------------------------------------------------- what is kept


def test_what_is_kept_goes_on_bit_for_bit() -> None:
    whole, kept = roster(200, WEB, API), decode(encode(roster(150, WEB, API), "me"), "me")
    for tick in range(FIRST + 150, FIRST + 200):
        kept.tick(
            tick,
            {name: wave(tick + 31 * place) for place, name in enumerate((WEB, API)) if tick % 7 != place},
        )
    assert same(whole, kept)


def test_a_file_that_is_cut_or_altered_anywhere_is_noticed() -> None:
    data = encode(roster(50, WEB), "me")
    for place in (0, 1, 10, len(data) // 2, len(data) - 33, len(data) - 1):
        for broken in (data[:place], data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]):
            with pytest.raises(UnusableError):
                decode(broken, "me")


def test_what_other_code_learnt_is_not_gone_on_with() -> None:
    with pytest.raises(UnusableError, match="other code"):
        decode(encode(roster(50, WEB), "somebody"), "me")
    assert len(made_by()) == 32


async def test_the_file_is_there_whole_or_as_it_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Directory(tmp_path / "forecast")
    assert await shelf.read() is None
    await shelf.put(b"first")

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write", full)
        with pytest.raises(OSError, match="No space"):
            await shelf.put(b"second")
    assert await shelf.read() == b"first"


def test_a_tick_with_no_pools_at_all_is_a_tick() -> None:
    made = Roster()
    made.seat({})
    made.see(made.tick(FIRST, {}))
    assert made.number == FIRST
    assert decode(encode(made, "me"), "me").number == FIRST


def test_demand_beyond_what_a_message_may_say_is_no_message() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"tick":1,"pools":[["web",100000001,1,1]]}', type=Told)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"tick":1,"pools":[["web",NaN,1,1]]}'.replace(b"NaN", b"1.5"), type=Told)
