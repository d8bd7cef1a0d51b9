"""The commands `replay why` and `replay trace` on an export, where no bus runs: words, tables, JSON and exit codes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from events.scale import Sample
from events.tlog.files import DirectoryFiles
from tests.given import Past
from tests.rules.archives import seal
from tests.rules.why_past import mailed, setting, stored
from virtscale import cli

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def past() -> Past:
    """A pool that grew by one, and was then refused more."""
    past = setting().asleep("web", 2)
    past.scale(add=1)
    past.round()
    past.ready("web-1")
    past.announced("web-1")
    past.later(30)
    refused = past.scale(add=64, origin="person", publisher="operator")
    past.round()
    mailed(past, refused.id)
    return past


@pytest.fixture
def ask(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ask:
    """`virtscale replay WORDS --from` an archive of the past: exit code, standard output, standard error."""

    def command(*words: str) -> tuple[int, str, str]:
        if not (tmp_path / "checkpoint").exists():
            seal(DirectoryFiles(tmp_path), [stored(recorded) for recorded in past.lines])
        monkeypatch.setattr(sys, "argv", ["virtscale", "replay", *words, "--from", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, errors = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, errors

    return command


def request(past: Past, place: int) -> str:
    return [line.id for line in past.lines if line.type == "scale.requested.v1"][place]


def test_the_chain_is_told_in_sentences_and_as_a_table(past: Past, ask: Ask) -> None:
    code, text, errors = ask("why", request(past, 1))
    assert (code, errors) == (0, "")
    asked, answer, blank, header, *rows = text.splitlines()
    assert "a person as operator asked for 64 more VMs in acme/web" in asked
    assert "the signed cap is 11 (quota 10 + 10 %, contract acme-2026 version 1)" in answer
    assert (blank, header.split()) == ("", ["SEQ", "TIME", "WRITER", "EVENT", "WHAT"])
    assert rows[0].split()[:2] == [">", str(past.seq - 2)]
    assert "mail.accepted.v1" in rows[-1]


def test_the_same_is_there_for_programs(past: Past, ask: Ask) -> None:
    code, text, _ = ask("why", request(past, 0), "-o", "json")
    told = json.loads(text)
    assert (code, told["id"], told["left_out"], told["read_to"]) == (0, request(past, 0), 0, past.seq)
    assert told["steps"][1]["evidence"][0]["limit"] == 11
    assert [step["part"] for step in told["steps"]] == ["this", *["then"] * 6]


def test_a_pool_at_an_instant_is_told_with_what_stood_around_it(past: Past, ask: Ask) -> None:
    code, text, _ = ask("why", "acme/web@2026-11-22T09:00:31Z")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == f"acme/web at 2026-11-22 09:00:31 UTC, ledger sequence {past.seq}"
    assert lines[1].startswith("no growth at 2026-11-22 09:00:31 UTC because request ")
    assert "The last growth before that was at 2026-11-22 09:00:00 UTC" in lines[1]
    assert lines[2].startswith("no shrinking at 2026-11-22 09:00:31 UTC because nobody asked")
    assert lines[4].startswith("1 more VM, asked by a person: would have been admitted (Granted).")
    assert (
        "- VMs: 1 quiesced, 1 serving; 1 count for the pool, which has a minimum of 0 and a maximum of 100000"
        in lines
    )
    assert "mail.accepted" not in text, "a mail is no affair of the pool's"


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("why", "0123456789"), 5, "Nothing in the ledger has the id 0123456789. [IdUnknown]"),
        (("why", "zz"), 2, "'zz' is no id"),
        (("why", "acme/web"), 2, "'acme/web' names no pool at a time: write ORG/POOL@TIME"),
        (("why", "acme/web@soon"), 2, "'soon' is no place in the ledger"),
        (("why", "acme/jobs@9999999"), 5, "The org acme had no pool jobs at"),
        (("trace", "0123456789"), 5, "Nothing in the ledger has the id 0123456789. [IdUnknown]"),
        (("trace", "zz"), 2, "'zz' is no id"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_sentence(
    ask: Ask, words: tuple[str, ...], code: int, error: str
) -> None:
    ended, text, errors = ask(*words)
    assert (ended, text) == (code, "")
    assert errors.startswith(f"virtscale: {error}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("form", ["otlp", "chrome"])
def test_a_trace_is_written_as_asked(past: Past, ask: Ask, form: str) -> None:
    code, text, errors = ask("trace", request(past, 0), "-o", form)
    assert (code, errors) == (0, "")
    assert next(iter(json.loads(text))) == {"otlp": "resourceSpans", "chrome": "traceEvents"}[form]
    assert ask("trace", request(past, 0), "-o", form)[1] == text


def test_what_others_wrote_cannot_move_a_terminals_cursor(past: Past, ask: Ask) -> None:
    sample = Sample(query="up\x1b[2J\n", value=2.0, above=1.0, observed_at=past.now)
    asked = past.scale(add=1, origin="trigger", sample=sample)
    code, text, _ = ask("why", asked.id)
    assert code == 0
    assert "because up\\x1b[2J\\n was 2, above 1" in text
    assert "\x1b" not in text
