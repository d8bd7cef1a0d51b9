"""Why a pool did what it did at an instant, and why it did not do what it did not: asked of the gate's own rules."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from events.bus.port import Stored
from events.ids import derive
from events.pool import Demand, Level, PoolObserved, Reading, VmCounts
from replay.history import Until
from replay.why.at import PlaceError, PoolAnswer, pool_at
from replay.why.story import MOST_LATELY
from services.gate.decide import RULES
from tests.given import ORG, Past
from tests.papers import NOW
from tests.rules.test_forecaster_rules import told as forecast
from tests.rules.why_past import TRIGGER, Kept, cordoned, expired, frozen, setting, stored


async def at(past: Past, until: Until = None) -> PoolAnswer:
    """The pool at the place; at the past's own present if none is named."""
    return await pool_at(
        Kept.of(past), ORG, "web", past.now + dt.timedelta(seconds=1) if until is None else until
    )


def supposed(answer: PoolAnswer, question: str) -> Any:
    """What the rules would have said to that."""
    return next(one for one in answer.then.suppositions if one.question == question)


def said(answer: PoolAnswer, words: str) -> str:
    """The one circumstance that says so."""
    (found,) = [line for line in answer.then.circumstances.sentences if words in line]
    return found


PERSON = "1 more VM, asked by a person"
AUTOMATIC = "1 VM fewer, asked automatically"


async def test_a_pool_for_which_nobody_asked_did_not_grow_because_of_that() -> None:
    past = setting().serving("web", 2).asleep("web", 2)
    past.later(3600)
    answer = await at(past)
    assert not answer.then.grew.moved
    assert answer.then.grew.because == (
        "no growth at 2026-11-22 10:00:01 UTC because nobody asked: no request for more VMs of acme/web was received in "
        "the 180 s before."
    )
    assert "because nobody asked: no request for fewer VMs" in answer.then.shrank.because
    would = supposed(answer, PERSON)
    assert (would.outcome, would.code, would.granted) == ("admitted", "Granted", 1)
    assert "Projected: 6 of 11 vCPU (4 in use + 0 reserved + 2 requested" in would.text


async def test_a_request_of_long_ago_is_named_and_is_not_the_reason() -> None:
    past = setting().serving("web", 5)
    request = past.scale(add=1)
    past.round()
    past.later(181)
    grew = (await at(past)).then.grew
    assert "because nobody asked" in grew.because
    assert grew.because.endswith(
        f" The last one before was request {request.id} (sequence {request.seq}, 2026-11-22 09:00:00 UTC)."
    )


async def test_a_refused_request_is_why_the_pool_did_not_grow_with_its_numbers() -> None:
    past = setting().serving("web", 5)
    past.later(200)
    request = past.scale(add=1)
    past.round()
    answer = await at(past)
    grew = answer.then.grew
    assert (grew.moved, grew.request) == (False, request.id)
    assert grew.because.startswith(
        f"no growth at 2026-11-22 09:03:21 UTC because request {request.id} (sequence {request.seq}, "
    )
    assert "(CapExceeded, sequence " in grew.because
    assert (
        "Pool acme/web would take acme to 12 vCPU (10 in use, 0 reserved, 2 requested); the signed cap is 11 (quota 10 + "
        "10 %, contract acme-2026 version 1). Nothing was started."
    ) in grew.because
    assert supposed(answer, PERSON).code == "CapExceeded"
    assert "10 in use + 0 reserved of 11 vCPU" in said(answer, "contract acme-2026")
    assert "refused (CapExceeded, 0 of 1)" in said(answer, "the last decision")


async def test_a_pool_that_grew_is_said_to_have_grown_and_by_whom() -> None:
    past = setting(triggers=(TRIGGER,)).asleep("web", 4)
    past.later(200)
    request = past.trigger(add=4)
    past.round()
    past.later(10)
    answer = await at(past)
    assert (answer.then.grew.moved, answer.then.grew.request) == (True, request.id)
    assert "4 of 4 VMs granted" in answer.then.grew.because
    assert [step.event for step in answer.steps][-5:] == ["gate.decided.v4", *["wake.ordered"] * 4]
    past.scale(add=9)
    past.round()
    again = (await at(past)).then.grew
    assert not again.moved, "the newest request is the one that is asked about"
    assert again.because.endswith(
        f"The last growth before that was at 2026-11-22 09:03:20 UTC, by request {request.id}."
    )


