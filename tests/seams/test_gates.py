"""Houses without guests: two gates under one fence, and an event that nobody understands."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from events.bus.pen import Pen
from events.bus.port import Bus, Outgoing, UnansweredError
from events.clock import SystemClock
from events.envelope import fence
from events.gate import GateDecided
from events.host import HostRegistered
from events.ids import derive
from lab.ports import LOOPBACK
from schemas.house import FILE
from schemas.intake import Scale
from tests.seams.client import ORG, Client
from tests.seams.crew import Crew
from tests.seams.house import TENANT, a_client, a_world, second_contract, second_org
from tests.seams.wire import Side, Wire
from tests.support import eventually
from virtscale.world import World

REQUESTS = 20
EACH = 10
CAP = 110


@pytest.fixture
async def bare() -> AsyncIterator[World]:
    """A world whose hypervisor is libvirt's test driver: orders are given, and nobody is there to carry them out."""
    async with a_world("test") as (world, _):
        yield world


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def at_work(stack: AsyncExitStack, world: World, *names: str, keep: bool = True) -> tuple[Crew, Client]:
    """These workers work; `gate-2` is a second gate."""
    crew = Crew(world.directory, keep=keep)
    stack.push_async_callback(crew.stop)
    for name in names:
        await crew.start(name.split("-")[0], name=name)
    client = await stack.enter_async_context(a_client(world))
    try:
        await client.until(lambda: (ORG, "web") in client.fleet.pools, 10.0, "no gate works")
        await world.enact(client.contracts)
    except AssertionError as error:
        error.add_note(crew.last_words())
        raise
    return crew, client


async def a_roomy_host(stack: AsyncExitStack, world: World) -> None:
    bus = await world.connect("waker-h1")
    stack.push_async_callback(bus.close)
    fact = HostRegistered(
        org="platform",
        host="h1",
        uri="test:///default",
        libvirt_version=1,
        substrate="test",
        vcpu=1000,
        memory_mib=1_000_000,
        observed_at=dt.datetime.now(dt.UTC),
    )
    name = derive("host.registered", "h1")
    await Pen(bus, "waker-h1", SystemClock()).record(fact, id=name, cause=None, correlation=name)


