"""What takes a host seconds neither holds up what takes it milliseconds, nor is thrown away when it is nearly done."""

import asyncio
import datetime as dt

import pytest
from msgspec.structs import replace

from events.fact import Fact
from events.gate import WakeOrdered
from events.ids import derive
from events.pool import PoolDefined
from events.vm import VmResumed, VmSaved, VmWakeFailed
from schemas.capacity import Size
from schemas.house import HostPlace
from schemas.images import MOST_RESTORES, image_seconds
from schemas.pool import Refresh
from services.prober.state import Trips
from services.waker.port import CALL_SECONDS, REFRESH_SECONDS, SAVE_SECONDS
from services.waker.shares import MOST_OF_POOL, Shares
from tests.rules.desk import play, pool
from tests.rules.waker_host import WAKE_SECONDS, Fate, Site
from tests.simulation.clock import pause

WIDE = HostPlace("h1", "test:///default", "test", 65_536, 21_000)
EIGHT = tuple(f"web-{number}" for number in range(1, 9))
BUSY = Fate(lands_after=None, answers_after=CALL_SECONDS, error="no answer", silent=True)


async def saved(site: Site, *vms: str) -> None:
    """The sleepers are on disk."""
    for vm in vms:
        site.save(vm)
    await pause(20)
    assert len(site.said(VmSaved)) == len(vms)
    site.host.asked.clear()


async def other_wakes(site: Site) -> float:
    """How many seconds a wake out of RAM took that another pool of the host asked for."""
    site.desk.write(PoolDefined(org="acme", pool="other", definition=pool("other")))
    now = site.desk.clock.now()
    begin_by, request = now + dt.timedelta(seconds=WAKE_SECONDS), derive("request", "other")
    own = derive("wake", "other-1", 1)
    site.order(WakeOrdered(own, "other-1", "other", "h1", site.size, request, "serve", begin_by, 20))
    await pause(WAKE_SECONDS)
    (said,) = [one for one in site.said(VmResumed) if one.vm == "other-1"]
    return (said.resumed_at - now).total_seconds()


@pytest.mark.parametrize("takes", [55.0, 70.0, 100.0])
def test_a_wake_from_disk_that_was_begun_in_time_counts_however_long_after_its_deadline_it_ends(
    takes: float,
) -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await saved(site, "web-1")
            silent = Fate(lands_after=takes, answers_after=CALL_SECONDS, error="no answer", silent=True)
            site.host.fates["start"].extend([silent, BUSY, BUSY, BUSY])
            order = site.wake()
            await pause(takes + CALL_SECONDS)
        assert [(said.reservation, said.depth) for said in site.said(VmResumed)] == [(order, "saved")]
        assert site.said(VmWakeFailed) == []
        assert site.host.of("web-1") == "running"

    play(scene)


def test_a_wake_from_disk_that_never_ends_is_given_up_and_proven_not_to_run() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await saved(site, "web-1")
            site.host.fates["start"].extend([BUSY] * 10)
            order = site.wake()
            await pause(SAVE_SECONDS - 5)
            assert site.said(VmWakeFailed) == []
            await pause(10)
        (said,) = site.said(VmWakeFailed)
        assert (said.reservation, said.code, said.found) == (order, "wake-refused", "saved")

    play(scene)


def test_a_wake_from_disk_that_was_not_begun_in_time_is_not_begun() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await saved(site, "web-1")
            no = Fate(lands_after=None, answers_after=CALL_SECONDS, error="internal error")
            site.host.fates["start"].extend([no] * 10)
            site.wake()
            await pause(WAKE_SECONDS + CALL_SECONDS + 5)
        (said,) = site.said(VmWakeFailed)
        assert (said.code, said.found) == ("wake-refused", "saved")

    play(scene)


def test_a_guest_of_ten_gibibytes_has_the_time_that_reading_takes_beside_three_others_like_it() -> None:
    async def scene() -> None:
        site = Site(place=WIDE)
        site.size = Size("large", 1, 10 * 1024)
        site.asleep()
        async with site.waker():
            await saved(site, "web-1")
            site.wake()
            await pause(5)
        assert round(site.host.within) == round(CALL_SECONDS + MOST_RESTORES * image_seconds(10 * 1024))

    play(scene)