async def test_a_cooldown_holds_back_the_trigger_and_no_person() -> None:
    past = setting(vcpu=40, triggers=(TRIGGER,)).asleep("web", 9)
    past.trigger(add=4)
    past.round()
    past.later(89)
    answer = await at(past, NOW + dt.timedelta(seconds=89))
    trigger = supposed(answer, "4 more VMs, asked by its trigger")
    assert (trigger.code, trigger.retry_at) == ("Cooldown", NOW + dt.timedelta(seconds=90))
    assert supposed(answer, "1 more VM, asked by its trigger").code == "Cooldown"
    assert supposed(answer, PERSON).code == "Granted"
    assert supposed(answer, AUTOMATIC).code == "Cooldown"
    assert "until 2026-11-22 09:01:30 UTC" in said(answer, "cooldown for its trigger")
    assert "kept still until 2026-11-22 09:01:30 UTC" in said(answer, "its trigger asks for 4 more VMs")
    past.later(1)
    after = await at(past, NOW + dt.timedelta(seconds=90))
    assert supposed(after, "4 more VMs, asked by its trigger").code == "Granted"
    assert "over since 2026-11-22 09:01:30 UTC" in said(after, "cooldown for its trigger")
    assert "had been free to ask again since 2026-11-22 09:01:30 UTC" in said(after, "its trigger asks")


async def test_a_trigger_that_asks_for_more_than_fits_is_asked_in_its_own_size_too() -> None:
    past = setting(triggers=(TRIGGER,)).serving("web", 3)
    past.later(1000)
    answer = await at(past)
    assert supposed(answer, "1 more VM, asked by its trigger").code == "Granted"
    assert supposed(answer, "4 more VMs, asked by its trigger").code == "CapExceeded"


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        (frozen, "Frozen", "frozen until 2026-11-22 10:00:00 UTC by ops: a move"),
        (cordoned, "HostsFull", "host h1 cordoned: 1 VMs awake"),
        (expired, "ContractExpired", "not valid at that time: it was so from"),
    ],
)
async def test_what_stands_in_the_way_is_told_though_nobody_asked(
    what: Callable[[Past], None], code: str, words: str
) -> None:
    past = setting().serving("web", 1)
    what(past)
    answer = await at(past)
    assert supposed(answer, PERSON).code == code
    assert said(answer, words)


async def test_an_org_without_a_contract_and_a_pool_without_hosts_are_told_so() -> None:
    past = Past().pool("web")
    answer = await at(past)
    assert supposed(answer, PERSON).code == "ContractMissing"
    assert said(answer, "acme had no contract in force")
    assert said(answer, "no host had registered")
    assert said(answer, "the gate had decided nothing about the pool yet")


async def test_a_pool_at_its_maximum_or_minimum_has_that_for_an_answer() -> None:
    past = setting(min_vms=2, max_vms=2).serving("web", 2)
    past.later(100)
    answer = await at(past)
    assert supposed(answer, PERSON).code == "AlreadyAtMax"
    assert supposed(answer, AUTOMATIC).code == "AlreadyAtMin"


async def test_a_request_that_waited_is_told_and_answered_before_what_is_supposed() -> None:
    past = setting(vcpu=10).serving("web", 4)
    waiting = past.scale(add=1)
    answer = await at(past)
    assert "yet: request" in answer.then.grew.because
    assert answer.then.grew.request == waiting.id
    assert supposed(answer, PERSON).code == "CapExceeded", "the one that waits takes the last place"
    assert "8 in use, 2 reserved, 2 requested" in supposed(answer, PERSON).text
    assert said(answer, "1 request of acme waited")


async def test_what_came_right_after_the_instant_is_told_and_not_known() -> None:
    past = setting().asleep("web", 2)
    past.later(100)
    request = past.scale(add=1)
    asked_at = past.now
    past.later(2)
    past.round()
    past.ready("web-1")
    past.announced("web-1")
    answer = await at(past, asked_at + dt.timedelta(seconds=1))
    assert answer.then.seq == request.seq
    assert answer.then.grew.moved
    assert answer.then.circumstances.waiting == 1, "at the instant it had no answer"
    assert answer.then.circumstances.vms == {"quiesced": 2}
    assert [step.event for step in answer.steps][-2:] == ["vm.ready.v1", "vm.announced.v1"]


async def test_much_that_followed_pushes_out_nothing_of_what_was_known_at_the_instant() -> None:
    past = setting(max_vms=2).serving("web", 2)
    past.later(1000)
    request = past.scale(add=1, origin="person")
    asked_at = past.now
    past.later(2)
    for _ in range(MOST_LATELY + 10):
        past.later(0.1)
        past.scale(add=1, origin="program")
    past.round()
    answer = await at(past, asked_at + dt.timedelta(seconds=1))
    assert answer.then.grew.request == request.id
    assert "AlreadyAtMax, sequence" in answer.then.grew.because, "the answer came later"
    assert answer.steps[0].id == request.id


async def test_requests_to_shrink_push_out_none_to_grow() -> None:
    past = setting().serving("web", 5)
    past.later(1000)
    request = past.scale(add=1, origin="person")
    past.round()
    for _ in range(MOST_LATELY + 10):
        past.later(0.1)
        past.quiesce(count=1, origin="program")
    assert (await at(past)).then.grew.request == request.id


