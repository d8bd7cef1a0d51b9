"""C2SP checkpoints: whose log it is, how many entries it has and what they hash to, in three lines and signed."""

import base64
from dataclasses import dataclass

from events.tlog.note import NoteError, Opener, Signer, decimal, open_note, seal, unbase64
from events.tlog.tree import HASH_BYTES


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log claims: entries 0 to `size - 1` hash to `root`. `extensions` are lines of others, kept as they are."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text that is signed."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Checkpoint:
    """The checkpoint of a note's text, believed in nothing: see `opened`. Raises `NoteError`."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):  # noqa: PLR2004  (three lines, and the end of the last)
        raise NoteError("This is no checkpoint: it has no three lines of origin, size and root.")
    origin, size, root, *extensions = lines[:-1]
    raw = unbase64(root, f"the root of {origin}")
    if len(raw) != HASH_BYTES:
        raise NoteError(f"The root in the checkpoint of {origin} has {len(raw)} bytes, not {HASH_BYTES}.")
    return Checkpoint(origin, decimal(size, f"the size of {origin}"), raw, tuple(extensions))


def signed(checkpoint: Checkpoint, signer: Signer) -> str:
    """The checkpoint as a note with this key's signature. Raises `NoteError` when the key is not named like the log."""
    if signer.name != checkpoint.origin:
        raise NoteError(
            f"The key of {signer.name} does not sign for {checkpoint.origin}: a log's key has its name."
        )
    return seal(checkpoint.text, (signer.sign(checkpoint.text),))


def opened(note: str | bytes, verifier: Opener) -> Checkpoint:
    """The checkpoint that the log of this key signed. Raises `NoteError`, also when another log's name stands in it."""
    checkpoint = parse(open_note(note, (verifier,)).text)
    if checkpoint.origin != verifier.name:
        raise NoteError(f"The checkpoint is of {checkpoint.origin}, but the key is of {verifier.name}.")
    return checkpoint
