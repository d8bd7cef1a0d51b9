"""`virtscale snapshots` lists disks with their pins, of one pool or of all."""

import json
import sqlite3
from pathlib import Path

import pytest

from projections.fleet.table import TABLES as FLEET
from projections.volumes.table import TABLES as VOLUMES
from virtscale import cli
from virtscale.crew import VIEWS
from virtscale.exits import EXIT_NOT_FOUND

VOLUME = "/volumes/acme.{}.qcow2"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house whose views know two pools with a VM each; one sleeps pinned, the other could not be pinned."""
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(tmp_path))
    base = sqlite3.connect(tmp_path / VIEWS)
    for table in (*FLEET, *VOLUMES):
        base.execute(table.create)
    base.execute("CREATE TABLE freezes (org, pool, until)")
    for pool, vm in (("web", "web-1"), ("jobs", "jobs-1")):
        base.execute("INSERT INTO pools (org, pool, size) VALUES ('acme', ?, 'small')", (pool,))
        base.execute(
            "INSERT INTO vms (org, vm, pool, host, state) VALUES ('acme', ?, ?, 'h1', 'quiesced')", (vm, pool)
        )
    rows = [
        ("web-1", 2, VOLUME.format("web-1"), 812, "2026-11-22T09:00:00+00:00", None),
        ("jobs-1", None, None, None, None, "woke"),
    ]
    for vm, layers, snapshot, since, taken_at, trouble in rows:
        base.execute(
            "INSERT INTO volumes (org, vm, host, volume, template, size_bytes, layers, snapshot, pinned_since, taken_at, trouble) "
            "VALUES ('acme', ?, 'h1', ?, 'tiny', 67108864, ?, ?, ?, ?, ?)",
            (vm, VOLUME.format(vm), layers, snapshot, since, taken_at, trouble),
        )
    base.commit()
    base.close()
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    cli.app(["snapshots", *words, "-o", "json"], result_action="return_value")
    return json.loads(capsys.readouterr().out)


def test_every_disk_is_listed_with_what_is_pinned_of_it(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.exists()
    jobs, web = listed(capsys)
    assert (web["vm"], web["snapshot"], web["layers"], web["pinned_since"]) == (
        "web-1",
        VOLUME.format("web-1"),
        2,
        812,
    )
    assert (jobs["vm"], jobs["snapshot"], jobs["trouble"]) == ("jobs-1", None, "woke")


def test_one_pool_is_listed_alone_and_one_that_is_none_is_not_found(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.exists()
    assert [row["vm"] for row in listed(capsys, "acme/web")] == ["web-1"]
    code = cli.app(["snapshots", "acme/none"], result_action="return_value")
    assert code == EXIT_NOT_FOUND
    assert "no pool acme/none" in capsys.readouterr().err
