"""`virtscale vm deletions`, and what of `delete` and `undelete` is asked wrongly."""

import asyncio
import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.copy import CopyRequested
from events.deletion import EraseFailed, SilenceFailed
from projections.deletions.table import TABLES
from schemas.zones import ZoneError
from tests.given import ORG
from tests.rules.endings import Endings
from tests.rules.test_breaker_views import keep
from virtscale import cli
from virtscale.crew import VIEWS
from virtscale.invocation import UsageError
from virtscale.vms.deleting import day_of, own_zone

Run = Callable[..., tuple[int, str, str]]
(TABLE,) = TABLES


def rows(house: Endings) -> list[dict[str, Any]]:
    deletions = house.deleter.deletions
    found = (TABLE.row(deletions, (one.org, one.vm, one.id)) for one in deletions.all())
    return [dict(zip(TABLE.columns, row, strict=True)) for row in found if row is not None]


def scenario() -> Endings:
    """What docs/deletion.md shows: VM db is stopped for its deletion, and that of VM queue is scheduled."""
    house = Endings().house()
    house.create("queue")
    house.gates()
    house.runs("queue")
    house.delete()
    house.delete("queue", dt.date(2026, 12, 24))
    house.to(house.at("soft")).works()
    house.later(60)
    return house


@pytest.fixture
def house() -> Endings:
    return scenario()


@pytest.fixture
def run(
    house: Endings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(tmp_path))
    monkeypatch.delenv("TZ", raising=False)

    def command(*words: str) -> tuple[int, str, str]:
        asyncio.run(keep(house, tmp_path / VIEWS))
        capsys.readouterr()
        code = cli.app(["vm", *words], result_action="return_value")
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def test_the_page_shows_what_the_command_says(run: Run) -> None:
    page = (Path(__file__).parents[2] / "docs/deletion.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\$ virtscale vm (deletions[^\n]*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    for words, said in shown:
        code, out, _ = run(*words.split())
        assert code == 0
        assert [line.rstrip() for line in out.splitlines()] == [line.rstrip() for line in said.splitlines()]


def test_stages_are_done_or_have_their_instant_in_the_zone_that_was_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run("deletions")
    assert code == 0
    assert out.split("\n")[1].split()[:6] == ["acme/db", "standing", "done", "done", "2026-12-03", "00:00"]
    _, out, _ = run("deletions", "--zone", "America/New_York")
    assert "2026-12-02 18:00" in out
    monkeypatch.setenv("TZ", ":Asia/Kathmandu")
    _, out, _ = run("deletions")
    assert "2026-12-03 04:45" in out


def test_orgs_and_what_is_over_are_told_apart(run: Run, house: Endings) -> None:
    assert json.loads(run("deletions", "--org", "other", "-o", "json")[1]) == []
    house.undelete("queue")
    assert [one["vm"] for one in json.loads(run("deletions", "-o", "json")[1])] == ["db"]
    every = json.loads(run("deletions", "--all", "-o", "json")[1])
    assert [(one["vm"], one["state"]) for one in every] == [("db", "standing"), ("queue", "cancelled")]


def test_a_copy_that_does_not_end_is_named_as_what_the_erasing_waits_for(run: Run, house: Endings) -> None:
    house.happened(
        CopyRequested(
            org=ORG,
            pool="apps",
            vm="queue",
            kind="snapshot",
            copy="before",
            publisher="operator",
            key="before",
            actor="kim",
            reason="because",
            received_at=house.now,
        )
    )
    house.gates()
    assert "before" not in run("deletions")[1], "the VM is not even stopped"
    house.to(house.at("soft", "queue")).works()
    _, out, _ = run("deletions")
    [row] = [line for line in out.splitlines() if "acme/queue" in line]
    assert "hard begins when the snapshot before has ended: see `virtscale vm copies acme/queue`" in row


def test_what_is_in_the_way_is_shown_until_it_is_gone(run: Run, house: Endings) -> None:
    standing = house.standing()
    house.happened(
        SilenceFailed(
            org=ORG,
            vm="db",
            deletion=standing.id,
            code="AlertmanagerAway",
            text="Nobody answers.",
            observed_at=house.now,
        )
    )
    assert "AlertmanagerAway: Nobody answers." in run("deletions")[1]
    house.to(house.at("hard"))
    house.deletes()
    house.gates()
    order = house.standing().disk
    assert order is not None
    assert "waits for host h1 to undefine the domain" in run("deletions")[1]
    house.happened(
        EraseFailed(
            org=ORG,
            vm="db",
            host="h1",
            order=order.id,
            code="HostGone",
            text="The host does not answer.",
            observed_at=house.now,
        )
    )
    assert "HostGone: The host does not answer." in run("deletions")[1]
    assert "under way" in run("deletions")[1]
    house.works()
    assert "HostGone" not in run("deletions")[1]
    assert "waits for host" not in run("deletions")[1]


def test_the_table_has_a_row_for_each_deletion_there_ever_was(house: Endings) -> None:
    house.undelete("queue")
    house.to(house.at("recycle")).works()
    db, queue = rows(house)
    assert (db["state"], db["completed"]) == ("recycled", "prepare, soft, hard, purge, recycle")
    assert (queue["state"], queue["next"], queue["running"]) == ("cancelled", None, None)
    assert db["soft"] == "2026-11-29T23:00:00+00:00"
    assert (db["zone"], db["policy"], db["actor"]) == ("Europe/Berlin", "deletion-2024-10", "kim")


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-01", "2026-12-1T00:00", "01.12.2026"])
def test_what_is_no_day_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="write it as 2026-12-01"):
        day_of(text)


def test_a_day_is_a_day_and_none_is_the_earliest() -> None:
    assert day_of("2026-12-01") == dt.date(2026, 12, 1)
    assert day_of("") is None


def test_a_zone_that_is_none_is_refused_but_one_of_the_environment_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ZoneError):
        own_zone("Mars/Olympus")
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    assert own_zone("") == ""
    monkeypatch.setenv("TZ", "UTC")
    assert own_zone("") == "UTC"
    assert own_zone("Europe/Berlin") == "Europe/Berlin"


def test_a_vm_that_is_named_wrongly_is_said(run: Run) -> None:
    with pytest.raises(UsageError, match="names no VM"):
        run("delete", "db", "--reason", "over")
    with pytest.raises(UsageError, match="names no org"):
        run("deletions", "--org", "Not An Org")
