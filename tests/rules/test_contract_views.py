"""The views of contracts, keys, freezes and hosts: what is shown is what the ledger says, rows that go included."""

import asyncio
import datetime as dt
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import reader
from events.bus.port import Outgoing
from events.contract import ContractVoided
from events.envelope import address
from events.fact import Fact
from events.freeze import ScalingFrozen, ScalingThawed
from events.host import HostCordoned, HostFenced, HostRegistered, HostRemoved
from events.ids import derive
from events.key import KeyRegistered, KeyRevoked
from events.registry import NEWEST
from projections.keeper import TABLES, Keeper
from schemas.contract.document import Signed
from schemas.contract.terms import NOTICE
from tests import papers
from tests.given import Past
from tests.papers import NOW
from tests.support import eventually
from virtscale.contracts.shelf import NothingSignedError, show_contracts

WHO: dict[str, Any] = {"actor": "root", "reason": "because"}


class Views:
    """A ledger in memory, and the file that a keeper writes from it."""

    def __init__(self, directory: Path) -> None:
        self.server = MemoryServer(time.time_ns, dedup_seconds=60.0)
        self.path = directory / "views.db"
        self._number = 0

    def write(self, fact: Fact) -> None:
        row = NEWEST[type(fact)]
        writer = f"{row.writer}-{getattr(fact, 'host', '')}" if row.per_host else row.writer
        self._number += 1
        name = derive("views", self._number)
        event = address(fact, writer=writer, id=name, time=NOW, cause=None, correlation=name)
        self.server.put([Outgoing(event.subject, event.id, event.payload)], batch=False)

    async def keep(self, path: Path) -> list[asyncio.Task[None]]:
        """A keeper follows the ledger into a file."""
        ledger = Ledger(MemoryBus(self.server, reader("eye")))
        keeper = Keeper(ledger, path)
        return [asyncio.create_task(keeper.work()), asyncio.create_task(ledger.follow())]

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """The table's rows, once the file includes the whole ledger."""
        await eventually(lambda: self._seq() == self.server.ledger.last, why="the views do not catch up")
        return self._read(f"SELECT * FROM {table}")

    def _seq(self) -> int:
        return self._read("SELECT seq FROM progress")[0]["seq"] if self.path.exists() else -1

    def _read(self, query: str, path: Path | None = None) -> list[dict[str, Any]]:
        base = sqlite3.connect(f"file:{path or self.path}?mode=ro", uri=True)
        base.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in base.execute(query)]
        finally:
            base.close()

    async def assert_rebuilt_is_the_same(self) -> None:
        """A file that is built anew holds what this one came to hold event by event."""
        for table in TABLES:
            await self.rows(table.name)
        fresh = self.path.with_name("fresh.db")
        tasks = await self.keep(fresh)
        await eventually(fresh.exists)
        for table in TABLES:
            query = f"SELECT * FROM {table.name}"
            assert self._read(query, fresh) == self._read(query), table.name
        await ended(tasks)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def views(tmp_path: Path) -> AsyncIterator[Views]:
    views = Views(tmp_path)
    tasks = await views.keep(views.path)
    yield views
    await ended(tasks)


async def test_a_document_goes_from_to_come_to_in_force_to_superseded_or_is_voided(views: Views) -> None:
    contract = papers.terms(valid_from=NOW, valid_until=NOW + 4 * NOTICE)
    second = papers.addendum(contract, NOW + NOTICE)
    third = papers.addendum(second, NOW + 2 * NOTICE)

    async def states() -> dict[int, str]:
        return {row["version"]: row["state"] for row in await views.rows("contracts")}

    views.write(papers.accepted(contract, NOW))
    views.write(papers.took_effect(contract))
    views.write(papers.accepted(second, NOW))
    views.write(papers.accepted(third, NOW))
    assert await states() == {1: "in-force", 2: "to-come", 3: "to-come"}
    views.write(papers.took_effect(second, NOW + NOTICE))
    fingerprint = papers.accepted(third, NOW).fingerprint
    views.write(
        ContractVoided(
            org="acme",
            fingerprint=fingerprint,
            contract=third.id,
            version=3,
            code="KeyRevoked",
            voided_at=NOW,
        )
    )
    assert await states() == {1: "superseded", 2: "in-force", 3: "voided"}
    rows = {row["version"]: row for row in await views.rows("contracts")}
    assert rows[2]["accepted_at"] == NOW.isoformat()
    assert rows[2]["effective_at"] == (NOW + NOTICE).isoformat()
    assert rows[3]["code"] == "KeyRevoked"
    assert rows[1]["signed_by"].startswith(f"provider {papers.public_key('platform')[:16]}, org ")
    await views.assert_rebuilt_is_the_same()


async def test_a_key_is_current_until_it_is_replaced_or_revoked(views: Views) -> None:
    first, second = papers.public_key("acme"), papers.public_key("acme-new")
    views.write(KeyRegistered(org="acme", public_key=first, former=None, registered_at=NOW))
    views.write(KeyRegistered(org="acme", public_key=second, former=first, registered_at=NOW))
    assert {row["key"]: row["state"] for row in await views.rows("signing_keys")} == {
        first: "replaced",
        second: "current",
    }
    views.write(KeyRevoked(org="acme", public_key=second, revoked_at=NOW, **WHO))
    rows = {row["key"]: row for row in await views.rows("signing_keys")}
    assert (rows[second]["state"], rows[second]["actor"]) == ("revoked", "root")
    await views.assert_rebuilt_is_the_same()


