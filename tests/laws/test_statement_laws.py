"""What was awake for how long, summed in two further ways over ledgers of simulated worlds."""

import datetime as dt
import functools
from collections import Counter

import pytest

from events.envelope import Recorded, read
from projections.usage.fold import Usage
from replay.metering import Meter
from replay.statement.accounts import Accounts
from replay.statement.month import month
from tests.simulation.run import run


@functools.cache
def world(seed: int) -> tuple[Recorded, ...]:
    return tuple(read(one.seq, one.stored_ns, one.payload, one.subject) for one in run(seed).stored if one.id)


def by_hand(lines: tuple[Recorded, ...]) -> tuple[Counter[str], Counter[str]]:
    """VM- and vCPU-nanoseconds of each org: everything that is held, looked through after every event."""
    usage, vms, vcpu, at = Usage(), Counter[str](), Counter[str](), 0
    for line in lines:
        now = max(at, line.stored_ns)
        for (org, _), held in usage.holdings.items():
            vms[org] += now - at
            vcpu[org] += held.size.vcpu * (now - at)
        usage.apply(line)
        at = now
    return vms, vcpu


@pytest.mark.parametrize("seed", range(12))
def test_a_statement_and_a_meter_sum_what_the_usage_fold_holds(seed: int) -> None:
    lines = world(seed)
    vms, vcpu = by_hand(lines)
    began = dt.datetime.fromtimestamp(lines[0].stored_ns // 10**9, dt.UTC)
    usage = Usage()
    meter = Meter(usage, lines[0].stored_ns)
    at = 0
    for line in lines:
        at = max(at, line.stored_ns)
        usage.apply(line)
        meter.note(usage, line, at)
    meter.advance(at)
    metered: Counter[str] = Counter()
    for (org, _), spent in meter.pools.items():
        metered[org] += spent.vcpu_ns
    assert metered == vcpu
    for org in vms:
        accounts = Accounts(org, month(f"{began:%Y-%m}"))
        for line in lines:
            accounts.apply(line)
        accounts.close(0)
        assert (accounts.sums.vm_ns, accounts.sums.vcpu_ns) == (vms[org], vcpu[org])
        trips = accounts.trips
        assert trips.carried + trips.ordered == trips.served + trips.failed + trips.open
