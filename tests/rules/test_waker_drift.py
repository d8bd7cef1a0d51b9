"""What the waker says of domains that are not as the ledger has them, and what it does about them."""

import datetime as dt
from dataclasses import replace

import pytest

from events.drift import DomainDrifted, DomainSettled, VmOomKilled
from events.gate import BootOrdered
from events.ids import derive
from events.pool import PoolDefined
from events.vm import VmBooted, VmDefined, VmReady, VmRebooted, VmStopped
from projections.fleet.fold import Fleet, Vm
from projections.volumes.fold import Volumes
from schemas.capacity import Size
from schemas.pool import Pool
from services.waker.build import Build, Shape, disks_in, other_disks
from services.waker.drift import PATIENCE, Folds, look
from services.waker.port import Domain, domain_name
from services.waker.sizes import Sizes
from tests.rules.desk import played
from tests.rules.waker_host import SIZE, Site
from tests.simulation.clock import pause

NAME = domain_name("acme", "db")
DISKS = (("vda", "/volumes/acme.db.qcow2"),)
GOOD = Build(Shape(1, 512, 512), Shape(1, 512, 512), DISKS, DISKS)
MINUTE = 61


class Keep(Site):
    """A site whose VM `db` is kept, and which says how its domain is built."""

    def __init__(self, build: Build = GOOD, kind: str = "kept") -> None:
        super().__init__()
        pool = Pool("acme", "apps", SIZE, "tiny", kind="kept" if kind == "kept" else "scaled")
        self.desk.write(PoolDefined("acme", "apps", pool))
        self.build = build

    def running(self, host: str = "h1") -> str:
        """The VM runs for this reservation, in the ledger; on its host as `build` says."""
        own, now = derive("boot", "db"), self.desk.clock.now()
        begin_by = now + dt.timedelta(seconds=180)
        self.order(
            BootOrdered(own, "db", "apps", host, SIZE, "tiny", derive("request"), "keep", begin_by, 180)
        )
        self.desk.write(VmDefined("acme", "db", "apps", host, SIZE, NAME, "uuid", "127.0.0.1:21000", own))
        self.desk.write(VmBooted("acme", "db", host, own, now, now, 1))
        self.desk.write(VmReady("acme", "db", own, "boot-1", False, None, now, now, 1))
        self.host.put("db", "running", heard=False)
        self.host.builds[NAME] = self.build
        return own

    def drifted(self) -> list[tuple[str, str, str, str]]:
        return [(one.what, one.expected, one.found, one.repair) for one in self.said(DomainDrifted)]


@played
async def test_nothing_is_said_of_a_domain_that_is_as_it_was_ordered() -> None:
    site = Keep()
    site.running()
    async with site.waker():
        await pause(3 * MINUTE)
    assert (site.said(DomainDrifted), site.said(DomainSettled)) == ([], [])


@played
async def test_what_runs_with_more_than_was_ordered_counts_under_its_reservation_and_is_said_once() -> None:
    site = Keep(replace(GOOD, live=Shape(2, 512, 512)))
    own = site.running()
    for _ in range(2):
        async with site.waker():
            await pause(3 * MINUTE)
    (said,) = site.said(DomainDrifted)
    assert site.drifted() == [("size", "1 vCPU, 512 MiB", "2 vCPU, 512 MiB", "reboot")]
    assert (said.reservation, said.size) == (own, Size("custom-2x512", 2, 512))


@played
async def test_memory_that_a_guest_gave_back_is_said_and_what_it_may_take_counts() -> None:
    site = Keep(replace(GOOD, live=Shape(1, 256, 512)))
    site.running()
    async with site.waker():
        await pause(5)
        site.host.builds[NAME] = replace(GOOD, live=Shape(1, 512, 1024))
        await pause(MINUTE)
    squeezed, grown = site.said(DomainDrifted)
    assert (squeezed.found, squeezed.size) == ("1 vCPU, 256 of 512 MiB", Size("custom-1x256", 1, 256))
    assert (grown.found, grown.size) == ("1 vCPU, 512 of 1024 MiB", Size("custom-1x1024", 1, 1024))


