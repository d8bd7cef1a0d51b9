"""What a sealer finds at its start: what it notices, and what it says of it."""

import asyncio
import errno

import msgspec
import pytest
from nacl.signing import SigningKey

from events.bus.port import BusError, Outgoing, Stored, UnpermittedError
from events.tlog.note import Signer
from events.tlog.tiles import bundle_path, tile_path
from services.sealer import decide
from services.sealer.halt import (
    ArchiveAlteredError,
    ArchiveMissingError,
    ArchiveUnreachableError,
    LedgerAlteredError,
    LedgerShorterError,
    OriginDiffersError,
    SealKeyError,
)
from tests.archive_files import ORIGIN, SIGNER, MemoryFiles
from tests.rules.desk import Desk, play
from tests.rules.sealer_desk import (
    OVERDUE,
    archive_over,
    checkpoint,
    disturb,
    fill,
    flipped,
    halted,
    halts,
    killed,
    past,
    root_of,
    sealer,
    sealer_of,
    writer,
)
from tests.simulation.clock import pause
from tests.simulation.older import go_back


def test_an_event_that_was_altered_in_the_store_is_found_before_the_first_permit() -> None:
    async def scene() -> None:
        desk, files = await past()
        held = desk.server.ledger.messages
        held[41] = msgspec.structs.replace(held[41], payload=b'{"n":43}')
        await halts(desk, files, LedgerAlteredError, "At sequence 42 the bus holds another message")

    play(scene)


@pytest.mark.parametrize("field", ["stored_ns", "subject", "id", "payload"])
def test_whatever_of_an_event_was_altered_is_found(field: str) -> None:
    async def scene() -> None:
        desk, files = await past(20)
        held = desk.server.ledger.messages
        other = {"stored_ns": 5, "subject": "vs.other", "id": "other", "payload": b"other"}[field]
        held[7] = msgspec.structs.replace(held[7], **{field: other})
        await halts(desk, files, LedgerAlteredError, "At sequence 8 ")

    play(scene)


def test_a_bus_with_an_older_copy_of_its_store_halts_the_start() -> None:
    async def scene() -> None:
        desk, files = await past(20)
        size = checkpoint(files).size
        go_back(desk.server, desk.server.ledger, desk.server.ledger.last - 12)
        await halts(desk, files, LedgerShorterError, f"ends with event 12, and {size} events were sealed")

    play(scene)


@pytest.mark.parametrize("missing", [1, 251])
def test_a_bus_that_counts_what_it_does_not_give_halts_the_start_with_the_first_that_is_missing(
    missing: int,
) -> None:
    async def scene() -> None:
        desk, files = await past()
        given = desk.server.read

        def read(first: int, last: int) -> list[Stored]:
            return given(first, min(last, missing - 1)) if first < missing else []

        desk.server.read = read
        sentence = f"counts 301 events of the ledger and does not give event {missing}: its store is damaged"
        async with asyncio.timeout(30):
            await halts(desk, files, BusError, sentence)

    play(scene)


def test_a_bus_that_is_away_for_long_during_the_start_is_waited_for() -> None:
    async def scene() -> None:
        desk, files = await past()
        desk.server.stop()
        async with sealer(desk, files):
            await pause(60)
            desk.server.start()
            await writer(desk).append(Outgoing(OVERDUE.format("v"), "goes on", b"{}"))

    play(scene)


@pytest.mark.parametrize("path", [tile_path(0, 1, 44), tile_path(1, 0, 1)])
def test_a_tile_that_was_altered_is_refused(path: str) -> None:
    async def scene() -> None:
        desk, files = await past()
        assert checkpoint(files).size == 300
        flipped(files, path)
        await halts(desk, files, ArchiveAlteredError, "is not as it was sealed")

    play(scene)


def test_a_tile_in_the_middle_of_the_archive_is_compared_as_well() -> None:
    async def scene() -> None:
        desk, files = await past()
        flipped(files, tile_path(0, 0), at=32 * 99)
        await halts(desk, files, LedgerAlteredError, r"At sequence 100 .* its tile was altered")

    play(scene)


def test_a_tile_that_is_gone_is_named() -> None:
    async def scene() -> None:
        desk, files = await past()
        del files.held[tile_path(0, 0)]
        await halts(desk, files, ArchiveAlteredError, "lacks tile/0/000")

    play(scene)


def test_the_entries_at_the_archives_end_are_looked_at_since_they_are_written_again() -> None:
    async def scene() -> None:
        desk, files = await past()
        flipped(files, bundle_path(1, 44), at=40)
        await halts(desk, files, ArchiveAlteredError, "is not as it was sealed")

    play(scene)


def test_an_archive_that_is_gone_is_not_begun_anew_and_gets_no_key() -> None:
    async def scene() -> None:
        desk, _ = await past(20)
        asked: list[bool] = []
        one = sealer_of(desk, MemoryFiles())
        one._key = lambda first: asked.append(first) or SIGNER
        with pytest.raises(ArchiveMissingError, match="is empty, and event 21 of the ledger says"):
            await one.work()
        assert asked == []

    play(scene)


