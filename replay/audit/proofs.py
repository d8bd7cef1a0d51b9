"""The proof of one event, to hand to whom it concerns; and what such a proof says to somebody who holds it."""

from collections.abc import Callable
from typing import Final

from events.envelope import read
from events.gate import Answer, ContractRef, GateDecided
from events.registry import UnknownEventError
from events.stored import Stored
from events.tlog.files import Files
from events.tlog.leaf import parse
from events.tlog.reader import Archive
from events.tlog.tiles import WIDTH, bundle_path, width_of
from replay.audit.hashed import wide
from schemas.struct import Value

LEAST_DIGITS: Final = 6
"""Of an id, its first so many are enough to look for it."""

_ID_DIGITS: Final = 32
_HEXADECIMAL: Final = frozenset("0123456789abcdef")


class NotFoundError(Exception):
    """No event, or more than one, is meant by what was asked for."""

    code = "EventNotFound"


class Found(Value, frozen=True):
    """The event that was meant."""

    seq: int
    request_seq: int | None = None
    """Where the request stands that this event answers, when it was asked for by the request's id."""


def find(archive: Archive, files: Files, asked: str, told: Callable[[int, int], None] | None = None) -> Found:
    """The event of a sequence, of an event's id, or the gate's decision that answered the request of this id.

    The first digits of an id do. An id that is both a request's and its event's means the answer: the request itself is asked
    for by its sequence. Reads the archive from its beginning, a gigabyte in about a second.
    """
    size = archive.size
    if asked.isascii() and asked.isdecimal() and len(asked) < _ID_DIGITS:
        if not 1 <= int(asked) <= size:
            raise NotFoundError(f"The archive holds events 1 to {size:,}; there is no {asked}.")
        return Found(seq=int(asked))
    if not (LEAST_DIGITS <= len(asked) <= _ID_DIGITS and set(asked) <= _HEXADECIMAL):
        raise NotFoundError(
            f"{asked!a:.60} is no sequence and no id: ids are {_ID_DIGITS} hexadecimal digits, of which the first {LEAST_DIGITS} do."
        )
    own: dict[str, int] = {}
    answers: dict[str, int] = {}
    for index in range(-(-size // WIDTH)):
        width = width_of(index, size)
        data = wide(files, lambda width, at=index: bundle_path(at, width), width).data
        if data is not None and asked.encode() in data:
            for entry in archive.bundle(index):
                if asked.encode() in entry:
                    _note(parse(entry), asked, own, answers)
        if told is not None:
            told(min(size, (index + 1) * WIDTH), size)
    return _meant(asked, own, answers, size)


def _note(stored: Stored, asked: str, own: dict[str, int], answers: dict[str, int]) -> None:
    """The entry is remembered where its id is asked for, or the id of a request that it answers."""
    if stored.id.startswith(asked):
        own[stored.id] = stored.seq
    try:
        fact = read(stored.seq, stored.stored_ns, stored.payload, stored.subject).fact
    except UnknownEventError:
        return  # whatever it is, it is no decision that this version can read: it has its own id alone
    if isinstance(fact, GateDecided):
        for answer in fact.answers:
            if answer.request.startswith(asked):
                answers.setdefault(answer.request, stored.seq)


def _meant(asked: str, own: dict[str, int], answers: dict[str, int], size: int) -> Found:
    ids = {*own, *answers}
    if not ids:
        raise NotFoundError(
            f"Among {size:,} events no id begins with {asked}, and no answer is to such a request. What was decided a "
            "moment ago is found once it is sealed, within seconds."
        )
    if len(ids) > 1:
        raise NotFoundError(f"{len(ids)} ids begin with {asked}: give more digits.")
    [id_] = ids
    if id_ in answers:
        return Found(seq=answers[id_], request_seq=own.get(id_))
    return Found(seq=own[id_])


class Telling(Value, frozen=True):
    """What an entry says, for a person."""

    seq: int
    stored_ns: int
    subject: str
    id: str
    type: str
    writer: str
    answers: tuple[tuple[str, Answer, ContractRef | None], ...]
    """Org, answer and the contract it was decided by, where it is a decision."""


def tell(entry: bytes) -> Telling:
    """What the entry says; of an event that this version does not read, what stands around it. Raises `EntryError`."""
    stored = parse(entry)
    try:
        recorded = read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
    except UnknownEventError:
        return _bare(stored)
    fact = recorded.fact
    answers = (
        tuple((fact.org, answer, fact.contract) for answer in fact.answers)
        if isinstance(fact, GateDecided)
        else ()
    )
    return Telling(
        seq=stored.seq,
        stored_ns=stored.stored_ns,
        subject=stored.subject,
        id=stored.id,
        type=recorded.type,
        writer=recorded.writer,
        answers=answers,
    )


def _bare(stored: Stored) -> Telling:
    return Telling(
        seq=stored.seq,
        stored_ns=stored.stored_ns,
        subject=stored.subject,
        id=stored.id,
        type="",
        writer="",
        answers=(),
    )
