"""What becomes of a host: its orders are void once it is dead, its strays count, its memory is given away once."""

import datetime as dt

import pytest
from msgspec.structs import replace

from events.fact import Fact
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from events.ids import derive
from events.pool import PoolDefined
from events.vm import VmBooted, VmFoundAwake, VmResumed, VmWakeFailed
from projections.usage.fold import Usage
from schemas.capacity import Size
from services.waker.effects import MOST_EFFECTS
from tests.rules.desk import REF, play, played, pool
from tests.rules.waker_host import BOOT_SECONDS, PLACE, WAKE_SECONDS, Fate, Site
from tests.simulation.clock import pause

BIG = Size("big", 1, 3000)
"""Two of these do not fit on a host that lends 4096 MiB."""


def known(site: Site) -> None:
    """The host is in the ledger."""
    site.desk.write(HostRegistered("platform", "h1", PLACE.uri, 1, "test", 4, 4096, site.desk.clock.now()))


def fence(site: Site, host: str = "h1") -> None:
    site.desk.write(HostFenced("platform", host, "ops", "it is silent", site.desk.clock.now()))


def remove(site: Site, host: str = "h1") -> None:
    site.desk.write(HostRemoved("platform", host, "ops", "sold", site.desk.clock.now()))


def boot_of(site: Site, org: str, vm: str, size: Size = BIG, *, follows: int = 0) -> tuple[str, int]:
    """The gate of that org, which knows of no other, orders a boot; the reservation, and where it stands."""
    own = derive("boot", org, vm, follows)
    begin_by = site.desk.clock.now() + dt.timedelta(seconds=BOOT_SECONDS)
    order = BootOrdered(own, vm, "web", "h1", size, "tiny", derive("request", vm), "serve", begin_by, 60)
    last = site.desk.server.ledger.last
    decided = GateDecided(org, "g1", 0, follows, last, site.desk.clock.now(), REF, "test", (), (order,))
    return own, site.desk.write(decided).seq


def test_an_order_given_after_its_host_was_fenced_is_void_and_nothing_is_touched() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            fence(site)
            await pause(1)
            site.host.asked.clear()
            site.wake()
            site.boot("web-2")
            await pause(100)
        assert [call for call in site.host.asked if not call.startswith("state")] == []
        assert site.said(VmResumed) == site.said(VmWakeFailed) == []
        assert [said.vm for said in site.said(VmBooted)] == ["web-1"]  # from before

    play(scene)


def test_an_order_that_was_open_when_its_host_was_fenced_is_not_begun_in_a_later_life() -> None:
    async def scene() -> None:
        site = Site()
        known(site)
        site.asleep()
        site.wake()
        fence(site)
        async with site.waker():
            await pause(100)
        assert "resume vs-acme.web-1" not in site.host.asked
        assert site.host.of("web-1") == "paused"

    play(scene)


def test_an_order_given_after_the_host_was_admitted_again_is_carried_out() -> None:
    async def scene() -> None:
        site = Site()
        known(site)
        site.asleep()
        fence(site)
        site.desk.write(HostAdmitted("platform", "h1", "ops", "it lives", site.desk.clock.now()))
        async with site.waker():
            order = site.boot()
            await pause(5)
        # Fencing took it for off; the domain was there all the time, paused, and is switched off before it is booted.
        assert [said.reservation for said in site.said(VmBooted)][1:] == [order]
        assert site.said(VmResumed) == []
        assert site.host.of("web-1") == "running"

    play(scene)


@pytest.mark.parametrize("waker", ["alive", "dead"])
def test_a_domain_that_ran_through_a_false_fence_counts_at_once_when_its_waker_sees_it(waker: str) -> None:
    async def scene() -> None:
        site = Site()
        usage = Usage()
        if waker == "alive":
            async with site.waker():
                site.awake()
                await pause(1)
                fence(site)
                await pause(2)
        else:
            known(site)
            site.awake()
            fence(site)
            async with site.waker():
                await pause(2)
        (said,) = site.said(VmFoundAwake)
        assert (said.vm, said.host) == ("web-1", "h1")
        for one in site.desk.facts(Fact):
            usage.apply(one)
        assert usage.strays("acme") == 1
        assert usage.used("acme").vcpu == 1

    play(scene)


def test_a_stray_on_a_fenced_host_is_suspended_as_the_gate_orders() -> None:
    async def scene() -> None:
        site = Site()
        known(site)
        site.awake()
        fence(site)
        async with site.waker():
            await pause(2)
            (said,) = site.said(VmFoundAwake)
            site.suspend("web-1", said.reservation)
            await pause(2)
        assert site.host.of("web-1") == "paused"
        assert site.names()[-1] == "vm.quiesced"

    play(scene)


def test_the_waker_of_a_removed_host_ends_and_a_new_one_registers_it_again() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker() as waker:
            await pause(1)
            assert not waker.ended
            remove(site)
            await pause(1)
            assert waker.ended
        registered = len(site.said(HostRegistered))
        async with site.waker() as waker:
            await pause(1)
            assert not waker.ended
        assert len(site.said(HostRegistered)) == registered + 1

    play(scene)


