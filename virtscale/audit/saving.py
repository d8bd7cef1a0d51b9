"""`virtscale ledger backup`, `restore` and `import`: the ledger in another place, and back in a house."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from events.envelope import read
from events.lock import hold
from events.person import PersonErased
from events.tlog.checkpoint import Checkpoint, opened, signed
from events.tlog.files import DirectoryFiles, Files
from events.tlog.note import NoteError, Signer, Verifier
from events.tlog.reader import CHECKPOINT, VKEY, Archive
from events.vault import Vault
from replay.audit.export import export
from replay.audit.verify import verify
from replay.keeping import copies, first, intent
from replay.keeping.intent import BEGUN, Intent, KeepingError
from schemas.house import FILE, House
from schemas.names import Count
from schemas.struct import Value
from services.sealer import key
from services.sealer.archive import Sealed
from virtscale import description
from virtscale.audit.going_on import GoneOn, epochs
from virtscale.audit.maintenance import Place, bus_alone
from virtscale.audit.places import claimed_origin
from virtscale.description import ORIGIN
from virtscale.invocation import UsageError
from virtscale.progress import Progress
from virtscale.show import say

MANIFEST: Final = "backup.json"
"""Written last into a backup: without it the backup was cut short."""

LEDGER: Final = "ledger"
HOUSE: Final = "house"
KEY: Final = "audit-key"
KEY_FILE: Final = "log.ed25519"
_ERASED: Final = ".person.erased"


class Manifest(Value, frozen=True):
    """What a backup holds: the ledger up to `size` under `root`, and the private parts of its house."""

    format: Count
    origin: str
    size: Count
    root: str
    made_at: dt.datetime
    witnesses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds now, and how many of the archive's files this run wrote."""

    size: int
    root: str
    written: int
    private_files: int


class _Begun(Value, frozen=True):
    root: str


def private_parts(house: House) -> Mapping[str, Path]:
    """What a house has besides its ledger and cannot be made anew, by the name that it has in a backup."""
    directory = Path(house.directory)
    return {
        "keys": Path(house.keys),
        "signing": Path(house.signing_keys),
        "vault": Path(house.vault),
        "contracts": Path(house.contracts),
        "pools": Path(house.pools),
        "publishers": directory / "publishers",
        "hosts": directory / "hosts",
    }


