"""A year of kept VMs goes by, and each promise about them holds at each event and at its end."""

import datetime as dt
from collections import Counter, defaultdict

import pytest

from events.copy import CopyMade
from events.deletion import DeletionBegun, DeletionScheduled
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from schemas.activity import Maintenance
from services.steward.decide import decide
from services.steward.state import State
from tests.simulation.year import DAYS, NIGHTLY, ORG, Year, run

LOOK_EACH = 7
"""Events between two looks at whom the steward looks at."""


def kept(year: Year) -> None:
    """What was announced was done as announced, what was to be deleted went in its order, and no night was forgotten."""
    told: dict[str, Maintenance] = {}
    begun: Counter[str] = Counter()
    stages: defaultdict[str, list[str]] = defaultdict(list)
    nights: defaultdict[str, set[str]] = defaultdict(set)
    for line in year.truth.lines:
        match line.fact:
            case MaintenanceScheduled(entry=entry) | MaintenanceRescheduled(entry=entry):
                assert entry.slot.opens <= entry.slot.start < entry.slot.end <= entry.slot.closes
                told[entry.id] = entry
            case MaintenanceBegun(entry=entry, begun_at=at):
                assert told[entry.id].slot == entry.slot
                assert entry.slot.start <= at <= entry.slot.start + dt.timedelta(minutes=1), (
                    "a leap ends as it is due"
                )
                begun[entry.id] += 1
            case MaintenanceEnded(entry=entry):
                assert entry.result == "done", entry
            case DeletionScheduled(deletion=deletion):
                stages[deletion] = []
            case DeletionBegun(deletion=deletion, stage=stage):
                stages[deletion].append(stage)
            case CopyMade(vm=vm, copy=copy, kind="backup") if copy.startswith("night-"):
                assert copy not in nights[vm], "two backups of one night"
                nights[vm].add(copy)
            case _:
                pass
    assert set(begun.values()) == {1}
    assert stages
    assert nights
    for vm, backed in nights.items():
        days = sorted(dt.date.fromisoformat(one.removeprefix("night-")) for one in backed)
        assert len(days) == (days[-1] - days[0]).days + 1, f"a night of {vm} was forgotten"
    assert year.living is not None
    looked_at_all(year)
    for copies in (year.living.copies.of(ORG, vm) for vm in nights):
        assert sum(one.name.startswith("night-") for one in copies) <= 7


def looked_at_all(year: Year) -> None:
    """VMs that the steward does not look at are such that it would say nothing to, whenever it looks."""
    state = State()
    for line in year.truth.lines:
        state.apply(line)
        if line.seq % LOOK_EACH == 0:
            every = [kept for (org, _), kept in state.directory.vms.items() if org == ORG]
            said = decide(ORG, state.kept().get(ORG, []), state, line.time)
            assert said == decide(ORG, every, state, line.time), f"at #{line.seq}"


@pytest.mark.parametrize(
    ("vms", "days"),
    [
        pytest.param(6, DAYS, id="six"),
        pytest.param(60, DAYS, id="sixty", marks=pytest.mark.long),
        pytest.param(200, DAYS, id="two hundred", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_a_year_with_both_changes_of_clocks_in_four_zones_goes_by(vms: int, days: int) -> None:
    year, leaps, faults = run(2, vms, days)
    print(f"{vms} VMs, {days} days: {leaps} leaps, {len(year.truth.stored)} events")
    assert faults == ()
    assert any(pool.name == NIGHTLY for pool in year.kept_pools)
    kept(year)
