"""The secret keys of those who sign contracts: one file each, that nobody but its owner can read."""

import stat
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from events import durable

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SEED_BYTES: Final = 32


class SignerError(ValueError):
    """A signing key cannot be made or used; the sentence says why, and never the key."""

    code = "SigningKeyUnusable"


def path_of(directory: str | Path, name: str) -> Path:
    """Where the signing key of an org lies; the provider's is `platform`."""
    return Path(directory) / f"{name}.ed25519"


def create(path: Path) -> SigningKey:
    """A new key lies at `path`, readable by its owner alone, and on disk. An existing one is never written over."""
    key = SigningKey.generate()
    if not durable.create(path, bytes(key).hex().encode() + b"\n"):
        raise SignerError(f"There is a key at {path} already. Nothing was written.")
    return key


def read(path: Path) -> SigningKey:
    """The key at `path`; `SignerError` where there is none, or others could have read it too."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SignerError(f"The signing key {path} cannot be read: {why}.") from None
    if mode & _OTHERS:
        raise SignerError(f"The signing key {path} can be read by others: run `chmod 600 {path}`.")
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise SignerError(f"The file {path} holds no ed25519 key: 64 hexadecimal digits make one.")
    return SigningKey(seed)


def public(key: SigningKey) -> str:
    """The public part, as 64 hexadecimal digits: this is what is registered and shown."""
    return bytes(key.verify_key).hex()
