"""How much `up_to` grants: the most that every limit lets through, and not one VM more."""

from typing import Any

import pytest

from events.gate import BootOrdered, DrainCancelled, WakeOrdered
from schemas.capacity import NOTHING
from services.gate.draft import Draft, room_for
from tests.given import ORG, SMALL, Past


def setting(vcpu: int = 20, **pool: Any) -> Past:
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


def test_up_to_grants_no_more_than_the_pool_may_have_where_the_cap_binds_as_well() -> None:
    past = setting(max_vms=3).serving("web", 1)
    past.scale(add=50, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, len(orders)) == ("partial", "CapExceeded", 2, 2)
    past.scale(add=50, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, orders) == ("refused", "CapExceeded", 0, ())


def test_up_to_grants_what_the_pools_maximum_leaves() -> None:
    past = setting(max_vms=3).serving("web", 1)
    past.scale(add=4, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, len(orders)) == ("partial", "PoolFull", 2, 2)
    line = answer.evidence[-1]
    assert (line.dimension, line.used, line.requested, line.projected, line.limit) == ("pool_vms", 1, 4, 5, 3)
    assert (line.reserved, line.quota) == (0, None)


def test_up_to_moves_no_more_than_one_decision_holds_where_cap_or_maximum_bind() -> None:
    past = Past().contract(vcpu=200).pool("web").pool("jobs", max_vms=70).host(memory_mib=1 << 20)
    past.scale(add=200, up_to=True)
    answer, _ = past.answer()
    assert (answer.code, answer.granted) == ("CapExceeded", 64)
    past = Past().contract(vcpu=2000).pool("web", max_vms=70).host(memory_mib=1 << 20)
    past.scale(add=71, up_to=True)
    answer, _ = past.answer()
    assert (answer.code, answer.granted) == ("PoolFull", 64)


def test_leavers_and_sleepers_and_new_ones_serve_one_request_together() -> None:
    past = setting().serving("web", 2).asleep("web", 1)
    past.quiesce(count=1)
    past.round()
    past.scale(add=3)
    answer, orders = past.answer()
    assert [type(order) for order in orders] == [DrainCancelled, WakeOrdered, BootOrdered]
    assert answer.evidence[0].requested == 4, "who comes back counts already"


def test_up_to_takes_leavers_first_where_the_hosts_are_full() -> None:
    past = Past().contract(vcpu=100).pool("web").host(memory_mib=1024).serving("web", 2)
    past.quiesce(count=1)
    past.round()
    past.scale(add=2, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted) == ("partial", "HostsFull", 1)
    assert [type(order) for order in orders] == [DrainCancelled]
    line = answer.evidence[-1]
    assert (line.dimension, line.used, line.requested, line.projected, line.limit) == (
        "host_memory_mib",
        1024,
        512,
        1536,
        1024,
    )
    assert (line.reserved, line.quota) == (0, None)


def test_stock_past_the_cap_is_refused_with_its_numbers() -> None:
    past = setting(vcpu=4)
    past.stock(vms=3)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, answer.granted, orders) == (
        "refused",
        "CapExceeded",
        3,
        0,
        (),
    )
    assert [(line.dimension, line.projected, line.limit) for line in answer.evidence] == [
        ("vcpu", 6, 4),
        ("memory_mib", 1536, (1 << 20) * 11 // 10),
    ]


def test_room_is_asked_of_each_enforced_dimension_or_of_none() -> None:
    past = setting()
    contract = past.usage.contracts[ORG]
    lines = Draft(ORG, past.state, past.now).evidence(contract, NOTHING)
    assert room_for(lines, SMALL) == 11
    with pytest.raises(ValueError, match="shorter"):
        room_for(lines[:1], SMALL)
