"""Where people's values are: sealed, with a key per person, so that destroying the key erases the person.

The ledger names a person by id and by a salted commitment. What the commitment was made from lies here and nowhere
else. Keys and sealed values lie in two directories: whoever copies the values for safety leaves the keys out, or
an erased person lives on in the copy.
"""

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
from nacl.exceptions import CryptoError
from nacl.secret import Aead

from events import durable
from schemas.names import is_name

MAIL: Final = "mail"
"""The name of the value that commitments are made to."""

SEED: Final = "seed"
"""The name of what a VM is told at its first boot, which is kept and erased as a person's values are."""

ERASED: Final = "erased"
"""What every view shows in the place of an erased person's values."""

SALT_BYTES: Final = 32
_KEY_BYTES: Final = Aead.KEY_SIZE
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

Presence = Literal["known", "erased", "unknown"]


class VaultError(Exception):
    """The vault cannot give or take a value; the sentence says why and never contains the value."""

    code = "Vault"


class ErasedError(VaultError):
    """The person was erased for good and cannot come back under the same id."""

    code = "PersonErased"


class _Value(msgspec.Struct, frozen=True):
    salt: bytes
    text: str

    @property
    def commitment(self) -> str:
        """SHA-256 of salt and value: says nothing without the salt, and fits no other value with it."""
        return hashlib.sha256(self.salt + self.text.encode()).hexdigest()


_sealed: Final = msgspec.json.Decoder(dict[str, _Value])


