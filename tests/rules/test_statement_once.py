"""Nothing is billed twice: not the warm reserve, not a miss that lands on it, not what took the place of what failed."""

import datetime as dt
from typing import Any

from replay.metering import HOUR_NS, ns_of
from replay.statement.accounts import Accounts
from replay.statement.month import month
from tests import papers
from tests.rules.retold import Told

DAYS = dt.timedelta(days=20)
LONG: dict[str, Any] = {"valid_from": papers.NOW - DAYS, "valid_until": papers.NOW + DAYS}


def stated(past: Told) -> Accounts:
    accounts = Accounts("acme", month("2026-11"))
    for line in past.stored_lines():
        accounts.apply(line)
    accounts.close(ns_of(past.now))
    return accounts


def test_a_reserve_and_the_miss_that_lands_on_it_count_once() -> None:
    past = Told()
    past.contract(vcpu=40, warm_reserve_bp=1000, **LONG).pool("web", forecast="on").host().serving("web", 2)
    past.begin()
    before = stated(past).sums.vm_ns
    past.later(3600)  # two in reserve, and nobody needs them
    request = past.scale(add=1, origin="forecast")
    (vm,) = past.answered(request)  # a miss has landed on one, and the reserve is refilled behind it
    past.ready(vm)
    past.announced(vm)
    past.later(3600)
    accounts = stated(past)
    assert sorted(held for _, held in past.usage.holdings) == ["web-1", "web-2", "web-3"]
    assert past.usage.used("acme").vcpu == 6
    assert abs(accounts.sums.vm_ns - before - 5 * HOUR_NS) < 1000, "two VMs for two hours and one for one"
    assert accounts.sums.vcpu_ns == 2 * accounts.sums.vm_ns
    assert accounts.sums.most_vcpu == 6


def test_a_vm_that_failed_and_the_one_in_its_place_never_count_at_the_same_time() -> None:
    past = Told()
    past.contract(vcpu=40, **LONG).pool("web").host().asleep("web", 1).asleep("web", 1)
    past.begin()
    before = stated(past).trips
    (vm,) = past.answered(past.scale(add=1))
    past.later(30)
    past.wake_failed(vm)
    (another,) = [order.vm for order in past.round().orders]
    past.ready(another)
    past.announced(another)
    past.later(3570)
    accounts = stated(past)
    assert abs(accounts.sums.vm_ns - HOUR_NS) < 1000
    assert accounts.sums.most_vcpu == 2
    trips = accounts.trips
    assert (trips.ordered - before.ordered, trips.failed - before.failed, trips.served) == (2, 1, 1)


def test_a_sleeper_on_disk_counts_nothing_and_a_request_to_save_is_no_line_of_a_statement() -> None:
    past = Told()
    past.contract(vcpu=40, **LONG).pool("web").host().asleep("web", 2)
    past.begin()
    before = stated(past)
    past.save()
    for order in past.round().orders:
        past.saved(order.vm)
    past.later(3600)
    accounts = stated(past)
    assert (accounts.sums.vm_ns, accounts.outcomes) == (before.sums.vm_ns, before.outcomes)