def test_wakes_out_of_ram_do_not_wait_for_guests_of_others_whose_agents_are_silent() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep(*EIGHT, "other-1")
        async with site.waker():
            await pause(1)
            silent = Fate(lands_after=None, answers_after=5.0, error="the agent does not respond")
            site.host.fates["refresh"].extend([silent] * len(EIGHT))
            for vm in EIGHT:
                site.wake(vm)
            await pause(0.05)
            assert await other_wakes(site) < 0.1

    play(scene)


def test_one_org_whose_agents_are_silent_in_every_pool_leaves_places_for_all_others() -> None:
    async def scene() -> None:
        shares = Shares()
        loop = asyncio.get_running_loop()
        waited: dict[str, list[float]] = {"mute": [], "well": []}

        async def speak(org: str, pool: str, takes: float) -> None:
            began = loop.time()
            async with shares.place(org, pool):
                waited[org].append(loop.time() - began)
                await pause(takes)

        async with asyncio.TaskGroup() as guests:
            for number in range(64):
                guests.create_task(speak("mute", f"pool-{number % 8}", REFRESH_SECONDS))
            for _ in range(8):
                guests.create_task(speak("well", "web", 0.04))
        assert sorted(waited["well"]) == pytest.approx([0.0] * 4 + [0.04] * 4)
        assert max(waited["mute"]) >= REFRESH_SECONDS

    play(scene)


def test_a_pool_whose_agents_are_silent_leaves_places_for_others_of_its_org() -> None:
    async def scene() -> None:
        shares = Shares()
        loop = asyncio.get_running_loop()

        async def speak(pool: str, takes: float) -> float:
            began = loop.time()
            async with shares.place("acme", pool):
                waited = loop.time() - began
                await pause(takes)
            return waited

        async with asyncio.TaskGroup() as guests:
            silent = [guests.create_task(speak("web", REFRESH_SECONDS)) for _ in range(64)]
            other = guests.create_task(speak("jobs", 0.04))
        assert other.result() == 0.0
        assert sum(task.result() == 0.0 for task in silent) == MOST_OF_POOL

    play(scene)


@pytest.mark.parametrize("now", ["none", "agent"])
def test_a_pool_that_is_defined_anew_while_wakes_wait_changes_nothing_for_them(now: Refresh) -> None:
    async def scene() -> None:
        site = Site()
        before: Refresh = "agent" if now == "none" else "none"
        site.desk.write(PoolDefined("acme", "web", replace(pool(), refresh=before, wake_batch=1)))
        site.asleep("web-1", "web-2")
        async with site.waker():
            await pause(1)
            for vm in ("web-1", "web-2"):
                site.wake(vm)
            await pause(1)
            site.desk.write(PoolDefined("acme", "web", replace(pool(), refresh=now, wake_batch=1)))
            await pause(WAKE_SECONDS / 2)
            site.wake("web-1", 2)
            await pause(WAKE_SECONDS / 2)
        trips, wanted = Trips(), list[bool]()
        for one in site.desk.facts(Fact):
            trips.apply(one)
            if isinstance(one.fact, VmResumed):
                wanted.append(trips.open["acme", one.fact.vm].refreshes)
        assert wanted == [before == "agent", before == "agent", now == "agent"]
        assert [said.refreshed is not None for said in site.said(VmResumed)] == wanted

    play(scene)


def test_wakes_out_of_ram_do_not_wait_for_wakes_from_disk() -> None:
    async def scene() -> None:
        site = Site(place=WIDE)
        site.asleep(*EIGHT, "other-1")
        async with site.waker():
            await pause(1)
            await saved(site, *EIGHT)
            site.host.fates["start"].extend([Fate(lands_after=15.0, answers_after=15.0)] * len(EIGHT))
            for vm in EIGHT:
                site.wake(vm)
            await pause(0.05)
            assert await other_wakes(site) < 0.1

    play(scene)


def test_wakes_out_of_ram_do_not_wait_for_sleepers_that_lost_theirs_and_boot() -> None:
    async def scene() -> None:
        site = Site(place=WIDE)
        site.asleep(*EIGHT, "other-1")
        async with site.waker():
            await pause(1)
            for vm in EIGHT:
                site.host.put(vm, "off", heard=False)
            site.host.fates["start"].extend([Fate(lands_after=15.0, answers_after=15.0)] * len(EIGHT))
            for vm in EIGHT:
                site.wake(vm)
            await pause(0.05)
            assert await other_wakes(site) < 0.1

    play(scene)
