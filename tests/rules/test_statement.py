"""A statement: what an org's month came to, exactly, and what each number is."""

import datetime as dt
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from events.bus.port import Stored
from events.freeze import FreezeRequested, ThawRequested
from events.host import HostFenced
from events.key import KeyRegistered
from replay.metering import HOUR_NS, moment_of, ns_of, rounded
from replay.statement.accounts import Accounts
from replay.statement.month import StatementError, month
from replay.statement.reading import read_month
from replay.statement.wording import document, lines, price
from tests import papers
from tests.rules.retold import Lines, Told

NOVEMBER = month("2026-11")
DAYS = dt.timedelta(days=20)
LONG: dict[str, Any] = {"valid_from": papers.NOW - DAYS, "valid_until": papers.NOW + DAYS}
"""The tests' own now is 22 November 2026, 09:00 UTC."""


def stated(
    past: Told, org: str = "acme", name: str = "2026-11", until: dt.datetime | None = None
) -> Accounts:
    accounts = Accounts(org, month(name))
    for line in past.stored_lines():
        accounts.apply(line)
    accounts.close(ns_of(until or past.now))
    return accounts


def number(accounts: Accounts, part: str, name: str) -> str | None:
    (line,) = (one for one in lines(accounts) if (one.part, one.name) == (part, name))
    return line.value


# ----------------------------------------------------------------------------------------------------------- months


@pytest.mark.parametrize(
    ("name", "zone", "hours"),
    [
        ("2026-11", "UTC", 720),
        ("2026-02", "UTC", 672),
        ("2028-02", "UTC", 696),
        ("2026-12", "UTC", 744),
        ("2026-03", "Europe/Berlin", 743),
        ("2026-10", "Europe/Berlin", 745),
        ("2026-11", "Europe/Berlin", 720),
    ],
)
def test_a_month_lasts_as_long_as_it_does_where_clocks_change(name: str, zone: str, hours: int) -> None:
    found = month(name, zone)
    assert found.end_ns - found.begin_ns == hours * HOUR_NS


def test_a_month_in_a_zone_begins_at_its_own_midnight() -> None:
    assert moment_of(month("2026-11", "Europe/Berlin").begin_ns) == dt.datetime(
        2026, 10, 31, 23, tzinfo=dt.UTC
    )
    assert moment_of(month("2026-07", "Europe/Berlin").begin_ns) == dt.datetime(
        2026, 6, 30, 22, tzinfo=dt.UTC
    )


@pytest.mark.parametrize(
    "zone", ["Africa/Cairo", "America/Havana", "Asia/Beirut", "America/Santiago", "Atlantic/Azores"]
)
def test_months_follow_each_other_without_a_gap_or_an_overlap_in_zones_that_skip_midnights(zone: str) -> None:
    names = [f"{year}-{number:02}" for year in range(2024, 2029) for number in range(1, 13)]
    found = [month(name, zone) for name in names]
    for one, after in pairwise(found):
        assert one.end_ns == after.begin_ns
        assert 27 * 24 < (one.end_ns - one.begin_ns) / HOUR_NS < 32 * 24


@pytest.mark.parametrize(
    "name", ["2026-13", "2026-00", "2026-1", "26-01", "2026-11-01", "", "1969-12", "9999-12", "\uff12026-11"]
)
def test_what_is_no_month_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(StatementError, match="no month"):
        month(name)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_what_is_no_time_zone_is_refused_in_a_sentence(zone: str) -> None:
    with pytest.raises(StatementError, match="no time zone"):
        month("2026-11", zone)


# ------------------------------------------------------------------------------------------------------------- used


def test_a_vm_counts_from_the_decision_that_reserved_it_to_the_proof_that_it_sleeps() -> None:
    past = Told()
    past.contract(vcpu=10, **LONG).pool("web").host().asleep("web", 1)
    past.begin()
    (vm,) = past.answered(past.scale(add=1))
    began = past.now
    past.later(30)
    past.ready(vm)
    past.announced(vm)
    past.later(3600)
    past.quiesced(vm)
    ended = past.now
    past.later(3600)
    accounts = stated(past)
    # VMs that booted and fell asleep before took no time; a nanosecond for each event between.
    assert abs(accounts.sums.vm_ns - (ns_of(ended) - ns_of(began))) < 100
    assert accounts.sums.vcpu_ns == 2 * accounts.sums.vm_ns
    assert accounts.sums.memory_mib_ns == 512 * accounts.sums.vm_ns
    assert number(accounts, "used", "VM-hours") == "1.008"
    assert number(accounts, "used", "most vCPU") == "2"