async def test_two_gates_answer_every_request_once_and_keep_the_cap(
    bare: World, stack: AsyncExitStack
) -> None:
    crew, client = await at_work(stack, bare, "signal", "gate", "gate-2")
    await a_roomy_host(stack, bare)
    await client.until(lambda: bool(client.fleet.hosts), 5.0, "no host")
    began = client.ledger.seq

    wishes = [Scale(pool="web", key=f"wish-{number}", add=EACH) for number in range(REQUESTS)]
    asked = [asyncio.create_task(client.ask("scale", wish)) for wish in wishes]
    await client.until(lambda: bool(client.history.facts(began, GateDecided)), 10.0, "nothing is decided")
    await crew.kill("gate")
    receipts = {receipt.id for receipt in await asyncio.gather(*asked)}
    assert len(receipts) == REQUESTS

    def answers() -> Counter[str]:
        rounds = client.history.facts(began, GateDecided)
        return Counter(answer.request for one in rounds for answer in one.answers)

    await client.until(lambda: set(answers()) == receipts, 10.0, "not every request is answered")
    await eventually(lambda: crew.alive("gate"), 10.0)
    assert set(answers().values()) == {1}
    known = [client.trips.requests[request] for request in receipts]
    outcomes = Counter(request.answer.outcome for request in known if request.answer)
    assert outcomes == {"admitted": CAP // EACH, "refused": REQUESTS - CAP // EACH}
    assert (client.usage.used(ORG) + client.usage.reserved(ORG)).vcpu == CAP
    through = [one.through for one in client.history.facts(began, GateDecided)]
    assert through == sorted(through)


async def behind(stack: AsyncExitStack, world: World, here: Path) -> tuple[Wire, Crew]:
    """A wire to the bus that a test can hold, and a crew that reaches the bus over it alone."""
    wire = Wire(int(world.house.bus_url.rpartition(":")[2]))
    port = await wire.open()
    stack.push_async_callback(wire.close)
    house = msgspec.structs.replace(world.house, bus_url=f"nats://{LOOPBACK}:{port}")
    (here / FILE).write_bytes(msgspec.json.encode(house))
    crew = Crew(here, keep=False)
    stack.push_async_callback(crew.stop)
    return wire, crew


def deciders(client: Client, since: int, org: str = ORG) -> list[str]:
    """Which processes decided about the org, in order."""
    return [one.gate.rpartition("-")[2] for one in client.history.facts(since, GateDecided) if one.org == org]


def answers_since(client: Client, since: int) -> Counter[str]:
    """How often each request was answered."""
    rounds = client.history.facts(since, GateDecided)
    return Counter(answer.request for one in rounds for answer in one.answers)


def chain_holds(client: Client) -> bool:
    """Each decision about an org follows the one before it, and none was told twice."""
    last: dict[str, int] = {}
    for recorded in client.history.events:
        if isinstance(recorded.fact, GateDecided):
            if recorded.fact.follows != last.get(recorded.fact.org, 0):
                return False
            last[recorded.fact.org] = recorded.seq
    return True


async def test_both_gates_answer_every_org(bare: World, stack: AsyncExitStack) -> None:
    second_org(bare)
    crew, client = await at_work(stack, bare, "signal", "gate", "gate-2")
    await second_contract(bare, client)
    await a_roomy_host(stack, bare)
    await client.until(lambda: bool(client.fleet.hosts), 5.0, "no host")
    for frozen, working in (("gate", "gate-2"), ("gate-2", "gate")):
        began = client.ledger.seq
        crew.freeze(frozen)
        for org, pool in ((ORG, "web"), (TENANT, "api")):
            wish = Scale(pool=pool, key=f"{org}-{working}", add=1, wait=True)
            receipt = await client.ask("scale", wish, org=org)
            assert receipt.outcome == "admitted", receipt
            await client.ledger.catch_up()
            assert deciders(client, began, org) == [str(crew.pid(working))]
        crew.thaw(frozen)


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_gate_killed_between_append_and_ack_leaves_one_answer_and_no_gap(
    bare: World, stack: AsyncExitStack, tmp_path: Path, side: Side
) -> None:
    """`after`: the decision is stored and its gate never hears so. `before`: it is stored late, if the fence lets it."""
    crew, client = await at_work(stack, bare, "signal", "gate-2")
    await a_roomy_host(stack, bare)
    await client.until(lambda: bool(client.fleet.hosts), 5.0, "no host")
    wire, lonely = await behind(stack, bare, tmp_path)
    await lonely.start("gate")
    crew.freeze("gate-2")
    began = client.ledger.seq
    first = await client.ask("scale", Scale(pool="web", key="first", add=EACH, wait=True))
    await client.until(lambda: answers_since(client, began)[first.id] == 1, 10.0, "the lonely gate is idle")
    assert deciders(client, began) == [str(lonely.pid("gate"))]

    wire.trap(fence(ORG).encode(), side)
    torn = await client.ask("scale", Scale(pool="web", key="torn", add=EACH))
    await asyncio.wait_for(wire.sprung.wait(), 10.0)
    if side == "after":
        await client.until(lambda: answers_since(client, began)[torn.id] == 1, 10.0, "it was not stored")
    crew.thaw("gate-2")
    wishes = [Scale(pool="web", key=f"wish-{number}", add=EACH) for number in range(REQUESTS)]
    receipts = await asyncio.gather(*(client.ask("scale", wish) for wish in wishes))
    asked = {first.id, torn.id, *(receipt.id for receipt in receipts)}
    await client.until(lambda: set(answers_since(client, began)) == asked, 10.0, "a request is not answered")
    await lonely.kill("gate")
    # What the dead gate had said and nobody heard arrives now: the fence has moved on.
    wire.release()
    last = await client.ask("scale", Scale(pool="web", key="last", add=EACH, wait=True))
    assert (last.outcome, last.code) == ("refused", "CapExceeded")

    # The asker heard it from signal's reader; its own may be a moment behind.
    await client.ledger.catch_up()
    counted = answers_since(client, began)
    assert set(counted) == {*asked, last.id}
    assert set(counted.values()) == {1}
    mine = [str(lonely.pid("gate"))]
    assert [one for one in deciders(client, began) if one in mine] == mine * (2 if side == "after" else 1)
    assert (client.usage.used(ORG) + client.usage.reserved(ORG)).vcpu == CAP
    assert len(client.awake()) == CAP
    assert chain_holds(client)


async def test_a_gate_that_cannot_reach_the_bus_admits_nothing_until_it_can(
    bare: World, stack: AsyncExitStack, tmp_path: Path
) -> None:
    crew, client = await at_work(stack, bare, "signal", "gate-2")
    await a_roomy_host(stack, bare)
    await client.until(lambda: bool(client.fleet.hosts), 5.0, "no host")
    wire, lonely = await behind(stack, bare, tmp_path)
    await lonely.start("gate")
    await crew.dismiss("gate-2")
    began = client.ledger.seq
    first = await client.ask("scale", Scale(pool="web", key="first", add=1, wait=True))
    assert first.outcome == "admitted"

    wire.hold()
    asked = await client.ask("scale", Scale(pool="web", key="second", add=1))
    with pytest.raises(AssertionError, match="nobody decides"):
        await client.until(lambda: answers_since(client, began)[asked.id] > 0, 2.0, "nobody decides")
    assert lonely.alive("gate")
    assert len(client.awake()) == 1

    wire.release()
    await client.until(lambda: answers_since(client, began)[asked.id] == 1, 20.0, "it does not come back")
    assert len(client.awake()) == 2
    assert chain_holds(client)


async def test_an_event_that_nobody_understands_stops_every_worker_and_nothing_is_admitted(
    bare: World, stack: AsyncExitStack
) -> None:
    workers = ("signal", "gate", "prober", "announcer", "notifier")
    crew, _ = await at_work(stack, bare, *workers, keep=False)
    admin = await bare.connect("admin")
    stack.push_async_callback(admin.close)
    marks = crew.marks()
    ack = await admin.append(unheard_of())

    await eventually(
        lambda: not any(crew.alive(name) for name in workers), 10.0, why="a worker goes on in the dark"
    )
    for name in workers:
        assert crew.codes(name) == (1,)
        last_words = crew.said(name, marks[name]).splitlines()
        assert [line for line in last_words if line.startswith(f"{name} stopped: ")] == last_words[-1:]
        assert "gate.dissolved.v7" in last_words[-1]
        assert not any("Traceback" in line for line in last_words)

    # A new life reads the same ledger and stops at the same place.
    await crew.start("gate", name="gate-again")
    await eventually(lambda: crew.codes("gate-again") == (1,), 10.0, why="the gate works on half a ledger")
    operator: Bus = await bare.connect("operator")
    stack.push_async_callback(operator.close)
    wish = msgspec.json.encode(Scale(pool="web", key="in-the-dark", add=1))
    with pytest.raises(UnansweredError):
        await operator.ask("in.acme.operator.scale", wish, 1.0)
    assert await admin.last() == ack.seq


def unheard_of() -> Outgoing:
    """An event of a version that this release does not know, on a subject of the ledger."""
    name = derive("unheard-of")
    event = {
        "id": name,
        "source": "/virtscale/gate",
        "type": "gate.dissolved.v7",
        "time": "2026-11-22T09:00:00Z",
        "subject": "acme/org/acme",
        "correlationid": name,
        "traceparent": f"00-{name}-{name[:16]}-01",
        "data": {"org": "acme"},
        "specversion": "1.0",
        "datacontenttype": "application/json",
    }
    return Outgoing("vs.acme.gate.org.acme.gate.dissolved", name, msgspec.json.encode(event))
