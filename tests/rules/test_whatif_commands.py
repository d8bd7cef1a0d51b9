"""The commands `replay what-if` and `replay statement`, over an archive and without a bus."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.tlog.files import DirectoryFiles
from replay.whatif.rules import ContractSet, PoolSet, Rules
from tests.rules.archives import seal
from tests.rules.retold import Lines, Told
from tests.rules.test_statement import LONG
from virtscale import cli
from virtscale.invocation import UsageError
from virtscale.replaying.settings import rules

BEGAN = "2026-11-22T09:00:30Z"
"""Behind the setting, whose decisions no gate made."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Five VMs of a cap of 11 vCPU serve, a sixth was refused, and an hour went by."""
    past = Told()
    past.contract(vcpu=10, price_eur_cents_month=730_000, **LONG).pool("web").host()
    past.serving("web", 5).asleep("web", 3)
    past.begin()
    past.scale(add=1)
    past.round()
    past.later(30)
    past.trigger()
    past.round()
    past.later(3600)
    past.host("h2")
    directory = tmp_path / "export"
    directory.mkdir()
    seal(DirectoryFiles(directory), Lines(past.stored_lines()).stored)
    return directory


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["virtscale", "replay", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.out, said.err

    return command


def test_what_if_lists_what_changes_what_is_undecidable_what_is_modelled_and_what_it_costs(
    run: Run, archive: Path
) -> None:
    code, out, err = run("what-if", "--archive", str(archive), "--set", "acme.allowance=20%", "--from", BEGAN)
    assert code == 0, err
    assert "CapExceeded 0 of 1 (12 of 11 vCPU)" in out
    assert "Granted 1 of 1 (12 of 12 vCPU)" in out
    assert "6 VMs would have served instead of 5" in out
    assert "none recorded: readiness time" in out
    assert "refusals avoided: 1, new: 0; refused then: 1, now: 0" in err
    assert "refused then, and in neither number because undecidable or not answered now: 1" in err
    (pools,) = [line.split() for line in out.splitlines() if line.startswith("acme  web")]
    assert pools[-3:] == ["1.008", "2.017", "2.02"]


def test_what_if_as_json_is_one_document(run: Run, archive: Path) -> None:
    code, out, _ = run(
        "what-if", "--archive", str(archive), "--set", "web.max_vms=5", "--from", BEGAN, "-o", "json"
    )
    told: dict[str, Any] = msgspec.json.decode(out)
    assert code == 0
    assert told["set"] == ["web.max_vms=5"]
    assert (told["changed"], told["answers"]["recorded"], told["answers"]["refused_now"]) == ([], 2, 2)


def test_what_if_with_nothing_set_says_how_many_rounds_are_the_recorded_ones(run: Run, archive: Path) -> None:
    code, out, err = run("what-if", "--archive", str(archive), "--from", BEGAN)
    assert (code, out) == (0, "")
    assert "2 answers in 2 rounds, decided again, 2 of them to the same bytes" in err


def test_a_statement_is_made_from_an_archive(run: Run, archive: Path) -> None:
    code, out, err = run("statement", "acme", "2026-11", "--from", str(archive))
    assert code == 0, err
    assert "so far" in err
    assert "the contract names no price for it" in out
    assert "the signed cap is 11" in out
    code, out, _ = run("statement", "acme", "2026-11", "--from", str(archive), "-o", "json")
    told: dict[str, Any] = msgspec.json.decode(out)
    assert (told["complete"], [one["code"] for one in told["refusals"]]) == (False, ["CapExceeded"] * 2)
    assert {line["part"] for line in told["numbers"]} == {
        "committed",
        "used",
        "overage",
        "refusals",
        "availability",
    }


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("what-if", "--set", "acme.drain=3s"), 2, "'drain' decides no answer of the gate"),
        (("what-if", "--set", "globex.allowance=20%"), 1, "Org globex had no contract in force"),
        (("what-if", "--from", "9999"), 1, "There is nothing from #9999"),
        (("what-if", "--from", "yesterday"), 2, "no place in the ledger"),
        (("statement", "acme", "11/2026"), 1, "no month"),
        (("statement", "acme", "2026-11", "--timezone", "Mars"), 1, "no time zone"),
        (("statement", "ACME", "2026-11"), 2, "no org"),
        (("statement", "globex", "2026-11"), 1, "neither a contract nor a pool of globex"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_sentence(
    run: Run, archive: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    source = "--from" if words[0] == "statement" else "--archive"
    ended, out, err = run(*words, source, str(archive))
    assert (ended, out) == (code, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


# ---------------------------------------------------------------------------------------------------------- settings


def test_settings_are_read_as_people_write_them() -> None:
    words = ("acme.allowance=20%", "acme.quota.vcpu=128", "acme.quota.memory=480GiB")
    assert rules(words).contracts == (
        ContractSet("acme", allowance_bp=2000),
        ContractSet("acme", quota={"vcpu": 128}),
        ContractSet("acme", quota={"memory_mib": 491_520}),
    )
    words = (
        "web.cooldown=30s",
        "acme/web.max_vms=20",
        "web.min_vms=0",
        "a/b.horizon=2m",
        "b.placement=spread",
    )
    assert rules(words).pools == (
        PoolSet(None, "web", {"cooldown_seconds": 30}),
        PoolSet("acme", "web", {"max_vms": 20}),
        PoolSet(None, "web", {"min_vms": 0}),
        PoolSet("a", "b", {"horizon_seconds": 120}),
        PoolSet(None, "b", {"placement": "spread"}),
    )
    assert rules(()) == Rules()


@pytest.mark.parametrize(
    "word",
    [
        "",
        "acme",
        "acme.allowance",
        "acme.allowance=",
        "acme.allowance=7%",
        "acme.allowance=much",
        "acme.allowance=NaN",
        "acme/web.allowance=20%",
        "acme.quota.vcpu=-1",
        "acme.quota.vcpu=9999999999999999",
        "acme.quota.block=1TiB",
        "acme.quota.bananas=1",
        "ACME.allowance=20%",
        "-.allowance=20%",
        "a/b/c.cooldown=3s",
        "web.cooldown=0s",
        "web.cooldown=2d",
        "web.cooldown=90",
        "web.max_vms=0",
        "web.max_vms=100001",
        "web.max_vms=\u0663",
        "web.placement=scatter",
        "web.size=large",
    ],
)
def test_what_sets_nothing_is_refused_in_a_sentence(word: str) -> None:
    with pytest.raises(UsageError) as refused:
        rules((word,))
    assert str(refused.value).count("\n") == 0
