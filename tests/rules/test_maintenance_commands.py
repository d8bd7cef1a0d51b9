"""`virtscale maintenance`: what is shown of the calendar, and what is asked wrongly."""

import asyncio
import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.pool import PoolError, read
from tests.keeping import TWO
from tests.rules.test_breaker_views import keep
from tests.rules.windows import Windows
from virtscale import cli
from virtscale.crew import VIEWS
from virtscale.invocation import UsageError
from virtscale.maintenance.changing import instant

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def house() -> Windows:
    """VM db has a resize before it."""
    past = Windows().house()
    past.wants(TWO)
    past.look()
    return past


@pytest.fixture
def run(
    house: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(tmp_path))

    def command(*words: str) -> tuple[int, str, str]:
        asyncio.run(keep(house, tmp_path / VIEWS))
        capsys.readouterr()
        code = cli.app(["maintenance", *words], result_action="return_value")
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def scenario() -> Windows:
    """What docs/maintenance.md shows: VM db has a resize before it, VM queue a reboot that was put off for two days."""
    past = Windows().house()
    past.create("queue")
    past.round()
    past.runs("queue")
    past.wants(TWO)
    past.look()
    past.reboot("queue")
    past.look()
    (queue,) = [one.entry for one in past.entries() if one.entry.vm == "queue"]
    past.please("postpone", queue.slot.start + dt.timedelta(days=2), entry=queue.id, vm="queue")
    past.look()
    return past


def masked(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{12,32}\b", "ID", text)


def test_the_page_shows_what_the_commands_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs/maintenance.md").read_text(encoding="utf-8")
    shown = re.findall(
        r"^\$ virtscale maintenance ((?:list|show|calendar)[^\n]*)\n(.*?)^```$",
        page,
        re.MULTILINE | re.DOTALL,
    )
    assert len(shown) == 3
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(tmp_path))
    asyncio.run(keep(scenario(), tmp_path / VIEWS))
    for words, said in shown:
        capsys.readouterr()
        cli.app(["maintenance", *words.split()], result_action="return_value")
        assert masked(capsys.readouterr().out) == masked(said)


def test_what_is_planned_is_listed_with_both_clocks(house: Windows, run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    head, line = out.splitlines()
    assert head.split() == ["ENTRY", "VM", "STAGE", "START", "MINUTES", "WHAT"]
    assert line.split("  ")[0] == house.entry.id[:12]
    assert "acme/db  announced  2026-11-22 22:00 CET (21:00 UTC)  20" in line
    assert "size 1 vCPU, 1024 MiB -> 2 vCPU, 2048 MiB" in line
    assert json.loads(run("list", "acme/db", "-o", "json")[1])[0]["zone"] == "Europe/Berlin"
    assert len(run("list", "acme/other")[1].splitlines()) == 1


def test_an_entry_is_shown_by_the_beginning_of_its_id_or_by_its_vm(house: Windows, run: Run) -> None:
    for which in (house.entry.id[:8], "acme/db"):
        code, out, _ = run("show", which)
        shown = {line[:12].strip(): line[13:] for line in out.splitlines()}
        assert code == 0
        assert shown["start"] == "2026-11-22 22:00 CET (21:00 UTC)"
        assert shown["window"] == "2026-11-22 22:00 CET (21:00 UTC) to 2026-11-23 05:00 CET (04:00 UTC)"
        assert shown["policy"] == "maintenance-12h"
    code, _, err = run("show", "00000000")
    assert (code, err.strip()) == (
        5,
        "There is no maintenance 00000000: `virtscale maintenance list` shows what is planned.",
    )


def test_what_is_over_is_listed_when_that_is_asked(house: Windows, run: Run) -> None:
    house.please("cancel")
    house.look()
    assert len(run("list")[1].splitlines()) == 1
    listed = run("list", "--all")[1].splitlines()
    assert "cancelled" in listed[1]
    assert "the fair is on" in run("show", house.entry.id)[1]


def test_the_calendar_has_a_line_for_each_entry_under_its_day(house: Windows, run: Run) -> None:
    code, out, _ = run("calendar")
    assert code == 0
    day, line = out.splitlines()
    assert day == "Sun 2026-11-22"
    assert line.split()[:3] == ["22:00-22:20", "CET", "acme/db"]
    assert house.entry.id[:12] in line


def test_the_calendar_is_a_file_that_calendars_read(house: Windows, run: Run, tmp_path: Path) -> None:
    house.please("cancel")
    house.look()
    path = tmp_path / "work.ics"
    code, out, err = run("calendar", "acme", "--ics", str(path))
    assert (code, out, err.strip()) == (0, "", f"1 entries are in {path}.")
    text = path.read_bytes().decode()
    assert "METHOD:PUBLISH" in text
    assert "STATUS:CANCELLED" in text
    assert "DTSTART:20261122T210000Z" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "nonsense"), "names no maintenance"),
        (("show", "acme/DB"), "names neither an org nor a VM"),
        (("list", "a b"), "names neither an org nor a VM"),
        (("calendar", "A"), "is no org"),
        (("calendar", "--ics", "/nowhere/at.ics"), "There is no directory"),
    ],
)
def test_what_was_asked_wrongly_is_one_sentence(run: Run, words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(*words)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-12-01", "2026-11-30T23:00+00:00"),
        ("2026-12-01T22:00", "2026-12-01T21:00+00:00"),
        ("2026-12-01T22:00Z", "2026-12-01T22:00+00:00"),
        ("2026-07-01T22:00", "2026-07-01T20:00+00:00"),
    ],
)
def test_a_date_is_read_on_the_clocks_of_the_window(text: str, utc: str) -> None:
    assert instant(text, "Europe/Berlin") == dt.datetime.fromisoformat(utc)


@pytest.mark.parametrize(
    "text", ["tomorrow", "2026-13-01", "2026-12-01T22:00+01:00", "2026-12-01T22:00:00.5"]
)
def test_a_date_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no date"):
        instant(text, "Europe/Berlin")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('notice = "maintenance-1h"', "choose maintenance-24h, maintenance-12h"),
        ('window = { zone = "Europe/Atlantis" }', "is no time zone"),
        ('window = { start = "22:00", end = "22:00" }', "may mean all day or never"),
    ],
)
def test_a_pool_file_with_a_window_or_notice_that_cannot_be_used_is_refused(said: str, sentence: str) -> None:
    text = f'org = "acme"\nname = "apps"\nkind = "kept"\ntemplate = "tiny"\n{said}\n[size]\nname = "s"\nvcpu = 1\nmemory_mib = 96\n'
    with pytest.raises(PoolError, match=sentence):
        read(text)
