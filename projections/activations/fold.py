"""The five steps of an activation, each read from the events and accounted in milliseconds.

L1 signal: from the sample that caused the request to the stored request; a person's request has none.
L2 gate: from the stored request to the stored decision. L3 wake: until libvirt says that the domain runs.
L4 health: until the guest answered. L5 announce: until the load balancer sends it work.
"""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Final, Literal

from events.envelope import Recorded
from events.fences import Fences
from events.gate import Answer, BootOrdered, ContractRef, DrainCancelled, GateDecided, WakeOrdered
from events.mail import MailAccepted
from events.quiesce import QuiesceRequested
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

BUDGET_MS: Final[dict[str, int]] = {"L1": 140, "L2": 45, "L3": 380, "L4": 310, "L5": 525}
"""The activation budget of the platform, p50 in milliseconds; together 1,400."""

Stage = Literal["ordered", "awake", "ready", "serving", "failed", "prepared"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was stored and what it was answered."""

    id: str
    seq: int
    org: str
    pool: str
    verb: str
    publisher: str
    asked: str
    stored_at: dt.datetime
    observed_at: dt.datetime | None = None
    answer: Answer | None = None
    contract: ContractRef | None = None
    decided_at: dt.datetime | None = None
    decided_seq: int | None = None
    mailed_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Activation:
    """One VM's trip, from the order to serving. Times are UTC; a step that did not happen is None."""

    order: str
    reservation: str
    request: str
    org: str
    vm: str
    pool: str
    way: Literal["resume", "boot", "return"]
    """`return` is a VM that came back to serving because its drain was cancelled."""
    stage: Stage
    requested_at: dt.datetime
    decided_at: dt.datetime
    observed_at: dt.datetime | None = None
    awake_at: dt.datetime | None = None
    ready_at: dt.datetime | None = None
    serving_at: dt.datetime | None = None
    failure: str | None = None

    def steps_ms(self) -> dict[str, float | None]:
        """L1 to L5 in milliseconds; None where a step has not happened or, for L1, where a person asked."""
        return {
            "L1": _between(self.observed_at, self.requested_at),
            "L2": _between(self.requested_at, self.decided_at),
            "L3": _between(self.decided_at, self.awake_at),
            "L4": _between(self.awake_at, self.ready_at),
            "L5": _between(self.ready_at, self.serving_at),
        }

    def total_ms(self) -> float | None:
        """From the sample, or the stored request where there is none, to serving."""
        return _between(self.observed_at or self.requested_at, self.serving_at)


def _between(start: dt.datetime | None, end: dt.datetime | None) -> float | None:
    """Milliseconds from start to end, never below zero: neighbouring steps are seen by different workers."""
    if start is None or end is None:
        return None
    return max(0.0, (end - start) / dt.timedelta(milliseconds=1))


class Activations:
    """All requests by id and all activations by order; a wake's or boot's order is its reservation too.

    May begin anywhere in the ledger: a command that follows its own request folds from there on.
    """

    def __init__(self) -> None:
        self._fences: Fences | None = None
        self.requests: dict[str, Request] = {}
        self.activations: dict[str, Activation] = {}
        self._of_request: dict[str, list[str]] = {}
        self._returns: dict[str, str] = {}
        self._ended: dict[tuple[str, str], str] = {}

    def of(self, request: str) -> list[Activation]:
        """The activations that a request led to, in the order they were ordered."""
        return [self.activations[order] for order in self._of_request.get(request, ())]

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
            case MailAccepted(requests=requests, accepted_at=moment):
                for id_ in requests:
                    if id_ in self.requests:
                        self.requests[id_] = replace(self.requests[id_], mailed_at=moment)
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
        if recorded.id not in self.requests:
            self.requests[recorded.id] = Request(
                id=recorded.id,
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
        for answer in decided.answers:
            request = self.requests.get(answer.request)
            if request is not None and request.answer is None:
                self.requests[answer.request] = replace(
                    request,
                    answer=answer,
                    contract=decided.contract,
                    decided_at=recorded.stored_at,
                    decided_seq=recorded.seq,
                )
        for order in decided.orders:
            match order:
                case WakeOrdered():
                    self._order(recorded, decided.org, order, order.id, "resume")
                case BootOrdered():
                    self._order(recorded, decided.org, order, order.id, "boot")
                case DrainCancelled(reservation=reservation):
                    self._order(recorded, decided.org, order, reservation, "return")
                    if self._ended.get((decided.org, order.vm)) == reservation:
                        self._fail(order.id, "the domain had stopped before it could serve again")
                case _:
                    pass

    def _order(
        self,
        recorded: Recorded,
        org: str,
        order: WakeOrdered | BootOrdered | DrainCancelled,
        reservation: str,
        way: Literal["resume", "boot", "return"],
    ) -> None:
        if order.id in self.activations:
            return
        request = self.requests.get(order.request)
        self.activations[order.id] = Activation(
            order=order.id,
            reservation=reservation,
            request=order.request,
            org=org,
            vm=order.vm,
            pool=order.pool,
            way=way,
            stage="ordered",
            requested_at=request.stored_at if request else recorded.stored_at,
            decided_at=recorded.stored_at,
            observed_at=request.observed_at if request else None,
        )
        self._of_request.setdefault(order.request, []).append(order.id)
        if way == "return":
            self._returns[reservation] = order.id

    def _open(self, order: str) -> Activation | None:
        trip = self.activations.get(order)
        return trip if trip is not None and trip.stage in {"ordered", "awake", "ready"} else None

    def _end(self, reservation: str, failure: str) -> None:
        """The reservation is over, and with it every trip under it that did not arrive."""
        self._fail(reservation, failure)
        returning = self._returns.pop(reservation, None)
        if returning is not None:
            self._fail(returning, failure)
        trip = self.activations.get(reservation)
        if trip is not None:
            self._ended[trip.org, trip.vm] = reservation

    def _awake(self, reservation: str, moment: dt.datetime) -> None:
        trip = self.activations.get(reservation)
        if trip is not None and trip.awake_at is None:
            stage = "awake" if trip.stage == "ordered" else trip.stage
            self.activations[reservation] = replace(trip, stage=stage, awake_at=moment)

    def _fail(self, order: str, failure: str) -> None:
        trip = self._open(order)
        if trip:
            self.activations[order] = replace(trip, stage="failed", failure=failure)
