"""A trace turned into a contract: its limit carries the trace, its papers are taken in, and every number has a reason."""

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.backtest.policies import POLICIES
from replay.backtest.propose import Proposal, propose
from replay.backtest.score import Course, Terms, course
from schemas import pool as pools
from schemas.capacity import Size
from schemas.contract import document
from virtscale.backtesting.papers import Names, as_comment, papers

NOW = dt.datetime(2026, 11, 22, 9, 30, tzinfo=dt.UTC)
SIZE = Size(name="vm", vcpu=2, memory_mib=4096)
NAMES = Names("acme", "web", SIZE, "'demand.csv'")


def shaped(seed: int, weekly_growth: float, noise: float, days: int = 21, step: int = 300) -> Course:
    at = np.arange(days * 86_400 // step) * step
    chance = np.random.default_rng(seed)
    level = (1 + weekly_growth) ** (at / 604_800) * (1000 - 700 * np.cos(2 * np.pi * at / 86_400))
    return course(np.maximum(0, level * (1 + chance.normal(0, noise, len(at)))), Terms(step))


def proposed(given: Course) -> Proposal:
    return propose(given, POLICIES["noise"].targets(given, 1.25), days=21)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-0.2, 0.4), st.floats(0, 0.5))
def test_the_limit_covers_the_highest_minute_with_headroom_and_the_reserve(
    seed: int, growth: float, noise: float
) -> None:
    given = shaped(seed, growth, noise)
    made = proposed(given)
    contract = document.terms(document.read(papers(made, NAMES, NOW).contract.encode()))
    highest = float(given.level.max()) * (1 + made.headroom_bp / 10_000)
    reserve = made.quota_vms * made.reserve_bp / 10_000
    assert made.headroom_bp >= 1000
    assert contract.limit.vcpu >= (highest + reserve) * SIZE.vcpu
    assert contract.limit.memory_mib >= (highest + reserve) * SIZE.memory_mib
    assert contract.limit.vcpu // SIZE.vcpu >= made.most_vms


def test_the_contract_is_unsigned_and_valid_and_says_the_quiesce_profile() -> None:
    made = proposed(shaped(1, 0, 0.05))
    signed = document.read(papers(made, NAMES, NOW).contract.encode())
    contract = document.terms(signed)
    assert signed.signatures == ()
    assert (contract.org, contract.allowance_bp, contract.warm_reserve_bp) == (
        "acme",
        made.allowance_bp,
        made.reserve_bp,
    )
    profile = contract.pools["web"]
    assert (profile.cooldown_seconds, profile.horizon_seconds, profile.drain_seconds) == (90, 90, 45)


def test_the_pool_file_is_valid_and_forecasts_from_demand_per_vm() -> None:
    given = shaped(1, 0, 0.05)
    made = proposed(given)
    pool = pools.read(papers(made, NAMES, NOW).pool)
    assert pool.demand is not None
    assert pool.demand.per_vm == given.cap
    assert (pool.forecast, pool.max_vms, pool.min_vms) == ("only", made.most_vms, made.min_vms)


def test_the_pool_can_stand_behind_the_contract_as_a_comment() -> None:
    both = papers(proposed(shaped(1, 0, 0.05)), NAMES, NOW)
    assert document.read((both.contract + as_comment(both.pool)).encode()) == document.read(
        both.contract.encode()
    )


def test_demand_that_grows_gets_headroom_until_an_addendum_can_help() -> None:
    flat, grown = proposed(shaped(1, 0, 0.02)), proposed(shaped(1, 0.1, 0.02))
    assert flat.headroom_bp == 1000
    # A tenth a week, for thirty days.
    assert 3500 < grown.headroom_bp < 5000
    assert "+9.6 % a week" in grown.reasons["headroom"] or "+9.5 % a week" in grown.reasons["headroom"]


def test_less_than_two_weeks_tell_no_growth() -> None:
    given = shaped(1, 0.3, 0.02, days=10)
    assert (
        "less than two weeks"
        in propose(given, POLICIES["noise"].targets(given, 1), days=10).reasons["headroom"]
    )


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_restless_demand_gets_a_larger_reserve(noise: float) -> None:
    reserve = proposed(shaped(2, 0, noise)).reserve_bp
    assert (reserve > 500) == (noise > 0)


def test_a_file_name_cannot_write_a_line_of_the_contract() -> None:
    names = Names("acme", "web", SIZE, ascii('x\nquota = "mine"')[:80])
    both = papers(proposed(shaped(1, 0, 0.05)), names, NOW)
    assert document.read(both.contract.encode()) == document.read(
        papers(proposed(shaped(1, 0, 0.05)), NAMES, NOW).contract.encode()
    )
