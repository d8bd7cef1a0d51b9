"""Where VMs go: hosts that are awake are filled first and idle ones stay idle; or VMs are spread; memory always counts."""

from itertools import islice

from events.gate import BootOrdered, DrainOrdered, WakeOrdered
from events.host import HostCordoned
from schemas.capacity import Size
from schemas.pool import Placement
from services.gate.placement import Load, Room, level, to_empty, to_wake
from tests.given import Past

BIG = Size(name="big", vcpu=1, memory_mib=1024)


def load(host: str, awake: int, free_mib: int = 4096, *, ready: bool = True) -> Load:
    return Load(host, ready, awake, free_mib)


def setting(policy: Placement = "fill", **hosts: int) -> Past:
    past = Past().contract(vcpu=1000).pool("web", placement=policy)
    for name, memory_mib in (hosts or {"h1": 4096, "h2": 4096}).items():
        past.host(name, memory_mib)
    return past


def cordon(past: Past, host: str) -> None:
    past.happened(HostCordoned(org="platform", host=host, actor="ops", reason="repair", cordoned_at=past.now))


def places(past: Past, add: int) -> list[str]:
    past.scale(add=add)
    answer, orders = past.answer()
    assert answer.code == "Granted"
    found = [order.host for order in orders if isinstance(order, WakeOrdered | BootOrdered)]
    assert len(found) == add
    return found


# ---------------------------------------------------------------------------------------------------------- the rule


def test_to_fill_the_host_with_most_awake_comes_first_and_to_spread_the_one_with_fewest() -> None:
    loads = [load("h1", 2), load("h2", 5), load("h3", 2), load("h4", 9, ready=False)]
    assert [one.host for one in to_wake("fill", loads)] == ["h2", "h1", "h3"]
    assert [one.host for one in to_wake("spread", loads)] == ["h1", "h3", "h2"]


def test_whoever_leaves_leaves_a_cordoned_host_first_and_then_the_emptiest() -> None:
    loads = [load("h1", 2), load("h2", 1), load("h3", 9, ready=False), load("h0", 2)]
    assert to_empty(loads) == ["h3", "h2", "h0", "h1"]


def test_lines_are_levelled_from_the_lowest_up() -> None:
    lines = [(0, iter("aaaa")), (2, iter("bbb")), (3, iter("c"))]
    assert "".join(level(lines)) == "aaababcb"


def test_an_empty_line_holds_up_no_other() -> None:
    assert list(level([(0, iter("")), (7, iter("xy"))])) == ["x", "y"]
    assert list(islice(level([]), 3)) == []


def test_room_that_is_taken_is_gone() -> None:
    room = Room([load("h1", 0, 1000)])
    assert room.take_on("h1", 600)
    assert not room.take_on("h1", 401)
    assert room.take_on("h1", 400)
    assert room.take("fill", 1) is None
    assert not room.take_on("elsewhere", 1)


def test_to_fill_an_awake_host_is_better_than_a_fuller_one_that_idles() -> None:
    room = Room([load("h1", 0, 600), load("h2", 1, 4000), load("h3", 1, 3000)])
    assert [room.take("fill", 500) for _ in range(3)] == ["h3", "h3", "h3"]
    assert room.take("fill", 3500) == "h2"
    assert room.take("fill", 600) == "h3"


def test_of_hosts_that_are_alike_the_first_by_name_is_taken() -> None:
    for policy in ("fill", "spread"):
        assert Room([load("h2", 0), load("h1", 0)]).take(policy, 1) == "h1"


def test_to_spread_the_host_with_fewest_awake_is_taken_and_of_those_the_roomiest() -> None:
    room = Room([load("h1", 1, 9000), load("h2", 0, 2000), load("h3", 0, 3000)])
    assert [room.take("spread", 100) for _ in range(4)] == ["h3", "h2", "h1", "h3"]


def test_a_host_whose_sleeper_is_woken_idles_no_more() -> None:
    room = Room([load("h1", 0, 4000), load("h2", 0, 1000)])
    room.wake("h1")
    assert room.take("fill", 500) == "h1"


def test_each_vm_that_wakes_or_starts_makes_a_host_one_higher() -> None:
    room = Room([load("h1", 0), load("h2", 2, 9000), load("h3", 4, 9000)])
    room.wake("h1")
    assert room.take("spread", 1) == "h1", "one is awake there, and two are on the next"
    room.wake("h1")
    assert room.take("spread", 1) == "h2", "three against two"
    assert room.take("spread", 1) == "h2", "three against three, and more room"
    assert room.take("spread", 1) == "h1", "three against four"


# -------------------------------------------------------------------------------------------------------- by the gate


def test_sleepers_wake_where_most_is_awake_and_the_idle_host_stays_idle() -> None:
    past = setting().asleep("web", 3, host="h1").asleep("web", 3, host="h2").serving("web", 1, host="h2")
    assert places(past, 3) == ["h2", "h2", "h2"]


def test_a_new_vm_starts_on_the_host_whose_sleeper_wakes_for_the_same_request() -> None:
    past = setting(h1=4096, h2=1024).asleep("web", 1, host="h1")
    assert places(past, 2) == ["h1", "h1"]


