"""`virtscale backtest`: a file in, a score out, with decisions that are scored alike, and nothing left half written."""

import csv
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import services.forecaster.model
from replay.backtest import run as running
from replay.backtest.policies import POLICIES
from replay.backtest.run import forecast, ticks
from replay.backtest.score import Course, Terms, course, held, scored
from replay.backtest.trace import load
from schemas import pool as pools
from schemas.contract import document
from virtscale import cli

Run = Callable[..., tuple[int, str, str]]
STEP = 1800
BEGAN = 1_780_272_000


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`virtscale backtest WORDS` in a directory without a house: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["virtscale", "backtest", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return command


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Ten days of half hours: a day's wave with noise, and one row missing."""
    chance = np.random.default_rng(5)
    at = np.arange(480)
    demand = 1000 - 700 * np.cos(2 * np.pi * at / 48) + chance.normal(0, 60, 480)
    path = tmp_path / "demand.csv"
    path.write_text(
        "time,value\n"
        + "".join(
            f"{BEGAN + STEP * t},{max(0.0, value):.3f}\n"
            for t, value in zip(at, demand, strict=True)
            if t != 400
        )
    )
    return path


def asked(trace: Path, *words: str) -> list[str]:
    return ["--trace", str(trace), "--step", str(STEP), *words]


def test_the_answer_is_one_json_object_with_the_score_of_the_whole_and_its_halves(
    run: Run, trace: Path
) -> None:
    code, out, err = run(*asked(trace, "--json"))
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert answer["policy"] == "forecast"
    assert (answer["gaps_filled"], answer["decisions"], answer["vms"], answer["reserve_vms"]) == (
        1,
        480,
        64,
        3,
    )
    for part in (answer, answer["first_half"], answer["second_half"]):
        assert {"hit", "regret", "short", "idle", "oracle_idle", "units", "hits"} <= set(part)
        assert part["hit"] == pytest.approx(100 * part["hits"] / part["units"], abs=1e-3)
        assert part["regret"] == pytest.approx(part["oracle_idle"] - part["idle"], abs=1e-3)
    assert answer["units"] == answer["first_half"]["units"] + answer["second_half"]["units"]
    assert answer["speed"] > 2000


def test_a_table_is_shown_to_people_and_what_was_odd_is_said(run: Run, trace: Path) -> None:
    code, out, err = run(*asked(trace, "--policy", "noise"))
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "PART",
        "whole",
        "first half",
        "second half",
    ]
    assert "1 gaps (1 samples, the longest 1,800 s) were filled" in err


@pytest.mark.parametrize("gaps", [(), ("--hold-gaps",)], ids=["filled", "held"])
@pytest.mark.parametrize("policy", ["forecast", "noise", "oracle"])
def test_the_decisions_that_are_written_are_those_that_were_scored(
    run: Run, trace: Path, tmp_path: Path, policy: str, gaps: tuple[str, ...]
) -> None:
    out = tmp_path / "decisions.csv"
    _, said, _ = run(*asked(trace, "--policy", policy, "--decisions", str(out), "--json", *gaps))
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == ["t", "target"]
    assert [int(row["t"]) for row in rows] == [STEP * at for at in range(480)]
    read = load(trace, STEP)
    assert np.flatnonzero(~read.measured).tolist() == [400]
    given = course(read.demand, Terms(STEP), read.measured if gaps else None)
    [score] = scored(given, np.array([int(row["target"]) for row in rows]))
    assert json.loads(said)["hits"] == score.hits
    assert json.loads(said)["idle"] == pytest.approx(100 * score.idle, abs=1e-3)


def test_the_model_is_the_live_forecasters_own() -> None:
    assert running.Model is services.forecaster.model.Model


def test_a_tick_is_the_mean_since_the_last_decision_up_to_now() -> None:
    demand = np.arange(1, 8 * 17281, dtype=np.float64)[: 17280 * 2]
    given = course(demand, Terms(5, teach_days=0))
    made = ticks(given) * given.cap
    assert made[:3] == pytest.approx([1.0, 3.0, 6.0])
    assert len(made) == len(given.at)


