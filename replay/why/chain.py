"""The chain of events around one thing: back to what it came from, and on to what came of it. Pure.

Back: an outcome names the order it answers, an order stands in a decision and names its request, a request carries the
sample that set it off. On: what answers, what is ordered, what the workers say of those orders, and the mail. A VM's trip
ends where it serves, sleeps, or failed; its next drain is another request's story.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from events.contract import ContractAccepted, ContractTookEffect, ContractVoided
from events.copy import CopyDropped, CopyFailed, CopyMade, CopyRestored, CopyRestoreFailed
from events.deletion import BackupsErased, EraseFailed, VmUndefined, VolumeErased
from events.envelope import Recorded
from events.gate import (
    Answer,
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    GateDecided,
    Order,
    PlugOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.ids import derive
from events.keep import VmAdopted, VmAdoptFailed
from events.mail import MailAccepted, MailFailed
from events.order import OrderOverdue
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmBooted,
    VmDefined,
    VmDrained,
    VmFoundAwake,
    VmPlugFailed,
    VmPlugged,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from events.volume import VolumeAdopted, VolumeAdoptFailed, VolumeGrowFailed, VolumeGrown
from replay.why.named import Named
from replay.why.words import tag_of

MOST_LINKS: Final = 400
"""Events of one chain that are kept; a request moves at most 64 VMs, and each has some five events."""

RIPENS = VmDrained | VmReady | VmUnready | VmAnnounceFailed | VmFoundAwake
"""What makes a VM ripe for the next step of its life, which the gate orders without being asked."""

OfLife = VmDefined | VmResumed | VmBooted | VmReady | VmUnready | VmWakeFailed | VmQuiesced | VmStopped
OfOrder = (
    VmAnnounced
    | VmAnnounceFailed
    | VmSaved
    | VmSaveFailed
    | OrderOverdue
    | VmPlugged
    | VmPlugFailed
    | VolumeGrown
    | VolumeGrowFailed
    | VolumeAdopted
    | VolumeAdoptFailed
    | VmAdopted
    | VmAdoptFailed
    | CopyMade
    | CopyFailed
    | CopyDropped
    | CopyRestored
    | CopyRestoreFailed
    | VmUndefined
    | VolumeErased
    | BackupsErased
    | EraseFailed
)
Outcome = OfLife | OfOrder | VmDrained | VmFoundAwake


@dataclass(frozen=True, slots=True)
class Link:
    """One event of the chain; of a decision only the answers and orders that belong to it."""

    recorded: Recorded
    answers: tuple[Answer, ...] = ()
    orders: tuple[Order, ...] = ()


def life_of(order: Order) -> str:
    """The reservation that an order begins or moves on; one about a sleeper or a disk, which has none, is its own."""
    if isinstance(order, DrainOrdered | DrainCancelled | SuspendOrdered | StopOrdered | PlugOrdered):
        return order.reservation
    return order.id


def outcome_of(recorded: Recorded) -> tuple[str, ...]:
    """The orders and reservations that an outcome names; nothing for what is no outcome."""
    match recorded.fact:
        case fact if isinstance(fact, OfLife):
            return () if fact.reservation is None else (fact.reservation,)
        case fact if isinstance(fact, OfOrder):
            return (fact.order,)
        case VmDrained(drain=drain):
            return (drain,)
        case VmFoundAwake(reservation=reservation):
            return (reservation,)
        case _:
            return ()


class Origins:
    """What one event or order came from; events are looked at from the newest to the oldest, until `done`."""

    def __init__(self, named: Named) -> None:
        self._ids = {named.id}
        self._ripe: set[str] = set()
        """Reservations of VMs that were ripe for the next step of their life."""
        self._ended: set[str] = set()
        """Reservations that ended without an order: the newest order about them is as near as the ledger comes."""
        self._papers: set[str] = set()
        self._replacing: list[WakeOrdered | BootOrdered] = []
        """Orders of VMs that took the place of one that failed; which one, its outcome tells."""
        self.links: list[Link] = []
        """The thing itself first, then what it came from, nearest first."""

    @property
    def needles(self) -> set[str]:
        """One of these is in every event that is still looked for; none when all is found."""
        return self._ids | self._ripe | self._ended | self._papers

    def look_at(self, recorded: Recorded) -> None:
        """The event is part of the chain, or is none of it."""
        match recorded.fact:
            case GateDecided() as decided:
                self._decision(recorded, decided)
            case _ if recorded.id in self._ids:
                self._add(recorded)
            case ContractAccepted(fingerprint=paper) if paper in self._papers:
                self._papers.discard(paper)
                self._add(recorded)
            case fact if isinstance(fact, RIPENS) and fact.reservation in self._ripe:
                self._ripe.discard(fact.reservation)
                self._add(recorded)
            case VmWakeFailed() | VmStopped() as fact if self._is_replaced(fact):
                self._add(recorded)
            case VmFoundAwake(reservation=reservation) if reservation in self._ended:
                self._ended.discard(reservation)
                self._add(recorded)
            case _:
                pass

    def _add(self, recorded: Recorded) -> None:
        self._ids.discard(recorded.id)
        self.links.append(Link(recorded))
        match recorded.fact:
            case MailAccepted(requests=requests) | MailFailed(requests=requests):
                self._ids.update(requests)
            case VmFoundAwake():
                pass
            case ContractTookEffect(fingerprint=paper) | ContractVoided(fingerprint=paper):
                self._papers.add(paper)
                self._ids.update(_some(recorded.cause))
            case VmQuiesced() | VmStopped() as fact if recorded.cause is None:
                self._ended.update(_some(fact.reservation))
            case _:
                self._ids.update(_some(recorded.cause) or outcome_of(recorded))

    def _decision(self, recorded: Recorded, decided: GateDecided) -> None:
        itself = recorded.id in self._ids
        orders = [
            order
            for order in decided.orders
            if itself or order.id in self._ids or life_of(order) in self._ended
        ]
        wanted = self._ids.union(*(_some(order.request) for order in orders))
        answers = [answer for answer in decided.answers if itself or answer.request in wanted]
        if not (itself or orders or answers):
            return
        self.links.append(Link(recorded, tuple(answers), tuple(orders)))
        self._ids.discard(recorded.id)
        for order in orders:
            self._ids.discard(order.id)
            self._ended.discard(life_of(order))
            if isinstance(order, SuspendOrdered | StopOrdered):
                self._ripe.add(order.reservation)
            if isinstance(order, WakeOrdered | BootOrdered) and order.request not in {
                one.request for one in answers
            }:
                self._replacing.append(order)
                self._ids.add(order.request)
        self._ids.update(answer.request for answer in answers)

    def _is_replaced(self, fact: VmWakeFailed | VmStopped) -> bool:
        """Whether it is the failure that an order names: its id is made of the reservation that failed."""
        failed = fact.reservation
        return failed is not None and any(
            order.id == derive(order.request, derive(failed, 2), tag_of(order), order.vm)
            for order in self._replacing
        )


def _some(id_: str | None) -> tuple[str, ...]:
    return () if id_ is None else (id_,)


@dataclass(slots=True)
class Following:
    """What came of a chain's beginning; events are looked at from there on, in order."""

    links: dict[int, Link] = field(default_factory=dict[int, Link])
    left_out: int = 0
    _requests: set[str] = field(default_factory=set[str])
    _orders: set[str] = field(default_factory=set[str])
    _lives: set[str] = field(default_factory=set[str])

    @classmethod
    def of(cls, origins: Sequence[Link], named: Named) -> "Following":
        """Everything that came of the thing that is named, and the steps between it and what it came from."""
        following = cls({link.recorded.seq: link for link in origins})
        itself = origins[0]
        match itself.recorded.fact:
            case GateDecided():
                following._follow(itself.orders)
                if named.kind == "event":
                    following._requests.update(answer.request for answer in itself.answers)
            case MailAccepted() | MailFailed():
                pass
            case fact if isinstance(fact, Outcome):
                following._orders.update(outcome_of(itself.recorded))
                following._lives.update(_some(getattr(fact, "reservation", None)))
            case _:
                following._requests.add(itself.recorded.id)
        return following

    @property
    def needles(self) -> set[str]:
        """One of these is in every event that is looked for."""
        return self._requests | self._orders | self._lives

    def look_at(self, recorded: Recorded) -> None:
        """The event is part of the chain, or is none of it."""
        match recorded.fact:
            case GateDecided() as decided:
                orders = [order for order in decided.orders if self._is_ours(order)]
                answers = [answer for answer in decided.answers if answer.request in self._requests]
                if orders or answers:
                    self._note(recorded, answers, orders)
                    self._follow(orders)
            case MailAccepted(requests=requests) | MailFailed(requests=requests):
                if not self._requests.isdisjoint(requests):
                    self._note(recorded)
            case _ if recorded.cause in self._requests:
                self._note(recorded)
            case fact if not (self._orders | self._lives).isdisjoint(outcome_of(recorded)):
                self._note(recorded)
                if isinstance(fact, VmAnnounced | VmWakeFailed | VmQuiesced | VmStopped):
                    self._lives.discard(fact.reservation or "")
            case _:
                pass

    def _is_ours(self, order: Order) -> bool:
        if isinstance(order, SuspendOrdered | StopOrdered):
            return order.reservation in self._lives or order.id in self._orders
        return order.request in self._requests or order.id in self._orders or life_of(order) in self._lives

    def _follow(self, orders: Iterable[Order]) -> None:
        for order in orders:
            if isinstance(order, DrainCancelled) and order.drain in self._orders:
                self._lives.discard(order.reservation)  # it serves again, at somebody else's request
                continue
            self._orders.add(order.id)
            self._lives.add(life_of(order))

    def _note(self, recorded: Recorded, answers: Sequence[Answer] = (), orders: Sequence[Order] = ()) -> None:
        known = self.links.get(recorded.seq)
        if known is None and len(self.links) >= MOST_LINKS:
            self.left_out += 1
            return
        if known is not None:
            answers = [*known.answers, *(answer for answer in answers if answer not in known.answers)]
            orders = [*known.orders, *(order for order in orders if order not in known.orders)]
        self.links[recorded.seq] = Link(recorded, tuple(answers), tuple(orders))
