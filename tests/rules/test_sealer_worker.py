"""The sealer on a bus in memory: what it signs and when, and what it lets others do."""

import msgspec
import pytest

from events.bus.port import UnpermittedError
from events.ids import derive
from events.ledger import LedgerSealed
from events.tlog.reader import Archive
from services.sealer import compare, decide, metrics, worker
from services.sealer.telling import OWN
from tests.archive_files import ORIGIN, SIGNER, MemoryFiles
from tests.rules.desk import Desk, play
from tests.rules.sealer_desk import OVERDUE, Outgoing, checkpoint, fill, killed, root_of, said, sealer, writer
from tests.simulation.clock import pause


def test_everything_stored_is_signed_a_second_later_under_a_root_that_anyone_can_recompute() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 3)
        async with sealer(desk, files):
            await pause(1.2)
            sealed = checkpoint(files)
            assert sealed.root == root_of(desk.stored()[: sealed.size])
            assert sealed.size >= 3
            assert list(Archive(files).stored(1, 3)) == desk.stored()[:3]
            assert files.held["vkey"].decode().strip() == SIGNER.vkey

    play(scene)


def test_256_new_events_do_not_wait_for_the_second() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        async with sealer(desk, files):
            fill(desk, 255)
            await pause(0.5)
            assert "checkpoint" not in files.held
            fill(desk, 1)
            await pause(0.01)
            assert checkpoint(files).size == 256

    play(scene)


def test_the_ledger_says_what_is_sealed_hourly_and_only_when_something_else_is_new() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 5)
        async with sealer(desk, files):
            await pause(2)
            [first] = said(desk)
            fact = first.fact
            assert isinstance(fact, LedgerSealed)
            assert (fact.size, fact.root) == (5, root_of(desk.stored()[:5]).hex())
            assert fact.checkpoint.encode() == files.held["checkpoint"]
            await pause(7200)
            assert len(desk.stored()) == 6, "its own event alone is nothing new"
            assert checkpoint(files).size == 5
            fill(desk, 1)
            await pause(5)
            assert [one.seq for one in said(desk)] == [6, 8]
            fill(desk, 1)
            await pause(3000)
            assert len(said(desk)) == 2, "not oftener than hourly"
            fill(desk, 1)
            await pause(700)
            fill(desk, 1)
            await pause(5)
            assert len(said(desk)) == 3

    play(scene)


def test_a_sealer_that_starts_again_knows_from_the_ledger_when_it_spoke_last() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 5)
        for _ in range(3):
            async with sealer(desk, files):
                fill(desk, 1)
                await pause(3)
        assert len(said(desk)) == 1
        assert checkpoint(files).root == root_of(desk.stored())

    play(scene)


def test_everybody_writes_while_the_sealer_lives_and_nobody_past_the_lag_when_it_is_dead() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        gate = writer(desk)
        with pytest.raises(UnpermittedError):
            await gate.append(Outgoing(OVERDUE.format("v"), "before", b"{}"))
        async with sealer(desk, files):
            await pause(1)
            await gate.append(Outgoing(OVERDUE.format("v"), "while", b"{}"))
        await pause(5.1)
        with pytest.raises(UnpermittedError):
            await gate.append(Outgoing(OVERDUE.format("v"), "after", b"{}"))
        assert [one.id for one in desk.stored() if one.id in {"before", "while", "after"}] == ["while"]

    play(scene)


def test_a_full_disk_ends_permits_and_loses_nothing_and_room_brings_them_back() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        gate = writer(desk)
        async with sealer(desk, files):
            fill(desk, 300)
            await pause(2)
            before = checkpoint(files)
            files.full_after = files.changes
            fill(desk, 40)
            await pause(10)
            assert checkpoint(files) == before
            with pytest.raises(UnpermittedError):
                await gate.append(Outgoing(OVERDUE.format("v"), "full", b"{}"))
            files.full_after = None
            await pause(2)
            await gate.append(Outgoing(OVERDUE.format("v"), "room", b"{}"))
            await pause(2)
            assert checkpoint(files).root == root_of(desk.stored())

    play(scene)


