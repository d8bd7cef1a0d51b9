"""What the waker does with VMs that are kept for their own sake: reboots, time to shut down, vCPU, and guests that restart."""

import datetime as dt

import pytest

from events.gate import BootOrdered, PlugOrdered, RebootOrdered, StopOrdered
from events.ids import derive
from events.pool import PoolDefined
from events.vm import (
    VmBooted,
    VmDefined,
    VmPlugFailed,
    VmPlugged,
    VmReady,
    VmRebooted,
    VmRebootFailed,
    VmStopped,
    VmWakeFailed,
)
from schemas.capacity import Size
from schemas.pool import Pool
from services.waker.port import REBOOTED, Life, domain_name
from tests.rules.desk import play
from tests.rules.waker_host import NO, SIZE, Fate, Site
from tests.simulation.clock import pause

LARGE = Size("large", 2, 1024)
NAME = domain_name("acme", "db")
GRACE_SECONDS = 60


class Keep(Site):
    """A site whose VM `db` is kept."""

    def running(self, host: str = "h1") -> str:
        """The VM was booted for this reservation, and its guest answered."""
        own, now = derive("boot", "db"), self.desk.clock.now()
        begin_by = now + dt.timedelta(seconds=180)
        self.order(
            BootOrdered(own, "db", "apps", host, SIZE, "tiny", derive("request"), "keep", begin_by, 180)
        )
        self.desk.write(VmDefined("acme", "db", "apps", host, SIZE, NAME, "uuid", "127.0.0.1:21000", own))
        self.desk.write(VmBooted("acme", "db", host, own, now, now, 1))
        self.desk.write(VmReady("acme", "db", own, "boot-1", False, None, now, now, 1))
        self.host.put("db", "running", heard=False)
        self.host.lives[NAME] = Life(own, SIZE)
        return own

    def reboot(self, former: str, size: Size = LARGE, ready_seconds: int = 180) -> str:
        own = derive("reboot", former)
        begin_by = self.desk.clock.now() + dt.timedelta(seconds=180)
        self.order(
            RebootOrdered(
                own,
                "db",
                "apps",
                "h1",
                size,
                "tiny",
                former,
                derive("r"),
                begin_by,
                ready_seconds,
                GRACE_SECONDS,
            )
        )
        return own

    def halt(self, reservation: str) -> None:
        self.order(StopOrdered(derive("s"), "db", "apps", "h1", reservation, derive("r"), GRACE_SECONDS))

    def plug(self, reservation: str, vcpu: int = 2) -> str:
        own = derive("plug", vcpu)
        size = Size("more", vcpu, SIZE.memory_mib)
        self.order(PlugOrdered(own, "db", "apps", "h1", size, reservation, derive("r")))
        return own

    def did(self) -> list[str]:
        """What was asked of the domain, without looks."""
        return [one.partition(" ")[0] for one in self.host.asked if not one.startswith("state")]


def test_a_reboot_asks_the_guest_defines_the_domain_anew_and_starts_it() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        async with site.waker():
            await pause(1)
            own = site.reboot(former)
            await pause(10)
        assert site.did() == ["shutdown", "stop", "define", "start"]
        assert (site.host.defined[-1].size, site.host.defined[-1].order) == (LARGE, own)
        assert [said.reservation for said in site.said(VmBooted)] == [former, own]
        assert site.said(VmStopped) == []
        assert site.host.of("db") == "running"

    play(scene)


def test_a_pinned_vm_that_fits_no_node_as_it_shall_be_runs_on_as_it_is() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        pool = Pool(org="acme", name="apps", size=SIZE, template="tiny", kind="kept", numa="pinned")
        site.desk.write(PoolDefined("acme", "apps", pool))
        site.host.node_mib = LARGE.memory_mib - 1
        async with site.waker():
            await pause(1)
            site.reboot(former)
            await pause(10)
        assert site.did() == []
        (failed,) = site.said(VmRebootFailed)
        assert (failed.code, failed.size) == ("host-full", SIZE)
        assert "no node has 1024 MiB" in failed.text
        assert site.host.of("db") == "running"

    play(scene)


def test_a_guest_that_does_not_shut_down_has_its_time_and_then_no_power() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        site.host.obeys = False
        async with site.waker():
            await pause(1)
            site.reboot(former)
            await pause(GRACE_SECONDS - 2)
            assert site.host.of("db") == "running"
            await pause(10)
        assert site.did() == ["shutdown", "stop", "define", "start"]
        assert len(site.said(VmBooted)) == 2

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.0015, 0.0025, 0.004, 0.006, 0.008, 0.012, 2.0, 30.0, 61.0])
def test_a_waker_that_is_killed_at_any_moment_of_a_reboot_reboots_once(after_seconds: float) -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        site.host.obeys = after_seconds < 1
        async with site.waker():
            await pause(1)
            own = site.reboot(former)
            await pause(after_seconds)
        async with site.waker():
            await pause(200)
        assert [said.reservation for said in site.said(VmBooted)] == [former, own]
        assert site.did().count("start") == 1
        assert site.host.lives[NAME] == Life(own, LARGE)
        assert site.host.of("db") == "running"
        assert site.said(VmWakeFailed) == []

    play(scene)