def test_what_was_awake_before_the_month_counts_from_its_beginning_and_not_behind_its_end() -> None:
    past = Told()
    past.now = dt.datetime(2026, 10, 30, tzinfo=dt.UTC)
    past.contract(vcpu=10, valid_from=past.now - DAYS, valid_until=past.now + 4 * DAYS)
    past.pool("web").host().serving("web", 2)
    past.now = dt.datetime(2026, 12, 3, tzinfo=dt.UTC)
    past.host("h2")
    accounts = stated(past)
    assert accounts.complete
    assert accounts.sums.vm_ns == 2 * 720 * HOUR_NS
    assert number(accounts, "used", "VM-hours") == "1440.000"
    assert number(accounts, "used", "most vCPU") == "4"
    assert accounts.trips.ordered == 0


def test_another_orgs_vms_are_not_this_orgs() -> None:
    past = Told("globex")
    past.contract(vcpu=10, **LONG).pool("web").host().serving("web", 2)
    past.later(3600)
    assert stated(past, "globex").sums.vm_ns > 0
    with pytest.raises(StatementError, match="neither a contract nor a pool of acme"):
        stated(past, "acme")


# ---------------------------------------------------------------------------------------------------------- overage


def test_what_counts_above_quota_is_overage_and_the_rest_is_not() -> None:
    past = Told()
    past.contract(vcpu=10, allowance_bp=2000, **LONG).pool("web").host().serving("web", 5)
    past.later(3600)
    past.happened(past.lines[-1].fact)  # a copy, which changes nothing
    past.serving("web", 1)
    past.later(1800)
    accounts = stated(past)
    assert number(accounts, "overage", "hours") == "0.500"
    assert number(accounts, "overage", "vCPU-hours") == "1.000"
    assert number(accounts, "overage", "MiB-hours") == "0.000"
    assert number(accounts, "overage", "EUR") is None


def test_use_while_no_contract_is_valid_is_shown_apart() -> None:
    past = Told()
    end = papers.NOW + dt.timedelta(hours=1)
    past.contract(vcpu=1, valid_from=papers.NOW - DAYS, valid_until=end).pool("web").host().serving("web", 1)
    past.later(3 * 3600)
    accounts = stated(past)
    assert number(accounts, "overage", "vCPU-hours") == "1.000"
    assert number(accounts, "overage", "without contract") == "4.000"


# -------------------------------------------------------------------------------------------------------------- EUR


def test_a_contract_in_force_all_month_costs_its_price_to_the_cent() -> None:
    past = Told()
    past.now = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)
    past.contract(vcpu=10, price_eur_cents_month=99_999, valid_from=past.now, valid_until=past.now + 6 * DAYS)
    past.now = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    accounts = stated(past)
    assert price(accounts) == Fraction(99_999, 100)
    assert number(accounts, "committed", "EUR") == "999.99"
    assert number(accounts, "committed", "vCPU-hours") == "7200.000"


def test_of_two_contracts_each_costs_its_share_of_the_month() -> None:
    past = Told()
    past.now = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)
    span: dict[str, Any] = {"valid_from": past.now, "valid_until": past.now + 6 * DAYS}
    past.contract(vcpu=10, price_eur_cents_month=300_00, **span)
    past.now = dt.datetime(2026, 11, 11, tzinfo=dt.UTC) - dt.timedelta(microseconds=1)
    past.later(1e-6)
    past.contract(vcpu=20, price_eur_cents_month=600_00, version=2, **span)
    past.now = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    accounts = stated(past)
    # 10 days at 300 EUR and 20 at 600 EUR a month of 30 days, but for the nanoseconds of the events' places.
    assert abs(price(accounts) - 500) < Fraction(1, 10**6)
    assert number(accounts, "committed", "EUR") == "500.00"
    assert [one["version"] for one in document(accounts)["contracts"]] == [1, 2]  # type: ignore[index]