@pytest.mark.parametrize("noise", [1, 600])
@pytest.mark.parametrize("id", ["", "copied"], ids=["without an id", "with an id"])
def test_what_stands_behind_the_ledgers_own_word_does_not_hide_that_the_archive_is_gone(
    noise: int, id: str
) -> None:
    async def scene() -> None:
        desk, _ = await past(20)
        disturb(desk, noise, id)
        await halts(desk, MemoryFiles(), ArchiveMissingError, "is empty, and event 21 of the ledger says")

    play(scene)


def test_another_key_than_the_one_that_signed_is_refused() -> None:
    async def scene() -> None:
        desk, files = await past(20)
        other = Signer(ORIGIN, SigningKey(bytes(32)))
        await halts(desk, files, SealKeyError, "was not signed by this house's key", other)

    play(scene)


def test_the_archive_of_another_log_is_refused() -> None:
    async def scene() -> None:
        desk, files = await past(20)
        other = Signer("ledger.example/west", SigningKey(bytes(32)))
        await halts(
            desk, files, OriginDiffersError, "is the log ledger.example/east, and this house's is", other
        )

    play(scene)


def test_a_checkpoint_that_was_altered_is_refused() -> None:
    async def scene() -> None:
        desk, files = await past(20)
        note = files.held["checkpoint"].decode()
        files.held["checkpoint"] = note.replace("\n20\n", "\n19\n").encode()
        assert files.held["checkpoint"].decode() != note
        await halts(desk, files, SealKeyError, "does not fit its text")

    play(scene)


def test_an_archive_put_back_from_a_backup_meets_again_what_the_ledger_says_was_sealed() -> None:
    async def scene() -> None:
        desk, _ = await past(20)
        backup = archive_over(desk.stored()[:12])
        fill(desk, 10)
        async with sealer(desk, backup):
            await pause(3)
            await writer(desk).append(Outgoing(OVERDUE.format("v"), "on", b"{}"))
        assert checkpoint(backup).root == root_of(desk.stored())

    play(scene)


@pytest.mark.parametrize("noise", [0, 1])
def test_a_past_that_was_rewritten_behind_an_older_archive_does_not_meet_the_ledgers_own_word(
    noise: int,
) -> None:
    async def scene() -> None:
        desk, _ = await past(20)
        disturb(desk, noise)
        older = archive_over(desk.stored()[:3])
        held = desk.server.ledger.messages
        held[4] = msgspec.structs.replace(held[4], payload=b"{}")
        gate = writer(desk)
        async with halted(desk, older, LedgerAlteredError, "Events 1 to 20 are not what was sealed"):
            with pytest.raises(UnpermittedError):
                await gate.append(Outgoing(OVERDUE.format("v"), "after", b"{}"))
        assert checkpoint(older).size == 3, "no checkpoint was signed over another past"

    play(scene)


@pytest.mark.parametrize("clean", [True, False])
def test_a_large_ledger_is_compared_whole_before_the_first_permit_only_after_an_unclean_stop(
    monkeypatch: pytest.MonkeyPatch, *, clean: bool
) -> None:
    monkeypatch.setattr(decide, "SCRUB_FIRST_EVENTS", 100)

    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 600)
        if clean:
            async with sealer(desk, files):
                await pause(3)
        else:
            await killed(desk, files, 3)
        held = desk.server.ledger.messages
        held[41] = msgspec.structs.replace(held[41], payload=b"{}")
        if clean:
            async with halted(desk, files, LedgerAlteredError, "At sequence 42 "):
                await pause(3)
        else:
            await halts(desk, files, LedgerAlteredError, "At sequence 42 ")

    play(scene)


def test_a_mark_of_another_day_spares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "SCRUB_FIRST_EVENTS", 100)

    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 300)
        async with sealer(desk, files):
            await pause(3)
        mark = files.held["stopped"]
        fill(desk, 300)
        await killed(desk, files, 3)
        files.held["stopped"] = mark
        held = desk.server.ledger.messages
        held[41] = msgspec.structs.replace(held[41], payload=b"{}")
        await halts(desk, files, LedgerAlteredError, "At sequence 42 ")

    play(scene)


def test_history_that_only_the_archive_holds_is_compared_with_its_own_tiles() -> None:
    async def scene() -> None:
        desk, files = await past(600)
        whole = checkpoint(files).size
        desk.server.stop()
        desk.server.begin_anew(whole)
        desk.server.start()
        async with sealer(desk, files):
            fill(desk, 3)
            await pause(3)
        assert checkpoint(files).size > whole
        flipped(files, bundle_path(0), at=60)
        await halts(desk, files, ArchiveAlteredError, "The archive's entry of event 1 is not the one")

    play(scene)


def test_a_disk_that_gives_or_takes_nothing_at_the_start_is_said_in_a_sentence() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        fill(desk, 20)
        async with sealer(desk, files):
            await pause(3)
        assert "stopped" in files.held

        def denied(path: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        files.remove = denied
        await halts(
            desk, files, ArchiveUnreachableError, r"could not be opened: Permission denied \(stopped\)"
        )

    play(scene)


def test_a_checkpoint_that_the_disk_does_not_give_is_said_in_a_sentence() -> None:
    async def scene() -> None:
        desk, files = await past(20)

        def broken(path: str) -> bytes | None:
            raise OSError(errno.EIO, "Input/output error", path)

        files.read = broken
        await halts(
            desk, files, ArchiveUnreachableError, r"could not be opened: Input/output error \(checkpoint\)"
        )

    play(scene)
