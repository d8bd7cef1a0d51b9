"""The view of copies, and what `virtscale vm copies` shows of it; the commands that ask for copies are followed to their end."""

import datetime as dt
import json
import re
import sqlite3
from pathlib import Path

import msgspec
import pytest

from events.copy import CopyFailed
from events.deletion import VolumeErased
from events.gate import CopyOrdered, DropOrdered, RestoreOrdered
from projections.copies.fold import Copies
from projections.copies.table import TABLES
from projections.directory.table import TABLES as DIRECTORY
from projections.table import Cell, Key
from tests.copying import Copying
from tests.given import ORG
from tests.rules.test_house_description import started
from virtscale import cli, description
from virtscale.crew import VIEWS
from virtscale.exits import EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND
from virtscale.invocation import UsageError
from virtscale.vms.asking import Following
from virtscale.vms.copies import said
from virtscale.world import Ports

NOW = dt.datetime.now(dt.UTC)


def kept(ledger: Copying) -> dict[Key, tuple[Cell, ...]]:
    """The rows as a keeper writes them: those alone that an event touched."""
    (table,) = TABLES
    copies, rows = Copies(), dict[Key, tuple[Cell, ...]]()
    for recorded in ledger.lines:
        copies.apply(recorded)
        if table.takes is not None and type(recorded.fact) not in table.takes:
            continue
        for key in table.touched(recorded):
            rows = {whole: row for whole, row in rows.items() if whole[: len(key)] != key}
            for whole in table.listed(copies, key):
                row = table.row(copies, whole)
                if row is not None:
                    rows[whole] = row
    everything = {
        (one.org, one.vm, one.name): table.row(copies, (one.org, one.vm, one.name)) for one in copies.all()
    }
    assert rows == everything
    return rows


def running(**pool: object) -> Copying:
    ledger = Copying()
    ledger.running(**pool)
    return ledger


def shown(row: tuple[Cell, ...]) -> dict[str, Cell]:
    return dict(zip(TABLES[0].columns, row, strict=True))


def test_a_copy_has_a_row_from_its_order_on_until_it_is_gone() -> None:
    ledger = running()
    ledger.copy("one")
    _, (order,) = ledger.answer()
    assert isinstance(order, CopyOrdered)
    row = shown(kept(ledger)[ORG, "db", "one"])
    assert (row["state"], row["taken_at"]) == ("ordered", None)
    ledger.made(order)
    assert shown(kept(ledger)[ORG, "db", "one"])["state"] == "made"
    ledger.drop("one")
    _, (drop,) = ledger.answer()
    assert isinstance(drop, DropOrdered)
    row = shown(kept(ledger)[ORG, "db", "one"])
    assert (row["state"], row["cause"]) == ("dropping", "asked")
    ledger.dropped(drop)
    assert kept(ledger) == {}


def test_snapshots_go_with_their_disk_and_backups_stay() -> None:
    ledger = running()
    ledger.copied("one")
    ledger.copied("night", "backup", gib=2)
    ledger.happened(VolumeErased(ORG, "db", "h1", "e" * 32, None, 1, ledger.now))
    assert set(kept(ledger)) == {(ORG, "db", "night")}


