"""An activation as a trace: the steps that the ledger knows, each a span with the times that its events say. Pure.

All ids are those of the ledger, so that the same ledger gives the same trace and a trace that was made elsewhere of the same
events has the same ids. The trace is the request, as in the `traceparent` of every event about it; a step's span is the first half of
the id of the event that ended it, as there; a VM's is that of its order, the trace's own that of its request, from behind.

The times are those of several clocks: the bus's for L1 and L2, the waker's, prober's and announcer's for the others. Where a
step seems to end before it began, it is shown as taking no time.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from events.envelope import Recorded
from events.gate import GateDecided, Rise
from events.mail import MailAccepted
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from events.sentences import sentence
from events.stock import StockRequested
from events.vm import VmAnnounced, VmBooted, VmReady, VmResumed
from projections.activations.fold import BUDGET_MS, Activation, Activations, Request

Value = str | int | bool
Status = Literal["unset", "ok", "error"]

STEPS: Final = {"L1": "signal", "L2": "gate", "L3": "wake", "L4": "health", "L5": "announce"}
"""The five steps of an activation, by name."""

ENDED: Final = frozenset({"serving", "prepared", "failed"})
"""Stages of a trip behind which there is no further step."""

MAIL_GIVEN_UP: Final = dt.timedelta(seconds=2 * 3600)
"""Behind this no mail about a refusal is looked for: a digest waits 15 minutes at most, and is tried for an hour."""

_MICROSECOND: Final = dt.timedelta(microseconds=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class SpanEvent(msgspec.Struct, frozen=True):
    """Something that happened within a span, at one instant."""

    name: str
    at_ns: int
    attributes: dict[str, Value]


class Span(msgspec.Struct, frozen=True):
    """A part of the trace; `parent` is the span that it belongs to, None for the trace's own. Times are Unix nanoseconds."""

    id: str
    parent: str | None
    name: str
    service: str
    """The worker whose step it is, by the name that it writes under."""
    start_ns: int
    end_ns: int
    status: Status
    message: str
    attributes: dict[str, Value]
    events: tuple[SpanEvent, ...] = ()


class Trace(msgspec.Struct, frozen=True):
    """One request's way, and its VMs' or one of them."""

    id: str
    spans: tuple[Span, ...]


class Steps:
    """What a trace of one request is made of, folded from the request on.

    `order` names the one VM that is looked at; None for all that the request led to. Of the others' requests and trips nothing is
    held: a VM that nobody tells anything of may have the whole ledger read.
    """

    def __init__(self, request: str, order: str | None = None) -> None:
        self.request = request
        self.order = order
        self.view = Activations()
        self.first: Recorded | None = None
        self.decided: Recorded | None = None
        self.mailed: Recorded | None = None
        self.ended: dict[tuple[str, str], Recorded] = {}
        """By order and step: the event that ended the step."""
        self._vms: set[str] = set()

    def apply(self, recorded: Recorded) -> None:
        """The steps now include the event."""
        match recorded.fact:
            case ScaleRequested() | QuiesceRequested() | StockRequested() | SaveRequested():
                # Its own is the first; the same id told again, however late, is another thing.
                if recorded.id == self.request and self.first is None:
                    self.first = recorded
                    self.view.apply(recorded)
                return
            case GateDecided() as decided:
                self.view.apply(replace(recorded, fact=self._own(decided)))
            case _:
                self.view.apply(recorded)
        match recorded.fact:
            case GateDecided() as decided:
                if any(answer.request == self.request for answer in decided.answers):
                    self.decided = self.decided or recorded
            case VmResumed(reservation=order) | VmBooted(reservation=order):
                self._end(order, "L3", recorded)
            case VmReady(reservation=order):
                self._end(order, "L4", recorded)
            case VmAnnounced(order=order):
                self._end(order, "L5", recorded)
            case MailAccepted(requests=requests) if self.request in requests:
                self.mailed = self.mailed or recorded
            case _:
                pass

    def _own(self, decided: GateDecided) -> GateDecided:
        """What the decision says of the request, and of another life that one of its VMs begins."""
        if self.first is None or decided.org != self.first.fact.org:
            return replace(decided, answers=(), orders=())
        self._vms |= {order.vm for order in decided.orders if order.request == self.request}
        return replace(
            decided,
            answers=tuple(one for one in decided.answers if one.request == self.request),
            orders=tuple(
                order
                for order in decided.orders
                if order.request == self.request or (order.vm in self._vms and isinstance(order, Rise))
            ),
        )

    def _end(self, order: str, step: str, recorded: Recorded) -> None:
        trip = self.view.activations.get(order)
        if trip is not None and trip.request == self.request:
            self.ended.setdefault((order, step), recorded)

    def ended_by(self, now: dt.datetime) -> bool:
        """Whether nothing more can come that the trace would show: answered, arrived or failed, and mailed if refused."""
        request = self.view.requests.get(self.request)
        if request is None or request.answer is None or request.decided_at is None:
            return False
        told = request.answer.outcome not in {"refused", "partial"} or self.mailed is not None
        given_up = now > request.decided_at + MAIL_GIVEN_UP
        trips = self.view.of(self.request)
        # The waker's word is off the path: a VM can serve a moment before its L3 is known, and sleep again without it.
        arrived = all(
            trip.failure
            or (trip.stage in ENDED and (trip.awake_at or trip.way == "return"))
            or self.view.is_over(trip.order)
            for trip in trips
        )
        return arrived and (told or given_up)

    @property
    def trips(self) -> list[Activation]:
        """The trips that are shown, in the order in which they were ordered."""
        return [trip for trip in self.view.of(self.request) if self.order in {None, trip.order}]