def test_a_new_vm_starts_on_the_host_that_another_request_of_the_round_wakes() -> None:
    past = setting(h1=4096, h2=1024).asleep("web", 1, host="h1")
    past.scale(add=1)
    past.scale(add=1)
    orders = past.round().orders
    assert [order.host for order in orders if isinstance(order, WakeOrdered | BootOrdered)] == ["h1", "h1"]


def test_sleepers_of_a_spread_pool_wake_where_fewest_are_awake() -> None:
    past = (
        setting("spread").asleep("web", 3, host="h1").asleep("web", 3, host="h2").serving("web", 2, host="h1")
    )
    assert places(past, 4) == ["h2", "h2", "h2", "h1"]


def test_new_vms_of_a_spread_pool_go_in_turn() -> None:
    past = setting("spread")
    assert places(past, 4) == ["h1", "h2", "h1", "h2"]


def test_requests_of_a_round_are_spread_as_if_they_were_one() -> None:
    past = setting("spread", h1=4096, h2=9000).serving("web", 2, host="h2")
    for _ in range(4):
        past.scale(add=1)
    orders = past.round().orders
    assert [getattr(order, "host", "") for order in orders] == ["h1", "h1", "h2", "h1"]


def test_vms_on_a_host_that_never_registered_stay_asleep_and_may_leave_first() -> None:
    past = setting().asleep("web", 1, host="h9").serving("web", 1, host="h9").serving("web", 1, host="h1")
    assert places(past, 1) == ["h1"]
    past.quiesce(count=1)
    _, (order,) = past.answer()
    assert order.vm == "web-2"


def test_a_cordoned_host_neither_wakes_nor_boots() -> None:
    past = setting().asleep("web", 2, host="h1")
    past.quiesced_died("web-2")
    cordon(past, "h1")
    assert places(past, 2) == ["h2", "h2"]
    cordon(past, "h2")
    past.scale(add=1)
    answer, orders = past.answer()
    assert (answer.code, orders) == ("HostsFull", ())
    assert (answer.evidence[-1].used, answer.evidence[-1].limit) == (0, 0)


def test_a_cordoned_host_is_emptied_first() -> None:
    past = setting().serving("web", 3, host="h1").serving("web", 1, host="h2")
    cordon(past, "h1")
    past.quiesce(count=2)
    _, orders = past.answer()
    assert [order.vm for order in orders if isinstance(order, DrainOrdered)] == ["web-3", "web-2"]


def test_the_host_with_fewest_awake_is_emptied_before_the_others() -> None:
    past = setting().serving("web", 3, host="h1").serving("web", 2, host="h2")
    past.quiesce(count=3)
    _, orders = past.answer()
    assert [order.vm for order in orders] == ["web-5", "web-4", "web-3"]


def test_a_paused_guest_holds_its_hosts_memory_and_waking_it_takes_no_more() -> None:
    past = setting(h1=1024).asleep("web", 2)
    assert places(past, 2) == ["h1", "h1"]
    past.scale(add=1)
    answer, _ = past.answer()
    assert answer.code == "HostsFull"
    line = answer.evidence[-1]
    assert (line.used, line.requested, line.projected, line.limit) == (1024, 512, 1536, 1024)


def test_a_vm_that_is_off_boots_only_where_its_disk_is() -> None:
    past = setting(h1=1024, h2=1024).asleep("web", 1, host="h1")
    past.quiesced_died("web-1")
    past.serving("web", 2, host="h1")
    past.scale(add=1)
    _, (order,) = past.answer()
    assert (order.vm, getattr(order, "host", "")) == ("web-4", "h2")


def test_a_vm_that_is_off_boots_again_before_a_new_one_is_made() -> None:
    past = setting(h1=1024).asleep("web", 1)
    past.quiesced_died("web-1")
    past.scale(add=2)
    _, orders = past.answer()
    assert [order.vm for order in orders] == ["web-1", "web-2"]


def test_two_requests_of_a_round_share_what_a_host_lends() -> None:
    past = setting(h1=1024)
    for _ in range(3):
        past.scale(add=1)
    assert [one.code for one in past.round().answers] == ["Granted", "Granted", "HostsFull"]


def test_free_memory_that_lies_scattered_starts_no_vm() -> None:
    past = Past().contract(vcpu=1000).pool("web", BIG).host("h1", 1000).host("h2", 1000)
    past.scale(add=1)
    answer, _ = past.answer()
    assert answer.code == "HostsFull"
    assert (answer.evidence[-1].used, answer.evidence[-1].limit) == (0, 2000)


def test_the_smallest_hole_that_fits_is_filled_so_that_large_ones_stay() -> None:
    past = setting(h1=8192, h2=1024)
    assert places(past, 3) == ["h2", "h2", "h1"]


def test_a_host_that_lends_less_than_it_did_shows_what_is_taken() -> None:
    past = setting(h1=2048).asleep("web", 3)
    past.host("h1", 1024)
    past.scale(add=4)
    answer, _ = past.answer()
    assert answer.code == "HostsFull"
    assert (answer.evidence[-1].used, answer.evidence[-1].limit) == (1536, 1024)
