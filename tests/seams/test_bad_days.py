"""What dies while a request runs: the request still ends, usage is right, nothing is done twice, and work goes on."""

import asyncio
import os
import signal
from collections import Counter

import httpx
import pytest

from events.gate import GateDecided
from events.mail import MailAccepted
from events.vm import VmBooted, VmReady, VmResumed, VmStopped
from projections.activations.fold import Activation
from schemas.intake import Receipt
from tests.seams.client import ORG
from tests.seams.house import House
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDS_SECONDS = 20.0
MAIL_SECONDS = 30.0


async def ends_well(house: House, receipt: Receipt, began: int) -> list[Activation]:
    """The request ended in serving, or in a failure with a reason; and what the ledger says is what is."""
    client = house.client
    trips = await client.ended(receipt, ENDS_SECONDS)
    assert trips
    assert [trip for trip in trips if trip.stage == "failed" and not trip.failure] == []
    await house.usage_is_right()
    awakenings = Counter(
        fact.reservation for kind in (VmResumed, VmBooted) for fact in client.history.facts(began, kind)
    )
    assert [count for count in awakenings.values() if count > 1] == [], "a VM was woken twice for one order"
    assert [fact.vm for fact in client.history.facts(began, VmReady) if fact.rebooted] == []
    answers = Counter(
        answer.request for one in client.history.facts(began, GateDecided) for answer in one.answers
    )
    assert answers[receipt.id] == 1
    serving = {client.fleet.vms[ORG, vm].domain for vm in client.fleet.members(ORG, "web", "serving")}

    async def served() -> bool:
        try:
            return await house.answering(times=2 * len(serving)) == {(200, domain) for domain in serving}
        except httpx.ConnectError:  # the load balancer was killed, and is started again
            return False

    await eventually(served, 10.0, every_seconds=0.1, why=f"traffic does not go to {serving}")
    return trips


@pytest.mark.parametrize("name", ["signal", "gate", "waker", "prober", "announcer"])
async def test_a_worker_killed_with_a_request_before_it_ends_it_in_its_next_life(
    world: House, name: str
) -> None:
    client, began = world.client, world.client.ledger.seq
    world.crew.freeze(name)
    asking = asyncio.create_task(client.scale(1))
    if name == "signal":
        await client.until(lambda: not asking.done(), 1.0, "the request was answered by a frozen worker")
    else:
        await asyncio.wait_for(asyncio.shield(asking), ENDS_SECONDS)
    await world.crew.kill(name)

    trips = await ends_well(world, await asking, began)

    assert [trip.stage for trip in trips] == ["serving"]


@pytest.mark.parametrize("name", ["signal", "gate", "waker", "prober", "announcer"])
async def test_a_worker_killed_at_any_moment_of_a_request_leaves_it_whole(world: House, name: str) -> None:
    client, began = world.client, world.client.ledger.seq
    asking = asyncio.create_task(client.scale(2))
    await client.until(lambda: client.ledger.seq > began, ENDS_SECONDS, "nothing happens")
    await world.crew.kill(name)

    await ends_well(world, await asking, began)

    assert len(await client.served(await client.scale(1))) == 1


async def test_a_refusal_is_mailed_although_the_notifier_was_killed_with_it(world: House) -> None:
    client, began, mails = world.client, world.client.ledger.seq, len(world.world.sink.mails)
    # A house is shared, and one refusal in it may have begun the episode before: then this one waits for a digest.
    waits = any(fact.org == ORG for fact in client.history.facts(0, MailAccepted))
    world.crew.freeze("notifier")
    receipt = await client.scale(500)
    assert await client.ended(receipt) == []
    await world.crew.kill("notifier")

    if waits:
        assert client.awake() == set()
        assert len(world.world.sink.mails) == mails
        return
    await client.until(
        lambda: bool(client.history.facts(began, MailAccepted)), MAIL_SECONDS, "the refusal is not mailed"
    )
    assert [fact.requests for fact in client.history.facts(began, MailAccepted)] == [(receipt.id,)]
    ids = [mail.message_id for mail in world.world.sink.mails if receipt.id in mail.message_id]
    assert len(set(ids)) == 1
    assert client.awake() == set()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_bus_killed_around_a_request_loses_nothing_and_repeats_nothing(
    world: House, moment: str
) -> None:
    client, began = world.client, world.client.ledger.seq
    if moment == "before":
        await world.world.bus.kill()
        receipt = await client.scale(2)
    else:
        receipt = await client.scale(2)
        await world.world.bus.kill()

    trips = await ends_well(world, receipt, began)

    assert [trip.stage for trip in trips] == ["serving"] * 2
    assert len(await client.served(await client.scale(1))) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_load_balancer_killed_around_a_request_serves_all_when_it_is_back(
    world: House, moment: str
) -> None:
    client, began = world.client, world.client.ledger.seq
    await client.served(await client.scale(1))
    if moment == "before":
        await world.world.balancer.kill()
        receipt = await client.scale(1)
    else:
        receipt = await client.scale(1)
        await world.world.balancer.kill()

    await ends_well(world, receipt, began)

    assert len(client.fleet.members(ORG, "web", "serving")) == 2


@pytest.mark.parametrize("moment", ["before", "during", "after"])
async def test_libvirt_killed_around_a_request_costs_no_guest(world: House, moment: str) -> None:
    client, began = world.client, world.client.ledger.seq
    hypervisor = world.world.hypervisor
    assert hypervisor is not None
    if moment == "before":
        await hypervisor.kill()
        receipt = await client.scale(2)
    elif moment == "during":
        hypervisor.part.send(signal.SIGSTOP)
        receipt = await client.scale(2)
        await client.until(
            lambda: len(client.awake()) == 2, ENDS_SECONDS, "the request is not admitted without libvirt"
        )
        await hypervisor.kill()
    else:
        receipt = await client.scale(2)
        await hypervisor.kill()

    trips = await ends_well(world, receipt, began)

    assert [trip.way for trip in trips] == ["resume"] * 2
    assert client.history.facts(began, VmStopped) == []
    assert len(await client.served(await client.scale(1))) == 1


async def test_a_guest_that_dies_while_it_serves_frees_its_capacity_and_gets_no_traffic(world: House) -> None:
    client, began = world.client, world.client.ledger.seq
    hypervisor = world.world.hypervisor
    assert hypervisor is not None
    victim, survivor = [trip.vm for trip in await client.served(await client.scale(2))]
    domain = client.fleet.vms[ORG, victim].domain
    pid = int((hypervisor.directory / "run/libvirt/qemu/run" / f"{domain}.pid").read_text())

    os.kill(pid, signal.SIGKILL)

    await client.until(lambda: client.awake() == {survivor}, ENDS_SECONDS, "the dead VM still counts")
    [stopped] = client.history.facts(began, VmStopped)
    assert (stopped.vm, stopped.found) == (victim, "off")
    assert stopped.cause in {"crashed", "found"}
    await world.usage_is_right()
    other = client.fleet.vms[ORG, survivor].domain

    async def survivor_alone() -> bool:
        return await world.answering(times=4) == {(200, other)}

    await eventually(survivor_alone, 10.0, every_seconds=0.1, why="the dead VM still gets traffic")
    assert len(await client.served(await client.scale(1))) == 1
