"""What `virtscale breakers`, `pools` and `hosts` show of VMs that fail, and of VMs that sleep on disk."""

import asyncio
import datetime as dt
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from events.breaker import BreakerOpened
from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import reader
from events.bus.port import Outgoing
from events.envelope import address
from events.registry import NEWEST
from projections.breakers.fold import Breakers
from projections.breakers.table import TABLES
from projections.keeper import Keeper
from projections.table import ALL, Cell
from tests.given import ORG, Past
from tests.rules import failing
from tests.support import eventually
from virtscale import cli
from virtscale.crew import VIEWS


async def keep(past: Past, path: Path) -> None:
    """The views of this past are in the file."""
    server = MemoryServer(time.time_ns, dedup_seconds=60.0)
    for line in past.lines:
        row = NEWEST[type(line.fact)]
        writer = f"{row.writer}-{getattr(line.fact, 'host', '')}" if row.per_host else row.writer
        event = address(line.fact, writer=writer, id=line.id, time=past.now, cause=None, correlation=line.id)
        server.put([Outgoing(event.subject, event.id, event.payload)], batch=False)
    ledger = Ledger(MemoryBus(server, reader("eye")))
    tasks = [asyncio.create_task(Keeper(ledger, path).work()), asyncio.create_task(ledger.follow())]

    def kept() -> bool:
        if not path.exists():
            return False
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
            return bool(base.execute("SELECT seq FROM progress").fetchone()[0] == server.ledger.last)

    await eventually(kept, why="the views do not catch up")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def shown(
    past: Past, where: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> list[dict[str, Any]]:
    """What the command says of this past, as JSON."""
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(where))
    asyncio.run(keep(past, where / VIEWS))
    cli.app([*words, "-o", "json"], result_action="return_value")
    return json.loads(capsys.readouterr().out)


def opened(past: Past, until: dt.datetime, name: str = "h1") -> None:
    past.happened(
        BreakerOpened(
            org=ORG,
            pool="web",
            scope="host",
            name=name,
            failures=3,
            code="domain-lost",
            opened_at=past.now,
            until=until,
        )
    )


def test_breakers_that_are_open_or_on_trial_are_listed_and_those_of_a_dead_host_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Past().contract().pool("web").host().host("h2").host("h3")
    long_ago, ahead = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
    for name, until in (("h1", long_ago), ("h2", ahead), ("h3", ahead)):
        opened(past, until, name)
    past.fenced("h3")
    rows = shown(past, tmp_path, monkeypatch, capsys, "breakers")
    assert [(row["name"], row["state"], row["failures"], row["code"]) for row in rows] == [
        ("h1", "on trial", 3, "domain-lost"),
        ("h2", "open", 3, "domain-lost"),
    ]


def test_a_row_of_the_breakers_changes_with_the_events_that_touch_it_and_with_no_other() -> None:
    past = failing.setting(vcpu=400).asleep("web", 8)
    failing.fail(past, 3)
    failing.opened(past)
    past.later(61)
    past.scale(add=2)
    for order, code in zip(past.answer()[1], ("domain-lost", "wake-refused"), strict=True):
        past.wake_failed(order.vm, code)
    failing.opened(past)
    (table,) = TABLES
    breakers = Breakers()

    def rows() -> dict[tuple[str, ...], tuple[Cell, ...] | None]:
        assert table.keys is not None
        return {key: table.row(breakers, key) for key in table.keys(breakers, ALL)}

    told: list[tuple[Cell, ...] | None] = []
    for line in past.lines:
        before = rows()
        breakers.apply(line)
        changed = [key for key, row in rows().items() if row != before.get(key)]
        assert set(changed) <= set(table.touched(line)), line.fact
        told += [rows()[key] for key in changed]
    assert [row[4:6] for row in told if row is not None] == [(3, "wake-refused"), (5, "wake-refused")]


def test_without_a_breaker_that_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(Past(), tmp_path, monkeypatch, capsys, "breakers") == []
    cli.app(["breakers"], result_action="return_value")
    assert capsys.readouterr().err == "No breaker is open.\n"


def test_pools_and_hosts_show_who_sleeps_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Past().contract().pool("web").host(memory_mib=2048).asleep("web", 3).serving("web", 1)
    past.save(paused=1)
    past.round()
    past.saved("web-1")
    (pool,) = shown(past, tmp_path, monkeypatch, capsys, "pools")
    assert (pool["vms"], pool["serving"], pool["quiesced"], pool["saved"], pool["other"]) == (4, 1, 2, 1, 0)
    cli.app(["hosts", "-o", "json"], result_action="return_value")
    (host,) = json.loads(capsys.readouterr().out)
    assert (host["awake"], host["asleep"], host["saved"], host["free_mib"]) == (1, 3, 1, 512)