def test_nobody_who_decides_sees_within_a_gap_where_demand_will_come_back() -> None:
    """The score's straight line has the far end of a gap in every one of its samples."""
    chance = np.random.default_rng(1)
    level = 10 + chance.normal(0, 0.3, 480)
    measured = np.ones(480, np.bool_)
    measured[300:380] = False
    level[100:110] = 60
    courses: list[Course] = []
    for comes_back_at in (60.0, 10.0):
        demand = level.copy()
        demand[380:390] = comes_back_at
        seen = np.flatnonzero(measured)
        filled = np.interp(np.arange(480), seen, demand[seen])
        courses.append(course(filled, Terms(STEP, teach_days=0), measured))
    high, low = courses
    assert high.cap == low.cap
    assert (high.need[300:380] > low.need[300:380]).any(), "the score stays on the line"
    assert np.isnan(ticks(high)[300:380]).all()
    assert np.isfinite(ticks(high)[380:]).all()
    mine = [forecast(given, [9900], start_seconds=BEGAN)[0][:380] for given in courses]
    assert (mine[0] == mine[1]).all()
    for rule in POLICIES.values():
        if rule.name != "oracle":
            rows = [rule.targets(given, rule.usual)[:380] for given in courses]
            assert (rows[0] == rows[1]).all(), rule.name


def test_what_was_not_measured_is_the_last_that_was_and_a_tick_is_the_mean_of_what_was() -> None:
    measured = np.array([0, 1, 1, 0, 0, 1], np.bool_)
    assert held(np.arange(6.0), measured).tolist() == [0.0, 1.0, 2.0, 2.0, 2.0, 5.0]
    demand = np.arange(1, 17281, dtype=np.float64)
    measured = np.ones(17280, np.bool_)
    measured[2:7] = False
    given = course(demand, Terms(5, teach_days=0), measured)
    made = ticks(given) * given.cap
    assert made[1] == pytest.approx(2.0)
    assert np.isnan(made[2])
    assert made[3] == pytest.approx(9.0)


def test_each_coverage_of_one_pass_is_what_it_is_alone_and_more_covers_more(trace: Path) -> None:
    given = course(load(trace, STEP).demand, Terms(STEP))
    both = forecast(given, [9000, 9900], start_seconds=BEGAN)
    alone = forecast(given, [9900], start_seconds=BEGAN)
    assert (both[1] == alone[0]).all()
    assert both[1].mean() > both[0].mean()


def test_a_pool_is_forecast_two_thousand_times_faster_than_it_lives() -> None:
    seconds = 2 * 3600
    demand = np.random.default_rng(2).poisson(40, seconds).astype(np.float64)
    given = course(demand, Terms(1, teach_days=0))
    began = time.process_time()
    forecast(given, [9900])
    assert seconds / (time.process_time() - began) > 2000


