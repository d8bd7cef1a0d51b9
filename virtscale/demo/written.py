"""What stays of a run: the engineering page from its ledger, and beside it what its users saw."""

from pathlib import Path
from typing import Final

import msgspec

from events.tlog.files import Files
from events.tlog.reader import Archive
from replay.audit.verify import verifier_of
from replay.figures.clients import Clients
from replay.page.whole import Seal
from replay.report import report
from replay.source import ArchiveSource

PAGE: Final = "report.html"
CLIENTS: Final = "clients.json"


def write_clients(directory: Path, seen: Clients) -> Path:
    """The file is there."""
    path = directory / CLIENTS
    path.write_bytes(msgspec.json.format(msgspec.json.encode(seen), indent=2) + b"\n")
    return path


async def write_page(directory: Path, files: Files, seen: Clients | None) -> str:
    """The page of everything that was sealed is there; the sentence says of how much. Nothing is written of an empty log."""
    archive = Archive(files)
    note = archive.checkpoint_note()
    if note is None:
        return "nothing was sealed yet, so there is nothing to report"
    measured, page = await report(ArchiveSource(archive), Seal(note, verifier_of(files).vkey), clients=seen)
    if not measured.checkpoint.size:
        return "nothing has happened yet, so there is nothing to report"
    path = directory / PAGE
    path.write_text(page, encoding="utf-8")
    return f"{path}: the engineering page, from events 1 to {measured.checkpoint.size:,} of this run's ledger"
