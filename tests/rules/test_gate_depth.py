"""What the gate answers to those who want sleepers on disk, and how those are woken."""

from typing import Any

from events.gate import BootOrdered, SaveOrdered, WakeOrdered
from events.ids import derive
from schemas.capacity import Size
from tests.given import ORG, Past


def setting(vcpu: int = 40, memory_mib: int = 1 << 16, **pool: Any) -> Past:
    return Past().contract(vcpu=vcpu).pool("web", **pool).host(memory_mib=memory_mib)


def saved(past: Past, *vms: str) -> Past:
    """These sleepers are on disk."""
    paused = len(past.fleet.members(ORG, "web", "quiesced"))
    past.save(paused=paused - len(vms))
    assert sorted(one.vm for one in past.round().orders) == sorted(vms)
    for vm in vms:
        past.saved(vm)
    return past


# ----------------------------------------------------------------------------------------------------------- saving


def test_the_longest_asleep_beyond_those_that_stay_in_ram_are_saved() -> None:
    past = setting().asleep("web", 3)
    request = past.save(paused=1)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, answer.granted) == ("admitted", "Granted", 2, 2)
    assert answer.evidence == ()
    first, second = orders
    assert isinstance(first, SaveOrdered)
    assert (first.vm, second.vm) == ("web-1", "web-2")
    assert (first.pool, first.host, first.request) == ("web", "h1", request.id)
    assert first.id == derive(request.id, request.seq, "save.ordered", "web-1")
    assert first.asleep_since == past.fleet.vms[ORG, "web-1"].asleep_since
    assert [vm.state for vm in past.fleet.vms.values()] == ["saving", "saving", "quiesced"]


def test_saving_gives_the_host_its_memory_back_once_it_is_done() -> None:
    past = setting(memory_mib=1024).asleep("web", 2)
    past.save(paused=1)
    past.round()
    assert (past.fleet.free_mib("h1"), past.fleet.paused("h1"), past.fleet.saved("h1")) == (0, 2, 0)
    past.saved("web-1")
    assert (past.fleet.free_mib("h1"), past.fleet.paused("h1"), past.fleet.saved("h1")) == (512, 1, 1)


def test_who_could_not_be_saved_sleeps_on_in_ram_and_may_be_saved_again() -> None:
    past = setting().asleep("web", 1)
    past.save()
    (first,) = past.answer()[1]
    past.save_failed("web-1")
    assert past.fleet.vms[ORG, "web-1"].state == "quiesced"
    past.later(60)
    past.save()
    (second,) = past.answer()[1]
    assert (first.vm, second.vm) == ("web-1", "web-1")
    assert first.id != second.id
    assert isinstance(first, SaveOrdered)
    assert isinstance(second, SaveOrdered)
    assert first.asleep_since == second.asleep_since, "it is the same sleep"


def test_no_more_sleep_in_ram_than_shall_is_nothing_to_do() -> None:
    past = setting().asleep("web", 2)
    past.save(paused=2)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, orders) == ("unchanged", "AlreadyAtDesired", 0, ())


def test_those_on_their_way_to_disk_are_not_counted_twice() -> None:
    past = setting().asleep("web", 3)
    past.save(paused=1)
    past.save(paused=1)
    assert [one.code for one in past.round().answers] == ["Granted", "AlreadyAtDesired"]
    past.save(paused=1)
    assert past.answer()[0].code == "AlreadyAtDesired"


def test_a_pool_that_is_to_sleep_in_ram_does() -> None:
    past = setting(sleep="paused").asleep("web", 2)
    past.save(paused=1)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, orders) == ("unchanged", "SleepsInMemory", 1, ())


def test_whole_hosts_come_to_be_empty_of_ram_those_first_that_are_woken_last() -> None:
    past = setting().host("h2").host("h3")
    past.asleep("web", 2)
    past.asleep("web", 2, host="h2")
    past.asleep("web", 1, host="h3")
    past.serving("web", 2).serving("web", 1, host="h2")
    past.save(paused=3)
    assert [one.vm for one in past.answer()[1]] == ["web-5", "web-3"]
    past.save(paused=1)
    assert [one.vm for one in past.answer()[1]] == ["web-4", "web-1"]


def test_sleepers_of_a_host_that_wakes_none_are_saved_first() -> None:
    past = setting().host("h2").asleep("web", 1).asleep("web", 1, host="h2")
    past.serving("web", 3)
    past.cordoned("h1")
    past.save(paused=1)
    assert [one.vm for one in past.answer()[1]] == ["web-1"]


def test_a_vm_that_is_woken_in_this_round_is_not_saved() -> None:
    past = setting().asleep("web", 2)
    past.scale(add=1)
    past.save()
    decided = past.round()
    assert [(type(one), one.vm) for one in decided.orders] == [(WakeOrdered, "web-1"), (SaveOrdered, "web-2")]


def test_a_vm_that_is_being_saved_is_not_woken_before_that_has_ended() -> None:
    past = setting().asleep("web", 1)
    past.save()
    past.scale(add=1)
    decided = past.round()
    assert [(type(one), one.vm) for one in decided.orders] == [(SaveOrdered, "web-1"), (BootOrdered, "web-2")]
    past.scale(add=1)
    assert [(type(one), one.vm) for one in past.answer()[1]] == [(BootOrdered, "web-3")]


