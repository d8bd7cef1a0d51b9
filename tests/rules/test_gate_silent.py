"""A host that answers no order: what hangs there counts, and nobody waits for it, nor sends more there."""

from typing import Any

import pytest

from events.gate import BootOrdered, WakeOrdered
from events.order import OrderOverdue
from projections.fleet.known import hangs
from schemas.capacity import NOTHING
from tests.given import ORG, SMALL, Past
from tests.rules.failing import setting, starts


def alarmed(past: Past) -> int:
    """So many orders are overdue by now; the ledger says so."""
    late = list(past.fleet.overdue(past.now))
    for vm in late:
        assert vm.order is not None
        assert vm.due_at is not None
        past.happened(
            OrderOverdue(
                org=ORG, vm=vm.name, order=vm.order, kind=vm.state, due_at=vm.due_at, observed_at=past.now
            )
        )
    return len(late)


def hanging(hang: int = 2, **pool: Any) -> Past:
    """Two serve on `h2`, which has sleepers; others were woken on `h1`, of which nothing is heard since."""
    past = setting(vcpu=100, **pool).host("h2").asleep("web", 6, host="h1")
    past.serving("web", 2, host="h2")
    past.asleep("web", 4, host="h2")
    past.decided(*[past.wake(vm) for vm in list(past.fleet.by_host(ORG, "web", "quiesced")["h1"])[:hang]])
    past.later(81)
    assert alarmed(past) == hang
    return past


def test_what_hangs_on_a_silent_host_is_not_waited_for_and_nothing_more_is_sent_there() -> None:
    past = hanging()
    assert (past.fleet.staying(ORG, "web"), past.fleet.hanging(ORG, "web")) == (2, 2)
    past.scale(want=4)
    answer, orders = past.answer()
    assert (answer.code, [one.host for one in orders if isinstance(one, WakeOrdered)]) == (
        "Granted",
        ["h2", "h2"],
    )
    past.scale(want=4)
    assert past.answer()[0].code == "AlreadyAtDesired"


def test_what_hangs_counts_against_the_contract_as_before() -> None:
    past = setting(vcpu=8).host("h2").asleep("web", 4)
    past.scale(add=3)
    past.round()
    past.later(200)
    assert alarmed(past) == 3
    assert past.usage.reserved(ORG) == SMALL.compute * 3
    past.scale(want=3, up_to=True)
    decided = past.round()
    assert [one.code for one in decided.answers] == ["CapExceeded"]
    assert starts(decided) == [(BootOrdered, "web-5", "h2")]


def test_what_hangs_counts_against_the_pools_maximum_as_before() -> None:
    past = hanging(max_vms=5)
    past.scale(want=4, up_to=True)
    answer, orders = past.answer()
    assert (answer.code, len(orders)) == ("PoolFull", 1)
    line = answer.evidence[-1]
    assert (line.dimension, line.used, line.limit) == ("pool_vms", 4, 5)
    past.scale(want=4, up_to=True)
    assert past.answer()[0].code == "AlreadyAtMax"


def test_a_silent_host_is_sent_nothing_even_where_no_other_has_room() -> None:
    """What is sent there would hang as well, and take from the org's cap what others could have elsewhere."""
    past = setting(vcpu=100).asleep("web", 4).host("h2", 512)
    past.scale(add=1)
    past.round()
    past.later(81)
    assert alarmed(past) == 1
    past.scale(want=3, up_to=True)
    decided = past.round()
    (answer,) = decided.answers
    assert (answer.outcome, answer.code) == ("partial", "HostsFull")
    assert starts(decided) == [(BootOrdered, "web-5", "h2")]
    assert (answer.evidence[-1].dimension, answer.evidence[-1].limit) == ("host_memory_mib", 512)


@pytest.mark.parametrize("word", ["another woke", "it failed", "it runs"])
def test_a_host_of_which_something_is_heard_again_is_used_again(word: str) -> None:
    past = hanging()
    assert past.fleet.is_silent("h1")
    late = [vm.name for vm in past.fleet.vms.values() if hangs(vm)]
    match word:
        case "another woke":
            past.decided(past.wake("web-3"))
            past.ready("web-3")
        case "it failed":
            past.wake_failed(late[0], "order-expired")
        case _:
            past.resumed(late[0])
    assert not past.fleet.is_silent("h1")
    past.scale(add=7)
    assert {host for kind, _, host in starts(past.round()) if kind is WakeOrdered} == {"h1", "h2"}


def test_one_guest_that_hangs_makes_no_host_silent_whose_neighbours_are_heard() -> None:
    past = setting(vcpu=100).asleep("web", 4)
    past.scale(add=3)
    past.round()
    past.ready("web-2")
    past.later(81)
    alarmed(past)
    assert past.fleet.hanging(ORG, "web") == 2
    past.scale(want=2)
    assert starts(past.round()) == [(WakeOrdered, "web-4", "h1")]


def test_a_vm_that_runs_and_does_not_answer_is_waited_for_as_long_as_the_prober_says_nothing() -> None:
    """Whoever is late then is no host, and others would be no sooner ready."""
    past = setting(vcpu=100).asleep("web", 4)
    past.scale(add=1)
    past.round()
    past.resumed("web-1")
    past.later(81)
    assert alarmed(past) == 1
    assert not past.fleet.is_silent("h1")
    past.scale(want=1)
    assert past.answer()[0].code == "AlreadyAtDesired"


def test_what_hung_and_serves_after_all_is_of_the_pool_again() -> None:
    past = hanging(hang=1)
    past.ready("web-1")
    past.announced("web-1")
    assert (past.fleet.staying(ORG, "web"), past.fleet.hanging(ORG, "web")) == (3, 0)


def test_what_hung_when_its_host_was_fenced_hangs_no_more() -> None:
    past = hanging()
    past.fenced("h1")
    assert (past.fleet.hanging(ORG, "web"), past.fleet.is_silent("h1")) == (0, False)
    assert past.usage.reserved(ORG) == NOTHING


def test_stock_that_hangs_makes_its_host_silent_and_is_no_part_of_the_pool() -> None:
    past = setting(vcpu=100)
    past.stock(vms=2)
    past.round()
    past.later(1000)
    assert alarmed(past) == 2
    assert (past.fleet.staying(ORG, "web"), past.fleet.hanging(ORG, "web")) == (0, 0)
    past.host("h2")
    past.scale(add=1)
    assert starts(past.round()) == [(BootOrdered, "web-3", "h2")]


def test_a_vm_that_is_off_on_a_silent_host_is_passed_over() -> None:
    past = setting(vcpu=100).asleep("web", 3)
    past.quiesced_died("web-3")
    past.scale(add=1)
    past.round()
    past.later(81)
    alarmed(past)
    past.host("h2")
    past.scale(add=2)
    assert starts(past.round()) == [(BootOrdered, "web-4", "h2"), (BootOrdered, "web-5", "h2")]
