"""C2SP tlog-witness: what a witness is asked, and the timed cosignature (type 0x04) that it answers with.

A cosignature says: at that time this was the largest tree of this log that I had seen, and it goes on from all I saw before.
"""

import base64
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nacl.signing import SigningKey, VerifyKey

from events.tlog.note import (
    NoteError,
    Signature,
    checked_name,
    decimal,
    ed25519_holds,
    key_id,
    parse_vkey,
    render_vkey,
    seal,
    split,
    unbase64,
)
from events.tlog.tree import HASH_BYTES

COSIGNATURE: Final = 4
"""The type of a key that signs the time together with the text."""

MOST_STEPS: Final = 63
"""C2SP's limit on the lines of a consistency proof."""

CONFLICT_TYPE: Final = "text/x.tlog.size"
"""The content type of a witness's answer 409, which names the size that it has seen last."""

_OLD: Final = "old "
_TIME: Final = struct.Struct(">Q")
_RAW_BYTES: Final = _TIME.size + 64


class CosignVerifier:
    """A witness's public key."""

    def __init__(self, name: str, key: VerifyKey) -> None:
        self.name = checked_name(name)
        self.key_id = key_id(name, COSIGNATURE, bytes(key))
        self._key = key

    @classmethod
    def parse(cls, vkey: str) -> "CosignVerifier":
        """The key of a line `name+hash+key` of type 0x04. Raises `NoteError`."""
        name, key = parse_vkey(vkey, COSIGNATURE)
        return cls(name, VerifyKey(key))

    @property
    def vkey(self) -> str:
        """The key as one line."""
        return render_vkey(self.name, COSIGNATURE, bytes(self._key))

    def verify(self, text: str, signature: Signature) -> bool:
        """Whether this witness signed this text at the time that the signature gives."""
        if len(signature.raw) != _RAW_BYTES:
            return False
        return ed25519_holds(self._key, _message(text, cosigned_at(signature)), signature.raw[_TIME.size :])


class Cosigner:
    """A witness's secret key; it is used for nothing else, since what it signs does not name it."""

    def __init__(self, name: str, key: SigningKey) -> None:
        self.verifier = CosignVerifier(name, key.verify_key)
        self._key = key

    def sign(self, text: str, now_seconds: int) -> Signature:
        """The cosignature of the checkpoint's text at this Unix time."""
        raw = self._key.sign(_message(text, now_seconds)).signature
        return Signature(self.verifier.name, self.verifier.key_id, _TIME.pack(now_seconds) + raw)


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """What a witness is asked: to cosign the checkpoint in `note`, which goes on by `path` from `old` entries."""

    old: int
    path: tuple[bytes, ...]
    note: str


def cosigned_at(signature: Signature) -> int:
    """When the witness says it signed, in Unix seconds. Raises `NoteError` for what is no cosignature."""
    if len(signature.raw) != _RAW_BYTES:
        raise NoteError(f"The signature by {signature.name} is no cosignature: it gives no time.")
    (seconds,) = _TIME.unpack_from(signature.raw)
    return seconds


def encode(request: AddCheckpoint) -> str:
    """The body of the request."""
    path = "".join(f"{base64.b64encode(step).decode()}\n" for step in request.path)
    return f"{_OLD}{request.old}\n{path}\n{request.note}"


def parse(body: str) -> AddCheckpoint:
    """The request in the body, believed in nothing. Raises `NoteError`; a witness answers 400 then."""
    head, found, note = body.partition("\n\n")
    lines = head.split("\n")
    if not found or not lines[0].startswith(_OLD):
        raise NoteError(
            "This asks for no cosignature: it does not begin with the old size, or has no checkpoint."
        )
    path = tuple(unbase64(line, "a step of the proof") for line in lines[1:])
    if len(path) > MOST_STEPS or any(len(step) != HASH_BYTES for step in path):
        raise NoteError(
            f"A consistency proof has at most {MOST_STEPS} steps of {HASH_BYTES} bytes; this is none."
        )
    return AddCheckpoint(decimal(lines[0].removeprefix(_OLD), "the old size"), path, note)


def with_cosignatures(
    note: str, cosignatures: Iterable[Signature], witnesses: Iterable[CosignVerifier]
) -> str:
    """The note with those under its signatures that one of these witnesses made of its text; the others are left out.

    So nobody takes another's place: a line that does not fit the key that it names refuses the note for whoever has that key.
    Of one witness the last one counts, since a note signed twice by it opens nowhere.
    """
    text, signatures = split(note)
    known = {(witness.name, witness.key_id): witness for witness in witnesses}
    newest = {(one.name, one.key_id): one for one in signatures}
    for one in cosignatures:
        witness = known.get((one.name, one.key_id))
        if witness is not None and witness.verify(text, one):
            newest[one.name, one.key_id] = one
    return seal(text, newest.values())


def _message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()