async def test_a_thaw_ends_a_freeze_and_both_say_who(views: Views) -> None:
    until = NOW + dt.timedelta(hours=2)
    for pool in ("web", None):
        views.write(ScalingFrozen(org="acme", pool=pool, frozen_at=NOW, until=until, **WHO))
    views.write(ScalingThawed(org="acme", pool="web", thawed_at=NOW, **WHO))
    assert {row["pool"]: row["until"] for row in await views.rows("freezes")} == {
        "": until.isoformat(),
        "web": NOW.isoformat(),
    }
    await views.assert_rebuilt_is_the_same()


def registered(name: str) -> HostRegistered:
    return HostRegistered(
        org="platform",
        host=name,
        uri="test:///default",
        libvirt_version=1,
        substrate="test",
        vcpu=16,
        memory_mib=4096,
        observed_at=NOW,
    )


async def test_a_file_that_is_swapped_in_has_its_write_ahead_log_so_that_no_reader_waits_for_the_writer(
    views: Views,
) -> None:
    await eventually(views.path.exists)
    assert views._read("PRAGMA journal_mode") == [{"journal_mode": "wal"}]


async def test_what_an_event_changes_without_naming_it_is_written_anew_and_what_is_gone_goes(
    views: Views,
) -> None:
    past = Past().contract().pool().host("h1").host("h2")
    past.serving("web", 2).asleep("web", 1)
    for line in past.lines:
        views.write(line.fact)
    [h1, h2] = await views.rows("hosts")
    assert (h1["state"], h1["awake"], h1["asleep"]) == ("ready", 2, 1)
    assert h1["free_mib"] == h1["memory_mib"] - 3 * 512
    assert (h2["awake"], h2["asleep"], h2["free_mib"]) == (0, 0, h2["memory_mib"])
    assert [row["used"] for row in await views.rows("usage") if row["dimension"] == "vcpu"] == [4]

    views.write(HostCordoned(org="platform", host="h1", cordoned_at=NOW, **WHO))
    assert [row["state"] for row in await views.rows("hosts")] == ["cordoned", "ready"]

    views.write(HostFenced(org="platform", host="h1", fenced_at=NOW, **WHO))
    assert {row["state"] for row in await views.rows("vms")} == {"stopped"}
    assert [row["used"] for row in await views.rows("usage") if row["dimension"] == "vcpu"] == [0]
    [h1, _] = await views.rows("hosts")
    assert (h1["state"], h1["awake"], h1["asleep"], h1["free_mib"]) == ("fenced", 0, 0, h1["memory_mib"])

    views.write(HostRemoved(org="platform", host="h1", removed_at=NOW, **WHO))
    assert [row["host"] for row in await views.rows("hosts")] == ["h2"]
    await views.assert_rebuilt_is_the_same()
    views.write(registered("h1"))
    assert [row["host"] for row in await views.rows("hosts")] == ["h1", "h2"]


async def test_what_expired_was_never_signed_or_is_void_is_said_plainly(
    views: Views, capsys: pytest.CaptureFixture[str]
) -> None:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    over = papers.terms("over", valid_from=now - NOTICE, valid_until=now)
    bare = papers.terms("bare", valid_from=now - NOTICE, valid_until=now + NOTICE)
    late = papers.terms("late", valid_from=now - NOTICE, valid_until=now + 3 * NOTICE)
    void = papers.addendum(late, now + NOTICE)
    views.write(papers.took_effect(over, now - NOTICE))
    unsigned = papers.took_effect(bare, now)
    views.write(replace(unsigned, document=Signed(unsigned.document.text, ())))
    views.write(papers.took_effect(late, now))
    coming = papers.accepted(void, now)
    views.write(coming)
    await views.rows("contracts")
    directory = views.path.parent
    assert show_contracts(directory, None, "table") == 0
    said = capsys.readouterr()
    assert "over: over-2026 version 1 expired at" in said.err
    assert "bare: bare-2026 version 1 was never signed: nothing grows by it" in said.err
    assert "late: late-2026 version 2 takes effect at" in said.err
    assert "in 29 days" in said.err or "in 30 days" in said.err
    ruling = ContractVoided(
        org="late",
        fingerprint=coming.fingerprint,
        contract=void.id,
        version=2,
        code="KeyRevoked",
        voided_at=now,
    )
    views.write(ruling)
    await views.rows("contracts")
    assert show_contracts(directory, "late", "table") == 0
    said = capsys.readouterr()
    assert "late-2026 version 2 was voided (KeyRevoked) and will not take effect" in said.err
    assert "vcpu          10 vCPU  10 %       11 vCPU      yes" in said.out
    assert said.out.count("no: signed for, not metered yet") == 2
    with pytest.raises(NothingSignedError):
        show_contracts(directory, "nobody", "table")
