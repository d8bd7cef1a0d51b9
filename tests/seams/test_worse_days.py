"""What nobody ordered and what dies on the way back, during a boot, or all at once."""

import asyncio
import os
import signal

import libvirt
import pytest

from events.gate import BootOrdered, GateDecided
from events.vm import VmDrained, VmFoundAwake, VmQuiesced, VmReady, VmStopped, VmUnready
from schemas.intake import Quiesce
from tests.seams.client import ORG, POOL
from tests.seams.house import VMS, House
from virtscale.ask import new_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDS_SECONDS = 20.0
BOOTS_SECONDS = 60.0


def domain_of(house: House, vm: str) -> str:
    """The name of the VM's domain."""
    domain = house.client.fleet.vms[ORG, vm].domain
    assert domain is not None
    return domain


async def on_domain(house: House, vm: str, call: str) -> None:
    """Somebody calls libvirt behind the house's back."""

    def at_once() -> None:
        with libvirt.open(house.world.hypervisors[house.client.fleet.vms[ORG, vm].host].uri) as connection:
            domain = connection.lookupByName(domain_of(house, vm))
            {"resume": domain.resume, "reset": domain.reset}[call]()

    await asyncio.to_thread(at_once)


def kill_guest(house: House, vm: str) -> None:
    """The guest's QEMU is dead by SIGKILL."""
    hypervisor = house.world.hypervisors[house.client.fleet.vms[ORG, vm].host]
    pid_file = hypervisor.directory / "run/libvirt/qemu/run" / f"{domain_of(house, vm)}.pid"
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


async def quiesce(house: House, count: int) -> None:
    await house.client.ask("quiesce", Quiesce(pool=POOL, key=new_key(), count=count))


@pytest.mark.parametrize("name", ["gate", "announcer", "waker"])
async def test_a_worker_killed_on_the_way_back_still_gets_the_vms_to_sleep(world: House, name: str) -> None:
    client = world.client
    awake = {trip.vm for trip in await client.served(await client.scale(2))}
    began = client.ledger.seq
    world.crew.freeze(name)
    await quiesce(world, 2)
    await world.crew.kill(name)

    await client.until(lambda: not client.awake(), ENDS_SECONDS, "the VMs stay awake")
    assert {fact.vm for fact in client.history.facts(began, VmQuiesced)} == awake
    assert len(client.history.facts(began, VmDrained)) == 2
    assert await world.running() == set()


async def test_libvirt_and_the_bus_killed_on_the_way_back_still_get_the_vms_to_sleep(world: House) -> None:
    client = world.client
    assert world.world.hypervisor is not None
    await client.served(await client.scale(2))
    await asyncio.gather(world.world.hypervisor.kill(), quiesce(world, 2))
    await world.world.bus.kill()

    await client.until(lambda: not client.awake(), ENDS_SECONDS, "the VMs stay awake")
    await world.usage_is_right()


async def test_everything_killed_at_once_ends_the_request_all_the_same(world: House) -> None:
    client, began = world.client, world.client.ledger.seq
    receipt = await client.scale(2)
    await asyncio.gather(
        *(world.crew.kill(name) for name in world.crew.names()),
        world.world.bus.kill(),
        world.world.balancer.kill(),
        *(hypervisor.kill() for hypervisor in world.world.hypervisors.values()),
    )

    trips = await client.ended(receipt, ENDS_SECONDS)

    assert [trip for trip in trips if trip.stage == "failed" and not trip.failure] == []
    await world.usage_is_right()
    assert client.history.facts(began, VmStopped) == []
    assert len(await client.served(await client.scale(1))) == 1


async def test_a_vm_resumed_behind_the_gates_back_counts_at_once_and_is_put_to_sleep(world: House) -> None:
    client, began = world.client, world.client.ledger.seq
    vm = next(iter(client.fleet.members(ORG, POOL, "quiesced")))

    await on_domain(world, vm, "resume")

    await client.until(
        lambda: bool(client.history.facts(began, VmQuiesced)), ENDS_SECONDS, "the stray is not put to sleep"
    )
    [stray] = client.history.facts(began, VmFoundAwake)
    [asleep] = client.history.facts(began, VmQuiesced)
    assert (stray.vm, asleep.vm) == (vm, vm)
    assert asleep.reservation == stray.reservation
    assert client.awake() == set()
    assert await world.running() == set()


async def test_a_guest_that_rebooted_in_its_sleep_is_found_out_and_boots_cold_before_it_serves(
    world: House,
) -> None:
    """Its boot id gives it away, or before that its agent, which is away until the guest has booted."""
    client, began = world.client, world.client.ledger.seq
    vm = next(iter(client.fleet.members(ORG, POOL, "quiesced")))
    before = client.fleet.vms[ORG, vm].boot_id
    await on_domain(world, vm, "reset")

    await client.scale(VMS)

    await client.until(
        lambda: len(client.fleet.members(ORG, POOL, "serving")) == VMS,
        BOOTS_SECONDS,
        "nobody takes its place",
    )
    [unready] = client.history.facts(began, VmUnready)
    assert (unready.vm, unready.code in {"rebooted", "not-refreshed"}) == (vm, True), unready
    again = [fact for fact in client.history.facts(began, VmReady) if fact.vm == vm]
    assert len(again) == 1
    assert again[0].boot_id not in {before, ""}
    orders = [order for one in client.history.facts(began, GateDecided) for order in one.orders]
    assert [order.vm for order in orders if isinstance(order, BootOrdered)] == [vm]


@pytest.mark.parametrize("name", ["waker", "prober"])
async def test_a_sleeper_that_died_is_booted_although_a_worker_is_killed_meanwhile(
    world: House, name: str
) -> None:
    client, began = world.client, world.client.ledger.seq
    vm = next(iter(client.fleet.by_host(ORG, POOL, "quiesced")["h1"]))
    kill_guest(world, vm)
    await client.until(
        lambda: client.states()[vm] == "stopped", ENDS_SECONDS, "nobody sees that a sleeper is gone"
    )
    [stopped] = client.history.facts(began, VmStopped)
    assert (stopped.vm, stopped.reservation) == (vm, None)

    receipt = await client.stock(VMS)
    await client.until(lambda: client.awake() == {vm}, ENDS_SECONDS, "no boot is ordered")
    await world.crew.kill(name)

    trips = await client.ended(receipt, BOOTS_SECONDS)

    assert [(trip.vm, trip.way, trip.stage) for trip in trips] == [(vm, "boot", "prepared")]
    orders = [order for one in client.history.facts(began, GateDecided) for order in one.orders]
    assert len([order for order in orders if isinstance(order, BootOrdered)]) == 1
    assert await world.running() == set()