def trace_of(steps: Steps) -> Trace | None:
    """The trace as far as the ledger has it; None where the request is not among what was folded."""
    request = steps.view.requests.get(steps.request)
    if request is None or steps.first is None:
        return None
    root = steps.request[16:]
    spans = [*_request_spans(steps, request, root)]
    for trip in steps.trips:
        spans += _trip_spans(steps, trip, root)
    whole = _whole(steps, request, root, spans)
    return Trace(steps.request, (whole, *spans))


def _whole(steps: Steps, request: Request, root: str, spans: list[Span]) -> Span:
    stored_ns = _ns(request.stored_at)
    failures = [trip.failure for trip in steps.trips if trip.failure]
    refused = request.answer is not None and request.answer.outcome == "refused"
    text = sentence(request.org, request.answer, request.contract) if request.answer else ""
    events: tuple[SpanEvent, ...] = ()
    if steps.mailed is not None:
        mailed = steps.mailed
        at_ns = _ns(request.mailed_at or mailed.stored_at)
        events = (SpanEvent("mail.accepted", at_ns, {"virtscale.seq": mailed.seq}),)
    attributes: dict[str, Value] = {
        "virtscale.org": request.org,
        "virtscale.pool": request.pool,
        "virtscale.publisher": request.publisher,
        "virtscale.asked": request.asked,
    }
    if request.answer is not None:
        attributes |= {
            "virtscale.outcome": request.answer.outcome,
            "virtscale.code": request.answer.code,
            "virtscale.granted": request.answer.granted,
        }
    ends = [span.end_ns for span in spans] + [event.at_ns for event in events]
    starts = [span.start_ns for span in spans] + [stored_ns]
    return Span(
        id=root,
        parent=None,
        name=f"{request.verb} {request.org}/{request.pool}",
        service="virtscale",
        start_ns=min(starts),
        end_ns=max([*ends, *starts]),
        status="error" if refused or failures else "ok" if request.answer is not None else "unset",
        message=text if refused else "; ".join(failures),
        attributes=attributes,
        events=events,
    )


def _request_spans(steps: Steps, request: Request, root: str) -> Iterator[Span]:
    assert steps.first is not None, steps.request
    if request.observed_at is not None:
        yield _step("L1", steps.first, root, request.observed_at, request.stored_at)
    if steps.decided is not None and request.decided_at is not None:
        span = _step("L2", steps.decided, root, request.stored_at, request.decided_at)
        if request.answer is not None:
            said = sentence(request.org, request.answer, request.contract)
            span = replace(span, attributes=span.attributes | {"virtscale.text": said})
        yield span


def _trip_spans(steps: Steps, trip: Activation, root: str) -> Iterator[Span]:
    """The VM's own span, which begins with the decision, and its steps; one that failed ends with its last step."""
    own = trip.order[:16]
    times = [trip.decided_at, trip.awake_at, trip.ready_at, trip.serving_at]
    parts: list[Span] = []
    began = trip.decided_at
    for step, at in (("L3", trip.awake_at), ("L4", trip.ready_at), ("L5", trip.serving_at)):
        ended = steps.ended.get((trip.order, step))
        if at is not None and ended is not None:
            parts.append(_step(step, ended, own, began, at))
            began = max(began, at)
    status: Status = "error" if trip.failure else "ok" if trip.stage in {"serving", "prepared"} else "unset"
    yield Span(
        id=own,
        parent=root,
        name=f"{trip.way} {trip.vm}",
        service="virtscale",
        start_ns=_ns(trip.decided_at),
        end_ns=max(_ns(at) for at in times if at is not None),
        status=status,
        message=trip.failure or "",
        attributes={
            "virtscale.vm": trip.vm,
            "virtscale.order": trip.order,
            "virtscale.reservation": trip.reservation,
            "virtscale.stage": trip.stage,
        },
    )
    yield from parts


def _step(step: str, ended: Recorded, parent: str, start: dt.datetime, end: dt.datetime) -> Span:
    start_ns = _ns(start)
    return Span(
        id=ended.id[:16],
        parent=parent,
        name=f"{step} {STEPS[step]}",
        service=ended.writer,
        start_ns=start_ns,
        end_ns=max(start_ns, _ns(end)),
        status="ok",
        message="",
        attributes={
            "virtscale.step": step,
            "virtscale.seq": ended.seq,
            "virtscale.event": ended.type,
            "virtscale.event_id": ended.id,
            "virtscale.budget_p50_ms": BUDGET_MS[step],
        },
    )


def _ns(moment: dt.datetime) -> int:
    """Unix time in nanoseconds, exact to the microsecond that instants have."""
    return (moment - _EPOCH) // _MICROSECOND * 1000
