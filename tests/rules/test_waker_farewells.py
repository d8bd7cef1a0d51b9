"""What the waker does about domains that are to go: those of deleted VMs, and former ones of adopted VMs."""

import pytest

from events.deletion import DeletionBegun, DeletionCompleted, VmUndefined, VolumeErased
from events.host import HostAdmitted, HostFenced
from events.keep import VmAdopted, VmAdoptFailed
from events.vm import VmStopped
from events.volume import VolumeAdopted, VolumeAdoptFailed
from schemas.deletion import STAGES, Stage
from services.waker.metrics import STRANGERS
from services.waker.port import DomainState, domain_name
from tests.rules.desk import play
from tests.rules.leaving import FORMER, GIB, PLACE, UUID, Leaving
from tests.rules.waker_host import NO, Fate, Site
from tests.simulation.clock import pause

NAME = domain_name("acme", "db")


def did(site: Site) -> list[str]:
    return [one.partition(" ")[0] for one in site.host.asked if not one.startswith("state")]


@pytest.mark.parametrize("found", ["off", "saved", "paused", "running", "missing"])
def test_a_deleted_vms_domain_goes_whatever_it_is_and_the_ledger_knows(found: DomainState) -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        if found != "missing":
            site.host.put("db", found, heard=False)
        async with site.waker():
            await pause(1)
            there.schedule()
            order = there.erase()
            await pause(3)
        assert site.host.of("db") == "missing"
        assert [(said.order, said.host) for said in site.said(VmUndefined)] == [(order.id, "h1")]

    play(scene)


def test_a_domain_is_left_alone_until_the_hard_stage_and_on_every_other_host() -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        site.host.put("db", "off", heard=False)
        async with site.waker():
            there.schedule()
            await pause(100)
            there.erase(host="h2")
            await pause(100)
        assert site.host.of("db") == "off"
        assert site.said(VmUndefined) == []

    play(scene)


def test_a_domain_goes_also_from_the_host_it_was_found_on_when_the_disk_is_on_another() -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        site.awake("db")
        async with site.waker():
            await pause(1)
            there.schedule()
            order = there.erase(host="h2")
            await pause(100)
        async with site.waker():
            await pause(100)
        assert site.host.of("db") == "missing"
        assert [(said.order, said.host) for said in site.said(VmUndefined)] == [(order.id, "h1")]
        assert len(site.said(VmStopped)) == 1

    play(scene)


def test_a_vm_that_is_erased_while_it_is_awake_is_told_to_have_stopped_before() -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        reservation = site.awake("db")
        async with site.waker():
            await pause(1)
            there.schedule()
            there.erase()
            await pause(3)
        assert [one.reservation for one in site.said(VmStopped)] == [reservation]
        names = site.names()
        assert names.index("vm.stopped") < names.index("vm.undefined")
        assert names.count("vm.stopped") == 1

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.0005, 0.0015, 0.0025, 0.0035, 0.005, 0.01])
def test_a_waker_that_is_killed_at_any_moment_undefines_the_domain_all_the_same(after_seconds: float) -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        site.host.put("db", "off", heard=False)
        there.schedule()
        async with site.waker():
            await pause(1)
            order = there.erase()
            await pause(after_seconds)
        async with site.waker():
            await pause(5)
        assert site.host.of("db") == "missing"
        assert {said.order for said in site.said(VmUndefined)} == {order.id}

    play(scene)


def test_a_host_that_is_away_and_one_that_refuses_are_waited_for() -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        site.host.put("db", "off", heard=False)
        site.host.fates["undefine"].extend([NO, NO, Fate(error="no answer", silent=True)])
        async with site.waker():
            await pause(1)
            site.host.up = False
            site.host.lose()
            there.schedule()
            there.erase()
            await pause(600)
            assert site.said(VmUndefined) == []
            site.host.up = True
            await pause(60)
        assert site.host.of("db") == "missing"
        assert len(site.said(VmUndefined)) == 1

    play(scene)


def test_a_domain_that_is_there_again_after_it_was_undefined_is_undefined_again() -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        site.host.put("db", "off", heard=False)
        site.host.fates["undefine"].append(Fate(lands_after=None))
        async with site.waker():
            await pause(1)
            there.schedule()
            there.erase()
            await pause(3)
        assert did(site).count("undefine") == 2
        assert len(site.said(VmUndefined)) == 1

    play(scene)


def erased_elsewhere(site: Site, there: Leaving, *, until: Stage) -> str:
    """The host was dead while VM db was deleted, and is the house's again; the order to erase it."""
    there.keep()
    there.schedule()
    now = site.desk.clock.now()
    site.desk.write(HostFenced("platform", "h1", "kim", "no power", now))
    order = there.erase()
    site.desk.write(VolumeErased("acme", "db", "h1", order.id, PLACE, 0, now))
    for stage in STAGES[: STAGES.index(until) + 1]:
        site.desk.write(DeletionBegun("acme", "db", "apps", there.deletion, stage, ran=False, begun_at=now))
        if stage != "hard" or until != "hard":
            site.desk.write(DeletionCompleted("acme", "db", "apps", there.deletion, stage, now))
    site.desk.write(HostAdmitted("platform", "h1", "kim", "repaired", now))
    return order.id


