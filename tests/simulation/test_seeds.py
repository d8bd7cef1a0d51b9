"""The simulation itself: worlds with a seed, and what holds for each of them."""

import multiprocessing.pool
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.waker.worker import RECONCILE_SECONDS
from tests.simulation.__main__ import Summary, many
from tests.simulation.chance import LIE, LONG_EVERY, RULINGS, Chance, Weather, plan_of
from tests.simulation.crews import spread
from tests.simulation.run import run
from tests.simulation.seeds import BREAKS, KEPT, KEPT_BRIEF, KEPT_LATER
from tests.simulation.test_can_fail import no_fence

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = 1_000
MANY_SEEDS = 10_000
"""Five minutes on two cores."""


def simulate(
    *arguments: str, timeout_seconds: float = 1500, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
    )


@pytest.mark.timeout(1560)
def test_every_law_holds_in_a_thousand_worlds() -> None:
    done = simulate("--seeds", str(SEEDS))
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SEEDS} of {SEEDS} seeds" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(3660)
def test_every_law_holds_in_ten_thousand_further_worlds() -> None:
    done = simulate("--from", str(SEEDS), "--seeds", str(MANY_SEEDS), timeout_seconds=3600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{MANY_SEEDS} of {MANY_SEEDS} seeds" in done.stdout


@pytest.mark.parametrize("seed", sorted(KEPT))
def test_what_a_seed_taught_is_not_forgotten(seed: int) -> None:
    assert run(seed, "long", powers=False).faults == (), KEPT[seed]


@pytest.mark.parametrize("seed", sorted(KEPT_BRIEF))
def test_what_a_brief_seed_taught_is_not_forgotten(seed: int) -> None:
    assert run(seed, "brief", seals=False, steps=False).faults == (), KEPT_BRIEF[seed]


@pytest.mark.parametrize("seed", sorted(KEPT_LATER))
def test_what_a_seed_with_other_clocks_taught_is_not_forgotten(seed: int) -> None:
    assert run(seed).faults == (), KEPT_LATER[seed]


def test_a_seed_is_one_story_whatever_the_order_of_sets_in_memory() -> None:
    here = [run(seed).digest for seed in (2, 3)]
    assert here == [run(seed).digest for seed in (2, 3)]
    for number, digest in zip((2, 3), here, strict=True):
        told = simulate("--seed", str(number), PYTHONHASHSEED="4711")
        assert f"trace {digest}" in told.stdout, told.stdout + told.stderr


def test_a_failing_seed_is_told_with_what_was_broken_and_what_repeats_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_fence(monkeypatch)
    assert many(range(BREAKS["the fence"], BREAKS["the fence"] + 1), 1) == 1
    told = capsys.readouterr().out
    assert "and again at" in told
    assert "to repeat it: make simulate SEED=0 ARGS=-v" in told
    assert "laws were broken by 1 seeds" in told


def test_a_seed_can_be_read_as_its_trace_and_its_ledger() -> None:
    told = simulate("--seed", "1", "-v")
    assert told.returncode == 0
    assert "gate-2 starts its life 1" in told.stdout
    assert '"specversion":"1.0"' in told.stdout


def test_even_seeds_have_deduplication_and_odd_ones_do_without() -> None:
    assert [plan_of(seed).dedup for seed in range(4)] == [True, False, True, False]


def test_most_worlds_are_short_and_long_ones_come_with_and_without_deduplication() -> None:
    plans = [plan_of(seed) for seed in range(320)]
    long = [plan for plan in plans if plan.quiet_seconds > RECONCILE_SECONDS]
    assert len(long) == 320 // LONG_EVERY
    assert {plan.dedup for plan in long} == {True, False}
    assert all(plan.crews == 0 for plan in long), "in a long world each worker has a process of its own"


def test_the_two_gates_are_never_in_one_process() -> None:
    names = ("signal", "gate-1", "gate-2", "waker-h1", "waker-h2", "prober", "announcer", "notifier")
    for seed in range(300):
        crews = spread(names, 2 + seed % 3, Chance(seed, "crews", Weather()))
        assert sorted(name for crew in crews for name in crew) == sorted(names)
        assert not any({"gate-1", "gate-2"} <= set(crew) for crew in crews)


def test_what_ctrl_c_ended_can_be_gone_on_with(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = iter(range(100, 103))

    def interrupted(*_: object, **__: object) -> Iterator[Summary]:
        for seed in results:
            yield Summary(seed, (), 1, 0, 0, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(multiprocessing.pool.Pool, "imap", interrupted)
    before = signal.getsignal(signal.SIGINT)
    try:
        assert many(range(100, 200), 1) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    told = capsys.readouterr().out
    assert "3 of 100 seeds" in told
    assert "To go on: make simulate SEEDS=97 ARGS='--from 103'" in told


def test_worlds_differ_in_what_goes_wrong() -> None:
    plans = [plan_of(seed) for seed in range(100)]
    assert {plan.hosts for plan in plans} == {2, 3}
    for ruling in (*RULINGS, LIE):
        known = sum(ruling in plan.rulings and plan.rule_seconds > 0 for plan in plans)
        assert 5 < known < 60, (ruling, known)
    for fault in (
        "kill",
        "stored_late",
        "ack_lost",
        "effect_hangs",
        "connection_lost",
        "domain_woken_seconds",
    ):
        known = sum(getattr(plan, fault) > 0 for plan in plans)
        assert 20 < known < 80, (fault, known)
