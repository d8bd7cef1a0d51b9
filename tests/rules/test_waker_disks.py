"""The waker defines a VM of a template with a disk once the disk is there, and not before."""

import datetime as dt

from events.gate import SaveOrdered
from events.ids import derive
from events.vm import VmBooted, VmQuiesced, VmResumed, VmSaved, VmSaveFailed, VmWakeFailed
from events.volume import SnapshotTaken, VolumeCreated, VolumeFailed
from tests.rules.desk import play
from tests.rules.waker_host import BOOT_SECONDS, Site
from tests.simulation.clock import pause

VOLUME = "/volumes/acme.web-1.qcow2"


def with_disk() -> Site:
    site = Site()
    site.host.disks.add("tiny")
    return site


def made(site: Site, order: str) -> VolumeCreated:
    return VolumeCreated("acme", "web-1", "h1", VOLUME, "tiny", 1 << 26, order, site.desk.clock.now())


def failed(site: Site, order: str) -> VolumeFailed:
    text = "The disk of acme/web-1 could not be made: no space left on device."
    return VolumeFailed("acme", "web-1", "h1", order, "refused", text, site.desk.clock.now())


def test_a_boot_waits_for_its_disk_and_the_domain_has_it() -> None:
    async def scene() -> None:
        site = with_disk()
        async with site.waker():
            order = site.boot()
            await pause(5)
            assert site.host.of("web-1") == "missing"
            site.desk.write(made(site, order))
            await pause(1)
            assert site.host.of("web-1") == "running"
        assert [one.volume for one in site.host.defined] == [VOLUME]
        assert len(site.said(VmBooted)) == 1

    play(scene)


def test_a_boot_whose_disk_could_not_be_made_fails_with_its_reason() -> None:
    async def scene() -> None:
        site = with_disk()
        async with site.waker():
            order = site.boot()
            site.desk.write(failed(site, order))
            await pause(1)
        (said,) = site.said(VmWakeFailed)
        assert (said.reservation, said.code, said.found) == (order, "volume-failed", "missing")
        assert "no space left" in said.text
        assert site.host.defined == []

    play(scene)


def test_the_failed_disk_of_an_earlier_order_does_not_fail_the_next() -> None:
    async def scene() -> None:
        site = with_disk()
        async with site.waker():
            site.desk.write(failed(site, site.boot()))
            await pause(1)
            order = site.boot(number=2)
            await pause(1)
            assert len(site.said(VmWakeFailed)) == 1
            site.desk.write(made(site, order))
            await pause(1)
        assert [one.reservation for one in site.said(VmBooted)] == [order]

    play(scene)


def test_a_boot_whose_disk_never_comes_is_too_late_within_a_second_of_its_deadline() -> None:
    async def scene() -> None:
        site = with_disk()
        async with site.waker():
            order = site.boot()
            ordered_at = site.desk.clock.now()
            await pause(BOOT_SECONDS + 5)
        (said,) = site.said(VmWakeFailed)
        assert (said.reservation, said.code) == (order, "order-expired")
        assert said.observed_at < ordered_at + dt.timedelta(seconds=BOOT_SECONDS + 2)

    play(scene)


def test_a_domain_of_before_its_template_had_a_disk_is_defined_anew_with_it() -> None:
    async def scene() -> None:
        site = with_disk()
        site.awake()
        async with site.waker():
            await pause(1)
            site.host.put("web-1", "off", "crashed")
            await pause(5)
            site.desk.write(made(site, site.boot(number=2)))
            await pause(5)
        assert site.host.defined[-1].volume == VOLUME
        assert site.host.of("web-1") == "running"

    play(scene)


def test_a_template_without_a_disk_waits_for_nothing() -> None:
    async def scene() -> None:
        site = Site()
        async with site.waker():
            site.boot()
            await pause(1)
            assert site.host.of("web-1") == "running"
        assert [one.volume for one in site.host.defined] == [None]

    play(scene)


def saving(site: Site) -> SaveOrdered:
    """The sleeper web-1 has a disk, and is to be saved; the order."""
    site.asleep()
    sleep = max(one.seq for one in site.desk.facts(VmQuiesced))
    site.desk.write(made(site, derive("former", "web-1")))
    order = SaveOrdered(derive("save", "web-1"), "web-1", "web", "h1", sleep, derive("request", "web-1"))
    site.order(order)
    return order


def test_a_sleeper_is_saved_only_after_storage_said_how_the_pin_of_this_sleep_went() -> None:
    async def scene() -> None:
        site = with_disk()
        order = saving(site)
        async with site.waker():
            await pause(3)
            assert site.host.of("web-1") == "paused"
            site.desk.write(SnapshotTaken("acme", "web-1", "h1", VOLUME, 2, 1, site.desk.clock.now()))
            await pause(1)
            assert site.host.of("web-1") == "paused", "that was an earlier sleep"
            pinned = SnapshotTaken(
                "acme", "web-1", "h1", VOLUME, 2, order.asleep_since, site.desk.clock.now()
            )
            site.desk.write(pinned)
            await pause(2)
        assert site.host.of("web-1") == "saved"
        assert [one.order for one in site.said(VmSaved)] == [order.id]

    play(scene)


def test_a_sleeper_that_storage_forgets_stays_in_ram_after_ten_seconds_and_can_be_woken() -> None:
    async def scene() -> None:
        site = with_disk()
        order = saving(site)
        async with site.waker():
            await pause(9)
            assert not site.said(VmSaveFailed)
            await pause(3)
            (said,) = site.said(VmSaveFailed)
            assert (said.order, said.code) == (order.id, "unpinned")
            wake = site.wake(number=2)
            await pause(1)
        assert [one.reservation for one in site.said(VmResumed)] == [wake]

    play(scene)
