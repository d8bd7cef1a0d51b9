"""Why an event, an order or a mail is in the ledger: what it came from, with its numbers, and what came of it."""

import asyncio
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

import replay.why.event
from events.envelope import Recorded, read
from events.gate import GateDecided
from events.ids import derive
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from events.vm import VmAnnounced, VmFoundAwake, VmQuiesced, VmReady, VmStopped, VmUnready
from replay.why.event import Why, why
from replay.why.named import AmbiguousError, IdError, IdTextError
from replay.why.words import happened
from services.gate.state import Wish
from tests.given import ORG, SMALL, Past
from tests.rules.why_past import Kept, drained, explained, mailed, order_of, setting
from tests.simulation.run import run

LINES = Path(__file__).parents[1] / "logs" / "v1"


def events(told: Why, part: str) -> list[str]:
    return [step.event for step in told.steps if step.part == part]


def last_id(past: Past, kind: type) -> str:
    return next(line.id for line in reversed(past.lines) if isinstance(line.fact, kind))


async def woken() -> tuple[Past, Recorded, GateDecided]:
    """Two sleepers of three were woken by a trigger, and one of them serves."""
    past = setting().asleep("web", 3)
    request = past.trigger(add=2)
    past.later(0.05)
    decided = past.round()
    past.later(0.4)
    past.ready("web-1")
    past.announced("web-1")
    return past, request, decided


async def test_a_vm_serves_because_of_an_order_a_decision_with_its_numbers_and_a_sample() -> None:
    past, request, decided = await woken()
    told = await explained(past, last_id(past, VmAnnounced))
    itself, order, decision, wish = told.because
    assert itself.startswith("vm.announced.v1 at sequence ")
    assert "the load balancer sends web-1 work" in itself
    assert order.startswith("because wake.ordered at sequence ")
    assert "wake web-1 on h1, to begin by 2026-11-22 09:01:00 UTC" in order
    assert (
        "Pool acme/web: 2 of 2 VMs granted. Projected: 4 of 11 vCPU (0 in use + 0 reserved + 4 requested"
        in decision
    )
    assert "quota 10 + 10 %, contract acme-2026 version 1)" in decision
    assert f"by rules {decided.rules} from the ledger up to sequence {request.seq}." in decision
    assert wish.endswith(
        "the pool's trigger asked for 2 more VMs in acme/web, because up was 2, above 1, at 2026-11-22 09:00:00 UTC"
    )
    assert events(told, "cause") == ["scale.requested.v1", "gate.decided.v4", "wake.ordered"]
    assert events(told, "then") == ["vm.defined.v1", "vm.resumed.v2", "vm.ready.v1"], "the steps in between"
    assert events(told, "this") == ["vm.announced.v1"]


async def test_what_came_of_a_request_is_its_answer_its_orders_and_their_outcomes() -> None:
    past, request, decided = await woken()
    past.scale("web", add=1)
    past.round()  # another request's story
    told = await explained(past, request.id)
    assert [step.event for step in told.steps] == [
        "scale.requested.v1",
        "gate.decided.v4",
        "wake.ordered",
        "wake.ordered",
        "vm.defined.v1",
        "vm.resumed.v2",
        "vm.ready.v1",
        "vm.announced.v1",
    ]
    asked, then = told.because
    assert "the pool's trigger asked for 2 more VMs" in asked
    assert then.startswith(
        f"then gate.decided.v4 at sequence {request.seq + 1}, 2026-11-22 09:00:00 UTC, by gate: "
    )
    assert told.steps[1].evidence == decided.answers[0].evidence


async def test_an_order_is_named_by_its_first_digits_and_tells_of_its_own_vm_alone() -> None:
    past, _, decided = await woken()
    order = order_of(decided, "web-2")
    told = await explained(past, order[:10])
    assert (told.kind, told.id) == ("order", order)
    assert [(step.event, step.part) for step in told.steps] == [
        ("scale.requested.v1", "cause"),
        ("gate.decided.v4", "cause"),
        ("wake.ordered", "this"),
    ]


