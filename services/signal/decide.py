"""The rules of the intake: what is a request, what is refused at the door, and when a trigger asks.

Pure. What is refused here never reaches the ledger; whether an org *may* have what it asks for is the gate's.
"""

import datetime as dt
import hashlib
import math
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from events.ahead import is_to_come
from events.copy import CopyDropRequested, CopyRequested, RestoreRequested
from events.deletion import DeletionCancelRequested, DeletionRequested
from events.ids import derive
from events.keep import VmAdoptRequested, VmChangeRequested, VmCreateRequested, VmResizeRequested
from events.maintenance import MaintenanceChangeRequested, MaintenanceRequested
from events.person import PersonEraseRequested
from events.quiesce import QuiesceRequested
from events.ruling import Ruling
from events.save import SaveRequested
from events.scale import Origin, Sample, ScaleRequested
from events.stock import StockRequested
from schemas.intake import (
    VERBS,
    ChangeHost,
    Erase,
    Freeze,
    Quiesce,
    RegisterKey,
    Rejection,
    Request,
    RevokeKey,
    Save,
    Scale,
    Stock,
    Submit,
    Thaw,
)
from schemas.names import FORECAST, OPERATOR, PLATFORM, TRIGGER, is_name
from schemas.pool import Pool, Trigger
from schemas.vm_intake import AdoptVm, AskMaintenance, ChangeMaintenance, Permit
from services.signal import copying, deleting, living, rulings
from services.signal.known import Known

RequestFact = (
    ScaleRequested
    | QuiesceRequested
    | StockRequested
    | SaveRequested
    | PersonEraseRequested
    | VmCreateRequested
    | VmChangeRequested
    | VmResizeRequested
    | VmAdoptRequested
    | CopyRequested
    | CopyDropRequested
    | RestoreRequested
    | DeletionRequested
    | DeletionCancelRequested
    | MaintenanceChangeRequested
    | MaintenanceRequested
    | Ruling
)
"""The events that this worker writes."""

Rule = Submit | RegisterKey | RevokeKey | Freeze | Thaw | ChangeHost | Permit
"""Requests that change what the gate decides by: only people of the platform may make them."""

MOST_BYTES: Final = 16 * 1024
"""A longer request is no request: the longest honest one has some 300 bytes."""

GAP: Final = dt.timedelta(minutes=5)
"""Samples further apart are not successive: Prometheus itself forgets a series after five minutes."""

_SHOWN: Final = 80
_PARSER_SHOWN: Final = 300
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """A readable request, and who asks for whom: the bus lets a publisher ask only in its own name."""

    org: str
    publisher: str
    verb: str
    request: Request

    @property
    def id(self) -> str:
        """The request's id; the same key of the same publisher asks once."""
        return request_id(self.org, self.publisher, self.verb, self.request.key)

    @property
    def waits(self) -> bool:
        """Whether the publisher wants the gate's decision and not only the receipt."""
        return not isinstance(self.request, Erase | ChangeMaintenance | AskMaintenance) and self.request.wait


def request_id(org: str, publisher: str, verb: str, key: str) -> str:
    """The id of a request and of the event that it becomes."""
    return derive(org, publisher, verb, key)


def read(subject: str, payload: bytes) -> Asked | Rejection:
    """The request that an intake message holds, or why it holds none."""
    tokens = subject.split(".")
    if len(tokens) != 4 or tokens[0] != "in" or not all(is_name(token) for token in tokens[1:3]):  # noqa: PLR2004
        return Rejection(
            "SubjectUnreadable",
            f"A request goes to in.<org>.<publisher>.<verb>, with names of lower case letters, digits and inner "
            f"dashes; this came on {_short(subject)}. Nothing was stored.",
        )
    _, org, publisher, verb = tokens
    if verb not in VERBS:
        known = ", ".join(VERBS)
        return Rejection(
            "VerbUnknown", f"{_short(verb)} is no request; there are {known}. Nothing was stored."
        )
    if len(payload) > MOST_BYTES:
        return Rejection(
            "RequestTooLarge",
            f"The request has {len(payload)} bytes; at most {MOST_BYTES} are read. Nothing was stored.",
        )
    try:
        request = msgspec.json.decode(payload, type=VERBS[verb])
        request.key.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Rejection(
            "RequestUnreadable", f"The {verb} request is not valid: {_plain(error)}. Nothing was stored."
        )
    return Asked(org, publisher, verb, request)


