"""Whether an archive is what was sealed, and whether it reaches as far as it must: two questions, two verdicts.

Integrity: the checkpoint is signed, every entry has the hash that its tile says, the tiles lead up to the signed root,
each entry stands at its sequence. Completeness: nothing is missing up to the archive's own checkpoint, and every other
checkpoint that somebody kept (a witness, a customer, yesterday's auditor) is of this very history and not past its end.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

from events.tlog.checkpoint import Checkpoint, opened
from events.tlog.files import Files
from events.tlog.note import NoteError, Verifier
from events.tlog.reader import CHECKPOINT, VKEY
from events.tlog.tiles import WIDTH
from events.tlog.tree import EMPTY_ROOT, root_at
from replay.audit.hashed import Hashed, Told
from replay.audit.trust import trusted
from schemas.struct import Value

SOUND: Final = "Sound"
"""The code of a verdict with nothing to say against."""

_Thing = Literal["archive", "bus"]
_Question = Literal["integrity", "completeness"]


class Verdict(Value, frozen=True):
    """One answer: what was asked of what, whether it is well, and if not, from where on and what still holds."""

    verdict: _Question
    of: _Thing
    ok: bool
    code: str
    first_bad_seq: int | None
    """The first sequence that is not what it must be, where one can be named."""
    trusted_to: int
    """The last sequence up to which everything is proven to be as it was sealed; 0 when nothing is."""
    says: str


def verdict(
    question: _Question,
    of: _Thing,
    code: str,
    says: str,
    first_bad: int | None = None,
    *,
    trusted_to: int,
) -> Verdict:
    """The verdict with this code; there is nothing to say against what is `SOUND`."""
    return Verdict(
        verdict=question,
        of=of,
        ok=code == SOUND,
        code=code,
        first_bad_seq=first_bad,
        trusted_to=max(0, trusted_to),
        says=says,
    )


class Verified(Value, frozen=True):
    """What was verified, and the verdicts on it."""

    origin: str
    size: int
    root: str
    key: str
    """Name and id of the key that signed, as a verifier key begins; empty where none did."""
    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        """Whether there is nothing to say against it."""
        return all(verdict.ok for verdict in self.verdicts)


class UnverifiableError(Exception):
    """Nothing can be verified, because what to verify it by is missing or is no such thing."""

    code = "Unverifiable"


def verifier_of(files: Files) -> Verifier:
    """The public key that lies beside the archive: it proves that the archive fits itself, not whose it is."""
    try:
        text = files.read(VKEY)
    except OSError as error:
        raise UnverifiableError(
            f"The archive's own vkey cannot be read: {error.strerror or error}. Name the key that you trust with --vkey."
        ) from error
    if text is None:
        raise UnverifiableError(
            "There is no public key here (a file `vkey`); name the one that you trust with --vkey."
        )
    return parsed_key(text, "the archive's own vkey")


def parsed_key(text: bytes, where: str) -> Verifier:
    """The verifier key in the text; `UnverifiableError` names where it stands."""
    try:
        return Verifier.parse(text.decode().strip())
    except (NoteError, UnicodeDecodeError) as error:
        raise UnverifiableError(f"In {where} there is no verifier key: {error}") from error


def verify(
    files: Files,
    verifier: Verifier,
    others: Sequence[tuple[str, str]] = (),
    told: Told | None = None,
    *,
    events: bool = False,
) -> Verified:
    """Both verdicts on an archive; `others` are the names and texts of checkpoints that it must agree with.

    Hashes every entry, at 200,000 events/s and core where they have 400 bytes. `events` also reads each as an event,
    which takes three times as long. Whatever is wrong with the archive, a disk that does not give it included, is in the verdicts.
    """
    try:
        note = files.read(CHECKPOINT)
    except OSError as error:
        return _nothing(
            verifier, "CheckpointMissing", f"The checkpoint cannot be read: {error.strerror or error}."
        )
    if note is None:
        return _nothing(
            verifier,
            "CheckpointMissing",
            "There is no checkpoint: this is no archive, or an export that was cut short; the checkpoint is written "
            "last. Run the export again, it goes on where it stopped.",
        )
    try:
        checkpoint = opened(note.decode(), verifier)
    except (NoteError, ValueError) as error:
        return _nothing(verifier, "CheckpointRefused", f"The checkpoint is not believed: {error}")
    hashed = Hashed(files, checkpoint.size)
    hashed.through(told, events=events)
    proven = trusted(checkpoint.size, checkpoint.root, hashed.of, hashed.tile) if checkpoint.size else 0
    return Verified(
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        key=key_of(verifier),
        verdicts=(
            _integrity(checkpoint, hashed, proven, events=events),
            _completeness(checkpoint, hashed, proven, verifier, others),
        ),
    )


def key_of(verifier: Verifier) -> str:
    """Name and id of a key, as its verifier key begins."""
    return f"{verifier.name}+{verifier.key_id.hex()}"


def _nothing(verifier: Verifier, code: str, says: str) -> Verified:
    integrity = Verdict(
        verdict="integrity", of="archive", ok=False, code=code, first_bad_seq=None, trusted_to=0, says=says
    )
    says = "Without a checkpoint that is believed nobody knows how far it must reach."
    complete = Verdict(
        verdict="completeness", of="archive", ok=False, code=code, first_bad_seq=None, trusted_to=0, says=says
    )
    return Verified(origin="", size=0, root="", key=key_of(verifier), verdicts=(integrity, complete))


def _integrity(checkpoint: Checkpoint, hashed: Hashed, proven: int, *, events: bool) -> Verdict:
    answer = partial(verdict, "integrity", "archive", trusted_to=proven)
    size = checkpoint.size
    if size == 0 and checkpoint.root != EMPTY_ROOT:
        return answer("RootDiffers", "The checkpoint is of no event and names a root that no empty tree has.")
    if proven < size:
        return answer(*_unproven(size, hashed, proven), first_bad=proven + 1)
    if hashed.faults:
        # The entries alone make the signed root: they are as they were sealed, and a file beside them is not.
        fault = min(hashed.faults, key=lambda fault: fault.seq)
        if fault.code == "EntryMisplaced":
            says = f"{fault.sentence} It was sealed so."
            return answer(fault.code, says, fault.seq, trusted_to=fault.seq - 1)
        says = f"{fault.sentence}{_more(hashed)} The entries themselves make the signed root: all {size:,} are as sealed."
        return answer(fault.code, says, fault.seq)
    if hashed.unread is not None:
        says = (
            f"It is as it was sealed, and entry {hashed.unread.seq} is no event that this version reads: "
            f"{hashed.unread.sentence}"
        )
        return answer("EventUnreadable", says, hashed.unread.seq)
    read = (
        f" All are events that this version reads; {hashed.noise:,} were written by no pen and are no events."
        if events
        else ""
    )
    return answer(SOUND, f"The signature holds, and {size:,} entries lead up to the signed root.{read}")


def _unproven(size: int, hashed: Hashed, proven: int) -> tuple[str, str]:
    """Code and sentence for an archive whose entries do not all lead to the root."""
    seq = proven + 1
    still = f"Entries 1 to {proven:,} are as sealed." if proven else "No entry is proven to be as sealed."
    here = [fault for fault in hashed.faults if fault.seq >= seq]
    fault = min(here, key=lambda fault: (fault.in_tile, fault.seq), default=None)
    if fault is not None and fault.seq == seq and not fault.in_tile:
        return fault.code, f"{fault.sentence}{_more(hashed)} {still}"
    if hashed.of(0, seq - 1) is None:
        return "EntryMissing", f"Entry {seq:,} cannot be read.{_more(hashed)} {still}"
    if proven == 0 and hashed.of(0, 0) is not None and not any(not fault.in_tile for fault in hashed.faults):
        return "RootDiffers", f"The {size:,} entries lead to another root than the signed one. {still}"
    return "EntryAltered", f"Entry {seq:,} is not what was sealed.{_more(hashed)} {still}"


def _more(hashed: Hashed) -> str:
    bundles = {(fault.seq - 1) // WIDTH for fault in hashed.faults if not fault.above}
    further = len(bundles) - 1
    if further <= 0:
        return ""
    least = "at least " if hashed.most_faults else ""
    return f" In {least}{further} more bundle{'s' if further > 1 else ''} something does not fit."


def _completeness(
    checkpoint: Checkpoint,
    hashed: Hashed,
    proven: int,
    verifier: Verifier,
    others: Sequence[tuple[str, str]],
) -> Verdict:
    answer = partial(verdict, "completeness", "archive", trusted_to=proven)
    size = checkpoint.size
    missing = min(
        (fault for fault in hashed.faults if fault.code == "EntryMissing"),
        key=lambda fault: fault.seq,
        default=None,
    )
    if missing is not None:
        says = f"{missing.sentence} The checkpoint is of {size:,} events."
        return answer("EntryMissing", says, missing.seq)
    kept = sorted((_kept(name, text, verifier) for name, text in others), key=lambda one: one[1].size)
    agreed = 0
    for name, other in kept:
        if other.origin != checkpoint.origin:
            says = f"The checkpoint {name} is of {other.origin}, and this archive of {checkpoint.origin}."
            return answer("OtherLedger", says)
        if other.size > size:
            says = (
                f"This archive ends with sequence {size:,}; the checkpoint {name} is of {other.size:,} events: "
                f"{other.size - size:,} are not here."
            )
            return answer("EndsEarly", says, size + 1)
        if _root(other.size, hashed.of) != other.root:
            says = (
                f"The first {other.size:,} entries do not make the root of the checkpoint {name}, which is signed by "
                f"the same key: somewhere from sequence {agreed + 1:,} to {other.size:,} another history was sealed."
            )
            if proven < other.size:
                says = f"The first {other.size:,} entries do not make the root of the checkpoint {name}; {proven:,} are proven."
            return answer("HistoryDiffers", says, trusted_to=min(agreed, proven))
        agreed = other.size
    also = f", and so are the {len(kept)} other checkpoints" if len(kept) > 1 else ""
    also = f", and so is the checkpoint of {kept[0][1].size:,} events" if len(kept) == 1 else also
    return answer(SOUND, f"All {size:,} sequences of the checkpoint are here{also}.")


def _kept(name: str, text: str, verifier: Verifier) -> tuple[str, Checkpoint]:
    try:
        return name, opened(text, verifier)
    except (NoteError, ValueError) as error:
        raise UnverifiableError(f"The checkpoint {name} is not believed: {error}") from error


def _root(size: int, hashes: Callable[[int, int], bytes | None]) -> bytes | None:
    def known(level: int, index: int) -> bytes:
        found = hashes(level, index)
        if found is None:
            raise _UnknownError
        return found

    try:
        return root_at(size, known)
    except _UnknownError:
        return None


class _UnknownError(Exception):
    """An entry below this hash cannot be read."""