async def test_a_refusal_leads_to_its_mail_and_the_mail_back_to_who_asked() -> None:
    past = setting(vcpu=2)
    request = past.scale(add=2)
    past.round()
    mail = mailed(past, request.id)
    told = await explained(past, request.id)
    assert [step.event for step in told.steps] == [
        "scale.requested.v1",
        "gate.decided.v4",
        "mail.accepted.v1",
    ]
    assert "the signed cap is 2 (quota 2 + 10 %, contract acme-2026 version 1)" in told.because[1]
    for name in (mail.message_id, mail.message_id.strip("<>"), past.lines[-1].id):
        told = await explained(past, name)
        itself, decision, wish = told.because
        assert "the relay took the mail to acme-owner about one refusal, 800 ms after it" in itself
        assert "would take acme to 4 vCPU (0 in use, 0 reserved, 4 requested)" in decision
        assert "the program shop asked for 2 more VMs in acme/web" in wish


async def test_a_vm_sleeps_because_it_was_drained_because_somebody_asked() -> None:
    past = setting().serving("web", 2)
    request = past.quiesce()
    past.round()
    drained(past, "web-2")
    past.round()
    past.quiesced("web-2")
    told = await explained(past, last_id(past, VmQuiesced))
    assert [line.split(" at ")[0] for line in told.because] == [
        "vm.quiesced.v1",
        "because suspend.ordered",
        "because vm.drained.v1",
        "because drain.ordered",
        "because gate.decided.v4",
        "because quiesce.requested.v1",
    ]
    assert [step.event for step in (await explained(past, request.id)).steps] == [
        "quiesce.requested.v1",
        "gate.decided.v4",
        "drain.ordered",
        "vm.drained.v1",
        "suspend.ordered",
        "vm.quiesced.v1",
    ]


async def test_a_drain_that_was_cancelled_ends_with_whoever_came_first() -> None:
    past = setting().serving("web", 2)
    leaving = past.quiesce()
    past.round()
    coming = past.scale(add=1)
    back = past.round()
    past.announced("web-2")
    told = await explained(past, leaving.id)
    assert [step.event for step in told.steps][-1] == "drain.cancelled", "what follows is the other's story"
    told = await explained(past, order_of(back, "web-2"))
    assert told.because[-1].endswith("the program shop asked for 1 more VM in acme/web")
    assert events(told, "then") == ["vm.announced.v1"]
    assert coming.id in {step.id for step in told.steps}


async def test_a_vm_that_stopped_by_itself_leads_back_to_the_order_it_lived_under() -> None:
    past, _, _ = await woken()
    past.happened(
        VmStopped(
            org=ORG,
            vm="web-1",
            host="h1",
            reservation=past.reservation("web-1"),
            asleep_since=None,
            cause="crashed",
            found="off",
            stopped_at=past.now,
        )
    )
    told = await explained(past, last_id(past, VmStopped))
    assert "web-1 does not run on h1 (crashed): the domain is off" in told.because[0]
    assert told.because[1].startswith("because wake.ordered")


async def test_a_vm_that_never_answered_is_stopped_because_of_that() -> None:
    past = setting().asleep("web", 1)
    past.scale(add=1)
    past.round()
    past.happened(
        VmUnready(
            org=ORG,
            vm="web-1",
            reservation=past.reservation("web-1"),
            code="probe-timeout",
            text="It was silent.",
            observed_at=past.now,
            probes=9,
        )
    )
    stop = order_of(past.round(), "web-1")
    told = await explained(past, stop)
    assert [line.split(" at ")[0] for line in told.because][:3] == [
        "stop.ordered",
        "because vm.unready.v1",
        "because wake.ordered",
    ]


async def test_what_nobody_ordered_has_no_cause_and_is_put_to_sleep() -> None:
    past = setting()
    stray = derive("stray")
    past.happened(
        VmFoundAwake(
            org=ORG, vm="web-9", pool="web", host="h1", size=SMALL, reservation=stray, observed_at=past.now
        )
    )
    past.round()
    past.quiesced("web-9")
    told = await explained(past, last_id(past, VmFoundAwake))
    assert len(told.because) == 1
    assert [step.event for step in told.steps] == ["vm.found-awake.v1", "suspend.ordered", "vm.quiesced.v1"]
    assert (await explained(past, stray)).id == told.id, "the reservation names it as well"
    assert "nobody ordered it" in (await explained(past, last_id(past, VmQuiesced))).because[-1]


async def test_a_decision_shows_all_that_it_answered_and_ordered() -> None:
    past = setting().asleep("web", 2)
    first, second = past.scale(add=1), past.scale(add=1)
    past.round()
    told = await explained(past, past.lines[-1].id)
    assert [step.event for step in told.steps if step.part == "this"] == [
        "gate.decided.v4",
        "wake.ordered",
        "wake.ordered",
    ]
    assert {step.id for step in told.steps if step.part == "cause"} == {first.id, second.id}