class Vault:
    """The people of one house, in one directory that only its owner can read."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)

    def put(self, person: str, values: Mapping[str, str]) -> str:
        """The person's values are kept in the place of any former ones; the answer commits to the mail address.

        Safe to repeat: a value that is the same keeps its salt, and so its commitment. Raises `ErasedError` for
        somebody who was erased, and `VaultError` when there is no mail address among the values.
        """
        if MAIL not in values:
            raise VaultError(f"The vault needs a mail address for {person}. Nothing was stored.")
        return self._put(person, values)[MAIL].commitment

    def put_seed(self, name: str, text: str) -> str:
        """What a VM is told is kept in the place of anything former under this name; the answer commits to it.

        Safe to repeat, and erased for good like a person: `ErasedError` for a name that was.
        """
        return self._put(name, {SEED: text})[SEED].commitment

    def seed(self, name: str, commitment: str) -> str | None:
        """What a VM is told; None where nobody put it here, or it was erased. `VaultError` where it is not what was committed to."""
        found = self._read(name).get(SEED)
        if found is None:
            return None
        if not hmac.compare_digest(found.commitment, commitment):
            raise VaultError(
                f"What the vault holds as {name} is not what was committed to: make the VM anew."
            )
        return found.text

    def forget_seed(self, name: str, commitment: str) -> bool:
        """What a VM was told is gone for good; False where it is not here, or is not what was committed to: another VM's by now.

        Safe to repeat, also after a crash half-way. Unlike a person's, the name is free again. `VaultError` where what is held cannot
        be read: a person's values must never go because a request called them a seed.
        """
        _require_name(name)
        with self._lock():
            key, values = self._key(name), self._values(name)
            if values.exists():
                held = self._open(name).get(SEED)
                if held is None or not hmac.compare_digest(held.commitment, commitment):
                    return False
                # Before its key: a key that opens nothing is known for what is left of a call like this.
                values.unlink()
                durable.sync(values.parent)
            elif not key.exists():
                return False
            _destroy(key)
        return True

    def contact(self, person: str) -> str | None:
        """The person's mail address; None when the person is unknown or erased."""
        mail = self._read(person).get(MAIL)
        return None if mail is None else mail.text

    def commitment(self, person: str) -> str | None:
        """What a contract may say of the person's mail address; None when the person is unknown or erased."""
        mail = self._read(person).get(MAIL)
        return None if mail is None else mail.commitment

    def check(self, person: str, commitment: str) -> bool | None:
        """Whether the commitment was made to what the vault holds; None when that can no longer be known."""
        present = self.commitment(person)
        return None if present is None else hmac.compare_digest(present, commitment)

    def presence(self, person: str) -> Presence:
        """Whether the person is known, was erased, or never was here."""
        _require_name(person)
        if self._tombstone(person).exists():
            return "erased"
        return "known" if self._key(person).exists() else "unknown"

    def shown(self, person: str) -> str:
        """What a view shows of the person: the mail address, `erased` or `unknown`."""
        return self.contact(person) or ("unknown" if self.presence(person) == "unknown" else ERASED)

    def erase(self, person: str) -> bool:
        """The person's key is destroyed for good; False when there never was one.

        Safe to repeat, also after a crash half-way, with the same answer. The key is overwritten before it is
        unlinked, which a file system that copies on write, or a disk of flash, may undo: the directory of the keys
        belongs on a disk that is itself encrypted.
        """
        _require_name(person)
        with self._lock():
            key, tombstone = self._key(person), self._tombstone(person)
            if not key.exists():
                return tombstone.exists()
            durable.write(tombstone, b"")
            _destroy(key)
            # Noise without its key; it goes too, so that nobody wonders what it was.
            self._values(person).unlink(missing_ok=True)
            if self._values(person).parent.exists():
                durable.sync(self._values(person).parent)
        return True

    # ------------------------------------------------------------------------------------------------ the files

    def _put(self, person: str, values: Mapping[str, str]) -> Mapping[str, _Value]:
        _require_name(person)
        with self._lock():
            if self._tombstone(person).exists():
                raise ErasedError(
                    f"The person {person} was erased for good: choose another id. Nothing was stored."
                )
            former = self._open(person)
            present = {
                name: former[name]
                if name in former and former[name].text == text
                else _Value(secrets.token_bytes(SALT_BYTES), text)
                for name, text in values.items()
            }
            if present != former:
                self._seal(person, present)
        return present

    def _key(self, person: str) -> Path:
        return self._directory / "keys" / f"{person}.key"

    def _values(self, person: str) -> Path:
        return self._directory / "values" / f"{person}.sealed"

    def _tombstone(self, person: str) -> Path:
        return self._directory / "erased" / person

    def _read(self, person: str) -> Mapping[str, _Value]:
        _require_name(person)
        if self._tombstone(person).exists():
            return {}
        return self._open(person)

    def _open(self, person: str) -> Mapping[str, _Value]:
        try:
            mode = self._key(person).stat().st_mode
            key = self._key(person).read_bytes()
            sealed = self._values(person).read_bytes()
        except FileNotFoundError:  # never put, or put half-way: nobody was promised anything yet
            return {}
        if mode & _OTHERS:
            raise VaultError(
                f"The key of {person} can be read by others: run `chmod 600 {self._key(person)}`."
            )
        try:
            return _sealed.decode(Aead(key).decrypt(sealed, _context(person)))
        except (CryptoError, ValueError) as error:  # a key of the wrong length is a ValueError
            raise VaultError(
                f"What the vault holds of {person} does not fit its key: one was altered."
            ) from error

    def _seal(self, person: str, values: Mapping[str, _Value]) -> None:
        """Key first, values second: a crash between leaves a key that opens nothing, and loses nothing."""
        if not self._key(person).exists():
            durable.write(self._key(person), secrets.token_bytes(_KEY_BYTES))
        key = self._key(person).read_bytes()
        durable.write(
            self._values(person), bytes(Aead(key).encrypt(msgspec.json.encode(values), _context(person)))
        )

    @contextlib.contextmanager
    def _lock(self) -> Generator[None]:
        """One process at a time writes; the lock is gone with its holder."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _context(person: str) -> bytes:
    """Binds what is sealed to its person: nobody's values open in the place of somebody else's."""
    return f"virtscale vault 1 {person}".encode()


def _require_name(person: str) -> None:
    """A person's id is a file's name here, so it must be a name and nothing else."""
    if not is_name(person):
        raise VaultError(
            f"{person[:40]!r} is no person's id: lower case letters, digits and inner dashes are."
        )


def _destroy(key: Path) -> None:
    _overwrite(key)
    key.unlink()
    durable.sync(key.parent)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(secrets.token_bytes(path.stat().st_size))
        stream.flush()
        os.fsync(stream.fileno())
