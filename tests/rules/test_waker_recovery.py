"""After a ledger was recovered the waker tells it what its host really has, and says when that is done."""

import pytest

from events.host import HostReconciled, HostRegistered
from events.ledger import LedgerRecovered
from events.vm import VmFoundAwake, VmStopped
from projections.epochs.fold import Epochs
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.names import PLATFORM
from services.waker.port import domain_name
from tests.rules.desk import play
from tests.rules.waker_host import Site
from tests.simulation.clock import pause


def recover(site: Site) -> int:
    """The ledger was recovered; the place of the event."""
    fact = LedgerRecovered(
        org=PLATFORM,
        epoch=1,
        origin="ledger.example/house",
        size=site.desk.server.ledger.last,
        root="0" * 64,
        checkpoint="a note",
        lost_first=0,
        lost_last=0,
        actor="ann",
        reason="the disk died",
        recovered_at=site.desk.clock.now(),
    )
    return site.desk.write(fact).seq


def told(site: Site) -> list[tuple[int, int, int]]:
    return [(said.recovered_seq, said.domains, said.awake) for said in site.said(HostReconciled)]


def test_a_host_whose_ledger_was_never_recovered_says_nothing_of_it() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(200)
        assert told(site) == []

    play(scene)


def test_a_host_is_reconciled_once_when_its_waker_starts_on_a_recovered_ledger() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep("web-1", "web-2")
        began = recover(site)
        async with site.waker():
            await pause(200)
        async with site.waker():
            await pause(200)
        assert told(site) == [(began, 2, 0)]

    play(scene)


def test_what_runs_and_sleeps_in_the_ledger_counts_before_the_host_is_reconciled() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep("web-1", "web-2")
        began = recover(site)
        site.host.put("web-1", "running", heard=False)  # what a lost decision woke
        site.host.put("web-9", "running", heard=False)  # what a lost decision booted
        async with site.waker() as waker:
            usage = waker._ledger.fold(Usage)
            await pause(5)
            (reconciled,) = site.desk.facts(HostReconciled)
            strays = site.desk.facts(VmFoundAwake)
            assert {one.fact.vm for one in strays if isinstance(one.fact, VmFoundAwake)} == {"web-1", "web-9"}
            assert all(stray.seq < reconciled.seq for stray in strays)
            assert usage.used("acme").vcpu == 2
        assert told(site) == [(began, 3, 2)]

    play(scene)


def test_a_sleeper_that_is_gone_is_told_before_the_host_is_reconciled() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep("web-1", "web-2")
        recover(site)
        site.host.put("web-2", "missing", heard=False)
        async with site.waker():
            await pause(5)
        (stopped,), (reconciled,) = site.desk.facts(VmStopped), site.desk.facts(HostReconciled)
        assert stopped.seq < reconciled.seq

    play(scene)


def test_a_host_whose_hypervisor_is_silent_is_not_reconciled_until_it_answers() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        began = recover(site)
        site.host.up = False
        async with site.waker():
            await pause(100)
            assert told(site) == []
            site.host.up = True
            await pause(10)
        assert told(site) == [(began, 1, 0)]

    play(scene)


def test_a_waker_that_is_at_work_when_the_ledger_is_recovered_compares_everything_anew() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(5)
            began = recover(site)
            await pause(5)
        assert told(site) == [(began, 1, 0)]

    play(scene)


def test_a_host_that_is_in_nothing_that_is_left_is_registered_before_it_is_reconciled() -> None:
    async def scene() -> None:
        site = Site()
        began = recover(site)
        site.host.put("web-1", "running", heard=False)  # what a lost decision booted
        async with site.waker() as waker:
            epochs, fleet = waker._ledger.fold(Epochs), waker._ledger.fold(Fleet)
            bell = waker._ledger.bell()
            await waker._ledger.reach(site.desk.server.ledger.last)
            while "h1" not in fleet.hosts:
                await bell.wait(1)
            assert epochs.awaits("h1"), "the gate waits for it from here on"
            await pause(5)
        assert told(site) == [(began, 1, 1)]
        registered, stray, reconciled = (
            site.desk.facts(kind)[0].seq for kind in (HostRegistered, VmFoundAwake, HostReconciled)
        )
        assert began < registered < stray < reconciled

    play(scene)


@pytest.mark.parametrize("known", [True, False])
def test_a_host_where_something_runs_whose_mark_nobody_can_read_is_not_reconciled_until_it_does_not(
    *, known: bool
) -> None:
    async def scene() -> None:
        site = Site()
        if known:
            site.awake("web-1")
        began = recover(site)
        site.host.put("web-1", "running", heard=False)
        site.host.unreadable.add(domain_name("acme", "web-1"))
        async with site.waker():
            await pause(200)
            assert told(site) == []
            assert site.said(VmStopped) == [], "it runs, whatever its mark says"
            site.host.unreadable.clear()  # somebody put its metadata back
            await pause(70)
        assert told(site) == [(began, 1, 1)]

    play(scene)


def test_what_sleeps_and_bears_a_mark_that_nobody_can_read_keeps_no_host_from_being_reconciled() -> None:
    async def scene() -> None:
        site = Site()
        began = recover(site)
        site.host.put("web-1", "off", heard=False)
        site.host.unreadable.add(domain_name("acme", "web-1"))
        async with site.waker():
            await pause(5)
        assert told(site) == [(began, 1, 0)]

    play(scene)
