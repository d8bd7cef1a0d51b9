"""C2SP signed notes: a text, a blank line, and lines of signatures by named Ed25519 keys.

A key is known by its name and four bytes of hash together; who signs is looked up by both, and a signature of a key
that nobody gave us says nothing. One that is ours and does not fit refuses the whole note.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

MOST_NOTE_BYTES: Final = 1_000_000
MOST_SIGNATURES: Final = 64
"""C2SP asks for a limit, and for 16 at least."""

ED25519: Final = 1
"""The type of a key that signs the text itself."""

KEY_ID_BYTES: Final = 4
KEY_BYTES: Final = 32

_DASH: Final = "— "
_LAST_CONTROL: Final = "\x1f"


class NoteError(ValueError):
    """A note, a key or what they hold is not what it should be; the sentence says what and whose."""

    code = "NoteRefused"


@dataclass(frozen=True, slots=True)
class Signature:
    """One line under a note: whose key, and what it made of the text."""

    name: str
    key_id: bytes
    raw: bytes

    @property
    def line(self) -> str:
        """As it stands in the note, with its line feed."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.raw).decode()}\n"


class Opener(Protocol):
    """A public key of any type, by its full name."""

    @property
    def name(self) -> str:
        """Of the key."""
        ...

    @property
    def key_id(self) -> bytes:
        """Four bytes of hash over name, type and key."""
        ...

    def verify(self, text: str, signature: Signature) -> bool:
        """Whether this key signed this text."""
        ...


@dataclass(frozen=True, slots=True)
class Note:
    """A note that was opened: `verified` are the signatures of the keys it was opened with, `signatures` are all."""

    text: str
    signatures: tuple[Signature, ...]
    verified: tuple[Signature, ...]


class Verifier:
    """A public key that signed notes are opened with."""

    def __init__(self, name: str, key: VerifyKey) -> None:
        self.name = checked_name(name)
        self.key_id = key_id(name, ED25519, bytes(key))
        self._key = key

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """The key of a line `name+hash+key`, as `Signer.vkey` writes it. Raises `NoteError`."""
        name, key = parse_vkey(vkey, ED25519)
        return cls(name, VerifyKey(key))

    @property
    def vkey(self) -> str:
        """The key as one line, for a file or a command."""
        return render_vkey(self.name, ED25519, bytes(self._key))

    def verify(self, text: str, signature: Signature) -> bool:
        """Whether this key signed this text."""
        return ed25519_holds(self._key, text.encode(), signature.raw)


class Signer:
    """A secret key that signs notes under a name; it is never printed."""

    def __init__(self, name: str, key: SigningKey) -> None:
        self.name = checked_name(name)
        self._key = key

    @property
    def verifier(self) -> Verifier:
        """Its public half."""
        return Verifier(self.name, self._key.verify_key)

    @property
    def vkey(self) -> str:
        """Its public half as one line."""
        return self.verifier.vkey

    def sign(self, text: str) -> Signature:
        """Its signature under the text, which must end with a line feed."""
        verifier = self.verifier
        return Signature(self.name, verifier.key_id, self._key.sign(text.encode()).signature)


def seal(text: str, signatures: Iterable[Signature]) -> str:
    """The note: the text with the signatures under it."""
    _check_text(text)
    return text + "\n" + "".join(signature.line for signature in signatures)


def open_note(data: str | bytes, verifiers: Sequence[Opener]) -> Note:
    """The note, of which at least one of the keys signed the text and none of them something else. Raises `NoteError`."""
    text, signatures = split(data)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    verified: list[Signature] = []
    for signature in signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            continue
        if not verifier.verify(text, signature):
            raise NoteError(
                f"The note's signature by {signature.name} (key {signature.key_id.hex()}) does not fit its text: "
                "the text was altered, or the signature was."
            )
        if any((one.name, one.key_id) == (signature.name, signature.key_id) for one in verified):
            raise NoteError(f"The note is signed twice by {signature.name} (key {signature.key_id.hex()}).")
        verified.append(signature)
    if not verified:
        wanted = ", ".join(f"{one.name} (key {one.key_id.hex()})" for one in verifiers) or "nobody"
        found = ", ".join(f"{one.name} (key {one.key_id.hex()})" for one in signatures)
        raise NoteError(f"The note is signed by {found}; a signature by {wanted} was asked for.")
    return Note(text, signatures, tuple(verified))


