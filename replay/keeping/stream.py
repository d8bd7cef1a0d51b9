"""The ledger's stream made anew behind what is archived, step by step, each of which may be done already."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from events import durable
from events.bus import streams, wire
from events.bus.permissions import LEDGER, STREAM_INFO
from events.bus.port import Bus, Outgoing
from events.tlog.files import DirectoryFiles
from events.tlog.reader import Archive
from replay.keeping import intent as intents
from replay.keeping.archived import lacking
from replay.keeping.intent import Intent, KeepingError

STREAM_DELETE: Final = f"$JS.API.STREAM.DELETE.{LEDGER}"
STORE: Final = "store"
"""The directory of the bus's files, in the directory of the bus."""

_SECONDS: Final = 30.0  # the server answers once gigabytes of blocks are unlinked


class _Deleted(msgspec.Struct, frozen=True):
    error: wire.ApiError | None = None


def set_aside(intent: Intent | None, bus: Path) -> None:
    """The old store lies under the name that it is to be kept under, if it is; to be done before the bus starts."""
    if intent is None or not intent.aside:
        return
    kept, store = bus / intent.aside, bus / STORE
    if store.exists() and not kept.exists():
        store.rename(kept)
        durable.sync(bus)


async def stand(
    directory: Path,
    audit: Path,
    marks: Path,
    admin: Bus,
    sealer: Callable[[], Awaitable[Bus]],
    *,
    warn: Callable[[str], None],
) -> Intent | None:
    """The ledger's stream is there, and what was under way is done; what that was.

    `sealer` gives a new connection of the user who may write the first events, and `warn` is told what somebody should know. Raises `KeepingError` when the stream is
    gone and nobody has said that it may be, or is not all there yet: an empty one in its place would be another ledger.
    """
    intents.require_whole(directory)
    intent = intents.read(directory)
    if intent is not None:
        await _carry_out(intent, audit, admin, sealer)
        if intent.forget_marks:
            _forget(marks)
        intents.forget(directory)
        return intent
    archived = Archive(DirectoryFiles(audit)).size
    if archived and await described(admin) is None:
        raise KeepingError(
            "LedgerGone",
            f"The archive {audit} holds {archived} events and the bus holds no ledger: its store was lost or emptied. "
            "Nothing was started. Put the store back, or run `virtscale ledger recover`.",
        )
    await found_again(admin, warn)
    return None


async def found_again(admin: Bus, warn: Callable[[str], None]) -> None:
    """The ledger's stream is there, with whatever messages lie in its store; a new and empty one where none do.

    A server that cannot read a stream's description starts without the stream. Defined anew, it finds the messages again, and
    counts as another stream: whoever followed the former one has to start again.
    """
    lost = await described(admin) is None
    await streams.establish(admin)
    info = await described(admin) if lost else None
    if info is not None and info.state.last_seq:
        warn(
            f"the bus had lost the description of the ledger's stream, and found its messages up to {info.state.last_seq} again: "
            "its store was damaged. `virtscale ledger verify` compares them with what was sealed; look at the disk"
        )


def _forget(marks: Path) -> None:
    for mark in marks.glob("*.json"):
        mark.unlink(missing_ok=True)


async def _carry_out(intent: Intent, audit: Path, admin: Bus, sealer: Callable[[], Awaitable[Bus]]) -> None:
    info = await described(admin)
    if info is None or wire.began(info) != intent.size + 1:
        await _require_archived(intent, audit)
    if info is not None and wire.began(info) != intent.size + 1:
        if intent.last_seq is not None and info.state.last_seq != intent.last_seq:
            raise KeepingError(
                "LedgerWentOn",
                f"The ledger was to be {intent.what} behind sequence {intent.last_seq}, and it has gone on to "
                f"{info.state.last_seq} since. Nothing was deleted. Remove {intents.FILE} from the house, and begin again.",
            )
        answer = msgspec.json.decode(await admin.ask(STREAM_DELETE, b"", _SECONDS), type=_Deleted)
        if answer.error is not None:
            raise wire.refusal(answer.error, "the deletion of the old stream")
    await streams.establish(admin, first_seq=intent.size + 1, timeout_seconds=_SECONDS)
    writer = await sealer()
    try:
        done = await writer.last() - intent.size
        for line in intent.lines[max(done, 0) :]:
            await writer.append(Outgoing(line.subject, line.id, line.payload.encode()))
    finally:
        await writer.close()


async def _require_archived(intent: Intent, audit: Path) -> None:
    """Every event that the old stream's deletion leaves to the archive is there, under the root that was written down.

    It was so when that was written; since then a power cut may have come, and the archive's disk not with the rest.
    """
    why = await asyncio.to_thread(lacking, DirectoryFiles(audit), intent.size, bytes.fromhex(intent.root))
    if why:
        raise KeepingError(
            "ArchiveUnsound",
            f"The ledger was to be {intent.what} behind sequence {intent.size}, and the archive {audit} does not hold what "
            f"comes before: {why} Nothing was deleted. Mount its disk, or put the archive back from a backup; then begin again.",
        )


async def described(admin: Bus) -> wire.StreamInfo | None:
    """The ledger's stream as the server describes it; None when there is none."""
    info = wire.stream_info(await admin.ask(STREAM_INFO.format(LEDGER), b"", _SECONDS))
    if info.error is None:
        return info
    if info.error.err_code == wire.NO_STREAM:
        return None
    raise wire.refusal(info.error, "a look at the ledger")
