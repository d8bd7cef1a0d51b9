"""An archive copied for somebody else, into a directory or a tar, so that it can be read without anything of ours.

The checkpoint is written last: what has none was cut short. Whatever was written before an interruption is compared and kept,
never written over: a file that is there with other bytes belongs to another ledger, or was altered.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

import schemas
from events.tlog.checkpoint import Checkpoint, opened
from events.tlog.files import DirectoryFiles, Files
from events.tlog.note import NoteError, Verifier
from events.tlog.reader import CHECKPOINT, VKEY
from events.tlog.tiles import TileError
from replay.audit.contents import contents
from replay.audit.format import README
from replay.audit.hashed import Told
from replay.audit.tarred import TarFiles, members
from schemas.struct import Value

PART: Final = ".part"
"""What the name of a tar ends with that is not whole yet."""

_SCHEMAS: Final = Path(next(iter(schemas.__path__))) / "generated"


class ExportRefusedError(Exception):
    """The archive cannot be exported, or not to there; the sentence says what to do."""

    code = "ExportRefused"


class Exported(Value, frozen=True):
    """What an export holds now, and how much of it this run wrote."""

    origin: str
    size: int
    root: str
    files: int
    written: int
    kept: int
    """Files that an earlier run had written."""


@dataclass(frozen=True, slots=True)
class _Source:
    """The archive as it is under one checkpoint, and who hears how many events of it are copied."""

    files: Files
    verifier: Verifier
    checkpoint: Checkpoint
    note: bytes
    told: Told | None

    def tell(self, done: int) -> None:
        if self.told is not None:
            self.told(done, self.checkpoint.size)

    def contents(self) -> Iterator[tuple[str, bytes, int]]:
        """Path and bytes of every file, the checkpoint last, and how many events are done with it."""
        yield VKEY, f"{self.verifier.vkey}\n".encode(), 0
        for path in [*sorted(_SCHEMAS.glob("*.v*.json")), _SCHEMAS / "envelope.json"]:
            yield f"schemas/{path.name}", path.read_bytes(), 0
        yield from contents(self.files, self.checkpoint.size)
        size = self.checkpoint.size
        readme = README.format(size=f"{size:,}", origin=self.checkpoint.origin)
        yield "README.md", readme.encode(), size
        yield CHECKPOINT, self.note, size


def export(files: Files, verifier: Verifier, target: Path, told: Told | None = None) -> Exported:
    """The archive is in `target` under the checkpoint that it has now: a tar where that is named `*.tar`, else a directory.

    Safe to interrupt and to repeat: the next run goes on. A later run brings a directory up to the newer checkpoint. The bytes
    are copied, not judged: `verify` does that. Raises `ExportRefusedError` where something else is in the way.
    """
    note = files.read(CHECKPOINT)
    if note is None:
        raise ExportRefusedError(
            "There is no checkpoint yet, so nothing can be exported: is the sealer running?"
        )
    try:
        checkpoint = opened(note, verifier)
    except NoteError as error:
        raise ExportRefusedError(
            f"The archive's checkpoint is not believed, so nothing was exported: {error}"
        ) from error
    source = _Source(files, verifier, checkpoint, note, told)
    try:
        written, kept = (_into_tar if target.name.endswith(".tar") else _into_directory)(source, target)
    except TileError as error:
        raise ExportRefusedError(
            f"{error} The archive is damaged, and nothing was finished. `virtscale ledger verify` says what of it holds."
        ) from error
    except OSError as error:
        raise ExportRefusedError(
            f"The disk did not take the export into {target}: {error.strerror or error}. What was written stays; make room, and "
            "the same command goes on where it stopped."
        ) from error
    return Exported(
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        files=written + kept,
        written=written,
        kept=kept,
    )


def _into_directory(source: _Source, target: Path) -> tuple[int, int]:
    """How many files were written, and how many were there."""
    if target.exists() and not target.is_dir():
        raise ExportRefusedError(
            f"{target} is a file: name a directory, or a file whose name ends with .tar."
        )
    there = DirectoryFiles(target)
    _refuse_other(there, source, target)
    written = kept = 0
    names: set[str] = set()
    for path, data, done in source.contents():
        present = there.read(path)
        if present == data:
            kept += 1
        elif present is not None and path.startswith("tile/"):
            raise ExportRefusedError(
                f"{target / path} is there and is not what the archive holds: it is of another ledger, or was altered. "
                "Nothing was written over; export to an empty place."
            )
        else:
            there.write(path, data)
            written += 1
        names.add(path)
        source.tell(done)
    for path in there.listed("tile"):
        if path not in names:  # a partial tile of an earlier, shorter export
            there.remove(path)
    return written, kept


def _refuse_other(there: Files, source: _Source, target: Path) -> None:
    """What lies there, if anything, is an earlier export of this ledger or a part of one."""
    note = there.read(CHECKPOINT)
    if note is None:
        if there.listed("") and there.read(VKEY) is None:
            raise ExportRefusedError(
                f"{target} holds other files; name an empty place, or one that does not exist."
            )
        return
    try:
        before = opened(note, source.verifier)
    except NoteError as error:
        raise ExportRefusedError(
            f"{target} holds the export of another ledger, or of another key: {error}"
        ) from error
    if before.size > source.checkpoint.size:
        raise ExportRefusedError(
            f"{target} holds {before.size:,} events and the archive {source.checkpoint.size:,}: the archive is the older one. "
            "Nothing was written."
        )


def _into_tar(source: _Source, target: Path) -> tuple[int, int]:
    """Written beside under another name, member by member, and renamed when it is whole.

    What an interrupted run left is kept as far as its members are the ones that come now, in their order.
    """
    if target.exists():
        _refuse_other_tar(source, target)
    part = target.with_name(target.name + PART)
    with part.open("r+b" if part.exists() else "w+b") as tar:
        wanted = source.contents()
        missing: list[tuple[str, bytes, int]] = []
        kept = end = 0
        for name, at, size in list(members(tar, part.stat().st_size)):
            following = next(wanted, None)
            if following is None:
                break
            if following[0] != name or _at(tar, at, size) != following[1]:
                missing.append(following)
                break
            kept, end = kept + 1, at + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            source.tell(following[2])
        tar.truncate(end)
        tar.seek(end)
        written = 0
        with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as writing:
            for path, data, done in chain(missing, wanted):
                member = tarfile.TarInfo(path)
                member.size, member.mode = len(data), 0o644
                writing.addfile(member, io.BytesIO(data))
                written += 1
                source.tell(done)
        tar.flush()
        os.fsync(tar.fileno())
    part.replace(target)
    return written, kept


def _refuse_other_tar(source: _Source, target: Path) -> None:
    """What the new tar would replace is an earlier export of this ledger, or an empty file."""
    with target.open("rb") as tar:
        length = target.stat().st_size
        there = TarFiles(tar, length)
        if length and not there.listed(""):
            raise ExportRefusedError(f"{target} is there and is no export; name a file that does not exist.")
        _refuse_other(there, source, target)


def _at(tar: BinaryIO, at: int, size: int) -> bytes:
    tar.seek(at)
    return tar.read(size)
