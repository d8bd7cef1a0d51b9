"""What the bus says about the ledger's stream as a whole, the same from both of its implementations."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.seams.bus_worlds import GATE, OVERDUE, VIEW, World, a_world, out

MAX_BYTES = 1024**2


@pytest.fixture(params=["memory", "nats"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(request.param, tmp_path, ledger_bytes=MAX_BYTES) as made:
        yield made


async def test_the_store_says_where_the_stream_begins_and_ends_and_what_it_may_hold(world: World) -> None:
    gate, view = await world.connect(GATE), await world.connect(VIEW)
    empty = await view.store()
    for number in range(3):
        await gate.append(out(OVERDUE.format("v"), f"id-{number}"))
    held = await view.store()
    assert (empty.first_seq, empty.last_seq, empty.bytes) == (1, 0, 0)
    assert (held.first_seq, held.last_seq, held.max_bytes) == (1, 3, MAX_BYTES)
    assert held.bytes > 3 * len(OVERDUE)


async def test_a_restarted_server_is_another_server_with_the_same_stream(world: World) -> None:
    view = await world.connect(VIEW)
    before = await view.store()
    await world.kill_server()
    await world.start_server()
    after = await view.store()
    assert before.server_id
    assert after.server_id != before.server_id
    assert after.created == before.created
