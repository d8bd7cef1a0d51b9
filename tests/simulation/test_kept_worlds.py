"""Worlds in which VMs are kept, beside pools that scale or alone, and everything goes wrong."""

import multiprocessing
import os
from functools import partial

import pytest

from tests.simulation.__main__ import summary
from tests.simulation.chance import ALONE_SHARE, keeping, plan_of
from tests.simulation.run import run

SEEDS = range(20)
MANY_SEEDS = range(20, 620)

KEPT = {
    72: "a deleter told what was due once more, when the bus had forgotten the first time: each telling has one answer",
    393: "a snapshot that landed after it was given up was there for the next copy of that name",
    16: "a VM that was adopted and had not run yet was started on a host that had not its disk",
    1410: "a growth that failed had found the disk larger, and the directory did not hear of it",
    1639: "a VM with a disk that was adopted or restored fell asleep, and nobody pinned its disk or said why not",
    1416: "the end of a cancelled deletion's silence ended the deletion that was scheduled since: its VM was never deleted",
    398: "a growth told late, after the disk had grown again: the ledger had less than there was",
    30366: "a domain that a former life defined anew, and died before it told where",
}
"""Each was a bug, of the workers or of the simulation itself, and is none any more."""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_law_holds_where_vms_are_kept(seed: int) -> None:
    assert run(seed, "short", keeps=True).faults == ()


@pytest.mark.parametrize("seed", sorted(KEPT))
def test_what_a_seed_taught_of_kept_vms_is_not_forgotten(seed: int) -> None:
    assert run(seed, "short", keeps=True).faults == (), KEPT[seed]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_law_holds_in_many_worlds_where_vms_are_kept() -> None:
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        done = pool.map(partial(summary, length="short", keeps=True), MANY_SEEDS, chunksize=8)
    assert {one.seed: one.faults for one in done if one.faults} == {}


def test_half_of_these_worlds_have_no_other_vms_and_days_go_by_in_them() -> None:
    plans = [keeping(plan_of(seed, "short")) for seed in range(200)]
    alone = [plan for plan in plans if not plan.pools]
    assert 0.7 * ALONE_SHARE < len(alone) / 200 < 1.3 * ALONE_SHARE
    assert all(plan.leap_seconds for plan in alone)
    assert not any(plan.leap_seconds for plan in plans if plan.pools)
