"""A clock that is moved ahead by a file, and the machine's for everything outside the house."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from events.clock import MOST_AHEAD, ClockError, MovedClock, SystemClock, clock_of, machine, move, offset
from schemas.house import load
from schemas.zones import BERLIN, ZoneError
from virtscale.clocks.moving import ahead, instant, said, show_time, to
from virtscale.description import ORIGIN, Kept, begin, kept, with_movable_clock, write
from virtscale.invocation import UsageError

DAY = dt.timedelta(days=1)
SECOND = dt.timedelta(seconds=1)
SECONDS = 30
NOW = dt.datetime(
    2026, 10, 24, 20, 30, tzinfo=dt.UTC
)  # in Berlin 22:30, the evening before the clocks go back


def ahead_of_machine(clock: MovedClock) -> dt.timedelta:
    return clock.now() - SystemClock().now()


def test_a_clock_that_was_moved_is_ahead_at_its_next_reading_for_all_who_read_it(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    move(file, dt.timedelta())
    ours, theirs = MovedClock(file), MovedClock(file)
    assert abs(ahead_of_machine(ours)) < SECOND
    assert move(file, 5 * DAY) == 5 * DAY
    assert move(file, 3 * DAY) == 8 * DAY
    for clock in (ours, theirs, MovedClock(file)):
        assert abs(ahead_of_machine(clock) - 8 * DAY) < SECOND


def test_a_clock_never_goes_back_whatever_the_file_says_afterwards(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    move(file, 5 * DAY)
    clock = MovedClock(file)
    before = clock.now()
    file.unlink()
    file.write_text("60")
    assert clock.now() >= before
    with pytest.raises(ClockError, match="goes ahead only") as caught:
        move(file, -SECOND)
    assert caught.value.code == "ClockBackwards"


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-1", str(2 * MOST_AHEAD.total_seconds())])
def test_a_file_that_holds_no_offset_starts_nobody_and_moves_nothing(text: str, tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_text(text)
    for read in (lambda: offset(file), lambda: MovedClock(file), lambda: move(file, DAY)):
        with pytest.raises(ClockError, match="cannot be read"):
            read()
    assert file.read_text() == text
    file.unlink()
    with pytest.raises(ClockError, match="cannot be read"):
        MovedClock(file)


@pytest.mark.parametrize("text", ["3600.000000\n0\n", None])
def test_a_file_that_is_spoilt_sets_nobody_back_who_runs_and_stops_nobody(
    text: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "clock"
    move(file, 5 * DAY)
    clock = MovedClock(file)
    before = clock.now()
    file.unlink()
    if text is not None:
        file.write_text(text)
    for _ in range(3):
        assert clock.now() >= before
    assert len(caplog.records) == 1, "it is said once"
    assert "cannot be read" in caplog.text
    file.write_text("604800")
    assert abs(ahead_of_machine(clock) - 7 * DAY) < SECOND, "it was mended"


def test_two_who_move_a_clock_at_once_move_it_by_the_sum(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    move(file, dt.timedelta())
    code = (
        "import sys, datetime as dt; from pathlib import Path; from events.clock import move\n"
        "for _ in range(20): move(Path(sys.argv[1]), dt.timedelta(seconds=float(sys.argv[2])))"
    )
    both = [subprocess.Popen((sys.executable, "-c", code, str(file), seconds)) for seconds in ("86400", "60")]
    assert [one.wait(SECONDS) for one in both] == [0, 0]
    assert offset(file) == 20 * (DAY + dt.timedelta(minutes=1))


def test_a_clock_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    there = tmp_path / "no-directory"
    there.touch()
    with pytest.raises(ClockError, match="cannot be moved") as caught:
        move(there / "clock", DAY)
    assert caught.value.code == "ClockUnwritable"


def test_no_clock_is_moved_further_than_ten_years_in_all(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    move(file, MOST_AHEAD - DAY)
    with pytest.raises(ClockError, match="the most are 3650") as caught:
        move(file, 2 * DAY)
    assert caught.value.code == "ClockTooFar"
    assert offset(file) == MOST_AHEAD - DAY


def test_guests_the_bus_and_the_metrics_go_by_the_machines_clock(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    move(file, 43 * DAY)
    clock = clock_of(str(file))
    assert abs(machine(clock).now() - SystemClock().now()) < SECOND
    plain = clock_of("")
    assert isinstance(plain, SystemClock)
    assert machine(plain) is plain


def test_a_house_that_was_founded_with_the_machines_clock_keeps_it(tmp_path: Path) -> None:
    chosen = with_movable_clock(tmp_path, Kept())
    assert chosen.clock == str(tmp_path / "clock")
    (tmp_path / "bus").mkdir()
    assert with_movable_clock(tmp_path, chosen) == chosen, "it is started again"
    with pytest.raises(ClockError, match="keeps it") as caught:
        with_movable_clock(tmp_path, Kept())
    assert caught.value.code == "ClockFixed"


@pytest.mark.parametrize(
    ("text", "where", "moment"),
    [
        ("23:00", "Europe/Berlin", dt.datetime(2026, 10, 24, 21, tzinfo=dt.UTC)),
        ("22:30", "Europe/Berlin", dt.datetime(2026, 10, 25, 21, 30, tzinfo=dt.UTC)),  # now is over: tomorrow
        ("22:00", "Europe/Berlin", dt.datetime(2026, 10, 25, 21, tzinfo=dt.UTC)),  # by the winter's clock
        ("22:00", "UTC", dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC)),
        ("2026-10-26", "Europe/Berlin", dt.datetime(2026, 10, 25, 23, tzinfo=dt.UTC)),
        ("2026-10-26T00:01", "Europe/Berlin", dt.datetime(2026, 10, 25, 23, 1, tzinfo=dt.UTC)),
        ("2026-10-26T00:01:30", "UTC", dt.datetime(2026, 10, 26, 0, 1, 30, tzinfo=dt.UTC)),
    ],
)
def test_a_moment_is_the_next_on_the_clocks_there(text: str, where: str, moment: dt.datetime) -> None:
    assert instant(text, where, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "soon", "24:00", "2026-02-30", "2026-10-26 00:01", "2026-10-26T00:01Z", "٢٢:00"]
)
def test_what_is_no_moment_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UsageError, match="is no moment"):
        instant(text, "Europe/Berlin", NOW)
    with pytest.raises(ZoneError):
        instant("22:00", "Europe/Bielefeld", NOW)


def test_how_far_it_is_ahead_is_said_in_days_and_hours() -> None:
    assert said(dt.timedelta()) == "as by"
    assert said(5 * DAY + dt.timedelta(hours=2, seconds=3)) == "5 d 2 h 3 s ahead of"


def test_the_clock_of_a_house_that_is_somebodys_is_shown_and_not_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(tmp_path, ORIGIN)
    assert show_time(tmp_path, BERLIN, "table") == 0
    assert "as by the machine's clock" in capsys.readouterr().err
    for move_it in (
        lambda: ahead(tmp_path, "5d", BERLIN, "table"),
        lambda: to(tmp_path, "22:00", BERLIN, "table"),
    ):
        with pytest.raises(ClockError, match="nobody moves it") as caught:
            move_it()
        assert caught.value.code == "ClockFixed"


def test_a_house_for_trying_out_keeps_the_time_that_it_came_to_wherever_it_is_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    begin(here, ORIGIN)
    write(msgspec.structs.replace(load(here), clock=with_movable_clock(here, Kept()).clock))
    ahead(here, "3d", BERLIN, "table")
    ahead(here, "12h", BERLIN, "table")
    assert "3 d 12 h ahead of the machine's clock" in capsys.readouterr().err
    here.rename(there)
    again = kept(there)
    assert again.clock == str(there / "clock")
    assert offset(Path(again.clock)) == 3.5 * DAY
    write(msgspec.structs.replace(load(there), directory=str(there), clock=again.clock))
    with pytest.raises(ClockError, match="goes ahead only"):
        to(there, "2020-01-01", BERLIN, "table")
    for wrong in ("", "5", "0d", "-5d", "5w", "1.5d"):
        with pytest.raises(UsageError, match="no duration"):
            ahead(there, wrong, BERLIN, "table")
    with pytest.raises(ClockError, match="the most are 3650"):
        ahead(there, "999999999d", BERLIN, "table")
    assert offset(there / "clock") == 3.5 * DAY
