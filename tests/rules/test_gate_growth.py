"""What the gate answers to those who want more."""

import datetime as dt
from typing import Any

import pytest

from events.gate import MOST_BYTES, BootOrdered, WakeOrdered
from events.sentences import sentence
from schemas.capacity import Size
from schemas.pool import Pool
from services.gate.draft import _ANSWER_BYTES, Draft
from tests.given import NOW, ORG, SMALL, Past


def setting(vcpu: int = 10, **pool: Any) -> Past:
    """Quota 10 vCPU and 10 % allowance: the cap is 11 vCPU, room for five VMs of two."""
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


def test_a_request_within_the_cap_wakes_the_longest_asleep_first() -> None:
    past = setting().asleep("web", 3)
    past.scale(add=2)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, answer.granted) == ("admitted", "Granted", 2, 2)
    assert [(type(order), order.vm) for order in orders] == [(WakeOrdered, "web-1"), (WakeOrdered, "web-2")]
    assert past.usage.reserved(ORG) == SMALL.compute * 2


def test_when_no_sleeper_is_left_new_vms_are_booted_under_names_never_used() -> None:
    past = setting().asleep("web", 1)
    past.scale(add=3)
    _, orders = past.answer()
    assert [(type(order).__name__, order.vm) for order in orders] == [
        ("WakeOrdered", "web-1"),
        ("BootOrdered", "web-2"),
        ("BootOrdered", "web-3"),
    ]


def test_past_the_cap_nothing_is_started_and_the_numbers_say_why() -> None:
    past = setting().serving("web", 3).asleep("web", 5)
    past.scale(add=1)
    past.round()
    past.scale(add=2)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, orders) == ("refused", "CapExceeded", 0, ())
    vcpu = answer.evidence[0]
    assert (vcpu.dimension, vcpu.used, vcpu.reserved, vcpu.requested) == ("vcpu", 6, 2, 4)
    assert (vcpu.projected, vcpu.quota, vcpu.limit) == (12, 10, 11)


def test_the_refusal_reads_as_one_sentence_with_its_numbers() -> None:
    past = setting().serving("web", 5)
    past.scale(add=1)
    decided = past.round()
    assert sentence(ORG, decided.answers[0], decided.contract) == (
        "Pool acme/web would take acme to 12 vCPU (10 in use, 0 reserved, 2 requested); the signed cap is 11 "
        "(quota 10 + 10 %, contract acme-2026 version 1). Nothing was started."
    )


@pytest.mark.parametrize(
    ("vcpu", "fitting"),
    [
        (10, 5),  # 11 allowed: five of two, one vCPU left over
        (9, 4),  # 9.9 is rounded down to 9
        (11, 6),  # 12.1 is rounded down to 12: exactly six of two
        (1, 0),
    ],
)
def test_exactly_at_the_cap_is_admitted_and_one_more_is_not(vcpu: int, fitting: int) -> None:
    if fitting:
        past = setting(vcpu).asleep("web", 8, size=SMALL)
        past.scale(add=fitting)
        assert past.answer()[0].outcome == "admitted"
    past = setting(vcpu).asleep("web", 8)
    past.scale(add=fitting + 1)
    assert past.answer()[0].code == "CapExceeded"


def test_memory_binds_as_vcpu_does() -> None:
    past = Past().contract(vcpu=1000, memory_mib=1024).pool("web").host()
    past.scale(add=3)
    answer, _ = past.answer()
    assert answer.code == "CapExceeded"
    memory = next(line for line in answer.evidence if line.dimension == "memory_mib")
    assert (memory.projected, memory.limit) == (1536, 1126)


def test_up_to_grants_what_fits_and_says_what_did_not() -> None:
    past = setting().serving("web", 3)
    past.scale(add=4, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, answer.granted) == ("partial", "CapExceeded", 4, 2)
    assert answer.evidence[0].requested == 8
    assert len(orders) == 2


def test_up_to_with_nothing_left_is_a_refusal() -> None:
    past = setting().serving("web", 5)
    past.scale(add=4, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, orders) == ("refused", "CapExceeded", 0, ())


def test_want_counts_those_who_are_there_or_coming() -> None:
    past = setting().serving("web", 1).asleep("web", 5)
    past.waking("web", 1)
    past.scale(want=4)
    answer, orders = past.answer()
    assert (answer.asked, answer.granted, len(orders)) == (2, 2, 2)


def test_who_has_what_was_wanted_is_told_so() -> None:
    past = setting().serving("web", 3)
    past.scale(want=3)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("unchanged", "AlreadyAtDesired", ())


def test_two_requests_of_one_round_see_each_other() -> None:
    past = setting().asleep("web", 8)
    past.scale(add=3)
    past.scale(add=3)
    past.scale(want=3)
    first, second, third = past.round().answers
    assert (first.outcome, second.code, third.code) == ("admitted", "CapExceeded", "AlreadyAtDesired")
    assert second.evidence[0].reserved == 6


def test_two_pools_share_one_envelope() -> None:
    past = setting().pool("jobs").serving("web", 4)
    past.scale("jobs", add=2)
    assert past.answer()[0].code == "CapExceeded"


def test_without_a_contract_nothing_is_admitted() -> None:
    past = Past().pool("web").host()
    past.scale(add=1)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "ContractMissing", ())


