"""Two hosts under one gate: one is emptied, goes silent, is declared dead and comes back, and the cap holds throughout."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from events.host import HostCordoned
from events.order import OrderOverdue
from events.vm import VmFoundAwake, VmQuiesced, VmResumed
from schemas.intake import Scale
from tests.seams.client import ORG, POOL
from tests.seams.house import BOOT_SECONDS, House
from tests.support import eventually
from virtscale.ask import new_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDS_SECONDS = 20.0


@pytest_asyncio.fixture(loop_scope="session")
async def house(world: House) -> AsyncIterator[House]:
    """The shared house; both hosts carry VMs again afterwards."""
    yield world
    for host in world.client.fleet.hosts.values():
        if host.state != "ready":
            done = await world.command("host", "admit", host.name, "--reason", "the test is over")
            assert done.code == 0, done.err
    await world.client.until(
        lambda: all(host.state == "ready" for host in world.client.fleet.hosts.values()),
        ENDS_SECONDS,
        "a host stays cordoned",
    )


def hosts_of(house: House, state: str) -> dict[str, str]:
    """The pool's VMs in a state, and where each is."""
    vms = house.client.fleet.vms.values()
    return {vm.name: vm.host for vm in vms if (vm.org, vm.state) == (ORG, state)}


async def drain(house: House, host: str, *words: str):  # noqa: ANN201 - what a command said
    return await house.command("host", "drain", host, "--reason", "new disks", *words)


async def serve_on_h2(house: House) -> str:
    """One VM serves, and it does so on the second host, which alone was ready for a moment."""
    assert (await drain(house, "h1")).code == 0
    [trip] = await house.client.served(await house.client.scale(1))
    assert hosts_of(house, "serving") == {trip.vm: "h2"}
    assert (await house.command("host", "admit", "h1", "--reason", "disks are in")).code == 0
    return trip.vm


async def test_four_vms_are_on_two_hosts_and_both_serve(house: House) -> None:
    assert sorted(hosts_of(house, "quiesced").values()) == ["h1", "h1", "h2", "h2"]

    await house.client.served(await house.client.scale(4))

    domains = {vm.domain for vm in house.client.fleet.vms.values()}

    async def all_answer() -> bool:
        return await house.answering(times=8) == {(200, domain) for domain in domains}

    await eventually(all_answer, ENDS_SECONDS, every_seconds=0.1, why="a guest gets no traffic")
    rows = (await house.command("host", "list", "-o", "json")).rows()
    shown = {row["host"]: (row["state"], row["awake"], row["asleep"], row["waker"]) for row in rows}
    assert shown == {"h1": ("ready", 2, 0, "works"), "h2": ("ready", 2, 0, "works")}


async def test_vms_gather_on_a_host_that_is_awake_and_the_other_stays_idle(house: House) -> None:
    await house.client.served(await house.client.scale(1))
    await house.client.served(await house.client.scale(1))

    assert set(hosts_of(house, "serving").values()) == {"h1"}


async def test_a_drained_host_is_empty_when_others_serve_and_draining_it_again_changes_nothing(
    house: House,
) -> None:
    [trip] = await house.client.served(await house.client.scale(1))
    assert hosts_of(house, "serving") == {trip.vm: "h1"}

    done = await drain(house, "h1")

    assert done.code == 0, done.err
    [(there, host)] = hosts_of(house, "serving").items()
    assert host == "h2"
    lines = [line.strip() for line in done.err.splitlines()]
    assert lines == [
        "host h1 is cordoned: no VM starts or wakes there",
        f"{ORG}/{POOL}: VMs that serve on h1: 1; as many others were granted in their place",
        f"{there} serving on h2",
        f"{ORG}/{POOL}: 1 of 1 are sent to sleep",
        f"{trip.vm} sleeps on h1",
        "host h1 is empty: no VM is awake there, 2 sleep and stay asleep",
    ]
    assert await house.running() == house.client.awake() == {there}

    again = await drain(house, "h1")
    assert (again.code, again.err.splitlines()[1:]) == (0, [lines[-1]])
    assert await house.running() == {there}


async def test_a_drain_that_nobody_can_replace_is_refused_with_numbers_and_the_host_stays_cordoned(
    house: House,
) -> None:
    await house.client.served(await house.client.scale(4))

    done = await drain(house, "h1")

    assert done.code == 3, done.err
    assert "No host has the memory for another VM" in done.err
    assert "host h1 stays cordoned" in done.err
    assert len(house.client.awake()) == 4
    assert house.client.fleet.hosts["h1"].state == "cordoned"

    bare = await drain(house, "h1", "--no-replace")
    assert bare.code == 0, bare.err
    assert set(hosts_of(house, "serving").values()) == {"h2"}
    assert len(house.client.history.facts(0, HostCordoned)) >= 1