@played
async def test_a_host_that_balloons_its_guests_all_day_is_told_of_every_ten_minutes_at_most() -> None:
    site = Keep(replace(GOOD, live=Shape(1, 300, 512)))
    site.running()
    async with site.waker():
        for mib in range(60):
            site.host.builds[NAME] = replace(GOOD, live=Shape(1, 200 + mib % 7, 512))
            await pause(MINUTE)
    assert 4 <= len(site.said(DomainDrifted)) <= 60 * MINUTE // PATIENCE.total_seconds() + 1


@pytest.mark.parametrize("kind", ["kept", "scaled"])
@played
async def test_a_definition_that_somebody_edited_waits_for_the_next_boot(kind: str) -> None:
    site = Keep(replace(GOOD, stored=Shape(4, 1024, 1024)), kind)
    site.running()
    async with site.waker():
        await pause(5)
        site.host.builds[NAME] = GOOD
        await pause(MINUTE)
    (said,) = site.said(DomainDrifted)
    assert site.drifted() == [
        ("size", "1 vCPU, 512 MiB", "defined with 4 vCPU, 1024 MiB", "at-next-boot"),
    ]
    assert (said.reservation, said.size) == (None, None)
    assert [one.what for one in site.said(DomainSettled)] == ["size"]


@played
async def test_a_vm_of_demand_that_somebody_edited_while_it_was_off_is_defined_anew_when_it_boots() -> None:
    site, name = Site(), domain_name("acme", "web-1")
    own = site.awake()
    site.desk.write(VmStopped("acme", "web-1", "h1", own, None, "ordered", "off", site.desk.clock.now()))
    site.host.put("web-1", "off", heard=False)
    site.host.builds[name] = replace(GOOD, live=None, stored=Shape(4, 512, 512))
    async with site.waker():
        await pause(5)
        assert [one.repair for one in site.said(DomainDrifted)] == ["at-next-boot"]
        site.boot(number=2)
        await pause(5)
    assert [one for one in site.host.asked if one.startswith("define")] == [f"define {name}"]


@played
async def test_a_disk_that_somebody_swapped_or_added_is_said_and_a_layer_of_storages_own_is_none() -> None:
    pinned = replace(GOOD, disks=(("vda", "/volumes/acme.db.s12.qcow2"),))
    site = Keep(pinned)
    site.running()
    async with site.waker():
        await pause(5)
        assert site.drifted() == []
        site.host.builds[NAME] = replace(GOOD, disks=(("vda", "/volumes/acme.other.qcow2"),))
        await pause(MINUTE)
        site.host.builds[NAME] = replace(GOOD, disks=(*DISKS, ("vdb", "/tmp/more.img")))
        await pause(PATIENCE.total_seconds())
    assert site.drifted() == [
        ("disk", "vda /volumes/acme.db.qcow2", "vda /volumes/acme.other.qcow2", "at-next-boot"),
        (
            "disk",
            "vda /volumes/acme.db.qcow2",
            "vda /volumes/acme.db.qcow2, vdb /tmp/more.img",
            "at-next-boot",
        ),
    ]


@played
async def test_what_is_put_right_is_said_and_told_anew_when_it_comes_back() -> None:
    site, strange = Keep(), replace(GOOD, live=Shape(2, 512, 512))
    site.running()
    async with site.waker():
        for build in (strange, GOOD, strange, GOOD):
            site.host.builds[NAME] = build
            await pause(MINUTE + 2)
    assert [one.what for one in site.said(DomainDrifted)] == ["size", "size"]
    assert [one.what for one in site.said(DomainSettled)] == ["size", "size"]


@played
async def test_what_is_there_for_one_look_only_is_nobodys_doing() -> None:
    site = Keep()
    site.running()
    async with site.waker():
        await pause(5)
        site.host.builds[NAME] = replace(GOOD, live=Shape(2, 512, 512))
        site.host.lose()
        await pause(0.5)
        site.host.builds[NAME] = GOOD
        await pause(MINUTE)
    assert site.drifted() == []


