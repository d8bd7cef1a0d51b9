"""How many VMs the warm reserve of a pool is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.capacity import Size
from schemas.pool import Pool
from schemas.reserve import floor_vms, reserve_vms
from tests import papers


def a_pool(**terms: Any) -> Pool:
    terms = {"forecast": "on", **terms}
    return Pool(org="acme", name="web", size=Size("small", 2, 512), template="tiny", **terms)


@pytest.mark.parametrize(
    ("vcpu", "memory_mib", "reserve_bp", "pools", "expected"),
    [
        (100, 1 << 20, 1000, 1, 5),  # 10 vCPU
        (100, 1 << 20, 2000, 1, 10),
        (119, 1 << 20, 1000, 1, 5),  # 11.9 vCPU are five whole VMs
        (120, 1 << 20, 1000, 1, 6),
        (100, 1 << 20, 1000, 2, 2),  # 5 vCPU each
        (100, 1 << 20, 1000, 6, 1),  # less than one VM is one
        (100, 10_240, 1000, 1, 2),  # memory gives fewest
    ],
)
def test_the_reserve_is_the_pools_share_of_the_quota_in_whole_vms(
    vcpu: int, memory_mib: int, reserve_bp: int, pools: int, expected: int
) -> None:
    contract = papers.terms("acme", vcpu, memory_mib, warm_reserve_bp=reserve_bp)
    assert reserve_vms(contract, a_pool(), pools) == expected


@pytest.mark.parametrize("forecast", ["off", "only"])
def test_a_pool_whose_forecast_moves_nothing_has_no_reserve(forecast: str) -> None:
    contract = papers.terms("acme", 100, 1 << 20)
    pool = a_pool(forecast=forecast, min_vms=3)
    assert (reserve_vms(contract, pool, 0), floor_vms(contract, pool, 0)) == (0, 3)


def test_the_floor_is_the_larger_of_minimum_and_reserve_and_without_a_contract_the_minimum() -> None:
    contract = papers.terms("acme", 100, 1 << 20, warm_reserve_bp=1000)
    assert floor_vms(contract, a_pool(min_vms=2), 1) == 5
    assert floor_vms(contract, a_pool(min_vms=7), 1) == 7
    assert floor_vms(None, a_pool(min_vms=2), 1) == 2


@given(st.integers(0, 10_000), st.integers(500, 2000), st.integers(0, 200), st.integers(1, 50))
def test_the_reserve_is_at_least_one_and_never_above_the_pools_maximum(
    vcpu: int, reserve_bp: int, pools: int, max_vms: int
) -> None:
    contract = papers.terms("acme", vcpu, 1 << 20, warm_reserve_bp=reserve_bp)
    assert 1 <= reserve_vms(contract, a_pool(max_vms=max_vms), pools) <= max_vms
