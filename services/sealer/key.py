"""The key that signs checkpoints: made once, for an archive that is empty, and never printed."""

import stat
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from events import durable
from events.tlog.note import Signer
from services.sealer.halt import SealKeyError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SEED_BYTES: Final = 32


def opened(path: Path, origin: str, *, first: bool) -> Signer:
    """The key in `path`, under the log's name; made now when it is missing and this is the log's `first` start.

    Raises `SealKeyError` for a file that is missing later, that others could have read, or that holds no key. A second
    key for a log that was sealed with a first would be a second log: it is never made.
    """
    if first and not path.exists():
        # One that somebody else made a moment ago is as good.
        durable.create(path, bytes(SigningKey.generate()).hex().encode() + b"\n")
    return Signer(origin, _read(path))


def _read(path: Path) -> SigningKey:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise SealKeyError(
            f"The key {path} is missing, and the log was sealed with it before. Nothing was signed and nobody may append. "
            "Put the key back from its backup; with another one no checkpoint would be believed."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SealKeyError(
            f"The key {path} cannot be read: {why}. Nothing was signed and nobody may append."
        ) from None
    if mode & _OTHERS:
        raise SealKeyError(
            f"The key {path} can be read by others, who could sign another history with it. Nothing was signed and nobody "
            f"may append. If nobody did, run `chmod 600 {path}`."
        )
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise SealKeyError(
            f"The file {path} holds no ed25519 key: 64 hexadecimal digits make one. Nothing was signed and nobody may "
            "append. Put the key back from its backup."
        )
    return SigningKey(seed)