def backup(house: House, target: Path) -> BackedUp:
    """The backup holds the ledger up to the newest checkpoint, and the house's private parts; the house may be up.

    Safe to interrupt and to repeat: only what is new is written, and what is gone from the house goes from the backup. The
    ledger first: whatever it speaks of, the parts that are copied after it hold.
    """
    inside = target.resolve()
    if Path(house.directory).resolve() in {inside, *inside.parents}:
        raise KeepingError(
            "BackupInside",
            f"{target} is the house itself or lies in it, and would be lost with it. Name a directory on another disk.",
        )
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    with hold(target / "backup.lock", f"The backup {target} is being written"):
        files = DirectoryFiles(Path(house.audit))
        signer = key.opened(Path(house.audit_key), house.origin, first=False)
        with Progress("backup") as told:
            done = export(files, signer.verifier, target / LEDGER, told)
        private = copies.mirror(private_parts(house), target / HOUSE) + 1
        copies.copy(Path(house.audit_key), target / HOUSE / KEY / KEY_FILE)
        manifest = Manifest(
            format=1,
            origin=done.origin,
            size=done.size,
            root=done.root,
            made_at=dt.datetime.now(dt.UTC),
            witnesses=house.witnesses,
        )
        copies.write(target / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return BackedUp(done.size, done.root, done.written, private)


async def restore(directory: Path, source: Path, actor: str, reason: str) -> GoneOn:
    """The house is what was backed up: every event under the same root, keys, people and contracts; then it goes on.

    What happened after the backup is lost, and what it admitted may run: the ledger begins a new epoch. People whose
    erasure the ledger holds are erased again, if the backup still had them. Safe to repeat.
    """
    manifest = _manifest(source)
    place = Place.fresh(directory, manifest.origin)
    with place.down():
        done = await _completed(place)
        if done is not None:
            return done
        files = DirectoryFiles(source / LEDGER)
        signer = key.opened(source / HOUSE / KEY / KEY_FILE, place.origin, first=False)
        checkpoint = _sound(files, signer.verifier)
        if checkpoint.size < manifest.size:
            raise KeepingError(
                "BackupCutShort", f"{source} holds fewer events than it says. Nothing was done."
            )
        _begin(place, checkpoint)
        parts = {name: directory / name for name in _names()}
        copies.bring(source / HOUSE, parts)
        own = _signed(checkpoint, _note(files), signer)
        with Progress("restore") as told:
            copies.put_back(files, DirectoryFiles(place.audit), checkpoint.size, own, told)
        _erase_again(Archive(files), Vault(directory / "vault"))
        description.begin(directory, place.origin, manifest.witnesses)
        return await _go_on(
            place, Sealed(checkpoint.size, checkpoint.root, _note(files)), (actor, reason), "restored"
        )


async def bring_in(
    directory: Path, files: Files, trusted: Verifier | None, key_file: Path | None, said: tuple[str, str]
) -> GoneOn:
    """The house holds what was exported: sequence, stored time and root are the same; then it goes on in a new epoch.

    With `key_file` the log goes on under the key that signed it. Without, the house makes a key of its own, and signs the
    same size and root with it, for the log of the same name; the note that came with the export stands in the ledger. One of `trusted` and `key_file` says
    whose ledger it must be: the key that lies in an export fits every forgery of it, and what is taken in is signed.
    """
    place = Place.fresh(directory, claimed_origin(files) or ORIGIN)
    with place.down():
        done = await _completed(place)
        if done is not None:
            return done
        checkpoint = _sound(files, _believed(files, trusted, key_file, place.origin), events=True)
        _begin(place, checkpoint)
        if key_file is not None:
            copies.copy(key_file, place.audit_key)
        signer = key.opened(place.audit_key, place.origin, first=True)
        note = _note(files)
        own = _signed(checkpoint, note, signer)
        with Progress("import") as told:
            copies.put_back(files, DirectoryFiles(place.audit), checkpoint.size, own, told)
        description.begin(directory, place.origin)
        return await _go_on(place, Sealed(checkpoint.size, checkpoint.root, note), said, "imported")


def _signed(checkpoint: Checkpoint, note: str, signer: Signer) -> dict[str, bytes]:
    """The key and the checkpoint that the archive goes on with: under another key than its note's, the same size and root."""
    try:
        opened(note, signer.verifier)
    except NoteError:  # another key's
        note = signed(Checkpoint(checkpoint.origin, checkpoint.size, checkpoint.root), signer)
    return {VKEY: f"{signer.vkey}\n".encode(), CHECKPOINT: note.encode()}


def _believed(files: Files, trusted: Verifier | None, key_file: Path | None, origin: str) -> Verifier:
    """The key that must have signed the export."""
    if key_file is None:
        if trusted is None:
            raise UsageError(
                "Whose ledger it is must be known before this house signs it: name the public key that you trust with "
                "--vkey FILE, or the secret one that signed it with --key FILE. The key inside an export proves nothing."
            )
        return trusted
    verifier = key.opened(key_file, origin, first=False).verifier
    try:
        opened(_note(files), verifier)
    except NoteError as error:
        raise KeepingError(
            "KeyOfAnother",
            f"The key {key_file} did not sign this export: {error} Nothing was done. Without --key the house makes its own.",
        ) from error
    return verifier if trusted is None else trusted


def _names() -> tuple[str, ...]:
    return ("keys", "signing", "vault", "contracts", "pools", "publishers", "hosts", KEY)


def _manifest(source: Path) -> Manifest:
    path = source / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise KeepingError(
            "BackupCutShort",
            f"{path} cannot be read, so {source} is no backup, or one that was cut short: {error}. Run `virtscale ledger backup` "
            "again, which goes on where it stopped.",
        ) from error


def _sound(files: Files, verifier: Verifier, *, events: bool = False) -> Checkpoint:
    """The checkpoint, once every entry led up to it, and with `events` was one that this version reads."""
    with Progress("verify") as told:
        verified = verify(files, verifier, told=told, events=events)
    wrong = next((verdict for verdict in verified.verdicts if not verdict.ok), None)
    if wrong is not None:
        raise KeepingError("CopyUnsound", f"{files} is not as it was sealed: {wrong.says} Nothing was done.")
    return opened(_note(files), verifier)


def _note(files: Files) -> str:
    return (files.read(CHECKPOINT) or b"").decode()


async def _completed(place: Place) -> GoneOn | None:
    """What an earlier run has written down is done; None when there is nothing of the kind."""
    if intent.read(place.directory) is None:
        return None
    async with bus_alone(place) as bus:
        done = await bus.stand()
    assert done is not None, place
    say(f"What an earlier run had begun is done now: the ledger was {done.what} behind sequence {done.size}.")
    return GoneOn(done.what, done.size, done.root)


def _begin(place: Place, checkpoint: Checkpoint) -> None:
    """The house is empty, or an earlier run had begun to put this very ledger into it."""
    begun, wanted = place.directory / BEGUN, msgspec.json.encode(_Begun(root=checkpoint.root.hex()))
    if begun.exists() and begun.read_bytes() == wanted:
        return
    held = [path for path in (FILE, "audit", "bus", "keys", KEY, BEGUN) if (place.directory / path).exists()]
    if held:
        raise KeepingError(
            "HouseNotEmpty",
            f"The house {place.directory} is not empty: it has {', '.join(held)}. Nothing was done. Name an empty directory "
            "in VIRTSCALE_HOUSE, or move what is there away.",
        )
    copies.write(begun, wanted)


async def _go_on(place: Place, last: Sealed, said: tuple[str, str], what: str) -> GoneOn:
    """The stream begins behind what was put back."""
    now = dt.datetime.now(dt.UTC)
    epoch = await epochs(place, last.size) + 1
    lines = [first.recovered(place.origin, last, epoch, (0, 0), first.Word(*said, now))]
    own = _note(DirectoryFiles(place.audit))
    if own != last.note:
        lines.append(first.sealed(place.origin, Sealed(last.size, last.root, own), now))
    plan = Intent(
        what=what, size=last.size, root=last.root.hex(), lines=tuple(lines), last_seq=None, forget_marks=True
    )
    intent.write(place.directory, plan)
    async with bus_alone(place) as bus:
        await bus.stand()
    return GoneOn(what, last.size, last.root.hex(), 0, 0, epoch)


def _erase_again(archive: Archive, vault: Vault) -> None:
    """Nobody is known whose erasure the ledger holds.

    What no pen wrote (it has no id) erases nobody, whatever its subject says: whoever may read can have it stored.
    """
    for stored in archive.stored(1, archive.size):
        if stored.id and stored.subject.endswith(_ERASED):
            fact = read(stored.seq, stored.stored_ns, stored.payload, stored.subject).fact
            if isinstance(fact, PersonErased):
                vault.erase(fact.person)
