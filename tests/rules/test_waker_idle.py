"""For how long a host idled, and what it measured meanwhile, is told once it is over, and every hour."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from events.bus.ledger import Ledger
from events.bus.permissions import worker
from events.host import Energy, HostIdled, HostRegistered, Residency
from projections.fleet.fold import Fleet
from schemas.names import PLATFORM
from services.waker.idle import Idleness, Idler
from services.waker.outcomes import Outcomes
from services.waker.sysfs import Counters, Meter, is_here, read
from tests.rules.desk import play
from tests.rules.waker_host import Site
from tests.simulation.clock import EPOCH, pause

HOUR = 3600.0
WRAPS_UJ = 262_143_000_000


def seconds(moment: dt.datetime) -> int:
    return round((moment - EPOCH).total_seconds())


def told(site: Site) -> list[tuple[int, int, bool]]:
    """From when to when the host idled, as it was told, and whether that was the end."""
    return [(seconds(one.idle_from), seconds(one.idle_until), one.ended) for one in site.said(HostIdled)]


def test_an_idle_time_is_told_when_it_ends_with_how_its_vms_slept() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep("web-1", "web-2", "web-3")
        async with site.waker():
            await pause(100)
            site.save("web-1")
            await pause(500)
            site.wake("web-2")
            await pause(5)
        assert told(site) == [(0, 600, True)]
        (said,) = site.said(HostIdled)
        assert (said.host, said.org, said.paused, said.saved, said.cpus) == ("h1", "platform", 1, 1, 4)
        assert said.residencies == said.energies == ()

    play(scene)


def test_an_idle_time_is_told_every_hour_and_its_end_is_told_however_short_the_rest() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(2 * HOUR + 30)
            site.wake()
            await pause(5)
        first, second, last = told(site)
        assert (first[0], first[2]) == (0, False)
        assert 3600 <= first[1] <= 3661
        assert (second[0], second[2]) == (first[1], False)
        assert last == (second[1], 7230, True)

    play(scene)


def test_less_than_a_minute_is_not_worth_telling() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(50)
            site.wake()
            await pause(HOUR)
        assert told(site) == []

    play(scene)


def test_a_host_is_idle_only_when_nothing_on_it_is_awake() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep("web-1")
        reservation = site.awake("web-2")
        async with site.waker():
            await pause(HOUR)
            assert told(site) == []
            site.suspend("web-2", reservation)
            await pause(100)
            site.wake("web-1")
            await pause(5)
        assert told(site) == [(3600, 3700, True)]

    play(scene)


def test_since_when_a_host_is_idle_survives_its_waker_and_the_same_is_not_told_twice() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep("web-1", "web-2")
        async with site.waker():
            await pause(100)
        await pause(200)
        site.wake("web-1")
        for _ in range(2):
            async with site.waker():
                await pause(5)
        assert told(site) == [(0, 300, True)]

    play(scene)


def test_a_stray_ends_an_idle_time() -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await pause(300)
            site.host.put("web-1", "running", "resumed")
            await pause(5)
        assert told(site) == [(0, 300, True)]

    play(scene)


class Machine:
    """Counters that grow with the time: a CPU that sleeps 0.9 of it, and a package that draws 100 W."""

    def __init__(self) -> None:
        self.asked = 0

    async def counters(self) -> Counters:
        self.asked += 1
        now_us = round(asyncio.get_running_loop().time() * 1e6)
        return Counters(
            {"C1": 7_000 + now_us * 9 // 10},
            {"package-0-0": (WRAPS_UJ - 1_000_000 + now_us * 100) % WRAPS_UJ},
            {"package-0-0": WRAPS_UJ},
        )


@asynccontextmanager
async def idling(site: Site, machine: Machine) -> AsyncGenerator[None]:
    """Only the part of a waker that tells of idleness."""
    bus = site.desk.connect(worker("waker", "h1"))
    ledger = Ledger(bus)
    outcomes = Outcomes(ledger, bus, site.desk.clock, "h1")
    idler = Idler(ledger.fold(Idleness), ledger.fold(Fleet), outcomes, site.desk.clock, machine.counters)
    tasks = [
        asyncio.create_task(ledger.follow()),
        asyncio.create_task(idler.watch("h1", lambda: 4, ledger.bell())),
    ]
    try:
        yield
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.close()


def test_what_the_host_measured_is_told_although_its_energy_counter_began_anew() -> None:
    async def scene() -> None:
        site, machine = Site(), Machine()
        site.asleep("web-1", "web-2")
        async with idling(site, machine):
            await pause(HOUR + 60)
            site.wake("web-1")
            await pause(5)
        first, last = site.said(HostIdled)
        took_ms = round((first.idle_until - first.idle_from).total_seconds() * 1000)
        assert first.residencies == (Residency("C1", took_ms * 9 // 10),)
        assert first.energies == (Energy("package-0-0", took_ms * 100),)
        assert last.ended
        rest_ms = round((last.idle_until - last.idle_from).total_seconds() * 1000)
        assert last.energies[0].millijoules == pytest.approx(rest_ms * 100, abs=500)

    play(scene)


def test_an_idle_host_reads_its_counters_once_a_minute_however_much_others_do() -> None:
    async def scene() -> None:
        site, machine = Site(), Machine()
        site.asleep()
        async with idling(site, machine):
            await pause(1)
            for number in range(1, 601):
                site.desk.write(
                    HostRegistered(PLATFORM, "h2", "test:///default", number, "test", 4, 4096, EPOCH)
                )
                await pause(1)
            assert 10 <= machine.asked <= 12
            site.wake()
            await pause(5)
        (said,) = site.said(HostIdled)
        took_ms = round((said.idle_until - said.idle_from).total_seconds() * 1000)
        assert said.residencies == (Residency("C1", took_ms * 9 // 10),)

    play(scene)


def test_a_waker_that_starts_amid_an_idle_time_does_not_say_what_it_has_not_measured() -> None:
    async def scene() -> None:
        site, machine = Site(), Machine()
        site.asleep()
        await pause(100)
        async with idling(site, machine):
            await pause(HOUR + 100)
            site.wake()
            await pause(5)
        first, last = site.said(HostIdled)
        assert (first.residencies, first.energies) == ((), ())
        assert last.residencies != ()

    play(scene)


def lay_out(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n")


def test_idle_states_are_summed_over_cpus_and_zones_of_two_packages_are_kept_apart(tmp_path: Path) -> None:
    cpu, cap = "devices/system/cpu", "class/powercap"
    lay_out(
        tmp_path,
        {
            f"{cpu}/cpu0/cpuidle/state0/name": "POLL",
            f"{cpu}/cpu0/cpuidle/state0/time": "5",
            f"{cpu}/cpu0/cpuidle/state1/name": "C1E",
            f"{cpu}/cpu0/cpuidle/state1/time": "100",
            f"{cpu}/cpu1/cpuidle/state1/name": "C1E",
            f"{cpu}/cpu1/cpuidle/state1/time": "20",
            f"{cpu}/cpu2/cpuidle/state1/name": "C1E",
            f"{cpu}/cpu2/cpuidle/state1/time": "no number",
            f"{cpu}/cpuidle/current_driver": "intel_idle",
            f"{cap}/intel-rapl/enabled": "1",
            f"{cap}/intel-rapl:0/name": "package-0",
            f"{cap}/intel-rapl:0/energy_uj": "1000",
            f"{cap}/intel-rapl:0/max_energy_range_uj": str(WRAPS_UJ),
            f"{cap}/intel-rapl:0:0/name": "dram",
            f"{cap}/intel-rapl:0:0/energy_uj": "30",
            f"{cap}/intel-rapl:1:0/name": "dram",
            f"{cap}/intel-rapl:1:0/energy_uj": "40",
            f"{cap}/intel-rapl:1/name": "package-1",
        },
    )
    counted = read(tmp_path)
    assert counted.idle_us == {"POLL": 5, "C1E": 120}
    assert counted.energy_uj == {"package-0-0": 1000, "dram-0-0": 30, "dram-1-0": 40}
    assert counted.wraps_uj["package-0-0"] == WRAPS_UJ


def test_a_machine_that_measures_nothing_has_nothing_to_say(tmp_path: Path) -> None:
    assert read(tmp_path) == Counters()


def test_counters_that_vanish_or_go_back_never_take_anything_away() -> None:
    meter = Meter(Counters({"C1": 100}, {"dram": 50}, {}))
    meter.sample(Counters({"C1": 90}, {"dram": 10}, {}))
    meter.sample(Counters())
    meter.sample(Counters({"C1": 95, "C2": 4}, {"dram": 20}, {}))
    assert (meter.idle_us["C1"] >= 0, meter.energy_uj) == (True, {"dram": 0})


@pytest.mark.parametrize(
    ("uri", "here"),
    [
        ("qemu:///system", True),
        ("qemu:///session?socket=/run/house/libvirt-sock", True),
        ("qemu+unix:///system", True),
        ("qemu+ssh://virt@h2/system", False),
        ("qemu+tls://h2/system", False),
        ("test:///default", False),
        ("sim:///h1", False),
    ],
)
def test_only_a_hypervisor_on_this_machine_is_measured(uri: str, *, here: bool) -> None:
    assert is_here(uri) == here
