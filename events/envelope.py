"""How an event looks on the wire: CloudEvents 1.0 in structured JSON, readable in ten years.

Subject: `vs.<org>.<writer>.<kind>.<id>.<noun>.<participle>`, so that one line permits one worker.
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Protocol, cast

import msgspec

from events.fact import Fact
from events.registry import BY_TAG, NEWEST, WRITTEN, Kind, Row, UnknownEventError, decode
from schemas.names import Id

_SOURCE: Final = "/virtscale/"
_ID_DIGITS: Final = 32

SUBJECTS: Final = "vs.>"
"""Every event's subject lies under this."""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CloudEvents attributes, with causation, correlation and a W3C trace context derived from the ids."""

    id: Id
    source: str
    type: str
    time: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    subject: str
    correlationid: Id
    traceparent: str
    data: msgspec.Raw
    causationid: Id | None = None
    specversion: Literal["1.0"] = "1.0"
    datacontenttype: Literal["application/json"] = "application/json"


class Recorded(msgspec.Struct, frozen=True):
    """An event as it stands in the ledger: its place, when the bus stored it, and what happened."""

    seq: int
    stored_ns: int
    """Unix time in nanoseconds on the bus server's clock."""
    id: str
    writer: str
    time: dt.datetime
    """When the writer says it happened."""
    cause: str | None
    correlation: str
    type: str
    fact: Fact

    @property
    def stored_at(self) -> dt.datetime:
        """When the bus stored it, to the microsecond."""
        return dt.datetime.fromtimestamp(self.stored_ns // 1000 / 1e6, dt.UTC)


@dataclass(frozen=True, slots=True)
class Addressed:
    """An event ready for the bus: subject, message id, bytes."""

    subject: str
    id: str
    payload: bytes


def address(
    fact: Fact,
    *,
    writer: str,
    id: str,
    time: dt.datetime,
    cause: str | None,
    correlation: str,
) -> Addressed:
    """The bytes of an event and where they go; the subject follows from the fact and its writer alone."""
    row = WRITTEN[type(fact)]
    assert writer == row.writer or (row.per_host and writer.startswith(f"{row.writer}-")), (writer, row.tag)
    entity = row.entity(fact)
    data = msgspec.Raw(msgspec.json.encode(fact))
    # A struct is not checked when it is made, only when it is read. What could not be read back would stop every
    # reader for ever, so it is read back here, before the bus has seen it.
    decode(row.tag, data)
    envelope = Envelope(
        id=id,
        source=f"{_SOURCE}{writer}",
        type=row.tag,
        time=time,
        subject=f"{fact.org}/{row.kind}/{entity}",
        causationid=cause,
        correlationid=correlation,
        # The ids are 128 bits of hash: the correlation is the trace and half of the event's own id its span.
        traceparent=f"00-{correlation}-{id[:16]}-01",
        data=data,
    )
    return Addressed(subject_of(fact, writer, row.tag), id, msgspec.json.encode(envelope))


_envelopes: Final = msgspec.json.Decoder(Envelope)


class _Whole(Protocol):
    """An envelope decoded together with the fact in it."""

    id: str
    source: str
    time: dt.datetime
    correlationid: str
    causationid: str | None
    data: Fact


def _in_one_pass(row: Row) -> msgspec.json.Decoder[_Whole]:
    """A decoder of the envelopes that hold this very version of an event; it refuses what `Envelope` does, but for ids.

    Those are left to `_are_ids`, since one look at all three takes a quarter of the time of three.
    """
    own: dict[str, object] = {
        "type": Literal[row.tag],
        "data": row.struct,
        "id": str,
        "correlationid": str,
        "causationid": str | None,
    }
    fields = [
        (field.name, own.get(field.name, field.type))
        if field.required
        else (field.name, own.get(field.name, field.type), field.default)
        for field in msgspec.structs.fields(Envelope)
    ]
    shape = msgspec.defstruct("Whole", fields, frozen=True, forbid_unknown_fields=True)
    return msgspec.json.Decoder(cast("type[_Whole]", shape))


_HEXADECIMAL: Final = re.compile("[0-9a-f]*").fullmatch


def _are_ids(whole: _Whole) -> bool:
    """Whether all three ids are what `Id` allows: 32 hexadecimal digits."""
    cause = whole.causationid
    digits = whole.id + whole.correlationid + (cause or "")
    return (
        len(whole.id) == len(whole.correlationid) == _ID_DIGITS
        and (cause is None or len(cause) == _ID_DIGITS)
        and _HEXADECIMAL(digits) is not None
    )


class _Usual(msgspec.Struct, frozen=True):
    """An event in its newest version, and the parts of the subject that it stands on."""

    tag: str
    decoder: msgspec.json.Decoder[_Whole]
    host_writer: str | None
    """How the writer's name begins of which each host has one; None for a writer that is the only one."""
    kind: Kind
    before: str
    after: str


_USUAL: Final = {
    row.name: _Usual(
        row.tag,
        _in_one_pass(row),
        f"{row.writer}-" if row.per_host else None,
        row.kind,
        f".{row.kind}.",
        f".{row.name}",
    )
    for row in NEWEST.values()
}
"""By the last two words of a subject. Nearly all that a ledger holds is of the newest version."""


def read(seq: int, stored_ns: int, payload: bytes, subject: str | None = None) -> Recorded:
    """The event that the ledger holds at `seq`; `UnknownEventError` when it cannot be understood.

    With `subject`, the one it was stored on: the bus permits subjects, not contents, so an event that says it is
    another worker's, or about another thing, than its subject says is not believed.

    What the subject promises is tried in one pass over the bytes, which takes two thirds of the time. When that fails,
    for whatever reason, the second way decides, and says what is wrong.
    """
    if subject is not None:
        usual = _USUAL.get(subject[subject.rfind(".", 0, subject.rfind(".")) + 1 :])
        if usual is not None:
            try:
                whole = usual.decoder.decode(payload)
            except msgspec.DecodeError:
                return _read(seq, stored_ns, payload, subject)
            fact, writer = whole.data, whole.source.removeprefix(_SOURCE)
            speaker = (
                writer if usual.host_writer is None else f"{usual.host_writer}{getattr(fact, 'host', '')}"
            )
            if (
                _are_ids(whole)
                and subject
                == f"vs.{fact.org}.{speaker}{usual.before}{getattr(fact, usual.kind)}{usual.after}"
            ):
                return Recorded(
                    seq,
                    stored_ns,
                    whole.id,
                    writer,
                    whole.time,
                    whole.causationid,
                    whole.correlationid,
                    usual.tag,
                    fact,
                )
    return _read(seq, stored_ns, payload, subject)


def _read(seq: int, stored_ns: int, payload: bytes, subject: str | None) -> Recorded:
    try:
        envelope = _envelopes.decode(payload)
    except msgspec.DecodeError as error:
        raise UnknownEventError(f"Ledger sequence {seq} is not an event: {error}.") from error
    fact = decode(envelope.type, envelope.data)
    writer = envelope.source.removeprefix(_SOURCE)
    if subject is not None and subject != subject_of(fact, writer, envelope.type):
        raise UnknownEventError(
            f"Ledger sequence {seq} stands on {subject} and says it is {envelope.type} by {writer} about "
            f"{envelope.subject}: it was not written by whom it names."
        )
    return Recorded(
        seq=seq,
        stored_ns=stored_ns,
        id=envelope.id,
        writer=writer,
        time=envelope.time,
        cause=envelope.causationid,
        correlation=envelope.correlationid,
        type=envelope.type,
        fact=fact,
    )


def subject_of(fact: Fact, writer: str, tag: str) -> str:
    """Where an event of this type, by this writer and about this thing, stands on the bus.

    A writer that each host has one of speaks about its own host only.
    """
    row = BY_TAG[tag]
    if row.per_host:
        writer = f"{row.writer}-{getattr(fact, 'host', '')}"
    return f"vs.{fact.org}.{writer}.{row.kind}.{row.entity(fact)}.{row.name}"


def fence(org: str) -> str:
    """The literal subject that serialises every decision about an org."""
    return f"vs.{org}.gate.org.{org}.gate.decided"