def judge(asked: Asked, known: Known, received_at: dt.datetime) -> RequestFact | Rejection:
    """The event that the request becomes, or why it is refused at the door."""
    request = asked.request
    if asked.publisher == TRIGGER:
        return Rejection(
            "PublisherReserved", f"Only triggers ask as {TRIGGER}: take another name. Nothing was stored."
        )
    if asked.publisher == FORECAST and not isinstance(request, Scale | Quiesce | Save):
        return Rejection(
            "PublisherReserved",
            f"Forecasts ask for scale, quiesce and save, never for {asked.verb}: take another name than {FORECAST}. Nothing was "
            "stored.",
        )
    if isinstance(request, Erase):
        return _judge_erase(asked, request, known, received_at)
    if isinstance(request, Rule):
        if asked.publisher != OPERATOR:
            return Rejection(
                "OperatorOnly",
                f"Only an operator may ask for {asked.verb}; {asked.publisher} is none. Nothing was stored.",
            )
        return rulings.judge(asked.org, asked.publisher, request, known, received_at)
    if isinstance(request, ChangeMaintenance | AskMaintenance):
        if asked.publisher != OPERATOR:
            return Rejection(
                "OperatorOnly",
                f"Only an operator may plan, move or cancel maintenance; {asked.publisher} is none. Nothing was stored.",
            )
        return living.judge_maintenance(asked.org, asked.publisher, request, known, received_at)
    if isinstance(request, AdoptVm):
        if asked.publisher != OPERATOR:
            return Rejection(
                "OperatorOnly",
                f"Only an operator may have a domain adopted; {asked.publisher} is none. Nothing was stored.",
            )
        return living.adopt(asked.org, asked.publisher, request, known, received_at)
    if isinstance(request, copying.Copying):
        return copying.judge(asked.org, asked.publisher, request, known, received_at)
    if isinstance(request, deleting.Deleting):
        return deleting.judge(asked.org, asked.publisher, request, known, received_at)
    if isinstance(request, living.Living):
        return living.judge(asked.org, asked.publisher, request, known, received_at)
    return _judge_scaling(asked, request, known, received_at)


def _judge_scaling(
    asked: Asked, request: Scale | Quiesce | Stock | Save, known: Known, received_at: dt.datetime
) -> RequestFact | Rejection:
    org, publisher = asked.org, asked.publisher
    if not known.has(org):
        return _org_unknown(org)
    if (org, request.pool) not in known.fleet.pools:
        return Rejection("PoolUnknown", f"The org {org} has no pool {request.pool}. Nothing was stored.")
    match request:
        case Scale():
            if (request.add is None) == (request.want is None):
                both = "neither" if request.add is None else "both"
                return Rejection(
                    "AddOrWant",
                    f"A scale request says how many VMs to add or how many to want; this says {both}. "
                    "Nothing was stored.",
                )
            return ScaleRequested(
                org=org,
                pool=request.pool,
                publisher=publisher,
                key=request.key,
                origin=_origin(publisher),
                add=request.add,
                want=request.want,
                up_to=request.up_to,
                received_at=received_at,
                sample=None,
            )
        case Quiesce():
            return QuiesceRequested(
                org=org,
                pool=request.pool,
                publisher=publisher,
                key=request.key,
                origin=_origin(publisher),
                count=request.count,
                received_at=received_at,
                sample=None,
            )
        case Stock():
            return StockRequested(
                org=org,
                pool=request.pool,
                publisher=publisher,
                key=request.key,
                vms=request.vms,
                received_at=received_at,
            )
        case Save():
            return SaveRequested(
                org=org,
                pool=request.pool,
                publisher=publisher,
                key=request.key,
                origin=_origin(publisher),
                paused=request.paused,
                received_at=received_at,
            )


