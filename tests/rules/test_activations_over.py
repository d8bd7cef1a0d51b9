"""Requests and trips come to be over; from then on nothing changes them, forgotten or not."""

import copy

import pytest
from msgspec.structs import replace

from events.envelope import Recorded
from events.ids import derive
from events.mail import MailAccepted
from events.scale import ScaleRequested
from events.vm import VmResumed, VmWakeFailed
from projections.activations import fold
from projections.activations.fold import Activations
from tests.given import ORG, Past
from tests.papers import NOW


def seen(past: Past) -> Activations:
    """The view of the whole past."""
    view = Activations()
    for line in past.lines:
        view.apply(line)
    return view


def failed(past: Past, vm: str) -> Recorded:
    """The VM's waker says that it does not run."""
    return past.happened(
        VmWakeFailed(
            org=ORG,
            vm=vm,
            host="h1",
            reservation=past.reservation(vm),
            found="paused",
            code="broken",
            text="It is broken.",
            observed_at=NOW,
        )
    )


def mailed(past: Past, request: str) -> Recorded:
    """The relay took a mail about the request."""
    return past.happened(
        MailAccepted(
            org=ORG,
            person="acme-owner",
            message_id=f"<{past.seq}@virtscale.acme>",
            requests=(request,),
            attempts=1,
            refused_at=NOW,
            accepted_at=NOW,
        )
    )


def test_what_is_told_of_a_trip_that_is_over_changes_nothing() -> None:
    past = Past().contract().pool().host().asleep("web", 1)
    past.scale(add=1)
    past.round()
    reservation = past.reservation("web-1")
    failed(past, "web-1")
    view, forgetful = seen(past), seen(past)
    forgetful.settle()
    before = copy.deepcopy(view.activations)
    late = past.happened(
        VmResumed(
            depth="paused",
            refreshed=None,
            org=ORG,
            vm="web-1",
            host="h1",
            reservation=reservation,
            started_at=NOW,
            resumed_at=NOW,
            attempts=1,
        )
    )
    for one in (view, forgetful):
        one.apply(late)
    assert view.activations == before
    assert view.activations[reservation].stage == "failed"
    assert forgetful.activations == {}
    assert forgetful.of(past.lines[-4].id) == []


def test_a_trip_that_serves_is_not_over_until_its_vm_sleeps() -> None:
    past = Past().contract().pool().host().asleep("web", 1)
    past.scale(add=1)
    past.round()
    past.ready("web-1")
    past.announced("web-1")
    reservation = past.reservation("web-1")
    view = seen(past)
    view.settle()
    assert list(view.activations) == [reservation]
    past.quiesced("web-1")
    view.apply(past.lines[-1])
    assert list(view.activations) == [reservation]
    view.settle()
    assert view.activations == {}


def test_another_order_for_the_vm_ends_the_trip_before_it() -> None:
    past = Past().contract().pool().host().asleep("web", 1)
    past.scale(add=1)
    past.round()
    first = past.reservation("web-1")
    view = seen(past)
    past.decided(past.wake("web-1", id=derive("again")))
    view.apply(past.lines[-1])
    view.settle()
    assert list(view.activations) == [derive("again")]
    assert first != derive("again")


def test_a_refused_request_is_over_once_a_mail_told_of_it_and_keeps_the_first_mail() -> None:
    past = Past().contract(vcpu=2).pool().host()
    asked = past.scale(add=400)
    past.round()
    view = seen(past)
    view.settle()
    assert view.requests[asked.id].mailed_at is None
    view.apply(mailed(past, asked.id))
    first = view.requests[asked.id]
    later = mailed(past, asked.id)
    assert isinstance(later.fact, MailAccepted)
    view.apply(replace(later, fact=replace(later.fact, accepted_at=NOW.replace(year=2030))))
    assert view.requests[asked.id] == first
    view.settle()
    assert view.requests == {}


def test_of_refusals_that_no_mail_tells_of_only_the_newest_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "MOST_UNMAILED", 2)
    past = Past().contract(vcpu=2).pool().host()
    asked = [past.scale(add=400) for _ in range(5)]
    while list(past.docket.pending(ORG)):
        past.round()
    view = seen(past)
    view.settle()
    assert list(view.requests) == [one.id for one in asked[-2:]]


def test_a_request_that_is_told_again_after_it_was_over_is_another_one() -> None:
    past = Past().contract().pool().host().asleep("web", 1)
    asked = past.scale(add=1)
    past.round()
    view, forgetful = seen(past), seen(past)
    forgetful.settle()
    assert isinstance(asked.fact, ScaleRequested)
    again = past.happened(asked.fact, id=asked.id)
    for one in (view, forgetful):
        one.apply(again)
        assert one.requests[asked.id].seq == again.seq
    first = view.first_request(asked.id)
    assert first is not None
    assert first.seq == asked.seq
    view.settle()
    assert view.requests == forgetful.requests
