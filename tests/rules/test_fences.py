"""A decision that does not follow the last one about its org changes nothing in any fold."""

import copy
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from events.envelope import Recorded
from events.gate import DrainCancelled, GateDecided, SuspendOrdered
from events.ids import derive
from projections.activations.fold import Activations
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from services.gate.state import Docket
from services.waker.state import Orders
from tests.given import ORG, Past

Fold = Activations | Docket | Fleet | Orders | Usage


def grown() -> Past:
    """One VM serves, and a second one was just ordered awake."""
    past = Past().contract().pool().host().serving("web", 1).asleep("web", 1)
    past.scale(add=1)
    past.round()
    return past


def folded(kind: Callable[[], Fold], lines: Sequence[Recorded]) -> Fold:
    fold = kind()
    for line in lines:
        fold.apply(line)
    return fold


def told(fold: Fold) -> dict[str, object]:
    return copy.deepcopy({name: value for name, value in vars(fold).items() if name != "_fences"})


def last_decision(past: Past) -> GateDecided:
    return next(line.fact for line in reversed(past.lines) if isinstance(line.fact, GateDecided))


@pytest.mark.parametrize("kind", [Activations, Docket, Fleet, Orders, Usage])
def test_a_copied_decision_changes_nothing_however_late(kind: Callable[[], Fold]) -> None:
    past = grown()
    decided = last_decision(past)
    for happens in (lambda: None, lambda: past.ready("web-2"), lambda: past.announced("web-2")):
        happens()
        fold = folded(kind, past.lines)
        before = told(fold)
        fold.apply(past.happened(decided, id=derive("copy", past.seq)))
        assert told(fold) == before


def test_the_waker_does_not_list_the_orders_of_a_copied_decision_again() -> None:
    past = grown()
    orders = Orders()
    for line in past.lines:
        orders.apply(line)
    assert list(orders.open("h1")) == [(ORG, "web-2")]
    decided = last_decision(past)
    past.ready("web-2")
    for line in past.lines[-3:]:
        orders.apply(line)
    assert list(orders.open("h1")) == []
    orders.apply(past.happened(decided, id=derive("copy")))
    assert list(orders.open("h1")) == []
    assert orders.rises == {}


def test_a_gate_that_was_overtaken_orders_nothing_of_the_waker() -> None:
    past = grown()
    orders = Orders()
    for line in past.lines:
        orders.apply(line)
    stray = SuspendOrdered(derive("s"), "web-1", "web", "h1", past.reservation("web-1"), derive("r"))
    orders.apply(past.happened(replace(last_decision(past), orders=(stray,)), id=derive("stale")))
    assert list(orders.open("h1")) == [(ORG, "web-2")]


def test_a_gate_that_was_overtaken_begins_no_activation() -> None:
    past = grown()
    view = Activations()
    for line in past.lines:
        view.apply(line)
    known = set(view.activations)
    stray = DrainCancelled(
        derive("c"), "web-1", "web", past.reservation("web-1"), derive("drain"), derive("r")
    )
    view.apply(past.happened(replace(last_decision(past), orders=(stray,)), id=derive("stale")))
    assert set(view.activations) == known


def test_a_view_that_begins_at_its_request_takes_the_next_decision_and_no_overtaken_one() -> None:
    past = Past().contract().pool().host().serving("web", 2).asleep("web", 2)
    asked = past.scale(add=1)
    decided = past.round()
    second = past.scale(add=1)
    past.round()
    view = Activations()
    for line in past.lines[asked.seq - 1 :]:
        view.apply(line)
    assert [len(view.of(one.id)) for one in (asked, second)] == [1, 1]
    known = set(view.activations)
    view.apply(past.happened(replace(decided, orders=(past.boot("web", "web-9"),)), id=derive("stale")))
    assert set(view.activations) == known
