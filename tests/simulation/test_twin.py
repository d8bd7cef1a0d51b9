"""The twin of a day: the workers as they are around simulated guests, in virtual time, the same in every run."""

import hashlib
import io
import re
from collections import Counter
from pathlib import Path

import pytest

from events.envelope import read
from events.forecast import ForecastMade
from events.gate import GateDecided
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from virtscale.demo.day import piece_of, second_of, usual
from virtscale.demo.screen import Screen
from virtscale.demo.twin import Twin, play
from virtscale.twin.clock import VirtualLoop


def lived(begin: str, end: str, *, vms: int = 8, history_days: int = 0) -> Twin:
    """A twin whose piece went by."""
    piece = piece_of(usual(), second_of(begin), second_of(end), 1, vms)
    loop = VirtualLoop()
    twin = Twin(piece, loop, Screen(vms, io.StringIO()), history_days=history_days, before_seconds=300)
    try:
        loop.run_until_complete(twin.live())
    finally:
        loop.end()
    return twin


def digest(twin: Twin) -> str:
    return hashlib.sha256(b"".join(one.payload for one in twin.stored)).hexdigest()


def test_a_morning_is_followed_by_the_workers_and_never_past_the_cap() -> None:
    twin = lived("07:20", "08:20")
    fleet, usage = Fleet(), Usage()
    kinds: Counter[str] = Counter()
    most = 0
    for stored in twin.stored:
        recorded = read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
        kinds[recorded.type] += 1
        for fold in (fleet, usage):
            fold.apply(recorded)
        awake = usage.used("acme").vcpu + usage.reserved("acme").vcpu
        most = max(most, awake)
    assert most <= 8 < usage.contracts["acme"].limit.vcpu
    assert len(fleet.members("acme", "web", "serving")) >= 7
    assert twin.units.units >= 4
    assert twin.units.late == 0
    assert twin.units.short_seconds == 0
    assert kinds["forecast.made.v1"] >= 4
    assert not [kind for kind in kinds if "failed" in kind or "unready" in kind or "overdue" in kind], kinds


def test_an_evening_is_drained_and_nobody_ends_below_the_reserve() -> None:
    twin = lived("20:00", "21:30")
    fleet = Fleet()
    for stored in twin.stored:
        fleet.apply(read(stored.seq, stored.stored_ns, stored.payload, stored.subject))
    assert 2 <= len(fleet.members("acme", "web", "serving")) <= 6
    assert twin.units.short_seconds == 0


def test_two_runs_of_one_piece_write_the_same_ledger_to_the_byte() -> None:
    first, second = lived("07:40", "07:50"), lived("07:40", "07:50")
    assert len(first.stored) > 50
    assert digest(first) == digest(second)


@pytest.mark.long
def test_the_past_that_was_made_up_is_learnt_and_told() -> None:
    twin = lived("07:40", "07:44", history_days=1)
    told = [read(one.seq, one.stored_ns, one.payload, one.subject).fact for one in twin.stored]
    forecasts = [fact for fact in told if isinstance(fact, ForecastMade)]
    assert max(fact.history_seconds for fact in forecasts) >= 86_000
    assert any(isinstance(fact, GateDecided) for fact in told)


@pytest.mark.long
def test_a_whole_day_takes_a_minute_and_its_report_is_written(tmp_path: Path) -> None:
    piece = piece_of(usual(), 0, 86_400, 1, 64)
    out = io.StringIO()
    assert play(piece, tmp_path / "day", Screen(64, out, hourly=True)) == 0
    assert out.getvalue().count("| serving") == 24
    on_disk = re.search(r"memory, ([0-9.]+) on disk", (tmp_path / "day" / "report.html").read_text())
    assert on_disk is not None
    assert float(on_disk[1]) > 50, "vCPU-hours of 64 VMs in a day whose night is quiet"