@pytest.mark.parametrize("found", ["off", "saved"])
def test_a_host_that_was_dead_while_a_vm_was_erased_forgets_its_domain(found: DomainState) -> None:
    async def scene() -> None:
        site = Site()
        order = erased_elsewhere(site, Leaving(site), until="purge")
        site.host.put("db", found, heard=False)
        site.host.put("other", "off", heard=False)
        async with site.waker():
            await pause(3)
        assert site.host.of("db") == "missing"
        assert site.host.of("other") == "off", "one that the ledger does not know is somebody's"
        assert [(said.order, said.host) for said in site.said(VmUndefined)] == [(order, "h1")]

    play(scene)


@pytest.mark.parametrize(
    ("found", "until"), [("off", "soft"), ("off", "hard"), ("off", "recycle"), ("paused", "purge")]
)
def test_a_domain_is_not_forgotten_before_its_vm_is_erased_nor_once_the_name_is_free_nor_while_it_is_in_ram(
    found: DomainState, until: Stage
) -> None:
    async def scene() -> None:
        site = Site()
        erased_elsewhere(site, Leaving(site), until=until)
        site.host.put("db", found, heard=False)
        async with site.waker():
            await pause(100)
        assert site.host.of("db") == found
        assert site.said(VmUndefined) == []

    play(scene)


def test_a_domain_at_rest_that_is_no_vms_is_said_once_and_counted_and_nothing_is_done_to_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        site = Site()
        erased_elsewhere(site, Leaving(site), until="recycle")
        site.asleep()
        site.host.put("db", "off", heard=False)
        site.host.put("other", "paused", heard=False)
        async with site.waker():
            await pause(200)
        assert (site.host.of("db"), site.host.of("other"), site.host.of("web-1")) == (
            "off",
            "paused",
            "paused",
        )

    play(scene)
    told = [one.getMessage() for one in caplog.records if "belongs to no VM" in one.getMessage()]
    assert [NAME in told[0], domain_name("acme", "other") in told[1], len(told)] == [True, True, 2]
    assert STRANGERS.labels("h1")._value.get() == 2


def test_a_domain_of_a_vm_whose_name_is_not_free_yet_is_somebodys(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        site = Site()
        erased_elsewhere(site, Leaving(site), until="hard")
        site.host.put("db", "off", heard=False)
        async with site.waker():
            await pause(200)

    play(scene)
    assert "belongs to no VM" not in caplog.text


def taken(site: Site, there: Leaving) -> str:
    """Storage has the disk of the domain that is adopted; the order's id."""
    order, now = there.adopt(), site.desk.clock.now()
    site.desk.write(VolumeAdopted("acme", "db", "h1", order.id, FORMER, PLACE, "tiny", 10 * GIB, now))
    return order.id


@pytest.mark.parametrize("found", ["off", "missing"])
def test_a_former_domain_goes_once_storage_has_its_disk_and_not_before(found: DomainState) -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        if found != "missing":
            site.host.others[UUID] = found
        async with site.waker():
            there.adopt(number=9)
            await pause(30)
            assert did(site) == []
        site = Site()
        there = Leaving(site)
        there.keep()
        if found != "missing":
            site.host.others[UUID] = found
        async with site.waker():
            order = taken(site, there)
            await pause(3)
        assert site.host.others == {}
        assert [(said.order, said.domain) for said in site.said(VmAdopted)] == [(order, NAME)]
        assert site.said(VmAdoptFailed) == []

    play(scene)


@pytest.mark.parametrize("found", ["running", "paused", "saved"])
def test_a_former_domain_that_is_not_off_is_not_touched_and_the_adoption_ends(found: DomainState) -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        site.host.others[UUID] = found
        async with site.waker():
            order = taken(site, there)
            await pause(100)
        assert site.host.others == {UUID: found}
        assert [(said.order, said.code) for said in site.said(VmAdoptFailed)] == [(order, "domain-runs")]
        assert site.said(VmAdopted) == []

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.0005, 0.0015, 0.0025, 0.004, 0.01])
def test_a_waker_that_is_killed_at_any_moment_of_an_adoption_ends_it_once(after_seconds: float) -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        site.host.others[UUID] = "off"
        async with site.waker():
            await pause(1)
            order = taken(site, there)
            await pause(after_seconds)
        async with site.waker():
            await pause(5)
        assert site.host.others == {}
        assert {said.order for said in site.said(VmAdopted)} == {order}

    play(scene)


def test_an_adoption_whose_disk_was_not_taken_is_none_of_the_wakers_business() -> None:
    async def scene() -> None:
        site = Site()
        there = Leaving(site)
        there.keep()
        site.host.others[UUID] = "off"
        order, now = there.adopt(), site.desk.clock.now()
        site.desk.write(VolumeAdoptFailed("acme", "db", "h1", order.id, "DomainRuns", "It runs.", now))
        async with site.waker():
            await pause(100)
        assert did(site) == []
        assert site.host.others == {UUID: "off"}

    play(scene)
