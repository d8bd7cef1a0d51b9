"""The curve of a demonstration: what of it is played, how it is scaled, and the former days that are made up of it."""

import datetime as dt
from pathlib import Path

import pytest

from replay.backtest.rows import TraceError
from virtscale.demo.day import (
    DAY_SECONDS,
    TICK_SECONDS,
    Day,
    clock_of,
    former,
    hour_of,
    of_file,
    piece_of,
    second_of,
    steepest_per_minute,
    usual,
)
from virtscale.demo.errors import CurveError

BEGAN = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
MORNING = second_of("07:00"), second_of("09:00")


def test_a_day_is_straight_between_its_points_and_goes_on_over_midnight() -> None:
    day = Day("two points", (6 * 3600.0, 18 * 3600.0), (1.0, 3.0))
    assert [day.at(hour * 3600) for hour in (6, 9, 12, 18, 21, 24, 30, 0, 3)] == [
        1,
        1.5,
        2,
        3,
        2.5,
        2,
        1,
        2,
        1.5,
    ]
    assert Day("one point", (0.0,), (5.0,)).at(40_000) == 5


def test_a_piece_is_scaled_so_that_its_peak_needs_all_vms_but_one() -> None:
    piece = piece_of(usual(), *MORNING, 12, 8)
    assert piece.seconds == 600
    needed = [piece.vms_at(at) for at in range(601)]
    assert max(needed) == pytest.approx(6.9)
    assert min(needed) == pytest.approx(1.0, abs=0.05)
    assert clock_of(piece.day_second(300)) == "08:00:00"
    assert 1.0 < steepest_per_minute(piece) < 1.3


def test_played_faster_the_same_ramp_is_as_many_times_steeper() -> None:
    slow, fast = (piece_of(usual(), *MORNING, speed, 8) for speed in (6, 12))
    assert steepest_per_minute(fast) == pytest.approx(2 * steepest_per_minute(slow), rel=0.02)


def test_former_days_are_seven_end_where_the_piece_begins_and_are_the_same_every_time() -> None:
    piece = piece_of(usual(), *MORNING, 12, 8)
    ticks = list(former(piece, BEGAN))
    assert ticks == list(former(piece, BEGAN))
    begins = int(BEGAN.timestamp()) // TICK_SECONDS
    assert [tick for tick, _ in ticks] == list(range(begins - 7 * DAY_SECONDS // TICK_SECONDS, begins))
    told = dict(ticks)
    for days in range(1, 8):
        for minute in (0, 4, 9):
            before = begins - days * DAY_SECONDS // TICK_SECONDS + minute * 4
            assert told[before] == pytest.approx(1000 * piece.vms_at(minute * 60 + 7.5), rel=0.07)
    assert len({told[begins - days * DAY_SECONDS // TICK_SECONDS] for days in range(1, 8)}) > 4


def test_a_file_is_played_by_its_own_hours_the_last_day_of_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    start = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
    hours = [(start + dt.timedelta(hours=hour), hour) for hour in range(48)]
    path.write_text("".join(f"{at.isoformat()},{value}\n" for at, value in hours))
    day = of_file(path)
    assert day.at(second_of("12:00")) == 24
    assert day.at(second_of("11:00")) == 47
    assert day.name == "trace.csv"


def test_values_without_times_are_one_day(tmp_path: Path) -> None:
    path = tmp_path / "values.txt"
    path.write_text("1\n2\n3\n2\n")
    day = of_file(path)
    assert [day.at(second_of(at)) for at in ("00:00", "06:00", "09:00", "12:00")] == [1, 2, 2.5, 3]


def test_what_cannot_be_played_is_said_in_a_sentence(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.csv"
    nothing.write_text("0\n0\n0\n")
    with pytest.raises(CurveError, match="demands nothing"):
        of_file(nothing)
    with pytest.raises(TraceError):
        of_file(tmp_path / "missing.csv")
    with pytest.raises(CurveError, match="no stretch of one day"):
        piece_of(usual(), MORNING[1], MORNING[0], 12, 8)
    with pytest.raises(CurveError, match="choose 1 to 60"):
        piece_of(usual(), *MORNING, 100, 8)
    with pytest.raises(CurveError, match="no time of the day"):
        second_of("7 am")
    with pytest.raises(CurveError, match="no time of the day"):
        second_of("24:01")
    assert CurveError.code == "CurveRefused"


def test_the_end_of_the_day_is_written_as_people_write_it() -> None:
    assert (hour_of(second_of("24:00")), hour_of(second_of("07:30"))) == ("24:00", "07:30")
