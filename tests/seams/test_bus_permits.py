"""Nobody appends without the sealer's permit, the same with both implementations of the bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from events.bus.nats import NatsBus
from events.bus.permissions import CONSUMER_CREATE, CONSUMER_NEXT, DIRECT_GET, LEDGER, PERMIT
from events.bus.port import AnotherLedgerError, Bus, DeniedError, Grant, StaleError, UnpermittedError
from tests.seams.bus_worlds import (
    FENCE,
    GATE,
    OTHER_FENCE,
    REQUESTED,
    SEALER,
    SIGNAL,
    VIEW,
    World,
    a_world,
    out,
)
from tests.support import eventually

LAG_SECONDS = 0.5
PATIENCE_SECONDS = 0.3


@pytest.fixture(params=["memory", "nats"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(request.param, tmp_path) as made:
        yield made


async def grant_of(bus: Bus) -> Grant:
    store = await bus.store()
    return Grant(store.server_id, store.created, store.last_seq, "00" * 32)


async def writer(world: World, lag_seconds: float = LAG_SECONDS) -> Bus:
    return await world.connect(GATE, timeout_seconds=PATIENCE_SECONDS, permit_seconds=lag_seconds)


async def permitted(sealer: Bus, gate: Bus, id: str) -> None:
    """The sealer says once that one may append, and the gate has."""
    await sealer.permit(await grant_of(sealer))

    async def appended() -> bool:
        return (await gate.append(out(OTHER_FENCE, id))).seq > 0

    await eventually(appended)


async def test_without_a_permit_nothing_is_sent(world: World) -> None:
    gate, view = await writer(world), await world.connect(VIEW)
    with pytest.raises(UnpermittedError, match="the sealer has said nothing yet"):
        await gate.append(out(FENCE, "first"))
    with pytest.raises(UnpermittedError):
        await gate.append_batch([out(FENCE, "first"), out(OTHER_FENCE, "second")])
    assert await view.last() == 0


async def test_an_append_waits_for_its_permit_and_then_goes_out_as_it_was(world: World) -> None:
    sealer = await world.connect(SEALER)
    gate = await world.connect(GATE, permit_seconds=LAG_SECONDS)
    waiting = asyncio.create_task(gate.append(out(FENCE, "first", expect=0)))
    await sealer.permit(await grant_of(sealer))
    assert (await waiting).seq == 1
    with pytest.raises(StaleError):
        await gate.append(out(FENCE, "second", expect=0))


async def test_when_the_sealer_falls_silent_every_writer_stops_within_the_lag(world: World) -> None:
    sealer, gate = await world.connect(SEALER), await writer(world)
    await permitted(sealer, gate, "first")
    began = asyncio.get_running_loop().time()
    number = 0

    async def stopped() -> bool:
        nonlocal number
        number += 1
        try:
            await gate.append(out(OTHER_FENCE, f"later-{number}"))
        except UnpermittedError as error:
            return "has been silent for more than 0.5 s" in str(error)
        return False

    await eventually(stopped)
    assert asyncio.get_running_loop().time() - began >= LAG_SECONDS


async def test_a_permit_that_waited_for_a_writer_while_it_was_stopped_does_not_let_it_write(
    world: World,
) -> None:
    sealer, gate = await world.connect(SEALER), await writer(world)
    await permitted(sealer, gate, "first")
    number = 0

    async def written() -> bool:
        nonlocal number
        number += 1
        with suppress(UnpermittedError):
            return (await gate.append(out(OTHER_FENCE, f"later-{number}"))).seq > 0
        return False

    async def refused() -> bool:
        return not await written()

    await eventually(refused)
    grant, last = await grant_of(sealer), (await sealer.store()).last_seq
    for _ in range(5):  # all that was said meanwhile is heard at once, and the sealer is dead by now
        await sealer.permit(grant)
    with pytest.raises(UnpermittedError, match=r"silent for more than 0\.5 s"):
        await gate.append(out(OTHER_FENCE, "too late"))
    assert await sealer.last() == last

    async def goes_on() -> bool:
        await sealer.permit(grant)
        return await written()

    await eventually(goes_on, why="a sealer that speaks on is not heard")


async def test_after_a_restart_of_the_bus_the_old_permit_is_good_for_nothing(world: World) -> None:
    sealer, gate = await world.connect(SEALER), await writer(world, 60.0)
    await permitted(sealer, gate, "first")
    old = await grant_of(sealer)
    await world.kill_server()
    await world.start_server()
    await sealer.permit(old)
    with pytest.raises(UnpermittedError, match="restarted, and the sealer has not compared its store"):
        await gate.append(out(OTHER_FENCE, "second"))
    await permitted(sealer, gate, "third")


async def test_a_writer_never_goes_on_in_another_ledger_than_it_has_read(world: World) -> None:
    sealer, gate = await world.connect(SEALER), await writer(world, 60.0)
    await permitted(sealer, gate, "first")
    another = msgspec.structs.replace(await grant_of(sealer), created="2031-01-01T00:00:00Z")
    await sealer.permit(another)

    async def halted() -> bool:
        try:
            await gate.append(out(OTHER_FENCE, "second"))
        except AnotherLedgerError:
            return True
        return False

    await eventually(halted)
    await sealer.permit(await grant_of(sealer))
    with pytest.raises(AnotherLedgerError, match="start it again"):
        await gate.append(out(OTHER_FENCE, "third"))


async def test_nobody_but_the_sealer_can_permit(world: World) -> None:
    signal, gate = await world.connect(SIGNAL), await writer(world)
    with suppress(DeniedError):  # the twin says so at once; the server later, in a sentence of its own
        await signal.permit(await grant_of(signal))
    with pytest.raises(UnpermittedError):
        await gate.append(out(FENCE, "first"))


async def test_what_the_bus_answers_somebody_on_the_permits_subject_is_no_permit(tmp_path: Path) -> None:
    async with a_world("nats", tmp_path) as world:
        signal, gate = await world.connect(SIGNAL), await writer(world)
        assert isinstance(signal, NatsBus)
        link, heard = signal._link, list[bytes]()
        await link.listen(PERMIT, lambda message: heard.append(message.data))
        grant = msgspec.json.encode(await grant_of(signal))
        await signal.append(out(REQUESTED, "forged", grant))
        await link.send(DIRECT_GET.format(LEDGER), b'{"seq":1}', PERMIT)
        for name, deliver in (("pull", None), ("push", PERMIT)):
            config = {"name": name, "ack_policy": "none", "mem_storage": True, "deliver_subject": deliver}
            body = msgspec.json.encode({"stream_name": LEDGER, "config": config})
            await link.request(CONSUMER_CREATE.format(LEDGER, name), body, 5.0)
        await link.send(CONSUMER_NEXT.format(LEDGER, "pull"), b'{"batch":1}', PERMIT)
        await eventually(lambda: heard.count(grant) == 3, why=str(heard))
        with pytest.raises(UnpermittedError, match="the sealer has said nothing yet"):
            await gate.append(out(FENCE, "first"))
        assert sum("not the sealer's word" in said for said in world.faults) == 1


async def test_what_is_no_event_needs_no_permit(world: World) -> None:
    signal = await world.connect(SIGNAL, timeout_seconds=PATIENCE_SECONDS, permit_seconds=LAG_SECONDS)
    assert (await signal.append(out("dead.acme.shop", "rejected"))).seq == 1