def test_a_frozen_pool_sleeps_as_it_does_and_needs_no_contract_for_it() -> None:
    past = setting().asleep("web", 1)
    past.now += (past.usage.contracts[ORG].valid_until - past.now) * 2
    past.save()
    assert past.answer()[0].code == "Granted", "what saves memory needs nobody's leave"


def test_an_order_to_save_another_sleep_is_void() -> None:
    past = setting().asleep("web", 1)
    past.save()
    decision = past.decide()
    assert decision is not None
    past.decided(past.wake("web-1"))
    past.ready("web-1")
    past.quiesced("web-1")
    (order,) = decision.decided.orders
    past.decided(order)
    assert past.fleet.vms[ORG, "web-1"].state == "quiesced"


# ----------------------------------------------------------------------------------------------------------- waking


def test_who_sleeps_in_ram_wakes_before_who_sleeps_on_disk_and_that_before_who_is_off() -> None:
    past = saved(setting().asleep("web", 3), "web-1", "web-2")
    past.quiesced_died("web-3")
    past.asleep("web", 1)
    past.scale(add=5)
    assert [(type(one), one.vm) for one in past.answer()[1]] == [
        (WakeOrdered, "web-4"),
        (WakeOrdered, "web-1"),
        (WakeOrdered, "web-2"),
        (BootOrdered, "web-3"),
        (BootOrdered, "web-5"),
    ]


def test_a_saved_vm_wakes_on_its_own_host_where_there_is_memory_and_nowhere_else() -> None:
    past = saved(setting(memory_mib=1024).asleep("web", 2), "web-1", "web-2")
    past.serving("web", 1)
    past.host("h2", 512)
    past.scale(add=3, up_to=True)
    answer, orders = past.answer()
    assert [
        (type(one), one.vm, one.host) for one in orders if isinstance(one, WakeOrdered | BootOrdered)
    ] == [
        (WakeOrdered, "web-1", "h1"),
        (BootOrdered, "web-4", "h2"),
    ]
    assert (answer.outcome, answer.code) == ("partial", "HostsFull")
    line = answer.evidence[-1]
    assert (line.dimension, line.used, line.requested, line.limit) == ("host_memory_mib", 512, 512, 1536)


def test_two_requests_of_one_round_do_not_wake_two_saved_vms_into_the_same_memory() -> None:
    past = saved(setting(memory_mib=1024).asleep("web", 2), "web-1", "web-2")
    past.serving("web", 1)
    past.scale(add=1)
    past.scale(add=1)
    assert [one.code for one in past.round().answers] == ["Granted", "HostsFull"]


def test_waking_what_is_paused_takes_no_memory() -> None:
    past = setting(memory_mib=1024).asleep("web", 2)
    past.scale(add=1)
    past.scale(add=1)
    assert [one.code for one in past.round().answers] == ["Granted", "Granted"]


def test_a_saved_vm_counts_no_compute_and_its_wake_does() -> None:
    past = saved(setting(vcpu=4).asleep("web", 2), "web-1")
    assert past.usage.holdings == {}
    past.scale(add=3)
    assert past.answer()[0].code == "CapExceeded"
    past.scale(add=2)
    assert past.answer()[0].code == "Granted"
    assert past.usage.reserved(ORG).vcpu == 4


def test_a_saved_vm_of_another_size_than_its_pools_is_passed_over() -> None:
    past = saved(setting().asleep("web", 1), "web-1")
    past.pool("web", Size(name="tiny", vcpu=1, memory_mib=128))
    past.scale(add=1)
    assert [(type(one), one.vm) for one in past.answer()[1]] == [(BootOrdered, "web-2")]


def test_a_wake_that_failed_leaves_a_saved_vm_saved() -> None:
    past = saved(setting().asleep("web", 1), "web-1")
    past.scale(add=1)
    past.round()
    past.wake_failed("web-1", "order-expired", found="saved")
    assert past.fleet.vms[ORG, "web-1"].state == "saved"
    assert past.fleet.free_mib("h1") == 1 << 16


def test_saved_vms_are_stock_that_is_there() -> None:
    past = saved(setting().asleep("web", 2), "web-1")
    past.stock(vms=2)
    assert past.answer()[0].code == "AlreadyAtDesired"


def test_spread_wakes_saved_vms_of_the_emptiest_host_first() -> None:
    past = setting(placement="spread").host("h2").asleep("web", 1).asleep("web", 1, host="h2")
    saved(past, "web-1", "web-2")
    past.serving("web", 1)
    past.scale(add=1)
    assert [one.vm for one in past.answer()[1]] == ["web-2"]


def test_spread_saves_where_most_is_awake() -> None:
    past = (
        setting(placement="spread").host("h2").asleep("web", 1).asleep("web", 1, host="h2").serving("web", 1)
    )
    past.save(paused=1)
    assert [one.vm for one in past.answer()[1]] == ["web-1"]
