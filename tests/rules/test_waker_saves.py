"""A sleeper goes from RAM to disk and wakes from there; whatever happens on the way, ledger and host agree in the end."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from events.host import HostAdmitted, HostFenced
from events.vm import (
    VmBooted,
    VmFoundAwake,
    VmQuiesced,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmWakeFailed,
)
from projections.fleet.fold import Fleet
from services.waker.port import DomainState
from services.waker.saves import MOST_SAVES, MOST_TRIES
from tests.rules.desk import played
from tests.rules.waker_host import IMAGE_BYTES, NO, WAKE_SECONDS, Fate, Site
from tests.simulation.clock import pause

SILENT = Fate(answers_after=20, error="no answer")
KILLED = Fate(lands_after=0.5, answers_after=1_000_000)


def fleet(site: Site) -> Fleet:
    """What the whole ledger says."""
    told = Fleet()
    for one in site.desk.facts(object):  # pyright: ignore[reportArgumentType]
        told.apply(one)
    return told


def state(site: Site, vm: str = "web-1") -> str:
    return fleet(site).vms["acme", vm].state


@asynccontextmanager
async def on_disk(site: Site) -> AsyncGenerator[None]:
    """A waker is at work, and the sleeper web-1 was saved."""
    site.asleep()
    async with site.waker():
        site.save()
        await pause(5)
        yield


@played
async def test_a_sleeper_is_saved_once_and_its_host_has_its_memory_back() -> None:
    site = Site()
    site.asleep()
    async with site.waker():
        order, since = site.save(), site.asleep_since("web-1")
        await pause(5)
    (said,) = site.said(VmSaved)
    assert (said.order, said.asleep_since, said.image_bytes) == (order, since, IMAGE_BYTES)
    assert site.host.of("web-1") == "saved"
    assert site.host.asked.count("save vs-acme.web-1") == 1
    assert state(site) == "saved"


@played
async def test_a_saved_sleeper_wakes_from_disk_and_is_refreshed() -> None:
    site = Site()
    async with on_disk(site):
        site.host.asked.clear()
        order = site.wake()
        await pause(5)
    assert site.host.asked == [
        "state vs-acme.web-1",
        "start vs-acme.web-1",
        "refresh vs-acme.web-1",
    ]
    (said,) = site.said(VmResumed)
    assert (said.reservation, said.depth, said.attempts) == (order, "saved", 1)
    assert said.refreshed is not None
    assert site.host.of("web-1") == "running"


@played
async def test_a_disk_without_room_ends_the_order_with_a_sentence_and_the_sleeper_stays_in_memory() -> None:
    site = Site()
    site.asleep()
    site.host.full = True
    async with site.waker():
        order = site.save()
        await pause(5)
    (said,) = site.said(VmSaveFailed)
    assert (said.order, said.code) == (order, "disk-full")
    assert "no room" in said.text
    assert site.host.asked.count("save vs-acme.web-1") == 1
    assert (site.host.of("web-1"), state(site)) == ("paused", "quiesced")


@played
async def test_a_refused_save_is_tried_three_times_and_given_up_behind_a_bar() -> None:
    site = Site()
    site.asleep()
    site.host.fates["save"].extend([NO] * 10)
    async with site.waker():
        site.save()
        await pause(30)
    (said,) = site.said(VmSaveFailed)
    assert said.code == "save-refused"
    assert site.host.asked.count("save vs-acme.web-1") == MOST_TRIES
    assert site.host.asked[-2:] == ["suspend vs-acme.web-1", "state vs-acme.web-1"]


@played
async def test_a_save_that_lands_in_silence_is_seen_and_proven_by_one_more() -> None:
    site = Site()
    site.asleep()
    site.host.fates["save"].append(SILENT)
    async with site.waker():
        site.save()
        await pause(30)
    assert len(site.said(VmSaved)) == 1
    assert site.said(VmSaveFailed) == []
    assert site.host.asked.count("save vs-acme.web-1") == 2


@played
async def test_a_save_that_lands_after_it_was_refused_for_the_last_time_is_told_as_what_it_is() -> None:
    site = Site()
    site.asleep()
    late = Fate(lands_after=10, answers_after=0.001, error="internal error")
    site.host.fates["save"].extend([late, NO, NO])
    async with site.waker():
        site.save()
        await pause(60)
    assert site.said(VmSaveFailed) == []
    assert len(site.said(VmSaved)) == 1
    assert (site.host.of("web-1"), state(site)) == ("saved", "saved")


@played
async def test_a_waker_killed_between_effect_and_outcome_is_followed_by_one_that_tells_it() -> None:
    site = Site()
    site.asleep()
    site.host.fates["save"].append(KILLED)
    async with site.waker():
        order = site.save()
        await pause(2)
    assert (site.host.of("web-1"), site.said(VmSaved)) == ("saved", [])
    async with site.waker():
        await pause(2)
    assert [said.order for said in site.said(VmSaved)] == [order]


@played
async def test_a_sleeper_that_somebody_wakes_before_it_is_saved_is_found_awake() -> None:
    site = Site()
    site.asleep()
    site.save()
    site.host.put("web-1", "running", heard=False)
    async with site.waker():
        await pause(5)
    assert len(site.said(VmFoundAwake)) == 1
    assert site.said(VmSaved) == site.said(VmSaveFailed) == []
    assert (site.host.of("web-1"), state(site)) == ("running", "stray")


@pytest.mark.parametrize("found", ["off", "missing"])
@played
async def test_a_sleeper_that_is_gone_when_it_shall_be_saved_has_stopped(found: DomainState) -> None:
    site = Site()
    site.asleep()
    site.save()
    site.host.put("web-1", found, heard=False)
    async with site.waker():
        await pause(5)
    (said,) = site.said(VmStopped)
    assert (said.reservation, said.found) == (None, found)
    assert state(site) == "stopped"


@played
async def test_a_saved_sleeper_whose_image_is_lost_has_stopped() -> None:
    site = Site()
    async with on_disk(site):
        site.host.put("web-1", "off", "stopped")
        await pause(5)
    (said,) = site.said(VmStopped)
    assert said.found == "off"
    assert state(site) == "stopped"


@played
async def test_a_saved_sleeper_that_somebody_restores_is_found_awake_and_one_left_paused_is_saved_again() -> (
    None
):
    site = Site()
    site.asleep("web-1", "web-2")
    async with site.waker():
        site.save("web-1")
        site.save("web-2")
        await pause(5)
        site.host.put("web-1", "running", "started")
        site.host.put("web-2", "paused", "restored")
        await pause(5)
    assert [said.vm for said in site.said(VmFoundAwake)] == ["web-1"]
    assert site.host.of("web-2") == "saved"
    assert (state(site, "web-1"), state(site, "web-2")) == ("stray", "saved")


@pytest.mark.parametrize("disk", ["full", "refuses"])
@played
async def test_what_was_saved_and_cannot_be_saved_again_counts_in_ram_and_is_not_tried_for_ever(
    disk: str,
) -> None:
    site = Site()
    async with on_disk(site):
        site.host.asked.clear()
        site.host.full = disk == "full"
        site.host.fates["save"].extend([NO] * (MOST_TRIES if disk == "refuses" else 0))
        site.host.put("web-1", "paused", "restored")
        await pause(3600)
        (said,) = site.said(VmSaveFailed)
        assert (said.code, said.asleep_since) == ("found-paused", site.asleep_since("web-1"))
        assert site.host.asked.count("save vs-acme.web-1") == (1 if disk == "full" else MOST_TRIES)
        assert (site.host.of("web-1"), state(site)) == ("paused", "quiesced")
        assert fleet(site).free_mib("h1") == site.place.memory_mib - site.size.memory_mib
        site.host.full = False
        site.save(number=2)
        await pause(5)
        assert (site.host.of("web-1"), state(site)) == ("saved", "saved")
    assert [said.asleep_since for said in site.said(VmSaved)] == [said.asleep_since] * 2


@played
async def test_what_was_found_in_ram_though_it_was_saved_wakes_from_there() -> None:
    site = Site()
    async with on_disk(site):
        site.host.full = True
        site.host.put("web-1", "paused", "restored")
        await pause(60)
        site.wake()
        await pause(5)
    assert [said.depth for said in site.said(VmResumed)] == ["paused"]
    assert site.host.asked.count("start vs-acme.web-1") == 0


@played
async def test_that_a_vm_is_in_ram_again_is_said_of_one_sleep_and_holds_for_no_other() -> None:
    site = Site()
    async with on_disk(site):
        site.host.full = True
        site.host.put("web-1", "paused", "restored")
        await pause(5)
        site.host.full = False
        (said,) = site.said(VmSaveFailed)
        site.wake()
        await pause(5)
        site.host.put("web-1", "paused", "paused")
        await pause(5)
        assert state(site) == "quiesced"
        site.save(number=2)
        await pause(5)
        site.desk.write(said)
        await pause(5)
    assert state(site) == "saved"


@played
async def test_a_guest_that_somebody_saves_while_it_serves_is_said_to_sleep_and_wakes_from_there() -> None:
    site = Site()
    reservation = site.awake()
    async with site.waker():
        await pause(2)
        site.host.put("web-1", "saved", "saved")
        await pause(5)
        (said,) = site.said(VmQuiesced)
        assert (said.reservation, said.cause) == (reservation, "found")
        site.wake()
        await pause(5)
    (woken,) = site.said(VmResumed)
    assert woken.depth == "saved"


@played
async def test_a_wake_from_disk_that_comes_too_late_leaves_the_sleeper_on_disk() -> None:
    site = Site()
    async with on_disk(site):
        pass
    order = site.wake()
    await pause(WAKE_SECONDS + 1)
    async with site.waker():
        await pause(5)
    (said,) = site.said(VmWakeFailed)
    assert (said.reservation, said.code, said.found) == (order, "order-expired", "saved")
    assert (site.host.of("web-1"), state(site)) == ("saved", "saved")


@played
async def test_a_host_without_room_for_a_saved_sleeper_leaves_it_on_disk_and_says_so() -> None:
    site = Site()
    site.asleep("web-1")
    async with site.waker():
        await pause(1)
        site.save("web-1")
        await pause(5)
        for number in range(2, 10):  # the host lends 4,096 MiB, and each takes 512
            site.awake(f"web-{number}")
        order = site.wake("web-1")
        await pause(5)
    (said,) = site.said(VmWakeFailed)
    assert (said.reservation, said.code, said.found) == (order, "host-full", "saved")
    assert (site.host.of("web-1"), state(site)) == ("saved", "saved")


@played
async def test_a_sleeper_whose_wake_from_disk_was_refused_needs_room_for_the_next_one_as_well() -> None:
    site = Site()
    async with on_disk(site):
        site.host.fates["start"].extend([NO] * 1000)
        site.wake()
        await pause(WAKE_SECONDS + 30)
        assert [(said.code, said.found) for said in site.said(VmWakeFailed)] == [("wake-refused", "saved")]
        site.host.fates["start"].clear()
        for number in range(2, 10):  # the host lends 4,096 MiB, and each takes 512
            site.awake(f"web-{number}")
        site.wake(number=2)
        await pause(5)
    assert [(said.code, said.found) for said in site.said(VmWakeFailed)][1:] == [("host-full", "saved")]
    assert site.said(VmResumed) == []
    assert site.host.of("web-1") == "saved"


@played
async def test_a_host_saves_two_sleepers_at_a_time_and_wakes_do_not_wait_for_them() -> None:
    site = Site()
    names = [f"web-{number}" for number in range(1, 6)]
    site.asleep(*names)
    site.host.fates["save"].extend([Fate(lands_after=100, answers_after=100)] * 4)
    async with site.waker():
        await pause(1)
        for name in names[:4]:
            site.save(name)
        site.wake("web-5")
        await pause(5)
        assert len(site.said(VmResumed)) == 1
        assert site.host.most_at_once <= MOST_SAVES + 1
        await pause(400)
    assert len(site.said(VmSaved)) == 4


@pytest.mark.parametrize("found", ["saved", "paused"])
@played
async def test_a_domain_that_sleeps_and_is_off_in_the_ledger_is_booted_and_never_goes_on_where_it_slept(
    found: DomainState,
) -> None:
    site = Site()
    site.host.put("web-1", found, heard=False)
    async with site.waker():
        order = site.boot()
        await pause(5)
    (said,) = site.said(VmBooted)
    assert said.reservation == order
    assert site.said(VmResumed) == []
    calls = [asked.partition(" ")[0] for asked in site.host.asked]
    assert calls == ["state", "stop", "state", "define", "start"]


@played
async def test_nothing_that_was_told_to_be_booted_was_restored_also_when_another_life_tells_it() -> None:
    site = Site()
    async with on_disk(site):
        pass
    now = site.desk.clock.now()
    site.desk.write(HostFenced("platform", "h1", "ops", "no power", now))
    site.desk.write(HostAdmitted("platform", "h1", "ops", "it lives", now))
    begun = len(site.said(VmBooted))
    site.host.asked.clear()
    site.host.fates["start"].append(KILLED)
    async with site.waker():
        site.boot()
        await pause(5)
    assert site.host.of("web-1") == "running"
    async with site.waker():
        await pause(5)
    assert (len(site.said(VmBooted)) - begun, site.said(VmResumed)) == (1, [])
    assert site.host.asked.index("stop vs-acme.web-1") < site.host.asked.index("start vs-acme.web-1")
