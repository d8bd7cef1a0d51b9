"""The waker starts a domain whose disk is in Ceph once storage has freed that disk for this very start, and not before."""

import datetime as dt

import pytest

from events.gate import BootOrdered, RebootOrdered
from events.ids import derive
from events.vm import VmBooted, VmDefined, VmReady, VmWakeFailed
from events.volume import VolumeCreated, VolumeFailed, VolumeReleased
from services.waker.port import Life, domain_name
from tests.rules.desk import play
from tests.rules.waker_host import SIZE, Site
from tests.simulation.clock import pause

NAME = domain_name("acme", "db")
IMAGE = "org-acme/db"
SECONDS = 180
GRACE_SECONDS = 60


class Keep(Site):
    """A site whose VM `db` is kept, with its disk in Ceph."""

    def __init__(self) -> None:
        super().__init__()
        self.host.disks.add("tiny")

    def start(self, number: int = 1) -> str:
        own, begin_by = derive("boot", number), self.desk.clock.now() + dt.timedelta(seconds=SECONDS)
        self.order(BootOrdered(own, "db", "apps", "h1", SIZE, "tiny", derive("r"), "keep", begin_by, 180))
        return own

    def running(self) -> str:
        """The VM was booted for this reservation, and its guest answered."""
        own, now = self.start(), self.desk.clock.now()
        self.made(own)
        self.free(own)
        self.desk.write(VmDefined("acme", "db", "apps", "h1", SIZE, NAME, "uuid", "127.0.0.1:21000", own))
        self.desk.write(VmBooted("acme", "db", "h1", own, now, now, 1))
        self.desk.write(VmReady("acme", "db", own, "boot-1", False, None, now, now, 1))
        self.host.put("db", "running", heard=False)
        self.host.lives[NAME] = Life(own, SIZE)
        return own

    def reboot(self, former: str) -> str:
        own, begin_by = derive("reboot", former), self.desk.clock.now() + dt.timedelta(seconds=SECONDS)
        self.order(
            RebootOrdered(
                own, "db", "apps", "h1", SIZE, "tiny", former, derive("r"), begin_by, 180, GRACE_SECONDS
            )
        )
        return own

    def made(self, order: str) -> None:
        now = self.desk.clock.now()
        self.desk.write(VolumeCreated("acme", "db", "h1", IMAGE, "tiny", 1 << 26, order, now))

    def free(self, order: str) -> None:
        self.desk.write(VolumeReleased("acme", "db", "h1", IMAGE, order, self.desk.clock.now()))

    def held(self, order: str) -> None:
        text = "Volume acme/db cannot be released: somebody has it open."
        now = self.desk.clock.now()
        self.desk.write(VolumeFailed("acme", "db", "h1", order, "VolumeInUse", text, now))


def test_a_boot_waits_until_its_disk_is_made_and_freed() -> None:
    async def scene() -> None:
        site = Keep()
        async with site.waker():
            order = site.start()
            await pause(5)
            site.made(order)
            await pause(5)
            assert site.host.of("db") == "missing"
            site.free(order)
            await pause(1)
            assert site.host.of("db") == "running"
        assert [one.volume for one in site.host.defined] == [IMAGE]
        assert [one.reservation for one in site.said(VmBooted)] == [order]

    play(scene)


def test_what_was_freed_for_an_earlier_boot_is_not_free_for_the_next() -> None:
    async def scene() -> None:
        site = Keep()
        site.running()
        async with site.waker():
            await pause(1)
            site.host.put("db", "off", "crashed")
            await pause(5)
            order = site.start(2)
            await pause(20)
            assert site.host.of("db") == "off"
            site.free(order)
            await pause(1)
            assert site.host.of("db") == "running"

    play(scene)


def test_a_boot_whose_disk_stays_held_fails_with_the_reason_or_at_its_deadline() -> None:
    async def scene() -> None:
        site = Keep()
        async with site.waker():
            site.made(first := site.start())
            await pause(1)
            site.held(first)
            await pause(2)
            second = site.start(2)
            await pause(SECONDS + 3)
        failed = site.said(VmWakeFailed)
        assert [(one.reservation, one.code) for one in failed] == [
            (first, "volume-failed"),
            (second, "order-expired"),
        ]
        assert "somebody has it open" in failed[0].text
        assert site.host.defined == []

    play(scene)


def test_a_reboot_stops_the_vm_and_starts_it_when_its_disk_is_free() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        async with site.waker():
            await pause(1)
            order = site.reboot(former)
            await pause(30)
            assert site.host.of("db") == "off"
            site.free(order)
            await pause(2)
            assert site.host.of("db") == "running"
        assert [one.reservation for one in site.said(VmBooted)] == [former, order]
        assert site.said(VmWakeFailed) == []

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0005, 0.01, 1.0, 5.0])
def test_a_waker_that_dies_while_a_rebooted_vm_waits_for_its_disk_starts_it_once(
    after_seconds: float,
) -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        async with site.waker():
            await pause(1)
            order = site.reboot(former)
            await pause(after_seconds)
        async with site.waker():
            await pause(10)
            assert site.host.of("db") == "off"
            site.free(order)
            await pause(2)
        assert [one.reservation for one in site.said(VmBooted)] == [former, order]
        assert sum(one.startswith("start") for one in site.host.asked) == 1

    play(scene)


def test_a_rebooted_vm_whose_disk_is_not_to_be_had_is_off_and_why_is_told() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        async with site.waker():
            await pause(1)
            first = site.reboot(former)
            await pause(5)
            site.held(first)
            await pause(2)
        (failed,) = site.said(VmWakeFailed)
        assert (failed.reservation, failed.code, failed.found) == (first, "volume-failed", "off")

    play(scene)


def test_a_rebooted_vm_is_not_waited_for_longer_than_storage_has_time() -> None:
    async def scene() -> None:
        site = Keep()
        former = site.running()
        async with site.waker():
            await pause(1)
            order = site.reboot(former)
            await pause(SECONDS + GRACE_SECONDS + 55)
            assert site.said(VmWakeFailed) == []
            await pause(15)
        (failed,) = site.said(VmWakeFailed)
        assert (failed.reservation, failed.code, failed.found) == (order, "volume-failed", "off")
        assert "Storage did not say" in failed.text

    play(scene)
