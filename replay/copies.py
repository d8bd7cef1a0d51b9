"""Every copy that a VM's disk ever had, from the ledger alone: who had it made, how it went, and when there was none left."""

import datetime as dt
from typing import Final

import msgspec
from msgspec.structs import replace

from events.copy import (
    CopyDropped,
    CopyDropRequested,
    CopyDue,
    CopyFailed,
    CopyMade,
    CopyRequested,
)
from events.deletion import BackupsErased, DeletionScheduled, VolumeErased
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import CopyOrdered, DropOrdered, EraseOrdered, GateDecided
from schemas.copy import CopyKind, DropCause

NIGHTLY: Final = "the pool's policy"
"""Who has a backup made that nobody asked for."""


class Asked(msgspec.Struct, frozen=True):
    """Who wanted something, and why."""

    actor: str
    reason: str
    request: str
    """The id of the event that asked, for `virtscale replay why`."""
    at: dt.datetime


class Copied(msgspec.Struct, frozen=True):
    """One copy, from being ordered to its end."""

    copy: str
    kind: CopyKind
    order: str
    asked: Asked | None
    ordered_at: dt.datetime
    made_at: dt.datetime | None = None
    taken_at: dt.datetime | None = None
    size_bytes: int | None = None
    place: str | None = None
    failed: str | None = None
    """Why it was never made."""
    gone_at: dt.datetime | None = None
    gone_seq: int | None = None
    cause: DropCause | None = None
    """Why it went."""
    gone_asked: Asked | None = None
    """Who wanted that: where newer copies took its place, whoever had the newest one made."""

    @property
    def is_there(self) -> bool:
        """Whether it was made and is not gone."""
        return self.made_at is not None and self.gone_at is None


class Emptied(msgspec.Struct, frozen=True):
    """A moment from which on the VM had no copy, until it had one again."""

    at: dt.datetime
    seq: int
    copy: str
    """The last one that went."""
    kind: CopyKind
    cause: DropCause
    asked: Asked | None


class Past:
    """What one name's copies went through. The trap: a name that was free again is another VM's later, and both stand here."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            CopyRequested,
            CopyDue,
            CopyDropRequested,
            DeletionScheduled,
            GateDecided,
            CopyMade,
            CopyFailed,
            CopyDropped,
            VolumeErased,
            BackupsErased,
        }
    )

    def __init__(self, org: str, vm: str) -> None:
        self._key = (org, vm)
        self._copies: dict[str, Copied] = {}
        """By the order that makes it."""
        self._by_name: dict[str, str] = {}
        self._drops: dict[str, str] = {}
        """The copy that each order to drop is about: its name may be another copy's by the time that it is told of once more."""
        self._asked: dict[str, Asked] = {}
        """By request, by deletion, and by the order that followed."""
        self._fences = Fences()
        self.emptied: list[Emptied] = []

    @property
    def copies(self) -> tuple[Copied, ...]:
        """All of them, in the order in which they were ordered."""
        return tuple(self._copies.values())

    @property
    def vanished(self) -> Emptied | None:
        """The moment at which the last copy vanished; None where the VM has one, or never had any."""
        return self.emptied[-1] if self.emptied and not any(one.is_there for one in self.copies) else None

    def apply(self, recorded: Recorded) -> None:
        """The past now includes the event."""
        fact = recorded.fact
        if isinstance(fact, GateDecided):
            if fact.org == self._key[0] and self._fences.pass_on(recorded, fact):
                self._decided(recorded, fact)
        elif (fact.org, getattr(fact, "vm", None)) == self._key:
            self._heard(recorded, fact)

    def _heard(self, recorded: Recorded, fact: Fact) -> None:
        match fact:
            case CopyRequested() | CopyDropRequested():
                self._asked[recorded.id] = Asked(fact.actor, fact.reason, recorded.id, recorded.time)
            case CopyDue():
                reason = f"the night of {fact.night} (try {fact.attempt})"
                self._asked[recorded.id] = Asked(NIGHTLY, reason, recorded.id, recorded.time)
            case DeletionScheduled():
                cause = recorded.cause or recorded.id
                self._asked[fact.deletion] = Asked(fact.actor, fact.reason, cause, recorded.time)
            case CopyMade():
                self._change(
                    fact.order,
                    made_at=recorded.time,
                    taken_at=fact.taken_at,
                    size_bytes=fact.size_bytes,
                    place=fact.place,
                )
            case CopyFailed():
                self._change(fact.order, failed=f"{fact.code}: {fact.text}")
            case CopyDropped():
                self._gone(recorded, self._drops.get(fact.order), fact.cause, fact.order)
            case VolumeErased() | BackupsErased():
                kind: CopyKind = "snapshot" if isinstance(fact, VolumeErased) else "backup"
                for order, one in self._copies.items():
                    if one.is_there and one.kind == kind:
                        self._gone(recorded, order, "deletion", fact.order)
            case _:
                pass

    def _decided(self, recorded: Recorded, decided: GateDecided) -> None:
        for order in decided.orders:
            if order.vm != self._key[1]:
                continue
            match order:
                case CopyOrdered():
                    asked = self._asked.get(order.request)
                    self._copies[order.id] = Copied(order.copy, order.kind, order.id, asked, recorded.time)
                    self._by_name[order.copy] = order.id
                case DropOrdered():
                    self._drops[order.id] = self._by_name.get(order.copy, "")
                    self._follow(order.id, order.request)
                case EraseOrdered():
                    self._follow(order.id, order.deletion)
                case _:
                    pass

    def _follow(self, order: str, asked: str) -> None:
        """Who stands behind the request or deletion stands behind the order."""
        if asked in self._asked:
            self._asked[order] = self._asked[asked]

    def _gone(self, recorded: Recorded, order: str | None, cause: DropCause, by: str) -> None:
        known = self._copies.get(order or "")
        if known is None or not known.is_there:
            return
        asked = self._asked.get(by)
        self._change(known.order, gone_at=recorded.time, gone_seq=recorded.seq, cause=cause, gone_asked=asked)
        if not any(one.is_there for one in self._copies.values()):
            self.emptied.append(Emptied(recorded.time, recorded.seq, known.copy, known.kind, cause, asked))

    def _change(self, order: str, **members: object) -> None:
        known = self._copies.get(order)
        # What is told twice stays as it was told first.
        if known is not None and all(getattr(known, name) is None for name in members):
            self._copies[order] = replace(known, **members)


def sentence(past: Past, org: str, vm: str) -> str:
    """When the last copy vanished and who asked for it, or that there is one."""
    there = [one for one in past.copies if one.is_there]
    if there:
        newest = there[-1]
        return f"{org}/{vm} has {len(there)} {'copy' if len(there) == 1 else 'copies'}; the newest is the {newest.kind} {newest.copy}."
    if past.vanished is None:
        return f"No copy of {org}/{vm} was ever made."
    last = past.vanished
    return (
        f"{org}/{vm} has no copy since {last.at:%Y-%m-%d %H:%M:%S} UTC (event {last.seq}), when its last one, the {last.kind} "
        f"{last.copy}, went: {because(last.cause, last.asked)}."
    )


def because(cause: DropCause, asked: Asked | None) -> str:
    """Why a copy went, and who stands behind it."""
    who = f"{asked.actor} ({asked.reason})" if asked is not None else "nobody whom this ledger names"
    match cause:
        case "asked":
            return f"asked for by {who}"
        case "retention":
            return f"its pool keeps no more, and a newer one was asked for by {who}"
        case "deletion":
            return f"the VM was deleted by {who}"