async def test_a_sequence_names_an_instant_too() -> None:
    past = setting().asleep("web", 2)
    request = past.scale(add=1)
    past.round()
    answer = await at(past, request.seq)
    assert (answer.then.seq, answer.then.circumstances.waiting) == (request.seq, 1)


@pytest.mark.parametrize("back_ns", [0, 5 * 10**9])
async def test_what_stands_behind_a_sequence_was_not_known_at_it_whatever_its_time(back_ns: int) -> None:
    """Two events may be stored within one microsecond, and the bus's clock may step back."""
    past = setting().asleep("web", 2)
    past.later(1000)
    place = past.seq
    request = past.scale(add=1)
    past.round()
    messages = [stored(recorded) for recorded in past.lines]
    at_ns = messages[place - 1].stored_ns
    behind = [Stored(one.seq, at_ns - back_ns, one.subject, one.id, one.payload) for one in messages[place:]]
    answer = await pool_at(Kept([*messages[:place], *behind]), ORG, "web", place)
    assert "because nobody asked" in answer.then.grew.because
    assert answer.then.grew.request is None
    assert request.id in {step.id for step in answer.steps}


async def test_the_window_that_signal_told_later_says_what_the_trigger_had_seen() -> None:
    past = setting(triggers=(TRIGGER,)).serving("web", 1)
    past.later(290)
    seen_at = past.now
    past.later(15)
    demand = Demand(samples=60, minimum=0, mean=900, deviation=3, maximum=1100, last=900)
    past.happened(
        PoolObserved(
            org=ORG,
            pool="web",
            window_from=NOW,
            window_until=NOW + dt.timedelta(seconds=300),
            looked_from=NOW,
            looked_until=NOW + dt.timedelta(seconds=299),
            looks=60,
            demand=demand,
            readings=(
                Reading(
                    source="trigger",
                    query=derive("query", "up"),
                    above=1.0,
                    asked=0,
                    samples=60,
                    over=2,
                    level=Level(minimum=0.0, mean=0.9, maximum=1.1, last=0.9),
                    demand=demand,
                ),
            ),
            vms=VmCounts(serving=1, awake=1, asleep=0, wanted=1),
            state_seq=past.seq,
        )
    )
    answer = await at(past, seen_at)
    assert "2 of 60 samples were above its trigger's 1 (mean 0.9, maximum 1.1)" in said(
        answer, "from 09:00 to 09:05"
    )


async def test_an_instant_behind_the_end_of_the_ledger_is_said_to_be_that() -> None:
    past = setting()
    answer = await at(past, NOW + dt.timedelta(days=1))
    assert answer.ended_at is not None
    assert answer.ended_at.replace(microsecond=0) == NOW
    assert (await at(past, 2)).ended_at is None


@pytest.mark.parametrize(
    ("pool", "until", "words"),
    [
        ("jobs", None, "The org acme had no pool jobs at"),
        ("web", 0, "The ledger holds no event up to 0"),
        ("web", NOW - dt.timedelta(days=1), "The ledger holds no event up to"),
        ("web", 1, "had no pool web"),
        ("web", dt.datetime(9999, 12, 31, tzinfo=dt.UTC), "choose an earlier instant"),
    ],
)
async def test_a_place_that_was_not_there_is_refused_in_one_sentence(
    pool: str, until: Until, words: str
) -> None:
    past = setting()
    with pytest.raises(PlaceError, match=words) as refused:
        await pool_at(Kept.of(past), ORG, pool, until)
    assert refused.value.code == "PlaceUnknown"


async def test_rules_of_another_time_are_named() -> None:
    past = setting().serving("web", 1)  # by the rules "given"
    answer = await at(past)
    assert said(answer, f"follows the rules {RULES}; those of that decision were given")


async def test_the_forecast_of_an_instant_is_the_one_that_tells_its_tick_though_it_is_told_an_hour_later() -> (
    None
):
    past = setting()
    past.happened(forecast(3, made_at=past.now, since=past.now))
    for hour, (target, least) in enumerate(((2, 1), (4, 2)), 1):
        past.later(1800)
        past.happened(forecast(9, pool="api", made_at=past.now, since=past.now))
        past.later(1800)
        made_at = NOW + dt.timedelta(hours=hour)
        since = made_at - dt.timedelta(minutes=59, seconds=45)
        past.happened(forecast(target, target_min=least, ticks=240, since=since, made_at=made_at))
    for seconds, made in ((0, 1), (1200, 1), (3599, 1), (3600, 2)):
        then = (await at(past, NOW + dt.timedelta(seconds=seconds, milliseconds=1))).then.forecast
        assert then is not None
        assert then.complete, seconds
        assert then.made.made_at == NOW + dt.timedelta(hours=made), seconds
    assert [
        line
        for line in (await at(past, NOW + dt.timedelta(hours=3))).then.circumstances.sentences
        if "not told" in line
    ]
