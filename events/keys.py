"""Who a worker is on the bus: an nkey whose seed lies in a file that nobody else can read."""

import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import nkeys

from events import durable

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SEED_BYTES: Final = 32

# The package names no types; these are what its functions take and give.
_encode: Final = cast("Callable[[bytes, int], bytes]", nkeys.encode_seed)
_from_seed: Final = cast("Callable[[bytearray], nkeys.KeyPair]", nkeys.from_seed)


class KeyFileError(ValueError):
    """A seed file is missing, open to others, or holds no seed; the sentence says which, and never the seed."""

    code = "KeyUnreadable"


def path_of(directory: str | Path, name: str) -> Path:
    """Where the seed of the bus user `name` lies."""
    return Path(directory) / f"{name}.nk"


def create(path: Path) -> str:
    """There is a seed at `path`, readable by its owner alone; the answer is its public key.

    A seed that is there already is kept, so that it is safe to repeat: a second seed would lock the worker out.
    """
    if path.exists():
        return public_key(read(path))
    durable.create(path, _encode(secrets.token_bytes(_SEED_BYTES), nkeys.PREFIX_BYTE_USER))
    return public_key(read(path))


def read(path: Path) -> bytes:
    """The seed in `path`; `KeyFileError` when there is none, or when others could have read it too."""
    try:
        mode = path.stat().st_mode
        seed = path.read_bytes().strip()
    except OSError as error:
        raise KeyFileError(
            f"The key {path} cannot be read: {error.strerror}. `make up` creates it."
        ) from error
    if mode & _OTHERS:
        raise KeyFileError(f"The key {path} can be read by others: run `chmod 600 {path}`.")
    try:
        public_key(seed)
    except ValueError as error:
        raise KeyFileError(
            f"The file {path} holds no nkey seed: remove it, and `make up` makes another."
        ) from error
    return seed


def public_key(seed: bytes) -> str:
    """The public key, `U...`, by which the bus knows the holder of the seed; `ValueError` when it is no seed."""
    try:
        pair = _from_seed(bytearray(seed))
    except (nkeys.ErrInvalidSeed, nkeys.ErrInvalidPrefixByte) as error:
        raise ValueError("This is no nkey seed.") from error
    return cast("bytes", pair.public_key).decode()