async def test_a_silent_host_counts_until_it_is_fenced_and_growth_elsewhere_is_admitted_then(
    house: House,
) -> None:
    client = house.client
    vm = await serve_on_h2(house)
    house.crew.freeze("waker-h2")
    await house.world.hypervisors["h2"].kill()
    began = client.ledger.seq

    rows = {row["host"]: row for row in (await house.command("host", "list", "-o", "json")).rows()}
    assert rows["h1"]["waker"] == "works"
    assert rows["h2"]["waker"].startswith("silent since ")
    assert client.awake() == {vm}

    asked = await house.command("host", "fence", "h2", "--reason", "its rack burnt")
    assert asked.code == 2
    assert f"Fencing h2 releases {ORG}: 1 vCPU and 96 MiB of 1 VMs ({vm} serving)." in asked.err
    assert client.awake() == {vm}

    done = await house.command("host", "fence", "h2", "--reason", "its rack burnt", "--yes")
    assert done.code == 0, done.err
    await client.until(lambda: not client.awake(), ENDS_SECONDS, "a dead host's VM counts")
    [trip] = await client.served(await client.scale(1))
    assert hosts_of(house, "serving") == {trip.vm: "h1"}

    # It was not dead. The guest never stopped, and counts as soon as its waker sees it.
    await house.crew.kill("waker-h2")
    await client.until(
        lambda: bool(client.history.facts(began, VmFoundAwake)), ENDS_SECONDS, "the stray is not seen"
    )
    [stray] = client.history.facts(began, VmFoundAwake)
    assert (stray.vm, stray.host) == (vm, "h2")
    await client.until(
        lambda: any(
            fact.reservation == stray.reservation for fact in client.history.facts(began, VmQuiesced)
        ),
        ENDS_SECONDS,
        "the stray is not put to sleep",
    )
    assert client.awake() == {trip.vm}
    await house.usage_is_right()

    assert (await house.command("host", "admit", "h2", "--reason", "it lives")).code == 0
    woken = await client.served(await client.scale(2), BOOT_SECONDS)
    assert {client.fleet.vms[ORG, one.vm].host for one in woken} == {"h1", "h2"}


@pytest.mark.long
async def test_an_order_on_a_silent_host_goes_overdue_and_its_vm_counts_all_the_same(house: House) -> None:
    """A wake may begin for 60 s and then has 20 s to be ready: only then is it known to be late."""
    client, began = house.client, house.client.ledger.seq
    assert (await drain(house, "h1")).code == 0
    house.crew.freeze("waker-h2")
    receipt = await client.scale(1)

    await client.until(
        lambda: bool(client.history.facts(began, OrderOverdue)), 120.0, "nobody raises an alarm"
    )

    [overdue] = client.history.facts(began, OrderOverdue)
    assert client.awake() == {overdue.vm}
    assert client.fleet.vms[ORG, overdue.vm].host == "h2"
    await house.crew.kill("waker-h2")
    [trip] = await client.ended(receipt)
    assert (trip.stage, trip.vm) == ("failed", overdue.vm)
    await client.until(lambda: not client.awake(), ENDS_SECONDS, "it counts although it is proven asleep")


async def test_orders_for_a_fenced_host_are_not_given_and_a_host_in_use_is_not_removed(house: House) -> None:
    client = house.client
    await client.served(await client.scale(1))
    began = client.ledger.seq

    in_use = await house.command("host", "remove", "h1", "--reason", "sold")
    assert in_use.code == 3
    assert "VMs are awake on the host" in in_use.err

    fenced = await house.command("host", "fence", "h2", "--reason", "a drill", "--yes")
    assert fenced.code == 0, fenced.err
    assert "No VM counts on host h2" in fenced.err
    receipt = await client.ask("scale", Scale(pool=POOL, key=new_key(), add=2, wait=True))
    assert (receipt.outcome, receipt.code) == ("refused", "HostsFull")
    assert [fact.vm for fact in client.history.facts(began, VmResumed) if fact.host == "h2"] == []
    drained = await house.command("host", "drain", "h2", "--reason", "a drill")
    assert drained.code == 3
    assert "declared dead" in drained.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("add", "h9", "xen:///system"), 2, "is no way to a hypervisor"),
        (("add", "h9", "qemu+tcp://127.0.0.1/system"), 2, "is no way to a hypervisor"),
        (("add", "h9", "qemu+tls:///system"), 2, "names no machine"),
        (("add", "h9", "qemu+ssh://me:secret@127.0.0.1/system"), 2, "a password in it"),
        (("add", "h9", "qemu:///session?socket=/nowhere/sock"), 1, "No hypervisor answers at"),
        (("add", "h9", "qemu+ssh://root@127.0.0.1:1/system"), 1, "No hypervisor answers at"),
        (("add", "h9", "qemu+tls://127.0.0.1:1/system?pkipath=/nowhere"), 1, "TLS failed"),
        (("add", "h9", "test:///default"), 1, "could not do the same"),
        (("add", "H9", "qemu:///system"), 2, "cannot be the name of a host"),
        (("add", "h1", "qemu:///session?socket=/nowhere/sock"), 1, "There is a host h1 already"),
        (("drain", "h9", "--reason", "x"), 5, "There is no host h9"),
        (("fence", "h9", "--reason", "x", "--yes"), 5, "There is no host h9"),
        (("remove", "h9", "--reason", "x"), 5, "There is no host h9"),
        (("drain", "h1", "--reason", ""), 2, "A reason is 1 to 200"),
    ],
)
async def test_what_cannot_be_meant_of_a_host_is_refused_in_one_sentence_and_nothing_is_added(
    house: House, words: tuple[str, ...], code: int, sentence: str
) -> None:
    hosts = dict(house.client.fleet.hosts)

    done = await house.command("host", *words)

    assert (done.code, len(done.err.splitlines())) == (code, 1), done.err
    assert sentence in done.err
    assert done.out == ""
    assert not list((house.directory / "hosts").glob("*"))
    assert house.client.fleet.hosts == hosts


async def test_a_hypervisor_that_is_in_the_house_is_not_added_a_second_time(house: House) -> None:
    uri = house.world.house.hosts[1].uri

    done = await house.command("host", "add", "h9", uri)

    assert done.code == 1
    assert f"{uri} is in the house already, as host h2. Nothing was added." in done.err