async def test_a_request_that_waits_is_told_to_have_no_answer() -> None:
    past = setting()
    request = past.scale(add=1)
    told = await explained(past, request.id)
    assert told.because[1] == f"and it has no answer up to sequence {past.seq}"


async def test_an_id_that_names_nothing_or_too_much_is_refused_in_one_sentence() -> None:
    past = setting()
    for word in ("a", "b"):
        past.scale(add=1, key=word)
    one, other = past.lines[-2:]
    past.lines[-2:] = [
        Recorded(
            line.seq, 0, f"ffff{line.id[4:]}", line.writer, line.time, None, line.id, line.type, line.fact
        )
        for line in (one, other)
    ]
    with pytest.raises(AmbiguousError) as ambiguous:
        await explained(past, "ffff")
    assert f"ffff{one.id[4:]} (scale.requested.v1, sequence {one.seq})" in str(ambiguous.value)
    assert ambiguous.value.code == "IdAmbiguous"
    with pytest.raises(IdError, match="Nothing in the ledger has the id 0123456789\\."):
        await explained(past, "0123456789")
    for text in ("abc", "xyzxyz", "", "../../etc", "a" * 33):
        with pytest.raises(IdTextError, match="is no id"):
            await explained(past, text)


async def test_a_repeated_outcome_is_one_thing() -> None:
    past, _, _ = await woken()
    told = await explained(past, last_id(past, VmReady))
    again = next(line for line in past.lines if line.id == told.id)
    past.lines.append(
        Recorded(past.seq + 1, 0, again.id, again.writer, past.now, None, again.id, again.type, again.fact)
    )
    assert (await explained(past, told.id)).seq == told.seq


def known_ids(lines: list[Recorded]) -> list[str]:
    """Of events and of orders."""
    orders = (order for line in lines if isinstance(line.fact, GateDecided) for order in line.fact.orders)
    return sorted({line.id for line in lines} | {order.id for order in orders})


@pytest.mark.parametrize("seed", [4, 7])
def test_every_id_of_a_simulated_ledger_has_an_answer(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the causes that real workers write, duplicates, crashes and rounds of several requests."""
    messages = run(seed).stored
    lines = [read(one.seq, one.stored_ns, one.payload, one.subject) for one in messages if one.id]
    facts = {line.seq: line.fact for line in lines}
    scaling = ScaleRequested | QuiesceRequested | StockRequested

    async def look() -> None:
        for id_ in known_ids(lines):
            told = await why(Kept(messages), id_)
            assert [step.seq for step in told.steps] == sorted(step.seq for step in told.steps)
            assert [step for step in told.steps if step.part == "this"]
            assert all(step.seq <= told.seq for step in told.steps if step.part == "cause")
            if isinstance(facts[told.seq], VmReady | VmAnnounced):
                roots = [facts[step.seq] for step in told.steps if step.part == "cause"]
                assert any(isinstance(fact, scaling) for fact in roots), told
            if isinstance(facts[told.seq], Wish):
                assert "no answer" not in told.because[-1], "the world came to rest"

    asyncio.run(look())
    last = lines[-1].id
    usual = asyncio.run(why(Kept(messages), last))
    monkeypatch.setattr(replay.why.event, "BLOCK", 3)
    monkeypatch.setattr(replay.why.event, "MOST_NEEDLES", 0)
    assert asyncio.run(why(Kept(messages, 2), last)) == usual, "however it is read"


@pytest.mark.parametrize("path", sorted(LINES.glob("*.json")), ids=lambda path: path.stem)
def test_each_event_has_a_sentence_of_its_own(path: Path) -> None:
    kept = json.loads(path.read_text())
    said = happened(read(1, 1, json.dumps(kept).encode()).fact)
    assert said
    assert not said.startswith("an event about")
    assert not said.endswith("..")


async def test_a_vm_that_came_in_the_place_of_one_that_failed_came_because_of_that() -> None:
    past = Past().contract(vcpu=20).pool("web").host().asleep("web", 2)
    request = past.scale(add=1)
    past.round()
    past.wake_failed("web-1")
    past.lines[-1] = replace(past.lines[-1], correlation=request.id)
    (order,) = past.round().orders
    told = await explained(past, order.id)
    causes = [step.event for step in told.steps if step.part == "cause"]
    assert causes[:4] == ["scale.requested.v1", "gate.decided.v4", "wake.ordered", "vm.wake-failed.v2"]
    assert told.steps[-1].what.startswith("wake web-2 on h1")