def test_a_month_that_is_not_over_is_stated_so_far() -> None:
    past = Told()
    past.contract(vcpu=10, price_eur_cents_month=720_00, **LONG)
    past.later(3600)
    accounts = stated(past)
    assert not accounts.complete
    assert document(accounts)["complete"] is False
    assert number(accounts, "committed", "EUR") == "1.00"


@pytest.mark.parametrize(("hours_later", "used"), [(0, "2.000"), (24 * 9, "414.000")])
async def test_an_export_that_ends_in_what_is_no_event_is_stated_as_far_as_it_goes(
    hours_later: int, used: str
) -> None:
    """A message that no pen wrote has a place in the ledger; only when it was stored behind the month is that over."""
    past = Told()
    past.contract(vcpu=10, **LONG).pool("web").host().serving("web", 2)
    past.later(3600)
    past.host("h2")
    source = Lines(past.stored_lines())
    last = source.stored[-1]
    stored_ns = last.stored_ns + 1 + hours_later * HOUR_NS
    source.stored.append(Stored(last.seq + 1, stored_ns, "vs.acme.nothing", "", b"{}"))
    accounts = Accounts("acme", NOVEMBER)
    await read_month(source, accounts, None)
    assert accounts.complete is (hours_later > 0)
    assert number(accounts, "used", "VM-hours") == used


def test_hours_and_euros_are_rounded_half_to_even_and_never_through_a_float() -> None:
    assert [rounded(Fraction(n, 200), 2) for n in (1, 3, 5)] == ["0.00", "0.02", "0.02"]
    assert rounded(Fraction(-1, 3), 3) == "-0.333"
    assert rounded(Fraction(10**30, 3), 1) == "3" * 30 + ".3"
    assert rounded(Fraction(7), 0) == "7"


# --------------------------------------------------------------------------------------------- refusals, availability


def test_each_refusal_is_listed_with_what_was_said_of_it() -> None:
    past = Told()
    past.contract(vcpu=10, **LONG).pool("web").host().serving("web", 5)
    past.later(10)
    past.scale(add=3)
    past.round()
    past.scale(add=0 + 1)
    past.round()
    accounts = stated(past)
    assert [(one.code, one.asked) for one in accounts.refusals] == [("CapExceeded", 3), ("CapExceeded", 1)]
    assert "the signed cap is 11" in accounts.refusals[0].sentence
    assert number(accounts, "refusals", "requests") == "2"
    assert number(accounts, "refusals", "refused") == "2"


def test_freezing_and_thawing_a_pool_is_no_request_for_vms() -> None:
    past = Told()
    past.contract(vcpu=10, **LONG).pool("web").host().serving("web", 1)
    whose: dict[str, Any] = {"org": "acme", "pool": "web", "publisher": "operator", "actor": "ops"}
    past.happened(FreezeRequested(**whose, key="1", reason="a move", seconds=600, received_at=past.now))
    past.round()
    for key in "23":  # the second finds nothing to thaw
        past.happened(ThawRequested(**whose, key=key, reason="done", received_at=past.now))
        assert [one.pool for one in past.round().answers] == ["web"]
    past.scale(add=1)
    past.round()
    accounts = stated(past)
    assert number(accounts, "refusals", "requests") == "1"
    assert (number(accounts, "refusals", "refused"), accounts.refusals) == ("0", [])


def test_a_copy_of_a_decision_is_counted_once() -> None:
    past = Told()
    past.contract(vcpu=10, **LONG).pool("web").host().serving("web", 5)
    past.scale(add=3)
    past.happened(past.round())
    assert len(stated(past).refusals) == 1


def test_an_activation_is_in_time_when_it_serves_within_the_time_that_its_guest_has_to_answer() -> None:
    past = Told()
    past.contract(vcpu=100, **LONG).pool("web", readiness_seconds=20).host().asleep("web", 4)
    past.begin()
    for seconds in (1, 20, 21):
        (vm,) = past.answered(past.scale(add=1))
        past.served(vm, seconds - 1e-6)
    (vm,) = past.answered(past.scale(add=1))
    past.died(vm)
    past.answered(past.scale(add=1))
    accounts = stated(past)
    trips = accounts.trips
    # Open are the one that took the place of the one that died, and the last.
    assert (trips.served, trips.in_time, trips.failed, trips.open) == (3, 2, 1 + 4, 1 + 1)
    assert number(accounts, "availability", "share in time") == "25.000"