def test_an_order_whose_host_is_fenced_while_the_waker_looks_starts_nothing() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker():
            await pause(1)
            site.host.fates["define"].append(Fate(answers_after=2.0))
            site.boot("web-1")
            await pause(1)
            fence(site)
            await pause(100)
        assert [call for call in site.host.asked if call.startswith("start")] == []
        assert site.said(VmBooted) == site.said(VmFoundAwake) == []

    play(scene)


@played
async def test_an_order_whose_host_is_fenced_while_it_waits_for_the_hands_of_its_waker_wakes_nobody() -> None:
    site, busy = Site(), [f"web-{number}" for number in range(MOST_EFFECTS)]
    site.desk.write(PoolDefined(org="acme", pool="other", definition=pool("other")))
    site.asleep(*busy, "other-1")
    site.host.fates["resume"].extend([Fate(lands_after=10.0, answers_after=10.0)] * MOST_EFFECTS)
    async with site.waker():
        await pause(1)
        for vm in busy:
            site.wake(vm)
        begin_by = site.desk.clock.now() + dt.timedelta(seconds=WAKE_SECONDS)
        own, request = derive("wake", "other-1"), derive("request", "other-1")
        site.order(WakeOrdered(own, "other-1", "other", "h1", site.size, request, "serve", begin_by, 20))
        await pause(5)
        fence(site)
        await pause(WAKE_SECONDS)
    assert "resume vs-acme.other-1" not in site.host.asked
    assert site.host.of("other-1") == "paused"


@played
async def test_who_rose_on_a_host_before_it_was_fenced_keeps_no_place_from_those_who_wake_behind_it() -> None:
    site, first = Site(), [f"web-{number}" for number in range(1, 9)]
    site.asleep(*first)
    async with site.waker():
        await pause(1)
        for vm in first:
            site.wake(vm)
        await pause(2)
        assert len(site.said(VmResumed)) == len(first) == pool().wake_batch
        fence(site)
        site.desk.write(HostAdmitted("platform", "h1", "ops", "it lives", site.desk.clock.now()))
        site.asleep("web-9")
        site.wake("web-9")
        await pause(1)
    assert site.said(VmResumed)[-1].vm == "web-9"


def test_an_order_that_crossed_the_removal_of_its_host_is_ended_by_the_waker_that_comes_back() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker():
            await pause(1)
        reservation = site.boot("web-1")
        remove(site)
        await pause(BOOT_SECONDS + 1)
        async with site.waker() as waker:
            await pause(30)
            assert not waker.ended
        (failed,) = site.said(VmWakeFailed)
        assert (failed.reservation, failed.code) == (reservation, "order-expired")

    play(scene)


def test_of_two_boots_that_do_not_fit_together_the_later_one_in_the_ledger_is_refused_untouched() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker():
            await pause(1)
            first, _ = boot_of(site, "acme", "web-9")
            second, _ = boot_of(site, "abc", "web-1")
            await pause(5)
        assert [said.reservation for said in site.said(VmBooted)] == [first]
        (failed,) = site.said(VmWakeFailed)
        assert (failed.org, failed.reservation, failed.code, failed.found) == (
            "abc",
            second,
            "host-full",
            "missing",
        )
        assert "lacks 1904 of the 3000 MiB" in failed.text
        assert [call for call in site.host.asked if "abc" in call and not call.startswith("state")] == []

    play(scene)


def test_which_boot_is_refused_does_not_depend_on_when_the_waker_wakes_up() -> None:
    async def scene() -> None:
        site = Site()
        first, _ = boot_of(site, "acme", "web-9")
        second, _ = boot_of(site, "abc", "web-1")
        small, _ = boot_of(site, "xyz", "web-1", Size("small", 1, 512))
        known(site)
        async with site.waker():
            await pause(5)
        assert {said.reservation for said in site.said(VmBooted)} == {first, small}
        assert [failed.reservation for failed in site.said(VmWakeFailed)] == [second]

    play(scene)


def test_memory_that_became_free_before_the_waker_looked_is_used() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker():
            await pause(1)
            _, at = boot_of(site, "acme", "web-1")
            await pause(5)
            site.host.put("web-1", "off", "crashed")
            await pause(5)
            second, _ = boot_of(site, "abc", "web-1")
            await pause(5)
            third, _ = boot_of(site, "acme", "web-1", follows=at)
            await pause(5)
        assert second in [said.reservation for said in site.said(VmBooted)]
        assert [failed.reservation for failed in site.said(VmWakeFailed)] == [third]

    play(scene)


def test_a_domain_that_a_former_life_started_is_said_to_run_although_its_host_is_full() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker():
            await pause(1)
        boot_of(site, "abc", "web-1")
        second = site.boot("web-1")
        site.order(
            replace(
                BootOrdered(
                    second, "web-1", "web", "h1", BIG, "tiny", derive("r"), "serve", site.desk.clock.now(), 60
                ),
                begin_by=site.desk.clock.now() + dt.timedelta(seconds=BOOT_SECONDS),
            )
        )
        site.host.put("web-1", "running", heard=False)
        async with site.waker():
            await pause(5)
        assert second in [said.reservation for said in site.said(VmBooted)]

    play(scene)
