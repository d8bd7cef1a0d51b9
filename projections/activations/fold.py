"""The five steps of an activation, each read from the events and accounted in milliseconds.

L1 signal: from the sample that caused the request to the stored request; a person's request has none.
L2 gate: from the stored request to the stored decision. L3 wake: until libvirt says that the domain runs.
L4 health: until the guest answered. L5 announce: until the load balancer sends it work.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Final, Literal

from msgspec.structs import replace

from events.dead import DeadHosts
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import BootOrdered, DrainCancelled, GateDecided, WakeOrdered
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from events.mail import MailAccepted
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmBooted,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from projections.activations.reservations import Reservations
from projections.activations.trip import Activation, Request

BUDGET_MS: Final[dict[str, int]] = {"L1": 140, "L2": 45, "L3": 380, "L4": 310, "L5": 525}
"""The activation budget of the platform, p50 in milliseconds; together 1,400."""

MOST_UNMAILED: Final = 10_000
"""Refused requests that a mail may still tell of; of one more the oldest is over, and its mail is not shown. Most
refusals are mailed within a quarter of an hour or never: only the contract's own are."""


class Activations:
    """All requests by id and all activations by order; a wake's or boot's order is its reservation too.

    Each comes to be **over**: a request once it is answered, and mailed where it was refused; a trip once its
    reservation has ended, or its host is dead, or another one has begun for its VM. What is over never changes again. Whoever has written it down
    may therefore say `settle`, and it is forgotten; when that is said makes no difference to anything else, so that a view
    of a long ledger is as large as what goes on in it. An id that is told again after it was over is another thing: it
    never takes the place of the first.

    May begin anywhere in the ledger: a command that follows its own request folds from there on. It does not know then on
    which host a reservation holds that began before, or that a host was dead already.
    """

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            ScaleRequested,
            QuiesceRequested,
            StockRequested,
            SaveRequested,
            GateDecided,
            VmResumed,
            VmBooted,
            VmReady,
            VmAnnounced,
            VmWakeFailed,
            VmUnready,
            VmAnnounceFailed,
            VmStopped,
            VmQuiesced,
            MailAccepted,
            HostRegistered,
            HostAdmitted,
            HostFenced,
            HostRemoved,
        }
    )

    def __init__(self) -> None:
        self._fences: Fences | None = None
        self._dead = DeadHosts()
        self.requests: dict[str, Request] = {}
        self.activations: dict[str, Activation] = {}
        self._over_requests: dict[str, None] = {}
        self._over_trips: dict[str, None] = {}
        self._first_requests: dict[str, Request] = {}
        """Requests that are over, whose ids were told again before they were written down."""
        self._first_trips: dict[str, Activation] = {}
        self._unmailed: dict[str, None] = {}
        self._of_request: dict[str, list[str]] = {}
        self._reservations = Reservations()
        self._of_vm: dict[tuple[str, str], str] = {}
        """The reservation that a VM was last ordered awake under."""
        self._ended: dict[tuple[str, str], str] = {}

    def of(self, request: str) -> list[Activation]:
        """The activations that a request led to, in the order they were ordered."""
        return [self.activations[order] for order in self._of_request.get(request, ())]

    def first_request(self, id: str) -> Request | None:
        """The request that first had the id, of those that are not forgotten."""
        return self._first_requests.get(id) or self.requests.get(id)

    def first_activation(self, order: str) -> Activation | None:
        """The activation that first had the order, of those that are not forgotten."""
        return self._first_trips.get(order) or self.activations.get(order)

    def is_over(self, order: str) -> bool:
        """Whether nothing changes the trip any more; it is not forgotten yet."""
        return order in self._over_trips

    def under(self, reservation: str) -> Iterable[str]:
        """The orders of the trips under the reservation, of those that are not forgotten."""
        return self._reservations.known(reservation)

    def concerned(self, fact: Fact) -> Iterable[str]:
        """The orders of the trips that the event would begin or may change, of those that are not forgotten."""
        match fact:
            case GateDecided(orders=orders):
                return [
                    order.id
                    for order in orders
                    if isinstance(order, WakeOrdered | BootOrdered | DrainCancelled)
                ]
            case HostFenced(host=host):
                return [order for held in self._reservations.on(host) for order in self.under(held)]
            case VmAnnounced(order=order) | VmAnnounceFailed(order=order):
                return (order,)
            case fact:
                reservation = getattr(fact, "reservation", None)
                return () if reservation is None else self.under(reservation)

    def settle(self) -> None:
        """What is over is forgotten. Said by who has its rows in hand, after `first_…` gave the last of them."""
        for id_ in self._over_requests:
            del self.requests[id_]
        for order in self._over_trips:
            self._unlist(self.activations.pop(order))
        for known in (self._over_requests, self._over_trips, self._first_requests, self._first_trips):
            known.clear()
        self._reservations.settle()

    def apply(self, recorded: Recorded) -> None:
        """The view now includes the event."""
        if self._fences is None:
            self._fences = Fences(began=recorded.seq - 1)
        match recorded.fact:
            case ScaleRequested() as wish:
                asked = f"+{wish.add}" if wish.add is not None else f"={wish.want}"
                observed = wish.sample.observed_at if wish.sample else None
                self._receive(recorded, wish.pool, "scale", wish.publisher, asked, observed)
            case QuiesceRequested() as wish:
                self._receive(recorded, wish.pool, "quiesce", wish.publisher, f"-{wish.count}", None)
            case StockRequested() as wish:
                self._receive(recorded, wish.pool, "stock", wish.publisher, f"{wish.vms} held", None)
            case SaveRequested() as wish:
                self._receive(recorded, wish.pool, "save", wish.publisher, f"{wish.paused} in RAM", None)
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                self._decide(recorded, decided)
            case VmResumed(reservation=reservation, resumed_at=moment):
                self._awake(reservation, moment)
            case VmBooted(reservation=reservation, booted_at=moment):
                self._awake(reservation, moment)
            case VmReady(reservation=reservation, answered_at=moment):
                trip = self._open(reservation)
                if trip:
                    self.activations[reservation] = replace(trip, stage="ready", ready_at=moment)
            case VmAnnounced(order=order, announced_at=moment):
                trip = self._open(order)
                if trip:
                    self.activations[order] = replace(trip, stage="serving", serving_at=moment)
            case VmWakeFailed(reservation=reservation, code=code, text=text):
                self._end(reservation, f"{code}: {text}")
            case VmUnready(reservation=reservation, code=code, text=text):
                self._fail(reservation, f"{code}: {text}")
            case VmAnnounceFailed(order=order, code=code, text=text):
                self._fail(order, f"{code}: {text}")
            case VmStopped(reservation=str() as reservation, cause=cause):
                self._end(reservation, f"the domain stopped ({cause})")
            case VmQuiesced(reservation=reservation, cause=cause):
                trip = self._open(reservation)
                if trip and trip.stage == "ready":
                    self.activations[reservation] = replace(trip, stage="prepared")
                self._end(reservation, f"the domain was paused ({cause})")
            case HostFenced(host=host) as fenced:
                self._dead.apply(fenced)
                for reservation in self._reservations.on(host):
                    self._end(reservation, f"the host {host} was declared dead")
            case HostRegistered() | HostAdmitted() | HostRemoved() as changed:
                self._dead.apply(changed)
            case MailAccepted(requests=requests, accepted_at=moment):
                for id_ in requests:
                    self._mail(id_, moment)
            case _:
                pass

    def _receive(  # noqa: PLR0917 - the parts of a request
        self,
        recorded: Recorded,
        pool: str,
        verb: str,
        publisher: str,
        asked: str,
        observed: dt.datetime | None,
    ) -> None:
        id_ = recorded.id
        if id_ in self.requests:
            if id_ not in self._over_requests:
                return
            del self._over_requests[id_]
            self._first_requests.setdefault(id_, self.requests[id_])
        self.requests[id_] = Request(
            id=id_,
            seq=recorded.seq,
            org=recorded.fact.org,
            pool=pool,
            verb=verb,
            publisher=publisher,
            asked=asked,
            stored_at=recorded.stored_at,
            observed_at=observed,
        )

    def _decide(self, recorded: Recorded, decided: GateDecided) -> None:
        stored_at = recorded.stored_at
        answered: list[str] = []
        for answer in decided.answers:
            request = self.requests.get(answer.request)
            if request is not None and request.answer is None:
                self.requests[answer.request] = replace(
                    request,
                    answer=answer,
                    contract=decided.contract,
                    decided_at=stored_at,
                    decided_seq=recorded.seq,
                )
                answered.append(answer.request)
        for order in decided.orders:
            match order:
                case WakeOrdered(purpose="keep") | BootOrdered(purpose="keep"):
                    pass  # a trip ends at the load balancer, where no such VM comes
                case WakeOrdered():
                    self._start(recorded.seq, stored_at, decided.org, order, "resume")
                case BootOrdered():
                    self._start(recorded.seq, stored_at, decided.org, order, "boot")
                case DrainCancelled(reservation=reservation):
                    self._order(recorded.seq, stored_at, decided.org, order, reservation, "return")
                    if self._ended.get((decided.org, order.vm)) == reservation:
                        self._end(reservation, "the domain had stopped before it could serve again")
                case _:
                    pass
        # Only now, since the orders of a decision take their times from the requests that it answers.
        for id_ in answered:
            self._close(id_)

    def _close(self, id_: str) -> None:
        """An answered request is over, unless a mail will tell of it."""
        request = self.requests[id_]
        if request.answer is None:
            return
        if request.answer.outcome == "admitted" or request.mailed_at is not None:
            self._unmailed.pop(id_, None)
            self._over_requests[id_] = None
            return
        self._unmailed[id_] = None
        if len(self._unmailed) > MOST_UNMAILED:
            oldest = next(iter(self._unmailed))
            del self._unmailed[oldest]
            self._over_requests[oldest] = None

    def _mail(self, id_: str, moment: dt.datetime) -> None:
        request = self.requests.get(id_)
        if request is not None and id_ not in self._over_requests:
            self.requests[id_] = replace(request, mailed_at=moment)
            self._close(id_)

    def _start(
        self,
        seq: int,
        stored_at: dt.datetime,
        org: str,
        order: WakeOrdered | BootOrdered,
        way: Literal["resume", "boot"],
    ) -> None:
        """A new reservation of the VM: whatever becomes of an earlier one, nobody waits for it any more."""
        if order.host in self._dead:
            # Void: given before its gate had read that. What the VM was under before goes on.
            self._order(seq, stored_at, org, order, order.id, way)
            self._end(order.id, f"the host {order.host} was dead or removed before this was ordered")
            return
        former = self._of_vm.get((org, order.vm))
        if former is not None and former != order.id:
            self._leave(former)
        self._of_vm[org, order.vm] = order.id
        self._order(seq, stored_at, org, order, order.id, way)

    def _order(  # noqa: PLR0917 - the parts of a trip
        self,
        seq: int,
        stored_at: dt.datetime,
        org: str,
        order: WakeOrdered | BootOrdered | DrainCancelled,
        reservation: str,
        way: Literal["resume", "boot", "return"],
    ) -> None:
        if order.id in self.activations:
            if order.id not in self._over_trips:
                return
            del self._over_trips[order.id]
            former = self.activations[order.id]
            self._first_trips.setdefault(order.id, former)
            self._unlist(former)
        self._of_request.setdefault(order.request, []).append(order.id)
        request = self.requests.get(order.request)
        if request is not None and order.request in self._over_requests:
            request = None
        self.activations[order.id] = Activation(
            order=order.id,
            reservation=reservation,
            request=order.request,
            org=org,
            vm=order.vm,
            pool=order.pool,
            way=way,
            stage="ordered",
            decided_seq=seq,
            requested_at=request.stored_at if request else stored_at,
            decided_at=stored_at,
            observed_at=request.observed_at if request else None,
        )
        host = None if isinstance(order, DrainCancelled) else order.host
        self._reservations.begin(reservation, order.id, host)

    def _unlist(self, trip: Activation) -> None:
        siblings = self._of_request[trip.request]
        siblings.remove(trip.order)
        if not siblings:
            del self._of_request[trip.request]

    def _open(self, order: str) -> Activation | None:
        trip = self.activations.get(order)
        if trip is None or trip.stage not in _UNDER_WAY or order in self._over_trips:
            return None
        return trip

    def _end(self, reservation: str, failure: str) -> None:
        """The reservation is over, and with it every trip under it that did not arrive."""
        for order in self._reservations.going_on(reservation):
            self._fail(order, failure)
        trip = self.activations.get(reservation)
        if trip is not None and reservation not in self._over_trips:
            self._ended[trip.org, trip.vm] = reservation
        self._leave(reservation)

    def _leave(self, reservation: str) -> None:
        """Whatever is told of the reservation from here on changes none of its trips."""
        for order in self._reservations.leave(reservation):
            self._over_trips[order] = None

    def _awake(self, reservation: str, moment: dt.datetime) -> None:
        trip = self.activations.get(reservation)
        if trip is not None and trip.awake_at is None and reservation not in self._over_trips:
            stage = "awake" if trip.stage == "ordered" else trip.stage
            self.activations[reservation] = replace(trip, stage=stage, awake_at=moment)

    def _fail(self, order: str, failure: str) -> None:
        trip = self._open(order)
        if trip:
            self.activations[order] = replace(trip, stage="failed", failure=failure)


_UNDER_WAY: Final = frozenset({"ordered", "awake", "ready"})