def _origin(publisher: str) -> Origin:
    """Who asks through the intake: people of the platform and the forecaster under one name each, programs under all others."""
    if publisher == FORECAST:
        return "forecast"
    return "person" if publisher == OPERATOR else "program"


def content(fact: RequestFact) -> bytes:
    """What was asked, without when it came: the same key may ask the same again, and nothing else."""
    timeless = msgspec.structs.replace(fact, received_at=_EPOCH)
    return hashlib.sha256(type(fact).__name__.encode() + msgspec.json.encode(timeless)).digest()[:16]


def key_reused(key: str, seq: int) -> Rejection:
    """The answer to a key that already asked for something else."""
    return Rejection(
        "KeyReused",
        f"The key {_short(key)} already asked for something else (ledger sequence {seq}): a new request needs a "
        "new key. Nothing was stored.",
    )


# ------------------------------------------------------------------------------------------------------ triggers


@dataclass(frozen=True, slots=True)
class Streak:
    """Successive samples above a trigger's limit, the newest last; nothing is known before the first."""

    count: int = 0
    newest: dt.datetime | None = None


def lengthen(streak: Streak, trigger: Trigger, value: float, observed_at: dt.datetime) -> Streak:
    """The streak with one more sample; the same or an older sample changes nothing.

    A query that yields nothing must not come here as a zero: no answer says nothing about the load. Nor does
    what is not a number, which JSON cannot carry either.
    """
    if not math.isfinite(value) or (streak.newest is not None and observed_at <= streak.newest):
        return streak
    torn = streak.newest is not None and observed_at - streak.newest > GAP
    if value <= trigger.above:
        return Streak(0, observed_at)
    return replace(streak, count=1 if torn else streak.count + 1, newest=observed_at)


def due(streak: Streak, trigger: Trigger) -> bool:
    """Whether enough successive samples were above the limit."""
    return streak.count >= trigger.samples


def cooled(pool: Pool, asked_at: dt.datetime | None, now: dt.datetime) -> bool:
    """Whether the pool's cooldown is over since a trigger last asked; the gate has a cooldown of its own.

    A trigger that asked by a clock which was ahead, or so it seems by now, is not waited for.
    """
    if asked_at is None or is_to_come(asked_at, now):
        return True
    return now >= asked_at + dt.timedelta(seconds=pool.cooldown_seconds)


def triggered(
    pool: Pool, trigger: Trigger, value: float, observed_at: dt.datetime, received_at: dt.datetime
) -> ScaleRequested:
    """What a trigger asks for; its key names the pool and the sample, so one sample asks once."""
    return ScaleRequested(
        org=pool.org,
        pool=pool.name,
        publisher=TRIGGER,
        key=f"{pool.name}@{observed_at.isoformat()}",
        origin="trigger",
        add=trigger.add,
        want=None,
        up_to=False,
        received_at=received_at,
        sample=Sample(query=trigger.query, value=value, above=trigger.above, observed_at=observed_at),
    )


# ------------------------------------------------------------------------------------------------------- private


def _judge_erase(
    asked: Asked, request: Erase, known: Known, received_at: dt.datetime
) -> RequestFact | Rejection:
    """Erasing cannot be undone, so a key that may scale a pool may not do it."""
    if asked.publisher != OPERATOR:
        return Rejection(
            "OperatorOnly",
            f"Only an operator may have a person erased; {asked.publisher} is none. Use `virtscale person erase`. "
            "Nothing was stored.",
        )
    if asked.org != PLATFORM and not known.has(asked.org):
        return _org_unknown(asked.org)
    return PersonEraseRequested(
        org=asked.org,
        person=request.person,
        publisher=asked.publisher,
        key=request.key,
        received_at=received_at,
    )


def _org_unknown(org: str) -> Rejection:
    return Rejection("OrgUnknown", f"The org {org} has no contract and no pool here. Nothing was stored.")


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _plain(error: Exception) -> str:
    """A parser's words, which quote what was sent, on one line of what can be printed."""
    text = str(error)[:_PARSER_SHOWN]
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