def split(data: str | bytes) -> tuple[str, tuple[Signature, ...]]:
    """Text and signatures of a note, believed in nothing yet. Raises `NoteError` for what is no note."""
    whole = _decoded(data)
    cut = whole.rfind("\n\n") + 1
    if not cut or not whole.endswith("\n"):
        raise NoteError("This is no signed note: it has no blank line with lines of signatures under it.")
    return whole[:cut], parse_signatures(whole[cut + 1 :])


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """The lines under a note, or those that a witness answers with: at least one. Raises `NoteError`."""
    listed = lines.removesuffix("\n").split("\n")
    if len(listed) > MOST_SIGNATURES:
        raise NoteError(f"A note with {len(listed)} signatures is not read; {MOST_SIGNATURES} are the most.")
    return tuple(_signature(line) for line in listed)


def key_id(name: str, kind: int, key: bytes) -> bytes:
    """The four bytes that stand for a key of this type under this name."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:KEY_ID_BYTES]


def render_vkey(name: str, kind: int, key: bytes) -> str:
    """A public key as one line."""
    return f"{name}+{key_id(name, kind, key).hex()}+{base64.b64encode(bytes([kind]) + key).decode()}"


def parse_vkey(vkey: str, kind: int) -> tuple[str, bytes]:
    """Name and 32 bytes of a public key of this type. Raises `NoteError`."""
    parts = vkey.strip().split("+", 2)
    if len(parts) != 3:  # noqa: PLR2004  (name, hash and key)
        raise NoteError("A public key is one line `name+hash+key`; this is none.")
    name, hashed, encoded = parts
    raw = unbase64(encoded, f"the key of {name}")
    if len(raw) != 1 + KEY_BYTES or raw[0] != kind:
        raise NoteError(f"The public key of {name} is not of type {kind:#04x} with {KEY_BYTES} bytes.")
    if key_id(name, kind, raw[1:]).hex() != hashed:
        raise NoteError(
            f"The public key of {name} does not fit its hash {hashed}: it was mistyped or altered."
        )
    return checked_name(name), raw[1:]


def checked_name(name: str) -> str:
    """The name, if a key may have it: not empty, without spaces and plus signs. Raises `NoteError`."""
    if not name or "+" in name or any(letter.isspace() or letter <= _LAST_CONTROL for letter in name):
        raise NoteError(
            f"A key cannot be named {name!r}: a name is not empty and has no space and no plus sign."
        )
    return name


def ed25519_holds(key: VerifyKey, message: bytes, raw: bytes) -> bool:
    """Whether the 64 bytes are this key's signature under the message."""
    try:
        key.verify(message, raw)
    except (BadSignatureError, ValueError):
        return False
    return True


def unbase64(text: str, what: str) -> bytes:
    """The bytes of standard base64, in its one canonical form. Raises `NoteError`, which names `what`."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or base64.b64encode(raw).decode() != text:
        raise NoteError(f"What should be {what} is no base64.")
    return raw


def decimal(text: str, what: str) -> int:
    """The number that a line gives in decimal without leading zeros. Raises `NoteError`, which names `what`."""
    if (
        not (text.isascii() and text.isdigit())
        or (text[0] == "0" and text != "0")
        or len(text) > len(str(2**63))
    ):
        raise NoteError(f"What should be {what} is no number: {text[:40]!r}.")
    return int(text)


def _signature(line: str) -> Signature:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2:  # noqa: PLR2004  (name and signature)
        raise NoteError(f"This is no signed note: {line[:80]!r} stands where a signature should.")
    name = checked_name(parts[0])
    raw = unbase64(parts[1], f"the signature by {name}")
    if len(raw) <= KEY_ID_BYTES:
        raise NoteError(f"The signature by {name} is too short to be one.")
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def _decoded(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    if len(raw) > MOST_NOTE_BYTES:
        raise NoteError(f"A note of {len(raw)} bytes is not read; {MOST_NOTE_BYTES} are the most.")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise NoteError("This is no signed note: it is no UTF-8.") from None
    _check_letters(text)
    return text


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteError("A note's text ends with a line feed; this does not, and was not signed.")
    _check_letters(text)


def _check_letters(text: str) -> None:
    if any(letter <= _LAST_CONTROL and letter != "\n" for letter in text):
        raise NoteError("This is no signed note: it has control characters.")
