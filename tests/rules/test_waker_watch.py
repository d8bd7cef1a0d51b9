"""The waker tells the ledger what domains do without an order, and never because of a stale look."""

import pytest

from events.host import HostRegistered
from events.vm import VmFoundAwake, VmQuiesced, VmStopped
from schemas.capacity import Size
from services.waker.port import DomainState, domain_name, owner
from services.waker.worker import RECONCILE_SECONDS
from tests.rules.desk import play
from tests.rules.waker_host import Fate, Site
from tests.simulation.clock import pause


def test_a_sleeper_found_awake_counts_and_is_suspended_when_the_gate_says_so() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", "running")
            await pause(1)
            (said,) = site.said(VmFoundAwake)
            assert (said.vm, said.pool) == ("web-1", "web")
            site.suspend("web-1", said.reservation)
            await pause(5)
        assert site.host.of("web-1") == "paused"
        assert site.said(VmQuiesced)[-1].reservation == said.reservation

    play(scene)


def test_each_time_a_vm_is_found_awake_has_a_reservation_of_its_own() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            for number in range(2):
                site.host.put("web-1", "running")
                await pause(1)
                site.suspend("web-1", site.said(VmFoundAwake)[number].reservation)
                await pause(5)
        assert len({said.reservation for said in site.said(VmFoundAwake)}) == 2

    play(scene)


def test_a_change_that_nobody_told_is_found_within_a_minute() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", "running", heard=False)
            await pause(RECONCILE_SECONDS + 1)
        assert len(site.said(VmFoundAwake)) == 1

    play(scene)


def test_a_change_during_a_lost_connection_is_found_at_the_next_one() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", "running", heard=False)
            site.host.lose()
            await pause(1)
        assert len(site.said(VmFoundAwake)) == 1

    play(scene)


def test_a_vm_that_the_ledger_never_heard_of_is_found_awake_with_its_size() -> None:
    async def scene() -> None:
        site = Site()
        site.host.sizes[domain_name("acme", "web-9")] = Size("large", 8, 4096)
        site.host.put("web-9", "running")
        async with site.waker():
            await pause(1)
        (said,) = site.said(VmFoundAwake)
        assert (said.vm, said.size.vcpu) == ("web-9", 8)

    play(scene)


def test_a_stranger_that_starts_later_is_found_at_once() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker():
            await pause(1)
            site.host.put("web-9", "running")
            await pause(1)
        assert len(site.said(VmFoundAwake)) == 1

    play(scene)


@pytest.mark.parametrize(
    ("detail", "cause"),
    [("crashed", "crashed"), ("failed", "crashed"), ("shutdown", "shut-down"), ("", "found")],
)
def test_a_vm_that_dies_awake_is_said_to_have_stopped_and_why(detail: str, cause: str) -> None:
    async def scene() -> None:
        site = Site()
        reservation = site.awake()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", "off", detail)
            await pause(1)
        (said,) = site.said(VmStopped)
        assert (said.reservation, said.cause, said.found) == (reservation, cause, "off")

    play(scene)


@pytest.mark.parametrize("state", ["off", "missing"])
def test_a_sleeper_whose_domain_is_gone_is_said_to_have_stopped(state: DomainState) -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", state)
            await pause(1)
        (said,) = site.said(VmStopped)
        assert (said.reservation, said.found) == (None, state)

    play(scene)


def test_a_vm_found_paused_is_looked_at_again_before_it_is_said_to_sleep() -> None:
    async def scene() -> None:
        site = Site()
        reservation = site.awake()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", "paused")
            await pause(0.9)
            assert site.said(VmQuiesced) == []
            await pause(1)
        (said,) = site.said(VmQuiesced)
        assert (said.reservation, said.cause) == (reservation, "found")

    play(scene)


def test_a_vm_that_was_paused_for_a_moment_only_stays_awake() -> None:
    async def scene() -> None:
        site = Site()
        site.awake()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", "paused")
            await pause(0.5)
            site.host.put("web-1", "running")
            await pause(5)
        assert site.names() == ["vm.defined", "vm.booted", "host.registered"]

    play(scene)


def test_our_own_effects_are_not_news() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(1)
            order = site.wake()
            await pause(1)
            site.ready("web-1", order)
            site.suspend("web-1", order)
            await pause(RECONCILE_SECONDS * 2)
        assert site.names()[-2:] == ["vm.resumed", "vm.quiesced"]

    play(scene)


def test_a_look_that_an_order_overtook_says_nothing() -> None:
    async def scene() -> None:
        site = Site()
        reservation = site.awake()
        site.host.fates["suspend"].append(Fate(lands_after=3, answers_after=3))
        async with site.waker():
            await pause(1)
            site.suspend("web-1", reservation)
            await pause(0.1)
            site.host.changed(domain_name("acme", "web-1"), "off", "crashed")
            await pause(10)
        assert site.said(VmStopped) == []
        assert len(site.said(VmQuiesced)) == 1

    play(scene)


def test_a_host_is_registered_once_however_often_its_waker_starts() -> None:
    async def scene() -> None:
        site = Site()
        for _ in range(3):
            async with site.waker():
                await pause(100)
        (said,) = site.said(HostRegistered)
        assert (said.org, said.host, said.vcpu, said.memory_mib) == (
            "platform",
            "h1",
            4,
            4096,
        )

    play(scene)


def test_no_two_vms_have_one_domain() -> None:
    assert domain_name("acme-x", "web-1") != domain_name("acme", "x-web-1")
    assert owner(domain_name("acme-x", "web-1")) == ("acme-x", "web-1")
    for name in ("web-1", "vs-acme", "vs-.web-1", "vs-acme.web.1", "vs-Acme.web-1"):
        assert owner(name) is None
