"""C2SP tlog-proof: one event's evidence in one text, to be checked offline with the log's public key alone."""

import base64
from dataclasses import dataclass
from typing import Final

from events.tlog import checkpoint, leaf
from events.tlog.leaf import EntryError, leaf_hash
from events.tlog.note import NoteError, Opener, decimal, unbase64
from events.tlog.reader import Archive
from events.tlog.tree import HASH_BYTES, inclusion, verify_inclusion

MOST_STEPS: Final = 63
"""The longest path that a tree with sizes below 2**63 has."""

_HEAD: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "


class ProofError(ValueError):
    """The proof does not prove it, or is none; the sentence says why."""

    code = "ProofRefused"


@dataclass(frozen=True, slots=True)
class Proof:
    """That the entry at `index` (its sequence less 1) is under the checkpoint in `note`, by `path` from its sibling up.

    `extra` goes along unproven: nothing of it may be believed.
    """

    index: int
    path: tuple[bytes, ...]
    note: str
    extra: bytes = b""


def prove(archive: Archive, seq: int) -> Proof:
    """The proof of event `seq` under the archive's checkpoint. Raises `ProofError` and what the archive raises."""
    note = archive.checkpoint_note()
    if note is None or not 1 <= seq <= archive.size:
        raise ProofError(
            f"Event {seq} has no proof yet: the checkpoint covers events 1 to {archive.size}. The next one comes within "
            "seconds of an event."
        )
    return Proof(seq - 1, tuple(inclusion(seq - 1, archive.size, archive.hash)), note)


def encode(proof: Proof) -> str:
    """The proof as the text of a `.tlog-proof` file."""
    extra = f"{_EXTRA}{base64.b64encode(proof.extra).decode()}\n" if proof.extra else ""
    path = "".join(f"{base64.b64encode(step).decode()}\n" for step in proof.path)
    return f"{_HEAD}\n{extra}{_INDEX}{proof.index}\n{path}\n{proof.note}"


def parse(text: str) -> Proof:
    """The proof in the text, believed in nothing: see `check`. Raises `ProofError`."""
    head, found, note = text.partition("\n\n")
    lines = head.split("\n")
    if not found or lines[0] != _HEAD:
        raise ProofError(
            f"This is no proof: it does not begin with {_HEAD}, or has no checkpoint under a blank line."
        )
    try:
        extra = b""
        if len(lines) > 1 and lines[1].startswith(_EXTRA):
            extra = unbase64(lines.pop(1).removeprefix(_EXTRA), "extra data")
        if len(lines) == 1 or not lines[1].startswith(_INDEX):
            raise ProofError("This is no proof: it does not say which entry it is about.")
        index = decimal(lines[1].removeprefix(_INDEX), "the index")
        path = tuple(unbase64(line, "a step of the proof") for line in lines[2:])
    except NoteError as error:
        raise ProofError(f"This is no proof: {error}") from error
    if len(path) > MOST_STEPS or any(len(step) != HASH_BYTES for step in path):
        raise ProofError(f"This is no proof: a path has at most {MOST_STEPS} steps of {HASH_BYTES} bytes.")
    return Proof(index, path, note, extra)


def check(proof: Proof, entry: bytes, verifier: Opener) -> checkpoint.Checkpoint:
    """The checkpoint, signed by the log of this key, under which the entry is proven to stand where it says that it does.

    Raises `ProofError` when that is not proven, `NoteError` when the checkpoint is not this key's.
    """
    signed = checkpoint.opened(proof.note, verifier)
    if not verify_inclusion(leaf_hash(entry), proof.index, signed.size, proof.path, signed.root):
        raise ProofError(
            f"The entry is not the one that {signed.origin} has at index {proof.index} of {signed.size}: the entry, the path "
            "or the index was altered, or they belong to other events."
        )
    try:
        seq = leaf.parse(entry).seq
    except EntryError as error:
        raise ProofError(
            f"What the log has at index {proof.index} is proven, but is no event: {error}"
        ) from error
    if seq != proof.index + 1:
        raise ProofError(
            f"The entry at index {proof.index} says that it is event {seq}; event {proof.index + 1} stands there. "
            f"{signed.origin} signed a log that is not in order."
        )
    return signed