def test_a_copy_that_failed_has_no_row() -> None:
    ledger = running()
    ledger.copy("one")
    _, (order,) = ledger.answer()
    assert isinstance(order, CopyOrdered)
    ledger.happened(CopyFailed(ORG, "db", "h1", "one", "snapshot", order.id, "Storage", "no", ledger.now))
    assert kept(ledger) == {}


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house with VM db, which has a snapshot and two backups, new, which has none, and old, of which a backup alone is left."""
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(tmp_path))
    description.write(msgspec.structs.replace(started(tmp_path, Ports.usual())))
    with sqlite3.connect(tmp_path / VIEWS) as base:
        for table in (*DIRECTORY, *TABLES):
            base.execute(table.create)
        for vm in ("db", "new"):
            base.execute("INSERT INTO directory (org, vm, pool) VALUES ('acme', ?, 'apps')", (vm,))
        base.execute("INSERT INTO directory (org, vm, pool) VALUES ('beta', 'web', 'apps')")
        rows = [
            ("db", "before", "snapshot", "made", 50),
            ("db", "night-1", "backup", "made", 26 * 3600),
            ("db", "night-2", "backup", "made", 2 * 3600 + 300),
            ("db", "now", "backup", "ordered", None),
            ("old", "night-9", "backup", "made", 9 * 86400),
        ]
        for seq, (vm, copy, kind, state, seconds) in enumerate(rows):
            taken = None if seconds is None else (NOW - dt.timedelta(seconds=seconds)).isoformat()
            base.execute(
                "INSERT INTO copies (org, vm, copy, kind, state, host, place, disk_bytes, size_bytes, taken_at, seq) "
                "VALUES ('acme', ?, ?, ?, ?, 'h1', '/a', 67108864, 1048576, ?, ?)",
                (vm, copy, kind, state, taken, seq),
            )
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    cli.app(["vm", "copies", *words, "-o", "json"], result_action="return_value")
    return json.loads(capsys.readouterr().out)


def test_of_one_vm_every_copy_is_shown_with_its_age_the_oldest_first(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.exists()
    before, night, _, now = listed(capsys, "acme/db")
    assert (before["copy"], before["kind"], now["state"], now["age_seconds"]) == (
        *("before", "snapshot", "ordered"),
        None,
    )
    age = night["age_seconds"]
    assert isinstance(age, int)
    assert 26 * 3600 <= age < 26 * 3600 + 600
    cli.app(["vm", "copies", "acme/db"], result_action="return_value")
    said = capsys.readouterr()
    assert "1 d 2 h" in said.out
    assert said.err.count("\n") == 1, "of what is not made yet alone"
    assert "The backup now is being made, or what a failed try left of it is still to be removed." in said.err
    assert "`host h1: make backup now of acme/db`" in said.err


def test_of_each_vm_is_said_how_old_its_latest_backup_is_and_of_one_that_is_gone_too(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.exists()
    db, new, old = listed(capsys, "--org", "acme")
    assert (db["vm"], db["snapshots"], db["backups"]) == ("db", 1, 2)
    assert (new["vm"], new["last_backup"], new["age_seconds"]) == ("new", None, None)
    assert (old["vm"], old["backups"]) == ("old", 1)
    assert len(listed(capsys)) == 4
    cli.app(["vm", "copies", "--org", "acme"], result_action="return_value")
    out = capsys.readouterr().out
    assert "no backup" in out
    assert re.search(r"\b2 h ([5-9]|[1-5]\d) min", out)  # taken 2 h 5 min before the tests began


def test_a_vm_that_there_never_was_is_not_found_and_a_name_that_is_none_is_said_to_be(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.exists()
    assert cli.app(["vm", "copies", "acme/none"], result_action="return_value") == EXIT_NOT_FOUND
    assert "no VM acme/none" in capsys.readouterr().err
    for words in (
        ["copies", "acme/db", "--org", "acme"],
        ["copies", "--org", "No"],
        ["drop", "acme/db", "N"],
    ):
        with pytest.raises(UsageError):
            cli.app(["vm", *words], result_action="return_value")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3661, "1 h 1 min"),
        (86_400, "1 d"),
        (86_460, "1 d"),
        (-5, "0 s"),
    ],
)
def test_an_age_is_said_in_its_two_largest_units(seconds: int, words: str) -> None:
    assert said(seconds) == words


# ---------------------------------------------------------------------------------------------------------- followed


def followed(ledger: Copying, request: str, vm: str = "db") -> tuple[Following, bool]:
    following = Following(ORG, vm, request)
    for recorded in ledger.lines:
        if following.hears(recorded):
            return following, True
    return following, False


def test_a_copy_is_followed_until_it_is_made_and_what_made_room_for_it_is_gone() -> None:
    ledger = running(snapshots_kept=1)
    ledger.copied("one")
    asked = ledger.copy("two")
    _, (order, drop) = ledger.answer()
    assert isinstance(order, CopyOrdered)
    assert isinstance(drop, DropOrdered)
    ledger.made(order)
    assert followed(ledger, asked.id)[1] is False
    ledger.dropped(drop)
    following, ended = followed(ledger, asked.id)
    assert (ended, following.code) == (True, EXIT_DONE)


def test_a_copy_that_fails_ends_with_code_1_and_why() -> None:
    ledger = running()
    asked = ledger.copy("one")
    _, (order,) = ledger.answer()
    ledger.happened(
        CopyFailed(ORG, "db", "h1", "one", "snapshot", order.id, "Storage", "disk full", ledger.now)
    )
    following, ended = followed(ledger, asked.id)
    assert (ended, following.code) == (True, EXIT_FAILED)
    assert following.told(0).ended == "the snapshot one of db was not made: Storage: disk full"


def test_a_restore_into_a_new_vm_is_followed_by_the_new_ones_name() -> None:
    ledger = running()
    ledger.copied("one")
    asked = ledger.restore("one", into="db-2")
    _, (order,) = ledger.answer()
    assert isinstance(order, RestoreOrdered)
    assert followed(ledger, asked.id, "db-2")[1] is False
    ledger.restored(order)
    following, ended = followed(ledger, asked.id, "db-2")
    assert (ended, following.code) == (True, EXIT_DONE)