def asleep_since_october(**pool: Any) -> Told:
    """Two VMs that booted and fell asleep before the month."""
    past = Told()
    past.now = dt.datetime(2026, 10, 20, tzinfo=dt.UTC)
    past.contract(vcpu=20, valid_from=past.now, valid_until=past.now + 6 * DAYS)
    past.pool("web", **pool).host().asleep("web", 2)
    return past


def over_the_months_end(*, ready_seconds: int, before: float, after: float) -> Told:
    """A VM is woken so many seconds before December, and serves so many seconds after November."""
    past = asleep_since_october(readiness_seconds=ready_seconds)
    past.now = dt.datetime(2026, 12, 1, tzinfo=dt.UTC) - dt.timedelta(seconds=before)
    (vm,) = past.answered(past.scale(add=1))
    past.served(vm, before + after)
    past.later(60)
    past.host("h2")
    return past


def judged(past: Told, name: str) -> tuple[int, int, int, int, int, str | None]:
    accounts = stated(past, name=name)
    trips = accounts.trips
    share = number(accounts, "availability", "share in time")
    return trips.carried, trips.ordered, trips.in_time, trips.open, trips.late, share


def test_an_activation_over_the_months_end_is_judged_in_the_month_in_which_its_time_is_up() -> None:
    late_before = over_the_months_end(ready_seconds=20, before=30, after=300)
    assert judged(late_before, "2026-11") == (0, 1, 0, 1, 1, "0.000")
    assert judged(late_before, "2026-12") == (0, 0, 0, 0, 0, None)
    late_behind = over_the_months_end(ready_seconds=20, before=10, after=300)
    assert judged(late_behind, "2026-11") == (0, 1, 0, 1, 0, None)
    assert judged(late_behind, "2026-12") == (1, 0, 0, 0, 0, "0.000")
    in_time = over_the_months_end(ready_seconds=20, before=10, after=5)
    assert judged(in_time, "2026-11") == (0, 1, 0, 1, 0, None)
    assert judged(in_time, "2026-12") == (1, 0, 1, 0, 0, "100.000")


def test_an_activation_that_never_ends_is_not_in_time() -> None:
    past = asleep_since_october(readiness_seconds=20)
    past.now = papers.NOW
    (vm,) = past.answered(past.scale(add=1))
    past.served(vm, 1)
    past.answered(past.scale(add=1))
    past.later(20)  # to the nanosecond it is still in time
    assert number(stated(past), "availability", "share in time") == "100.000"
    past.later(1)
    accounts = stated(past)
    assert number(accounts, "availability", "open too long") == "1"
    assert number(accounts, "availability", "share in time") == "50.000"


@pytest.mark.parametrize("crossed", [True, False])
def test_an_activation_on_a_dead_host_failed_whichever_was_stored_first(*, crossed: bool) -> None:
    past = asleep_since_october()
    past.now = papers.NOW
    past.scale(add=1)
    dead = HostFenced(org="platform", host="h1", actor="ops", reason="dead", fenced_at=past.now)
    decision = past.decide()
    assert decision is not None
    if crossed:
        past.happened(dead)
        past.stored(decision)
    else:
        past.stored(decision)
        past.happened(dead)
    past.later(3600)
    trips = stated(past).trips
    assert (trips.ordered, trips.failed, trips.open, trips.late) == (1, 1, 0, 0)


def test_the_share_of_time_at_minimum_is_of_pools_that_have_one() -> None:
    past = Told()
    past.contract(vcpu=100, **LONG).pool("web", min_vms=1).pool("db").host()
    past.later(3600)
    past.serving("web", 1)
    past.later(2 * 3600)
    accounts = stated(past)
    assert document(accounts)["minima"] == [{"pool": "web", "share_percent": "66.666"}]
    assert number(accounts, "availability", "share at minimum") == "66.666"


def test_a_share_of_nothing_is_no_number() -> None:
    past = Told()
    past.contract(vcpu=100, **LONG)
    accounts = stated(past)
    assert number(accounts, "availability", "share in time") is None
    assert number(accounts, "availability", "share at minimum") is None


def test_every_number_says_what_it_is() -> None:
    past = Told()
    past.contract(vcpu=100, **LONG)
    past.happened(KeyRegistered(org="acme", public_key="0" * 64, former=None, registered_at=past.now))
    assert all(one.means for one in lines(stated(past)))