def test_the_rules_are_named(run: Run, trace: Path) -> None:
    code, out, _ = run(*asked(trace, "--policy", "list"))
    assert code == 0
    assert {"forecast", "oracle", "knative", "hpa", "hourly", "seasonal-naive"} <= {
        line.split()[0] for line in out.splitlines()[1:]
    }


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["--policy", "clairvoyant"], 2, "UsageWrong"),
        (["--vms", "0"], 2, "UsageWrong"),
        (["--reserve", "101"], 2, "UsageWrong"),
        (["--coverage", "100"], 2, "UsageWrong"),
        (["--horizon", "0"], 2, "UsageWrong"),
        (["--horizon", "601"], 2, "UsageWrong"),
        (["--into", "here"], 2, "UsageWrong"),
        (["--decisions", "no/such/place.csv"], 2, "UsageWrong"),
        *((["--outage-hours", hours], 2, "UsageWrong") for hours in ("nan", "inf", "-1", "0")),
        (["--teach-days", "10"], 1, "TraceUnscorable"),
        (["--step", "60"], 1, "TraceStepWrong"),
        (["--column", "bytes"], 1, "TraceNoColumn"),
        (["--trace", "none.csv"], 1, "TraceUnreadable"),
        (["--average", "2000"], 1, "TraceStepWrong"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence_with_its_code(
    run: Run, trace: Path, words: list[str], code: int, name: str
) -> None:
    given = dict(zip(*[iter(asked(trace))] * 2, strict=True)) | dict([words])
    ended, out, err = run(*[word for pair in given.items() for word in pair])
    assert (ended, out) == (code, "")
    assert err.startswith("virtscale: ")
    assert err.endswith(f"[{name}]\n")


@pytest.mark.parametrize(
    ("policy", "knobs"),
    [
        ("hpa", ("nan", "inf", "0", "1e-300", "-0.8")),
        ("knative", ("0", "1e-300")),
        ("hourly", ("0",)),
        ("headroom", ("nan", "-5")),
        ("spare", ("1e300",)),
    ],
)
def test_a_knob_by_which_no_rule_could_decide_is_refused_with_its_bounds(
    run: Run, trace: Path, policy: str, knobs: tuple[str, ...]
) -> None:
    for knob in knobs:
        code, out, err = run(*asked(trace, "--policy", policy, "--knob", knob))
        assert (code, out) == (2, ""), knob
        assert f"is no knob of {policy}: write {POLICIES[policy].least:g} to" in err


def test_every_rule_decides_at_the_bounds_of_its_knob_and_at_those_that_are_tried(trace: Path) -> None:
    given = course(load(trace, STEP).demand, Terms(STEP, 64, 500, 7))
    for rule in POLICIES.values():
        for knob in (rule.least, rule.usual, *rule.tried, rule.most):
            assert rule.least <= knob <= rule.most
            assert (np.clip(rule.targets(given, knob), 1, 64) >= 1).all(), (rule.name, knob)


def test_a_counter_is_asked_about_and_demand_is_not(run: Run, tmp_path: Path, trace: Path) -> None:
    counter = tmp_path / "counter.csv"
    counter.write_text("".join(f"{(at * 37) % 9_000}\n" for at in range(480)))
    words = ("--policy", "reactive")
    assert "is it a counter?" in run(*asked(counter, *words))[2]
    assert json.loads(run(*asked(counter, *words, "--json"))[1])["found"]["counts_up"] is True
    assert "is it a counter?" not in run(*asked(trace, *words))[2]


def test_an_interrupted_run_leaves_what_was_there_before(
    run: Run, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "decisions.csv"
    out.write_text("of an earlier run")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running.Model, "tick", interrupted)
    assert run(*asked(trace, "--decisions", str(out)))[0] == 130
    assert out.read_text() == "of an earlier run"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decisions.csv", "demand.csv"]


def test_decisions_are_never_written_over_their_own_trace_nor_over_a_device_or_a_pipe(
    run: Run, trace: Path, tmp_path: Path
) -> None:
    kept = trace.read_bytes()
    (tmp_path / "same.csv").symlink_to(trace)
    (tmp_path / "hard.csv").hardlink_to(trace)
    os.mkfifo(tmp_path / "pipe")
    for name, why in (
        ("demand.csv", "is what is read"),
        ("same.csv", "is what is read"),
        ("hard.csv", "is what is read"),
        ("pipe", "no file may replace"),
        ("/dev/null", "no file may replace"),
    ):
        code, out, err = run(*asked(trace, "--policy", "reactive", "--decisions", name))
        assert (code, out, why in err) == (2, "", True), err
    assert trace.read_bytes() == kept
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 4


def test_decisions_are_written_into_what_a_link_names_and_over_nothing_beside_it(
    run: Run, trace: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "out.csv.draft").write_text("somebody's own")
    link = tmp_path / "out.csv"
    link.symlink_to(tmp_path / "elsewhere" / "out.csv")
    assert run(*asked(trace, "--policy", "reactive", "--decisions", str(link)))[0] == 0
    assert link.is_symlink()
    assert link.read_text().startswith("t,target\n")
    assert (tmp_path / "elsewhere" / "out.csv.draft").read_text() == "somebody's own"
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


def test_a_proposal_is_a_contract_on_standard_output_that_can_be_signed(run: Run, trace: Path) -> None:
    code, out, err = run(*asked(trace, "--policy", "noise", "--propose", "--org", "acme", "--pool", "shop"))
    assert code == 0
    signed = document.read(out.encode())
    contract = document.terms(signed)
    assert (signed.signatures, contract.org, list(contract.pools)) == ((), "acme", ["shop"])
    assert "hit %" in err


def test_a_proposal_goes_into_two_files_and_writes_over_none(run: Run, trace: Path, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    words = asked(trace, "--policy", "noise", "--propose", "--into", str(tmp_path / "papers"), "--json")
    code, out, _ = run(*words)
    written = json.loads(out)["proposal"]
    assert code == 0
    assert (tmp_path / "papers" / "contract.toml").read_text() == written["contract"]
    pool = pools.read((tmp_path / "papers" / "pool.toml").read_text())
    assert (pool.org, pool.name, pool.max_vms) == ("your-org", "web", written["most_vms"])
    code, _, err = run(*words)
    assert (code, "There is a file" in err) == (2, True)
    assert sorted(path.name for path in (tmp_path / "papers").iterdir()) == ["contract.toml", "pool.toml"]