def test_a_reboot_that_comes_too_late_touches_nothing_and_says_so() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        own = site.reboot(former)
        await pause(181)
        async with site.waker():
            await pause(5)
        assert site.did() == []
        (said,) = site.said(VmRebootFailed)
        assert (said.reservation, said.size, said.code) == (own, SIZE, "order-expired")
        assert site.host.of("db") == "running"

    play(scene)


def test_a_vm_that_was_stopped_to_be_rebooted_is_started_however_late_its_waker_comes_back() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        site.host.fates["start"].append(NO)
        async with site.waker():
            await pause(1)
            own = site.reboot(former)
            await pause(0.02)
        site.host.put("db", "off", heard=False)
        await pause(3600)
        async with site.waker():
            await pause(5)
        assert [said.reservation for said in site.said(VmBooted)] == [former, own]

    play(scene)


def test_a_reboot_to_a_size_that_its_host_has_no_room_for_leaves_the_vm_as_it_was() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        async with site.waker():
            await pause(1)
            site.reboot(former, Size("huge", 2, 1 << 20))
            await pause(5)
        (said,) = site.said(VmRebootFailed)
        assert (said.code, said.size) == ("host-full", SIZE)
        assert site.did() == []

    play(scene)


def test_a_stop_gives_the_guest_its_time_and_says_once_that_it_is_off() -> None:
    async def scene() -> None:
        site = Keep()
        own = site.running()
        async with site.waker():
            await pause(1)
            site.halt(own)
            await pause(10)
        assert site.did() == ["shutdown", "stop"]
        (said,) = site.said(VmStopped)
        assert (said.reservation, said.cause, said.found) == (own, "ordered", "off")

    play(scene)


def test_a_waker_that_starts_again_does_not_start_the_guests_time_again() -> None:
    async def scene() -> None:
        site = Keep()
        own = site.running()
        site.host.obeys = False
        async with site.waker():
            await pause(1)
            site.halt(own)
            await pause(40)
        async with site.waker():
            await pause(15)
            assert site.host.of("db") == "running"
            await pause(10)
        assert site.host.of("db") == "off"
        assert len(site.said(VmStopped)) == 1

    play(scene)


def test_a_guest_that_cannot_be_asked_to_shut_down_is_not_waited_for() -> None:
    async def scene() -> None:
        site = Keep()
        own = site.running()
        site.host.fates["shutdown"].append(NO)
        async with site.waker():
            await pause(1)
            site.halt(own)
            await pause(2)
        assert len(site.said(VmStopped)) == 1

    play(scene)


def test_vcpu_are_plugged_in_once_and_said_once_also_where_the_answer_was_lost() -> None:
    async def scene() -> None:
        site = Keep()
        own = site.running()
        site.host.fates["plug"].append(Fate(error="connection closed", lost=True))
        async with site.waker():
            await pause(1)
            order = site.plug(own)
            await pause(10)
        (said,) = site.said(VmPlugged)
        assert (said.order, said.reservation, said.size.vcpu) == (order, own, 2)
        assert site.said(VmPlugFailed) == []

    play(scene)


def test_vcpu_that_the_host_refuses_are_said_to_be_refused_and_the_vm_runs_on() -> None:
    async def scene() -> None:
        site = Keep()
        own = site.running()
        async with site.waker():
            await pause(1)
            site.plug(own, vcpu=64)
            await pause(10)
        (said,) = site.said(VmPlugFailed)
        assert said.code == "plug-refused"
        assert site.did() == ["plug"] * 3
        assert site.host.of("db") == "running"

    play(scene)


def test_a_guest_that_starts_anew_by_itself_is_told_of_once_each_time() -> None:
    async def scene() -> None:
        site = Keep()
        own = site.running()
        async with site.waker():
            await pause(1)
            for _ in range(2):
                site.host.changed(NAME, "running", REBOOTED)
                await pause(1)
        assert [said.reservation for said in site.said(VmRebooted)] == [own, own]

    play(scene)


@pytest.mark.parametrize("ready_seconds", [0, 180])
def test_an_ordered_reboot_raises_no_alarm_whenever_a_late_word_of_the_former_life_comes(
    ready_seconds: int,
) -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        async with site.waker():
            await pause(1)
            site.reboot(former, ready_seconds=ready_seconds)
            while len(site.said(VmBooted)) == 1:
                site.host.changed(NAME, "running", REBOOTED)
                await pause(0.001)
            await pause(5)
        assert site.said(VmRebooted) == []

    play(scene)


def test_a_domain_of_the_name_that_starts_anew_elsewhere_raises_no_alarm_of_the_vm() -> None:
    async def scene() -> None:
        site = Keep()
        site.running(host="h2")
        async with site.waker():
            await pause(0.5)
            site.host.changed(NAME, "running", REBOOTED)
            await pause(0.5)
        assert site.said(VmRebooted) == []

    play(scene)


def test_vms_that_come_and_go_with_demand_raise_no_alarm_of_this_kind() -> None:
    async def scene() -> None:
        site = Site()
        site.awake()
        async with site.waker():
            await pause(1)
            site.host.changed(domain_name("acme", "web-1"), "running", REBOOTED)
            await pause(1)
        assert site.said(VmRebooted) == []

    play(scene)
