"""The engineering page from a sealed ledger: what was measured, on one page, with what it was computed from."""

from events.tlog.checkpoint import Checkpoint, opened
from events.tlog.note import Verifier
from replay.figures.clients import Clients
from replay.figures.measured import Measured, measure
from replay.figures.trips import STEPS
from replay.history import Told
from replay.page.nine import figures
from replay.page.whole import Seal, page
from replay.source import Source


def claimed(seal: Seal) -> Checkpoint:
    """The checkpoint in the note, which the key signed. Raises `NoteError`."""
    return opened(seal.note, Verifier.parse(seal.vkey))


async def report(
    source: Source, seal: Seal, told: Told | None = None, clients: Clients | None = None
) -> tuple[Measured, str]:
    """What was measured, and the page. Raises `SealError` where the source is not what the checkpoint is of.

    `clients` are what users counted of this ledger's pools; nobody sealed them, and the page says so.

    `NoteError` for a checkpoint that cannot be read or that the key did not sign; and as `replay.history.fold`.
    """
    measured = await measure(source, claimed(seal), told)
    return measured, page(measured, seal, clients)


def rows(measured: Measured, clients: Clients | None = None) -> list[dict[str, object]]:
    """The nine figures and the steps of the budget, for a table or a program."""
    found: list[dict[str, object]] = [
        {"figure": one.name, "value": one.value or "no data", "note": one.note}
        for one in figures(measured, clients)
    ]
    for step in STEPS:
        took = measured.trips.quantiles(step)
        value = "no data" if took is None else f"{took.p50_ms:.1f} ms p50, {took.p99_ms:.1f} ms p99"
        found.append({"figure": step, "value": value, "note": f"{0 if took is None else took.count:,} trips"})
    return found
