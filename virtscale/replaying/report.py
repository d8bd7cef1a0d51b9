"""The command `virtscale replay report`."""

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated, Final

import uvloop
from cyclopts import App, Parameter

from virtscale.exits import EXIT_DONE
from virtscale.history import From
from virtscale.invocation import UsageError, here
from virtscale.progress import Progress
from virtscale.replaying.outputs import drafted, writing
from virtscale.show import Format, say, show

_USUAL: Final = Path("engineering.html")


def register(app: App) -> None:
    """The command is part of the group."""
    app.command(report)


def report(
    *,
    source: From = None,
    output: Annotated[Path, Parameter(name="--output", help="the file to write")] = _USUAL,
    checkpoint: Annotated[
        Path | None,
        Parameter(help="a checkpoint that somebody kept, to compute it from; the ledger's newest if absent"),
    ] = None,
    vkey: Annotated[
        Path | None,
        Parameter(
            name="--vkey",
            help="file with the public key that you trust; the one beside the ledger if absent",
        ),
    ] = None,
    clients: Annotated[
        Path | None,
        Parameter(help="what users counted of this ledger's pools, as `virtscale demo day` writes it"),
    ] = None,
    form: Annotated[
        Format, Parameter(name=["-o", "--format"], help="table for people, json for programs")
    ] = "table",
) -> int:
    """Write the engineering page, computed from the sealed ledger alone, and show its figures.

    The same ledger and the same checkpoint give the same bytes.
    """
    from events.tlog.reader import Archive
    from replay.figures.clients import read
    from replay.page.whole import Seal
    from replay.report import report as make
    from replay.report import rows
    from replay.source import ArchiveSource
    from virtscale.audit.places import archive_of, key_of
    from virtscale.history import ExportError

    seen = None if clients is None else read(_bytes(clients, "clients' file"))
    with (
        drafted(output, clients, checkpoint, vkey) as draft,
        archive_of(source) as (files, _),
        Progress("report") as told,
    ):
        archive = Archive(files)
        note = archive.checkpoint_note() if checkpoint is None else _kept(checkpoint)
        if note is None:
            raise ExportError(
                f"{source or here()} holds no checkpoint that a report could be computed from: name with --from what "
                "`virtscale ledger export` wrote, or start the house and have its sealer seal."
            )
        seal = Seal(note, key_of(vkey, files).vkey)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured, page = runner.run(make(ArchiveSource(archive), seal, told, seen))
        data = page.encode()
        with writing(output):
            draft.write_bytes(data)
    say(
        f"{output}: {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}, from events 1 to "
        f"{measured.checkpoint.size:,} of {measured.checkpoint.origin}"
    )
    show(rows(measured, seen), form)
    return EXIT_DONE


def _kept(path: Path) -> str:
    try:
        return _bytes(path, "checkpoint").decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"The checkpoint {path} cannot be read: {error}.") from error


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"The {what} {path} cannot be read: {error}.") from error
