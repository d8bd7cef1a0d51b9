"""An activation as a trace: the ledger's own ids and times, the same bytes each time, in two forms that others read."""

import datetime as dt
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from events.envelope import read
from events.gate import GateDecided
from events.host import HostFenced
from events.stored import Stored
from events.vm import VmAnnounced, VmBooted, VmReady, VmResumed, VmWakeFailed
from replay.trace.forms import chrome, otlp
from replay.trace.reading import trace
from replay.trace.spans import STEPS, Span, Steps, Trace
from replay.why.named import AmbiguousError, IdError
from tests.given import ORG, Past
from tests.papers import NOW
from tests.rules.why_past import Kept, drained, mailed, order_of, setting, stored

HEX = re.compile("[0-9a-f]+")


def millis(number: int) -> dt.timedelta:
    return dt.timedelta(milliseconds=number)


def ns(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000


def at(past: Past, vm: str, *, awake: int, ready: int, serving: int) -> None:
    """The VM woke, answered and serves, so many milliseconds after nine; each worker tells of it a moment later."""
    reservation = past.reservation(vm)
    order = past.fleet.vms[ORG, vm].order
    assert order is not None
    past.now = NOW + millis(serving + 5)
    past.happened(
        VmResumed(
            depth="paused",
            refreshed=None,
            org=ORG,
            vm=vm,
            host="h1",
            reservation=reservation,
            started_at=NOW,
            resumed_at=NOW + millis(awake),
            attempts=1,
        )
    )
    past.happened(
        VmReady(
            org=ORG,
            vm=vm,
            reservation=reservation,
            boot_id="b",
            rebooted=False,
            clock_offset_ms=0,
            probe_started_at=NOW,
            answered_at=NOW + millis(ready),
            probes=2,
        )
    )
    past.happened(
        VmAnnounced(
            org=ORG,
            vm=vm,
            pool="web",
            reservation=reservation,
            order=order,
            backend="be",
            address="127.0.0.1:1",
            announced_at=NOW + millis(serving),
        )
    )


def two_woken() -> tuple[Past, str, GateDecided]:
    past = setting().asleep("web", 2)
    sample = past.measured()
    past.later(0.14)
    request = past.scale(add=2, origin="trigger", sample=sample)
    past.later(0.045)
    decided = past.round()
    at(past, "web-1", awake=565, ready=875, serving=1400)
    at(past, "web-2", awake=600, ready=900, serving=1500)
    return past, request.id, decided


async def traced(past: Past, text: str) -> Trace:
    return await trace(Kept.of(past), text)


def named(found: Trace, name: str) -> list[Span]:
    return [span for span in found.spans if span.name == name]


async def test_the_five_steps_are_spans_with_the_times_that_their_events_say() -> None:
    past, request, _ = two_woken()
    found = await traced(past, request)
    assert [span.name for span in found.spans] == [
        "scale acme/web",
        "L1 signal",
        "L2 gate",
        "resume web-1",
        "L3 wake",
        "L4 health",
        "L5 announce",
        "resume web-2",
        "L3 wake",
        "L4 health",
        "L5 announce",
    ]
    whole, signal, gate, vm, wake, health, announce = found.spans[:7]
    began = ns(NOW)
    assert (signal.start_ns, signal.end_ns // 10**6) == (began, (began + 140 * 10**6) // 10**6)
    assert (gate.start_ns, gate.end_ns // 10**6) == (signal.end_ns, (began + 185 * 10**6) // 10**6)
    assert (wake.start_ns, wake.end_ns) == (gate.end_ns, began + 565 * 10**6)
    assert (health.start_ns, health.end_ns) == (wake.end_ns, began + 875 * 10**6)
    assert (announce.start_ns, announce.end_ns) == (health.end_ns, began + 1400 * 10**6)
    assert (vm.start_ns, vm.end_ns) == (gate.end_ns, announce.end_ns)
    assert (whole.start_ns, whole.end_ns) == (began, began + 1500 * 10**6)
    assert [span.service for span in (signal, gate, wake, health, announce)] == [
        "signal",
        "gate",
        "waker-h1",
        "prober",
        "announcer",
    ]
    assert {span.status for span in found.spans} == {"ok"}


async def test_the_ids_are_the_ledgers_own_as_every_traceparent_has_them() -> None:
    past, request, decided = two_woken()
    found = await traced(past, request)
    assert found.id == request
    of_events = {
        span.attributes["virtscale.event_id"]: span.id
        for span in found.spans
        if "virtscale.event_id" in span.attributes
    }
    assert all(str(event)[:16] == id_ for event, id_ in of_events.items())
    assert {str(event) for event in of_events} <= {line.id for line in past.lines}
    (vm,) = named(found, "resume web-2")
    assert vm.id == order_of(decided, "web-2")[:16]
    ids = {span.id for span in found.spans}
    assert len(ids) == len(found.spans)
    assert [span.parent for span in found.spans if span.parent not in ids] == [None], (
        "the trace's own has no parent"
    )


async def test_one_order_or_outcome_gives_its_own_vm_in_the_same_trace() -> None:
    past, request, decided = two_woken()
    whole = await traced(past, request)
    announced = past.lines[-1].id
    for text in (order_of(decided, "web-2"), announced, announced[:9]):
        part = await traced(past, text)
        assert part.id == whole.id
        assert [span.attributes.get("virtscale.vm") for span in part.spans[3:4]] == ["web-2"]
        assert {span.id for span in part.spans} < {span.id for span in whole.spans}


async def test_the_same_ledger_gives_the_same_bytes() -> None:
    past, request, _ = two_woken()
    for form in (otlp, chrome):
        assert form(await traced(past, request)) == form(await trace(Kept.of(past), request[:8]))


async def test_what_comes_later_and_how_it_is_read_make_no_difference() -> None:
    past, request, _ = two_woken()
    arrived = Kept.of(past)
    past.quiesce(count=2)
    past.round()
    for vm in ("web-1", "web-2"):
        drained(past, vm)
    refused = past.scale(add=64)
    past.round()
    mailed(past, refused.id)
    lines = [stored(line) for line in past.lines]
    assert otlp(await trace(arrived, request)) == otlp(await trace(Kept(lines, 1), request))
    assert otlp(await trace(Kept(lines, 1000), request)) == otlp(await trace(Kept(lines, 3), request))
    assert chrome(await trace(Kept(lines, 1000), refused.id)) == chrome(
        await trace(Kept(lines, 1), refused.id)
    )


class Told(Kept):
    """A ledger that says how far it was read."""

    read_until = 0

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        async for group in super().read(first, last):
            self.read_until = max(self.read_until, group[-1].seq)
            yield group


def much_later(past: Past) -> None:
    """Others ask, and are answered, for a long time."""
    for _ in range(20):
        past.scale(add=64)
        past.round()


@pytest.mark.parametrize("end", ["slept", "burnt"])
async def test_a_trip_that_is_over_is_looked_at_no_longer_although_its_waker_never_spoke(end: str) -> None:
    past = setting().asleep("web", 1)
    request = past.scale(add=1)
    past.round()
    if end == "slept":
        past.announced("web-1")
        past.quiesced("web-1")
    else:
        past.happened(HostFenced("platform", "h1", "op", "burnt", past.now))
    over = past.seq
    much_later(past)
    ledger = Told([stored(line) for line in past.lines], 1)
    steps = Steps(request.id)
    async for group in ledger.read(request.seq, past.seq):
        steps.apply(read(group[0].seq, group[0].stored_ns, group[0].payload, group[0].subject))
        if steps.ended_by(past.now):
            break
    assert ledger.read_until == over
    found = await trace(ledger, request.id)
    assert [span.name for span in found.spans][:3] == ["scale acme/web", "L2 gate", "resume web-1"]
    assert found.spans[2].status == {"slept": "ok", "burnt": "error"}[end]


def test_of_what_is_not_asked_about_nothing_is_held() -> None:
    past = setting().asleep("web", 1)
    request = past.scale(add=1)
    decided = past.round()
    much_later(past)
    past.happened(request.fact, id=request.id)
    steps = Steps(request.id)
    for line in past.lines:
        steps.apply(line)
    assert list(steps.view.requests) == [request.id]
    assert list(steps.view.activations) == [order_of(decided, "web-1")]
    assert steps.view.requests[request.id].seq == request.seq


async def test_otlp_is_as_its_json_encoding_says() -> None:
    past, request, _ = two_woken()
    document = json.loads(otlp(await traced(past, request)))
    assert list(document) == ["resourceSpans"]
    services = [_values(one["resource"]["attributes"])["service.name"] for one in document["resourceSpans"]]
    assert services == ["virtscale", "signal", "gate", "waker-h1", "prober", "announcer"]
    spans = [
        span
        for resource in document["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert len(spans) == 11
    for span in spans:
        assert (len(span["traceId"]), len(span["spanId"])) == (32, 16)
        assert HEX.fullmatch(span["traceId"] + span["spanId"] + span.get("parentSpanId", ""))
        assert isinstance(span["startTimeUnixNano"], str)
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert (span["kind"], span["status"]) == (1, {"code": 1})
    assert [span for span in spans if "parentSpanId" not in span] == spans[:1]
    gate = next(span for span in spans if span["name"] == "L2 gate")
    assert _values(gate["attributes"])["virtscale.budget_p50_ms"] == "45", "64-bit integers are strings"
    assert _values(gate["attributes"])["virtscale.text"] == "Pool acme/web: 2 of 2 VMs granted."


def _values(attributes: list[dict[str, Any]]) -> dict[str, str]:
    return {one["key"]: value for one in attributes for value in one["value"].values()}


async def test_chrome_has_a_row_for_the_request_and_one_for_each_vm_and_spans_nest() -> None:
    past, request, _ = two_woken()
    document = json.loads(chrome(await traced(past, request)))
    rows = {
        one["tid"]: one["args"]["name"] for one in document["traceEvents"] if one["name"] == "thread_name"
    }
    assert rows == {1: "request", 2: "web-1", 3: "web-2"}
    spans = [one for one in document["traceEvents"] if one["ph"] == "X"]
    assert {one["name"].split()[0] for one in spans if one["tid"] == 3} == {"resume", "L3", "L4", "L5"}
    for one in spans:
        for other in spans:
            if one["tid"] == other["tid"]:
                first, second = sorted([one, other], key=lambda span: (span["ts"], -span["dur"]))
                apart = first["ts"] + first["dur"] <= second["ts"]
                within = second["ts"] + second["dur"] <= first["ts"] + first["dur"]
                assert apart or within, (first, second)


async def test_a_trip_that_failed_says_why_and_ends_with_its_last_step() -> None:
    past = setting().asleep("web", 1)
    request = past.scale(add=1)
    past.round()
    past.happened(
        VmWakeFailed(
            org=ORG,
            vm="web-1",
            host="h1",
            reservation=past.reservation("web-1"),
            code="wake-refused",
            text="libvirt said no",
            found="paused",
            observed_at=past.now,
        )
    )
    found = await traced(past, request.id)
    whole, _, vm = found.spans
    assert (vm.status, vm.message) == ("error", "wake-refused: libvirt said no")
    assert (whole.status, whole.message) == ("error", "wake-refused: libvirt said no")
    assert vm.start_ns == vm.end_ns
    status = json.loads(otlp(found))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["status"]
    assert status == {"code": 2, "message": "wake-refused: libvirt said no"}


async def test_a_refusal_is_a_trace_of_the_gate_with_the_mail_in_it() -> None:
    past = setting(vcpu=2)
    request = past.scale(add=2)
    past.round()
    mail = mailed(past, request.id)
    found = await traced(past, mail.message_id)
    whole, gate = found.spans
    assert gate.name == "L2 gate"
    assert (whole.status, [event.name for event in whole.events]) == ("error", ["mail.accepted"])
    assert "the signed cap is 2" in whole.message
    assert whole.end_ns == ns(mail.accepted_at)
    assert [one["ph"] for one in json.loads(chrome(found))["traceEvents"]] == ["M", "M", "X", "i", "X"]


async def test_a_vm_that_came_back_or_booted_has_the_steps_that_it_took() -> None:
    past = setting().serving("web", 1)
    past.quiesce()
    past.round()
    drained(past, "web-1")
    back = past.scale(add=2)
    past.round()
    past.announced("web-1")
    past.happened(
        VmBooted(
            org=ORG,
            vm="web-2",
            host="h1",
            reservation=past.reservation("web-2"),
            started_at=NOW,
            booted_at=NOW,
            attempts=1,
        )
    )
    found = await traced(past, back.id)
    assert [span.name for span in found.spans] == [
        "scale acme/web",
        "L2 gate",
        "return web-1",
        "L5 announce",
        "boot web-2",
        "L3 wake",
    ]
    assert found.spans[4].status == "unset", "it goes on"


async def test_clocks_that_disagree_make_no_span_end_before_it_began() -> None:
    past = setting().asleep("web", 1)
    past.later(0.2)
    request = past.scale(add=1)
    past.round()
    at(past, "web-1", awake=500, ready=400, serving=100)
    found = await traced(past, request.id)
    assert len(found.spans) == 6
    assert all(span.start_ns <= span.end_ns for span in found.spans)


async def test_what_is_about_no_request_or_several_has_no_trace() -> None:
    past = setting(vcpu=2)
    with pytest.raises(IdError, match="there is no activation to trace"):
        await traced(past, past.lines[0].id)
    first, second = past.scale(add=2), past.scale(add=3)
    past.round()
    for text in (past.lines[-1].id, mailed(past, first.id, second.id).message_id):
        with pytest.raises(AmbiguousError, match="is about 2 requests, name one of them"):
            await traced(past, text)


def test_the_steps_have_the_names_of_the_design() -> None:
    assert STEPS == {"L1": "signal", "L2": "gate", "L3": "wake", "L4": "health", "L5": "announce"}
