"""The tables `requests` and `activations`."""

import datetime as dt
from collections.abc import Iterable

import msgspec

from events.envelope import Recorded
from events.gate import BootOrdered, DrainCancelled, GateDecided, WakeOrdered
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from events.mail import MailAccepted
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from events.sentences import sentence
from events.stock import StockRequested
from projections.activations.fold import Activations
from projections.table import ALL, Cell, Key, Table

_REQUESTS = (ScaleRequested, QuiesceRequested, StockRequested, SaveRequested)


def _requests_touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case ScaleRequested() | QuiesceRequested() | StockRequested() | SaveRequested():
            return ((recorded.id,),)
        case GateDecided(answers=answers):
            return [(answer.request,) for answer in answers]
        case MailAccepted(requests=requests):
            return [(request,) for request in requests]
        case _:
            return ()


def _request(view: Activations, key: Key) -> tuple[Cell, ...] | None:
    request = view.first_request(key[0])
    if request is None:
        return None
    answer = request.answer
    return (
        request.id,
        request.seq,
        request.org,
        request.pool,
        request.verb,
        request.publisher,
        request.asked,
        request.stored_at.isoformat(),
        answer.outcome if answer else None,
        answer.code if answer else None,
        answer.granted if answer else None,
        sentence(request.org, answer, request.contract) if answer else None,
        msgspec.json.encode(answer.evidence).decode() if answer else None,
        _iso(request.decided_at),
        request.decided_seq,
        _iso(request.mailed_at),
    )


def _activations_touched(recorded: Recorded) -> Iterable[Key]:
    fact = recorded.fact
    if isinstance(fact, GateDecided):
        return [
            (order.id,)
            for order in fact.orders
            if isinstance(order, WakeOrdered | BootOrdered | DrainCancelled)
        ]
    if isinstance(fact, HostFenced):
        return (ALL,)
    # An outcome names the reservation, which is the order of the trip that began it, and may name another order.
    reservation, order = getattr(fact, "reservation", None), getattr(fact, "order", None)
    if order is None or order == reservation:
        return ((reservation,),) if reservation is not None else ()
    return ((order,),) if reservation is None else ((reservation,), (order,))


def _activation(view: Activations, key: Key) -> tuple[Cell, ...] | None:
    trip = view.first_activation(key[0])
    if trip is None:
        return None
    steps = trip.steps_ms()
    return (
        trip.order,
        trip.request,
        trip.org,
        trip.pool,
        trip.vm,
        trip.way,
        trip.stage,
        *(steps[step] for step in ("L1", "L2", "L3", "L4", "L5")),
        trip.total_ms(),
        trip.failure,
        trip.requested_at.isoformat(),
        _iso(trip.serving_at),
        trip.decided_seq,
    )


def _all(view: Activations, key: Key) -> Iterable[Key]:
    """All that are not forgotten: of the others no event can change the row."""
    del key
    return ((order,) for order in view.activations)


def _under_it(view: Activations, key: Key) -> Iterable[Key]:
    """The end of a reservation, which alone is named, is the end of every trip under it."""
    return ((order,) for order in view.under(key[0]))


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None


TABLES = (
    Table(
        "requests",
        Activations,
        (
            "id",
            "seq",
            "org",
            "pool",
            "verb",
            "publisher",
            "asked",
            "stored_at",
            "outcome",
            "code",
            "granted",
            "sentence",
            "evidence",
            "decided_at",
            "decided_seq",
            "mailed_at",
        ),
        1,
        _requests_touched,
        _request,
        takes=frozenset({*_REQUESTS, GateDecided, MailAccepted}),
        same="seq",
    ),
    Table(
        "activations",
        Activations,
        (
            "order",
            "request",
            "org",
            "pool",
            "vm",
            "way",
            "stage",
            "l1_ms",
            "l2_ms",
            "l3_ms",
            "l4_ms",
            "l5_ms",
            "total_ms",
            "failure",
            "requested_at",
            "serving_at",
            "decided_seq",
        ),
        1,
        _activations_touched,
        _activation,
        keys=_all,
        takes=Activations.TAKES - {*_REQUESTS, MailAccepted} - {HostRegistered, HostAdmitted, HostRemoved},
        beside=_under_it,
        same="decided_seq",
    ),
)
"""Every request with its answer, and every activation with its steps in milliseconds."""
