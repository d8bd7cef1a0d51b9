"""Wakes in batches of the pool's size: never more rise at a time, and the next begins as one serves."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from events.envelope import read
from events.ids import derive
from events.pool import PoolDefined
from events.vm import VmAnnounced, VmReady, VmResumed, VmSaved, VmUnready, VmWakeFailed
from projections.fleet.fold import Fleet
from schemas.capacity import Size
from schemas.house import HostPlace
from schemas.images import MOST_RESTORES, restore_seconds
from schemas.pool import Pool
from services.gate.orders import Cause, in_turn, wake
from tests.rules.desk import play, pool
from tests.rules.waker_host import NO, SIZE, WAKE_SECONDS, Fate, Host, Site
from tests.simulation.clock import pause

BATCH = Pool(org="acme", name="web", size=SIZE, template="tiny").wake_batch
VMS = tuple(f"web-{number}" for number in range(1, 21))
WINDOW = 20.0


class Rest:
    """Prober and announcer in one: each guest that runs serves so many seconds later, or is given up when its window is over."""

    def __init__(self, site: Site, takes: Callable[[str], float], every_seconds: float = 0.002) -> None:
        self._site = site
        self._every_seconds = every_seconds
        self._takes = takes
        self._rising: dict[str, tuple[float, str]] = {}
        self.serving: dict[str, float] = {}
        self.most = 0

    async def go_on(self) -> None:
        loop, desk, heard = asyncio.get_running_loop(), self._site.desk, 0
        while True:
            now = loop.time()
            for one in desk.stored()[heard:]:
                fact = read(one.seq, one.stored_ns, one.payload).fact
                if isinstance(fact, VmResumed):
                    self._rising[fact.vm] = now, fact.reservation
            heard = len(desk.stored())
            self.most = max(self.most, len(self._rising))
            for vm, (since, reservation) in list(self._rising.items()):
                takes = self._takes(vm)
                if now - since >= min(takes, WINDOW):
                    del self._rising[vm]
                    if takes > WINDOW:
                        self._site.unready(vm, reservation)
                        continue
                    self.serving[vm] = now
                    serves(self._site, vm, reservation)
            await pause(self._every_seconds)


def serves(site: Site, vm: str, reservation: str) -> None:
    """The guest answers, and gets work."""
    site.ready(vm, reservation)
    now, where = site.desk.clock.now(), "127.0.0.1:21000"
    site.desk.write(VmAnnounced("acme", vm, "web", reservation, reservation, "be_acme_web", where, now))


def story(takes: Callable[[str], float], tell: Callable[[Site, Rest], Awaitable[None]]) -> None:
    """Twenty sleepers are ordered awake at once."""

    async def scene() -> None:
        site = Site()
        site.asleep(*VMS)
        async with site.waker():
            await pause(1)
            rest = Rest(site, takes)
            going_on = asyncio.create_task(rest.go_on())
            site.host.asked.clear()
            for vm in VMS:
                site.wake(vm)
            await tell(site, rest)
            going_on.cancel()

    play(scene)


def test_never_more_than_a_batch_rises_and_there_is_no_gap_between_two() -> None:
    async def tell(site: Site, rest: Rest) -> None:
        began = asyncio.get_running_loop().time()
        await pause(5)
        assert len(rest.serving) == len(VMS)
        assert rest.most == BATCH
        # 20 in groups of 8 are three rounds of 0.1 s each, and a round begins when the one before has served.
        assert max(rest.serving.values()) - began < 0.35
        assert [asked.rpartition(".")[2] for asked in site.host.asked if asked.startswith("resume")] == list(
            VMS
        )

    story(lambda _: 0.1, tell)


def test_a_place_that_is_free_is_taken_at_once_and_does_not_wait_for_the_rest_of_its_batch() -> None:
    async def tell(site: Site, rest: Rest) -> None:
        del site
        await pause(2)
        assert len(rest.serving) == len(VMS) - 1
        assert rest.most == BATCH

    story(lambda vm: 15.0 if vm == "web-1" else 0.1, tell)


def test_a_guest_that_takes_19_of_its_20_seconds_holds_up_nobody_for_ever_and_is_not_called_failed() -> None:
    async def tell(site: Site, rest: Rest) -> None:
        await pause(58)
        assert len(site.said(VmAnnounced)) == len(VMS)
        assert site.said(VmUnready) == site.said(VmWakeFailed) == []
        assert rest.most == BATCH

    story(lambda _: 18.9, tell)


def test_of_64_guests_that_take_18_of_their_20_seconds_each_serves_though_all_were_granted_at_once() -> None:
    async def scene() -> None:
        site, vms = Site(), [f"web-{number}" for number in range(1, 65)]
        site.asleep(*vms)
        fleet, web = Fleet(), pool()
        for one in site.desk.facts(object):  # pyright: ignore[reportArgumentType]
            fleet.apply(one)
        async with site.waker():
            await pause(1)
            rest = Rest(site, lambda _: 18.0)
            going_on = asyncio.create_task(rest.go_on())
            now, cause = site.desk.clock.now(), Cause(derive("request", "web"), 1)
            wakes = [wake(fleet.vms["acme", vm], web, cause, now) for vm in vms]
            site.order(*in_turn(wakes, web, fleet, "acme", ()))
            await pause(200)
            going_on.cancel()
        assert site.said(VmWakeFailed) == []
        assert sorted(rest.serving) == sorted(vms)
        assert rest.most == BATCH

    play(scene)


def test_places_of_guests_of_which_nothing_is_heard_are_free_again_when_their_windows_are_over() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep(*VMS)
        async with site.waker():
            await pause(1)
            for vm in VMS:
                site.wake(vm)
            await pause(10)
            assert len(site.said(VmResumed)) == BATCH
            await pause(15)
            assert len(site.said(VmResumed)) == 2 * BATCH
            await pause(20)
            assert len(site.said(VmResumed)) == len(VMS)
        assert site.said(VmReady)[len(VMS) :] == []

    play(scene)


def test_whoever_waits_longer_than_its_order_allows_is_not_begun() -> None:
    async def tell(site: Site, rest: Rest) -> None:
        await pause(WAKE_SECONDS + 5)
        site.host.fates.clear()
        failed = site.said(VmWakeFailed)
        assert {said.code for said in failed} == {"order-expired", "wake-refused"}
        assert len([said for said in failed if said.code == "order-expired"]) == len(VMS) - BATCH
        assert {said.found for said in failed} == {"paused"}
        assert rest.most == 0

    async def refusing(site: Site, rest: Rest) -> None:
        site.host.fates["resume"].extend([NO] * 10_000)
        await tell(site, rest)

    story(lambda _: 0.1, refusing)


def test_a_waker_that_starts_anew_counts_those_that_its_former_life_woke() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep(*VMS)
        async with site.waker():
            for vm in VMS:
                site.wake(vm)
            await pause(2)
        assert len(site.said(VmResumed)) == BATCH
        async with site.waker():
            await pause(2)
            assert len(site.said(VmResumed)) == BATCH
            served = site.said(VmResumed)[0]
            serves(site, served.vm, served.reservation)
            await pause(1)
            assert len(site.said(VmResumed)) == BATCH + 1

    play(scene)


def test_the_batch_is_the_pools_own() -> None:
    assert pool().wake_batch == BATCH == 8


class Disk(Host):
    """Starts share what it reads: each takes as long as four of them."""

    async def start(self, name: str, within_seconds: float = 20.0) -> None:
        lands = restore_seconds(self.sizes[name].memory_mib)
        silent = lands > within_seconds
        self.fates["start"].append(
            Fate(
                lands_after=lands,
                answers_after=min(lands, within_seconds),
                error="no answer" if silent else None,
                silent=silent,
            )
        )
        await super().start(name, within_seconds)


async def reading(grants: list[list[str]], seconds: float, on_disk: int, batch: int = BATCH) -> Site:
    """So many of the first sleep on disk, the others of the grants in RAM, and the grants are ordered five seconds apart.

    A VM's pool is what stands before its number; `batch` is that of pool `web`.
    """
    site = Site(disk := Disk(), place=HostPlace("h1", "test:///default", "test", 1 << 20, 21_000))
    site.host, site.size = disk, Size("big", 1, 4096)
    vms = [vm for grant in grants for vm in grant]
    site.asleep(*vms)
    disk.sizes = dict.fromkeys(disk.states, site.size)
    webs = {name: replace(pool(name), size=site.size) for name in {vm.partition("-")[0] for vm in vms}}
    webs["web"] = replace(webs["web"], wake_batch=batch)
    for name, web in webs.items():
        site.desk.write(PoolDefined("acme", name, web))
    async with site.waker() as waker:
        fleet = waker._fleet
        going_on = asyncio.create_task(Rest(site, lambda _: 1.0, 0.5).go_on())
        for vm in vms[:on_disk]:
            site.save(vm)
        await pause(60)
        assert len(site.said(VmSaved)) == on_disk
        for number, grant in enumerate(grants):
            now, cause = site.desk.clock.now(), Cause(derive("request", number), number)
            web = webs[grant[0].partition("-")[0]]
            wakes = [wake(fleet.vms["acme", vm], web, cause, now) for vm in grant]
            site.order(*in_turn(wakes, web, fleet, "acme", ()))
            await pause(5)
        await pause(seconds)
        going_on.cancel()
    return site


def started(site: Site) -> list[str]:
    return [asked.rpartition(".")[2] for asked in site.host.asked if asked.startswith("start")]


def test_all_that_were_granted_wake_from_disk_though_a_grant_before_them_is_being_read() -> None:
    async def scene() -> None:
        vms = [f"web-{number}" for number in range(1, 25)]
        site = await reading([vms[:8], vms[8:16], vms[16:]], 1500, on_disk=24)
        assert site.said(VmWakeFailed) == []
        assert started(site) == vms

    play(scene)


def test_a_wake_out_of_ram_waits_for_no_place_behind_wakes_of_its_pool_from_disk() -> None:
    async def scene() -> None:
        vms = [f"web-{number}" for number in range(1, 9)]
        site = await reading([vms, ["web-9", "web-10"]], 1, on_disk=8)
        assert [said.vm for said in site.said(VmResumed)] == ["web-9", "web-10"]

    play(scene)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8])
def test_a_pool_that_wakes_few_at_a_time_has_the_disk_before_those_granted_later(batch: int) -> None:
    async def scene() -> None:
        webs, jobs = (
            [f"web-{number}" for number in range(1, 9)],
            [f"jobs-{number}" for number in range(1, 17)],
        )
        site = await reading([webs, jobs], 3000, on_disk=24, batch=batch)
        assert site.said(VmWakeFailed) == []
        assert len(site.said(VmResumed)) == len(webs) + len(jobs)
        # Beside those of the pool that may be read, and before them, nobody stands who was granted later.
        most = max(MOST_RESTORES - batch, 0) * len(webs) // batch
        assert started(site).index("web-8") <= len(webs) - 1 + most

    play(scene)
