"""What a command that replays reads from, and up to where: the running house's ledger, or an export of one."""

import datetime as dt
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from schemas.house import House
from virtscale.invocation import UsageError, present_house

if TYPE_CHECKING:  # half of the time in which a command starts that reads no ledger
    from replay.source import Source

From = Annotated[
    Path | None,
    Parameter(name="--from", help="an export, or a sealer's directory, to read instead of the running bus"),
]
Place = Annotated[str, Parameter(help="a ledger sequence, or an instant such as 2026-11-22T03:14:05Z")]


class ExportError(Exception):
    """What `--from` names is no archive of a ledger."""

    code = "ExportUnreadable"


def place(text: str) -> int | dt.datetime:
    """The sequence or the instant that was written; an instant without an offset is UTC, as everything here."""
    try:
        if text.isascii() and text.isdecimal():
            return int(text)
        moment = dt.datetime.fromisoformat(text)
        # In UTC an instant at either end of the calendar may lie beyond it.
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!a:.60} is no place in the ledger: write a sequence, or an instant such as 2026-11-22T03:14:05Z."
        ) from error


@asynccontextmanager
async def opened_source(
    export: Path | None = None, house: Callable[[], House] = present_house
) -> AsyncGenerator["Source"]:
    """The archive at `export`, a directory or a tar, or with None the ledger of the house, read as the operator.

    Of a house what was sealed is read from its audit log, and the rest from the bus.
    """
    from events.tlog.files import DirectoryFiles
    from events.tlog.reader import Archive
    from replay.audit.tarred import files_at
    from replay.source import ArchiveSource, BusSource, JoinedSource

    if export is None:
        from virtscale.ask import operator

        place = house()
        async with operator(place) as bus:
            sealed = Archive(DirectoryFiles(Path(place.audit))) if place.audit else None
            if sealed is not None and sealed.checkpoint_note() is not None:
                yield JoinedSource(sealed, bus)
            else:
                yield BusSource(bus)
        return
    with files_at(export) as files:
        archive = Archive(files)
        if archive.checkpoint_note() is None:
            raise ExportError(
                f"{export} holds no archive of a ledger: there is no checkpoint in it. Name what "
                "`virtscale ledger export` wrote."
            )
        yield ArchiveSource(archive)
