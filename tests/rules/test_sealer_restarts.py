"""What a sealer finds when the bus was restarted beside it: what it notices, and what it says of it."""

import msgspec
import pytest

from events.bus.port import AnotherLedgerError, BusError, Outgoing, UnpermittedError
from services.sealer import compare
from services.sealer.halt import (
    LedgerAlteredError,
    LedgerShorterError,
)
from tests.archive_files import MemoryFiles
from tests.rules.desk import Desk, play
from tests.rules.sealer_desk import (
    OVERDUE,
    checkpoint,
    fill,
    halted,
    root_of,
    sealer,
    writer,
)
from tests.simulation.clock import pause
from tests.simulation.older import go_back


def test_a_bus_that_comes_back_with_an_older_copy_while_the_sealer_lives_is_written_to_by_nobody() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        gate = writer(desk)
        async with halted(desk, files, LedgerShorterError):
            fill(desk, 20)
            await pause(2)
            await gate.append(Outgoing(OVERDUE.format("v"), "before", b"{}"))
            await pause(0.2)
            go_back(desk.server, desk.server.ledger, 1)
            with pytest.raises(UnpermittedError):
                await gate.append(Outgoing(OVERDUE.format("v"), "after", b"{}"))
        assert "after" not in [one.id for one in desk.stored()]

    play(scene)


def test_after_a_restart_of_the_bus_nobody_writes_until_its_end_was_compared_again() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        gate = writer(desk)
        async with sealer(desk, files):
            fill(desk, 20)
            await pause(2)
            desk.server.stop()
            await pause(1)
            desk.server.start()
            await gate.append(Outgoing(OVERDUE.format("v"), "goes on", b"{}"))
            await pause(2)
            assert checkpoint(files).root == root_of(desk.stored())

    play(scene)


@pytest.mark.parametrize("ago", [2, 100, 400], ids=["the last", "one of the end", "one further back"])
def test_what_differs_after_a_restart_halts_the_sealer_and_near_the_end_before_any_permit(ago: int) -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        gate = writer(desk)
        async with halted(desk, files, LedgerAlteredError, f"At sequence {602 - ago} "):
            fill(desk, 600)
            await pause(3)
            desk.server.stop()
            held = desk.server.ledger.messages
            held[-ago] = msgspec.structs.replace(held[-ago], payload=b"{}")
            desk.server.start()
            if ago < compare.END_EVENTS:
                with pytest.raises(UnpermittedError):
                    await gate.append(Outgoing(OVERDUE.format("v"), "after", b"{}"))
            await pause(3)

    play(scene)


def test_what_was_read_and_is_not_sealed_yet_is_compared_after_a_restart_too() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        async with halted(desk, files, LedgerAlteredError, "is not the one that was read before"):
            fill(desk, 20)
            await pause(3)
            fill(desk, 1)
            await pause(0.1)
            desk.server.stop()
            held = desk.server.ledger.messages
            held[-1] = msgspec.structs.replace(held[-1], payload=b"{}")
            desk.server.start()
            await pause(3)

    play(scene)


def test_another_stream_in_the_place_of_the_ledger_halts_the_sealer() -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        async with halted(desk, files, AnotherLedgerError):
            fill(desk, 20)
            await pause(2)
            desk.server.created = "another day"
            await pause(2)

    play(scene)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "read alone"])
def test_a_bus_that_comes_back_counting_what_it_does_not_give_halts_the_sealer(*, sealed: bool) -> None:
    async def scene() -> None:
        desk, files = Desk(), MemoryFiles()
        counted = 21 if sealed else 20  # what was sealed is told in the ledger
        said = f"counts {counted} events of the ledger and does not give event 19"
        async with halted(desk, files, BusError, said):
            fill(desk, 20)
            await pause(2 if sealed else 0.2)
            desk.server.stop()
            given = desk.server.read
            desk.server.read = lambda first, last: given(first, min(last, 18))
            desk.server.start()
            await pause(30)

    play(scene)