@pytest.mark.parametrize("torn", [False, True], ids=["before the write", "after the write"])
def test_killed_at_any_write_the_sealer_starts_again_to_the_same_root(*, torn: bool) -> None:
    def lived(dies_after: int | None) -> int:
        """Two lives, of which the first dies after so many writes; how many there were in it."""
        files = MemoryFiles()
        files.torn, files.dies_after = torn, dies_after
        changes = 0

        async def scene() -> None:
            nonlocal changes
            desk = Desk()
            fill(desk, 250)
            deaths = 0
            for life in range(2):
                try:
                    async with sealer(desk, files):
                        for count in (3, 2, 300, 9):
                            fill(desk, count)
                            await pause(1.5)
                except BaseException:  # noqa: BLE001 - the files killed it, by what no program may catch
                    deaths += 1
                if life == 0:
                    changes, files.dies_after = files.changes, None
            assert deaths == (dies_after is not None)
            sealed = checkpoint(files)
            assert sealed.size == len(desk.stored())
            assert sealed.root == root_of(desk.stored())
            assert [*Archive(files).stored(1, sealed.size)] == desk.stored()

        play(scene)
        return changes

    writes = lived(None)
    assert writes >= 20
    for number in range(writes):
        lived(number)


def test_a_sealer_that_is_killed_leaves_no_mark_and_one_that_is_asked_to_end_seals_what_it_read() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 5)
        await killed(desk, files, 3)
        assert "stopped" not in files.held
        async with sealer(desk, files):
            assert "stopped" not in files.held
            fill(desk, 7)
            await pause(0.1)
        assert checkpoint(files).size == len(desk.stored())
        assert msgspec.json.decode(files.held["stopped"])["size"] == len(desk.stored())

    play(scene)


def test_noise_where_the_sealer_writes_neither_passes_for_its_word_nor_keeps_it_from_saying_it() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        desk.server.put([Outgoing(OWN, "", b"{}")], batch=False)
        async with sealer(desk, files):
            fill(desk, 3)
            await pause(3)
        assert [one.subject for one in desk.stored() if one.id == derive("ledger.sealed", ORIGIN, 4)] == [OWN]
        assert checkpoint(files).size == 4

    play(scene)


def test_a_store_that_is_filled_to_seventy_percent_raises_an_alarm_once_for_each_percent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def alarms() -> list[str]:
        return [record.getMessage() for record in caplog.records if "has filled" in record.getMessage()]

    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 100)
        store = desk.server.ledger
        async with sealer(desk, files):
            await pause(10)
            store.max_bytes = store.bytes * 100 // 69
            await pause(10)
            assert alarms() == []
            assert metrics.STORE_RATIO._value.get() == pytest.approx(0.69, abs=0.01)
            fill(desk, 2)
            await pause(10)
            assert len(alarms()) == 1
            fill(desk, 2)
            await pause(10)
            assert len(alarms()) == 2
        assert "virtscale ledger roll" in alarms()[-1]

    play(scene)


def test_the_age_of_the_last_whole_comparison_is_known_across_a_clean_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decide, "SCRUB_FIRST_EVENTS", 10)

    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 50)
        async with sealer(desk, files):
            await pause(100)
            assert 90 <= metrics.SCRUB_AGE._value.get() <= 101
            await pause(decide.SCRUB_EVERY_SECONDS - 90)
            assert metrics.SCRUB_AGE._value.get() <= 20, "all is compared daily"
        await pause(500)
        monkeypatch.setattr(compare, "_BREATH_SECONDS", 60.0)
        async with sealer(desk, files):
            await pause(10)
            assert 500 <= metrics.SCRUB_AGE._value.get() <= 600, "the new comparison has not ended"
            await pause(300)
            assert metrics.SCRUB_AGE._value.get() <= 300

    play(scene)


@pytest.mark.parametrize("size", [2, 3000])
def test_a_flood_of_the_sealers_own_word_stops_neither_its_reading_nor_its_sealing(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(worker, "MOST_WAITING", 500)
    monkeypatch.setattr(worker, "MOST_WAITING_BYTES", 1_000_000)

    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        async with sealer(desk, files):
            fill(desk, 5)
            await pause(3)
            for number in range(700):
                desk.server.put([Outgoing(OWN, f"n{number}", bytes(size))], batch=False)
            fill(desk, 3)
            await pause(5)
            assert checkpoint(files).size == desk.server.ledger.last
            await writer(desk).append(Outgoing(OVERDUE.format("v"), "on", b"{}"))

    play(scene)