@played
async def test_a_second_life_beside_the_ledgers_own_is_ended_on_its_host() -> None:
    site = Keep()
    site.running(host="h2")
    async with site.waker():
        await pause(5)
        assert site.host.of("db") == "off"
        await pause(2 * MINUTE)
    assert site.drifted()[0] == ("elsewhere", "on h2", "running on h1", "stop")
    assert [one for one in site.host.asked if one.startswith("stop")] == [f"stop {NAME}"]


@played
async def test_a_domain_that_runs_elsewhere_while_the_ledgers_own_is_off_is_left_to_a_person() -> None:
    site = Keep()
    own = site.running(host="h2")
    now = site.desk.clock.now()
    site.desk.write(VmStopped("acme", "db", "h2", own, None, "ordered", "off", now))
    async with site.waker():
        await pause(3 * MINUTE)
    assert site.drifted() == [("elsewhere", "on h2", "running on h1", "none")]
    assert site.host.of("db") == "running"


def test_a_second_life_is_left_alone_while_a_recovered_ledger_does_not_know_the_host() -> None:
    fleet = Fleet()
    fleet.vms["acme", "db"] = Vm(
        "acme", "db", "apps", "h2", SIZE, "running", reservation=derive("own"), proven=True
    )
    folds, here = (
        Folds(fleet, Volumes(), Sizes()),
        [Domain(NAME, "acme", "apps", "db", SIZE, "running", GOOD)],
    )
    repairs = [
        [one.repair for one in look(folds, "h1", here, lambda _: False, stops=stops).found.values()]
        for stops in (True, False)
    ]
    assert repairs == [["stop"], ["none"]]


def test_a_description_says_its_disks_whatever_stands_in_its_mark() -> None:
    xml = (
        "<domain xmlns:qemu='q'><name>n</name><metadata><vs:vm xmlns:vs='v'>{&quot;</vs:vm></metadata><devices>"
        "<disk><source file='/a.qcow2'/><target dev='vda'/></disk>"
        "<disk><source protocol='rbd' name='p/i'/><target dev='vdb'/></disk></devices></domain>"
    )
    assert disks_in(xml) == (("vda", "/a.qcow2"), ("vdb", None))
    assert other_disks(replace(GOOD, laid=None)) is None
    in_cluster = replace(GOOD, laid=(("vda", None),), disks=(("vda", "org-acme/db"),))
    assert other_disks(in_cluster) is None


@played
async def test_processes_that_a_guest_killed_for_want_of_memory_are_told_once_each_across_lives() -> None:
    site = Keep()
    own = site.running()
    site.host.killed[NAME] = 2
    for kills in (2, 2, 5):
        site.host.killed[NAME] = kills
        async with site.waker():
            await pause(3 * MINUTE)
    assert [(one.reservation, one.kills, one.memory_mib) for one in site.said(VmOomKilled)] == [
        (own, 2, 512),
        (own, 3, 512),
    ]
    assert "the next size is 1x1024 with 1024 MiB" in site.said(VmOomKilled)[0].advice


@played
async def test_a_guest_that_started_anew_counts_from_nothing() -> None:
    site = Keep()
    own = site.running()
    async with site.waker():
        site.host.killed[NAME] = 5
        await pause(2 * MINUTE)
        site.desk.write(VmRebooted("acme", "db", "h1", own, site.desk.clock.now()))
        site.host.killed[NAME] = 6
        await pause(2 * MINUTE)
    assert [one.kills for one in site.said(VmOomKilled)] == [5, 6]


@played
async def test_a_guest_without_an_agent_is_left_alone_for_a_while_and_no_error() -> None:
    site = Keep()
    site.running()
    async with site.waker():
        await pause(5 * MINUTE)
        site.host.killed[NAME] = 1
        await pause(4 * MINUTE)
        assert site.said(VmOomKilled) == []
        await pause(5 * MINUTE)
    assert [one.kills for one in site.said(VmOomKilled)] == [1]


@played
async def test_vms_that_come_and_go_with_demand_are_not_looked_into() -> None:
    site = Site()
    site.awake()
    site.host.killed[domain_name("acme", "web-1")] = 3
    async with site.waker():
        await pause(3 * MINUTE)
    assert site.said(VmOomKilled) == []
