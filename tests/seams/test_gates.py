"""Houses without guests: two gates under one fence, and an event that nobody understands."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from events.bus.pen import Pen
from events.bus.port import Bus, Outgoing, UnansweredError
from events.clock import SystemClock
from events.gate import GateDecided
from events.host import HostRegistered
from events.ids import derive
from schemas.intake import Scale
from tests.seams.client import ORG, Client
from tests.seams.crew import Crew
from tests.seams.house import a_client, a_world
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
