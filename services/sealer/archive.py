"""The sealer's own side of the archive: opened with its key, grown event by event, signed, and marked when it is left.

Everything here writes files and returns: it is called aside (`aside.py`), one call at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from events.bus.port import Stored
from events.tlog import checkpoint, note
from events.tlog.checkpoint import Checkpoint
from events.tlog.cosign import CosignVerifier, with_cosignatures
from events.tlog.files import Files
from events.tlog.leaf import entry
from events.tlog.note import NoteError, Signature, Signer
from events.tlog.reader import CHECKPOINT, VKEY, Archive
from events.tlog.tiles import TileError
from events.tlog.tree import EMPTY_ROOT, Frontier
from events.tlog.writer import TilesUnwrittenError, TileWriter
from services.sealer.halt import ArchiveAlteredError, LedgerAlteredError, OriginDiffersError, SealKeyError

STOPPED: Final = "stopped"
"""The file that a sealer leaves when it was asked to end, and removes when it starts: without it the stop was no clean one."""

MOST_NOTE_LETTERS: Final = 8192
"""Of a checkpoint with all its signatures, as `ledger.sealed` takes it; some forty signatures."""


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the archive was left: its size and root (hexadecimal), and when the bus was last compared with all of it."""

    size: int
    root: str
    scrubbed_at: float | None = None
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A checkpoint that is on the disk: what it covers, the root, and the note with its signatures."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    note: str = ""
    """Empty when there is none."""


def is_empty(files: Files) -> bool:
    """Whether nothing was ever sealed here."""
    return files.read(CHECKPOINT) is None


class SealedArchive:
    """An archive that this key sealed, open for more. Raises the `SealerError` that says what is wrong with it."""

    def __init__(self, files: Files, signer: Signer) -> None:
        self._files = files
        self._signer = signer
        self._expected: Checkpoint | None = None
        self._vkey = f"{signer.vkey}\n".encode()
        self.origin = signer.name
        self.last = self._opened()
        """The last checkpoint; replaced whole, for it is read while the next one is written."""
        try:
            self._writer = TileWriter(files)
        except (TileError, NoteError) as error:
            raise ArchiveAlteredError(
                f"The archive {files} is not as it was sealed: {error} Nothing was signed and nobody may append. Put the "
                "file back from a backup of the archive."
            ) from error
        self._named = files.read(VKEY) == self._vkey

    def _opened(self) -> Sealed:
        data = self._files.read(CHECKPOINT)
        if data is None:
            return Sealed()
        try:
            claimed = checkpoint.parse(note.split(data)[0])
            if claimed.origin != self._signer.name:
                raise OriginDiffersError(
                    f"The archive {self._files} is the log {claimed.origin}, and this house's is {self._signer.name}. Nothing "
                    "was signed and nobody may append. Give the house its own archive directory, or its origin back."
                )
            opened = checkpoint.opened(data, self._signer.verifier)
        except NoteError as error:
            raise SealKeyError(
                f"The checkpoint of {self._files} was not signed by this house's key: {error} Nothing was signed and nobody "
                "may append. Put back the key that signed it, or the checkpoint from a backup."
            ) from error
        return Sealed(opened.size, opened.root, data.decode())

    def left(self) -> Stop | None:
        """How the archive was left; None when it was not left in order, or is not now what it was then.

        The mark is gone from here on: whoever is killed leaves none.
        """
        data = self._files.read(STOPPED)
        if data is None:
            return None
        self._files.remove(STOPPED)
        try:
            stop = msgspec.json.decode(data, type=Stop)
        except msgspec.DecodeError:
            return None  # then everything is compared, which is what a mark may spare
        return stop if (stop.size, stop.root) == (self.last.size, self.last.root.hex()) else None

    def leave(self, scrubbed_at: float | None) -> None:
        """The archive is marked as left in order."""
        stop = Stop(self.last.size, self.last.root.hex(), scrubbed_at)
        self._files.write(STOPPED, msgspec.json.encode(stop))

    def expect(self, said: str) -> None:
        """What the ledger itself says was sealed is what it must come to; raises where it says something else.

        An archive that was put back from a backup is older than that, and meets it again while it grows.
        """
        try:
            said_checkpoint = checkpoint.opened(said, self._signer.verifier)
        except NoteError as error:
            raise LedgerAlteredError(
                f"The ledger holds a checkpoint that this house's key did not sign: {error} Nothing was signed and nobody "
                "may append. Compare ledger and archive with `virtscale ledger verify`."
            ) from error
        if said_checkpoint.size > self.last.size:
            self._expected = said_checkpoint

    @property
    def behind(self) -> bool:
        """Whether the ledger itself says that more was sealed than this archive holds yet."""
        return self._expected is not None

    def reader(self) -> Archive:
        """For looking into what is sealed; it goes on seeing what was there when it was made."""
        archive = Archive(self._files)
        archive.checkpoint_note()
        return archive

    def seal(self, messages: Sequence[Stored]) -> Sealed:
        """The messages, which follow on what is sealed, are covered by a new signed checkpoint on the disk.

        Safe to repeat with the same messages, and more, after `TilesUnwrittenError`. What it came to is checked against what
        the ledger says was sealed before.
        """
        for stored in messages:
            if stored.seq > self._writer.size:
                self._writer.add(entry(stored))
                if self._expected is not None and self._expected.size == stored.seq:
                    self._meet(self._expected, self._writer.frontier)
        self._name_key()
        reached = Checkpoint(self._signer.name, self._writer.size, self._writer.frontier.root())
        signed = checkpoint.signed(reached, self._signer)
        self._writer.commit(signed)
        self.last = Sealed(reached.size, reached.root, signed)
        return self.last

    def _name_key(self) -> None:
        """The archive gives the public key that its checkpoints are signed with, for whoever has nothing to compare it with."""
        if self._named:
            return
        try:
            self._files.write(VKEY, self._vkey)
        except OSError as error:
            raise TilesUnwrittenError(
                f"The archive's disk did not take {VKEY}: {error.strerror or error}. Its checkpoint covers what it did."
            ) from error
        self._named = True

    def _meet(self, expected: Checkpoint, frontier: Frontier) -> None:
        if frontier.root() != expected.root:
            raise LedgerAlteredError(
                f"Events 1 to {expected.size} are not what was sealed: the ledger's own checkpoint gives them the root "
                f"{expected.root.hex()}, and they come to {frontier.root().hex()}. No checkpoint was signed over them and nobody may append. "
                "Run `virtscale ledger verify`, then `virtscale ledger recover`."
            )
        self._expected = None

    def cosign(self, size: int, signatures: Sequence[Signature], witness: CosignVerifier) -> bool:
        """The checkpoint of that size carries the witness's signatures as well, and of these its own alone.

        False when a newer one has taken its place, or when it would become longer than the ledger's own event may say.
        """
        if size != self.last.size or not self.last.note:
            return False
        cosigned = with_cosignatures(self.last.note, signatures, [witness])
        if len(cosigned) > MOST_NOTE_LETTERS or len(note.split(cosigned)[1]) > note.MOST_SIGNATURES:
            return False
        self._writer.commit(cosigned)
        self.last = replace(self.last, note=cosigned)
        return True