@pytest.mark.parametrize("hours", [-13, 12, 13])
def test_outside_its_validity_a_contract_admits_nothing(hours: int) -> None:
    past = setting()
    past.now = NOW + dt.timedelta(hours=hours)
    past.scale(add=1)
    assert past.answer()[0].code == "ContractExpired"


def test_a_contract_is_valid_from_its_first_instant() -> None:
    past = setting()
    past.now = NOW - dt.timedelta(hours=12)
    past.scale(add=1)
    assert past.answer()[0].outcome == "admitted"


def test_an_unknown_pool_is_refused_and_the_next_request_is_answered() -> None:
    past = setting()
    past.scale("nosuch", add=1)
    past.scale(add=1)
    unknown, known = past.round().answers
    assert (unknown.code, known.outcome) == ("PoolUnknown", "admitted")


def test_full_hosts_are_another_answer_than_the_cap() -> None:
    past = Past().contract(vcpu=100).pool("web").host(memory_mib=1024)
    past.scale(add=3)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "HostsFull", ())
    past.scale(add=3, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, len(orders)) == ("partial", "HostsFull", 2, 2)


def test_what_a_refused_request_would_have_taken_is_left_to_the_next_one() -> None:
    past = Past().contract(vcpu=100).pool("web").host(memory_mib=1024)
    past.scale(add=3)
    past.scale(add=2)
    refused, admitted = past.round().answers
    assert (refused.code, admitted.outcome) == ("HostsFull", "admitted")


def test_a_paused_guest_holds_its_hosts_memory_and_one_that_is_off_does_not() -> None:
    past = Past().contract(vcpu=100).pool("web").host(memory_mib=1024).asleep("web", 2)
    past.stock("web", 3)
    assert past.answer()[0].code == "HostsFull"


def test_vms_come_to_the_fullest_host_that_has_room() -> None:
    past = setting().host("h2", 2048).host("h3", 256)
    past.scale(add=1)
    _, (order,) = past.answer()
    assert isinstance(order, BootOrdered)
    assert order.host == "h2"


def test_a_pool_grows_to_its_own_maximum() -> None:
    past = setting(max_vms=2).serving("web", 1)
    past.scale(add=2)
    assert past.answer()[0].code == "PoolFull"
    past.scale(add=1)
    assert past.answer()[0].outcome == "admitted"


def test_who_is_past_cap_and_maximum_is_told_of_the_contract() -> None:
    past = setting(max_vms=2)
    past.scale(add=500)
    assert past.answer()[0].code == "CapExceeded"


def test_one_request_starts_at_most_64_vms() -> None:
    past = Past().contract(vcpu=10_000).pool("web").host(memory_mib=1 << 20)
    past.scale(add=65)
    assert past.answer()[0].code == "BatchTooLarge"
    past.scale(add=65, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.granted, len(orders)) == ("partial", 64, 64)


def test_a_vm_made_before_its_pool_was_redefined_smaller_is_passed_over() -> None:
    past = setting(9).asleep("web", 4)  # of two vCPU each, and the cap is 9
    past.quiesced_died("web-4")
    past.pool("web", Size(name="tiny", vcpu=1, memory_mib=128))
    past.scale(add=6)
    answer, orders = past.answer()
    assert (answer.outcome, answer.evidence[0].projected) == ("admitted", 6)
    assert [order.vm for order in orders] == [f"web-{number}" for number in range(5, 11)]
    assert past.usage.reserved(ORG).vcpu == 6


def test_the_pool_of_the_test_is_the_pool_of_the_ledger() -> None:
    assert setting().fleet.pools[ORG, "web"] == Pool(org=ORG, name="web", size=SMALL, template="tiny")


def test_a_new_vm_is_numbered_behind_the_highest_number_that_the_pool_ever_had() -> None:
    past = setting().pool("jobs").serving("web", 1)
    past.decided(past.boot("web", "web-8"))
    past.decided(past.boot("jobs", "jobs-20"))
    past.scale(add=2)
    _, orders = past.answer()
    assert [order.vm for order in orders] == ["web-9", "web-10"]


def test_a_number_that_a_stranger_has_is_passed_over_and_no_other() -> None:
    past = setting()
    past.decided(past.boot("web", "web-999999"), past.boot("web", "web-1000000"))
    past.scale(add=1)
    _, (order,) = past.answer()
    assert order.vm == "web-1000001"


def test_a_decision_has_place_for_what_stays_below_its_bound() -> None:
    past = setting()
    draft = Draft(ORG, past.state, past.now)
    draft._bytes = MOST_BYTES - _ANSWER_BYTES
    assert not draft.has_place(0)
    draft._bytes -= 1
    assert draft.has_place(0)
    assert not draft.has_place(1)


def test_stock_of_a_pool_at_its_maximum_is_told_with_the_numbers() -> None:
    past = setting(max_vms=2).serving("web", 2)
    past.stock(vms=5)
    answer, orders = past.answer()
    assert (answer.code, answer.asked, answer.granted, orders) == ("AlreadyAtMax", 3, 0, ())
    assert [line.dimension for line in answer.evidence] == ["vcpu", "memory_mib", "pool_vms"]
