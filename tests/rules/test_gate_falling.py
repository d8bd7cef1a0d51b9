"""Demand that comes back while VMs are just falling asleep: they can be stopped no more, and woken in a moment."""

from typing import Any

from events.gate import DrainCancelled, SuspendOrdered, WakeOrdered
from tests.given import ORG, Past


def setting(vcpu: int = 4, memory_mib: int = 1024, **pool: Any) -> Past:
    """Room for two VMs in the cap and on the host, and both serve."""
    return Past().contract(vcpu=vcpu).pool("web", **pool).host(memory_mib=memory_mib).serving("web", 2)


def falling(past: Past, *vms: str) -> Past:
    """These VMs were told to sleep, and do not yet."""
    past.quiesce(count=len(vms))
    past.round()
    for vm in vms:
        past.drained(vm)
    assert {one.vm for one in past.round().orders if isinstance(one, SuspendOrdered)} == set(vms)
    return past


def test_a_request_that_a_vm_just_falling_asleep_can_serve_is_answered_once_it_sleeps() -> None:
    past = falling(setting(), "web-2")
    past.scale(add=1)
    assert past.decide() is None, "refused now, it would have been granted a few milliseconds later"
    past.quiesced("web-2")
    answer, orders = past.answer()
    assert (answer.code, [(type(one), one.vm) for one in orders]) == ("Granted", [(WakeOrdered, "web-2")])


def test_whoever_is_drained_comes_back_at_once() -> None:
    past = setting()
    past.quiesce(count=1)
    past.round()
    past.drained("web-2")
    past.scale(add=1)
    answer, orders = past.answer()
    assert (answer.code, [(type(one), one.vm) for one in orders]) == ("Granted", [(DrainCancelled, "web-2")])


def test_what_others_can_serve_now_waits_for_nobody() -> None:
    past = falling(setting(vcpu=10, memory_mib=4096), "web-2")
    past.scale(add=1)
    answer, (order,) = past.answer()
    assert (answer.code, order.vm) == ("Granted", "web-3")


def test_who_asks_for_more_than_those_would_give_is_refused_at_once() -> None:
    past = falling(setting(), "web-2")
    past.scale(add=2)
    assert past.answer()[0].code == "CapExceeded"


def test_up_to_waits_for_as_many_as_there_will_be() -> None:
    past = falling(setting(), "web-2")
    past.scale(add=5, up_to=True)
    assert past.decide() is None
    past.quiesced("web-2")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted) == ("partial", "CapExceeded", 1)
    assert [one.vm for one in orders] == ["web-2"]


def test_where_the_hosts_are_full_it_is_waited_for_too() -> None:
    past = falling(setting(vcpu=100), "web-2")
    past.scale(add=1)
    assert past.decide() is None
    past.quiesced("web-2")
    assert [type(one) for one in past.answer()[1]] == [WakeOrdered]


def test_after_two_seconds_nobody_waits_for_it() -> None:
    past = falling(setting(), "web-2")
    past.scale(add=1)
    past.later(1.999_999)
    assert past.decide() is None
    past.later(0.000_001)
    assert past.answer()[0].code == "CapExceeded"


def test_those_behind_it_wait_their_turn_and_those_before_it_do_not() -> None:
    past = falling(setting(), "web-2")
    past.scale(want=0)
    past.scale(add=1)
    past.scale(want=0)
    decided = past.round()
    assert [one.code for one in decided.answers] == ["AlreadyAtDesired"]
    assert decided.through == decided.answers[0].request_seq
    past.quiesced("web-2")
    assert [one.code for one in past.round().answers] == ["Granted", "AlreadyAtDesired"]


def test_another_pools_vms_and_those_of_another_size_are_not_waited_for() -> None:
    past = falling(setting(), "web-2")
    past.pool("jobs")
    past.scale("jobs", add=1)
    assert past.answer()[0].code == "CapExceeded"
    size = past.fleet.pools[ORG, "web"].size
    past.pool("web", type(size)(name="small", vcpu=3, memory_mib=512))
    past.scale(add=1)
    assert past.answer()[0].code == "CapExceeded"


def test_a_pool_at_its_own_maximum_is_told_so_at_once() -> None:
    past = falling(setting(vcpu=10, max_vms=1), "web-2")
    past.scale(add=1)
    assert past.answer()[0].code == "AlreadyAtMax"
