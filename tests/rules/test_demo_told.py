"""What a run says: its users' latencies beside its wakes, and what stands on the screen."""

import datetime as dt
import io

import pytest

from replay.figures.clients import Clients
from tests.given import Past
from virtscale.demo.crowd import Requests
from virtscale.demo.day import piece_of, usual
from virtscale.demo.load import Ended
from virtscale.demo.news import News
from virtscale.demo.said import beginning, sentences
from virtscale.demo.screen import Look, Screen, block, line
from virtscale.demo.summary import Run, clients
from virtscale.demo.units import Units
from virtscale.demo.wakes import Wake, Wakes

BEGAN = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
RUN = Run("a test", BEGAN, BEGAN + dt.timedelta(minutes=1))


def at(seconds: float) -> dt.datetime:
    return BEGAN + dt.timedelta(seconds=seconds)


def asked(*ended: tuple[float, float, str]) -> Requests:
    """Requests by when they were due, how long they took, and who answered; nobody is a failure."""
    requests = Requests()
    for seconds, took_ms, vm in ended:
        requests.take(Ended(at(seconds).timestamp(), took_ms, vm, "" if vm else "status 503"))
    return requests


def told(requests: Requests, *wakes: Wake) -> Clients:
    return clients(RUN, requests, wakes, Units())


def test_a_request_is_fresh_when_its_own_vm_had_just_been_woken() -> None:
    wake = Wake("web-2", at(9.5), at(10))
    seen = told(
        asked(
            *((second, 10.0, "vs-acme.web-1") for second in range(20)),
            (9.8, 250.0, "vs-acme.web-2"),
            (12.0, 20.0, "vs-acme.web-2"),
            (15.5, 90.0, "vs-acme.web-2"),
            (12.0, 300.0, "vs-acme.web-22"),
        ),
        wake,
    )
    assert (seen.requests, seen.failed, seen.fresh, seen.waited) == (24, 0, 2, 1)
    assert seen.steady_p50_ms == 10
    assert seen.tax_ms == pytest.approx((240 + 10) / 2)


def test_failed_requests_are_counted_and_their_times_are_nobodys() -> None:
    seen = told(asked((1, 10.0, "a"), (2, 10_000.0, ""), (3, 12.0, "a"), (4, 11.0, "a")))
    assert (seen.requests, seen.failed, seen.p50_ms, seen.p99_ms) == (4, 1, 11.0, 12.0)
    assert seen.tax_ms is None


def test_requests_before_the_piece_began_are_not_counted() -> None:
    assert told(asked((-5, 10.0, "a"), (5, 10.0, "a"))).requests == 1
    nobody = told(asked())
    assert (nobody.requests, nobody.p50_ms, nobody.tax_ms) == (0, None, None)


def test_wakes_are_those_that_ended_serving_and_each_is_known_once() -> None:
    past, wakes = Past().contract().pool("web").host(), Wakes()
    past.asleep("web", 1)
    past.decided(past.wake("web-1"))
    past.ready("web-1")
    past.announced("web-1")
    for recorded in past.lines:
        wakes.apply(recorded)
    booted, woken = wakes.ended[:-1], wakes.ended[-1]
    assert woken.vm == "web-1"
    assert woken.ordered_at <= woken.announced_at
    wakes.apply(past.lines[-1])
    assert wakes.ended == [*booted, woken]


# ------------------------------------------------------------------------------------------------------- the screen


def a_look(seen: Clients | None = None) -> Look:
    return Look(
        day_second=7.5 * 3600,
        share=0.25,
        left_seconds=450.0,
        demand_vms=3.4,
        per_second=27.2 if seen is not None else 0.0,
        target=4,
        reserve=1,
        serving=5,
        rising=1,
        leaving=0,
        paused=1,
        saved=2,
        units=Units(units=5, hits=4, absorbed=1),
        told=seen,
        news=("a" * 200, "b"),
    )


def test_a_line_and_a_block_say_the_same_and_no_line_is_wider_than_a_terminal() -> None:
    seen = told(asked((1, 10.0, "a"), (2, 12.0, "")))
    lines = block(a_look(seen), 8)
    assert all(len(one) <= 80 for one in lines), lines
    assert lines[0].startswith("07:30:00  [########........................]  7:30 left")
    text = "\n".join(lines)
    for words in ("3.4 VMs (27 requests/s)", "forecast 4 + reserve 1", "in memory 1, on disk 2", "4 hit"):
        assert words in text
    assert "2, 0 waited, 1 failed" in text
    short = line(a_look(seen))
    for words in (
        "07:30:00",
        "demand 3.4",
        "forecast 4+1",
        "serving 5",
        "asleep 1+2",
        "units 4/5",
        "failed 1",
    ):
        assert words in short
    assert "requests" not in line(a_look())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_block_is_written_over_and_lines_stand_above_it() -> None:
    out = Terminal()
    screen = Screen(8, out)
    screen.show(a_look())
    height = len(block(a_look(), 8))
    screen.say("something")
    screen.show(a_look())
    assert out.getvalue().count(f"\x1b[{height}A\x1b[J") == 1
    screen.leave()
    screen.plain("the end")
    assert out.getvalue().endswith("the end\n")
    assert out.getvalue().count("\x1b[") == 2


def test_elsewhere_a_line_comes_now_and_then_and_in_a_run_that_jumps_once_an_hour() -> None:
    out = io.StringIO()
    screen = Screen(8, out)
    assert [screen.due(second) for second in range(3)] == [True, False, False]
    hourly = Screen(8, out, hourly=True)
    assert [second for second in range(0, 4 * 3600, 60) if hourly.due(second)] == [0, 3600, 7200, 10800]
    screen.show(a_look())
    assert "\x1b" not in out.getvalue()


def test_news_are_the_last_things_that_a_person_asks_about() -> None:
    past, news = Past().contract().pool("web").host(), News()
    past.asleep("web", 2)
    past.decided(past.wake("web-1"))
    for recorded in past.lines:
        news.apply(recorded)
    assert "gate wakes 1 VM" in news.lines[-1]
    assert len(news.lines) <= 4


def test_the_beginning_says_by_which_numbers_and_the_end_what_users_saw() -> None:
    piece = piece_of(usual(), 7 * 3600, 9 * 3600, 12, 8)
    text = " ".join(beginning(piece))
    for words in ("07:00 to 09:00", "12 times its speed", "10.0 minutes", "12 times as steep", "drain 5 s"):
        assert words in text
    assert "times as steep" not in " ".join(beginning(piece_of(usual(), 0, 86_400, 1, 8)))
    wake = Wake("web-1", at(0), at(1))
    seen = told(asked(*((second, 10.0, "a") for second in range(9)), (2.0, 210.0, "web-1")), wake)
    text = " ".join(sentences(seen))
    for words in (
        "1 waited more than 100 ms",
        "10.0 ms p50",
        "+200.0 ms: the mean of 1 requests",
        "0 failed",
    ):
        assert words in text
    assert "no request met a VM" in " ".join(sentences(told(asked((1, 10.0, "a")))))
