"""The twin in memory goes wrong exactly as it is told to, in virtual time and the same way each time."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from events.bus.faults import Delivery, NoFaults, Passage
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.port import Ack, BusError, Outgoing, StaleError, Stored, UnansweredError
from tests.seams.bus_worlds import FENCE, GATE, VIEW, Follower, out
from tests.simulation.clock import VirtualLoop, pause


class Killed(Exception):
    """The worker ended at this line."""


class Script(NoFaults):
    """The faults of one test, in the order in which they are asked for."""

    def __init__(
        self,
        passages: Sequence[Passage] = (),
        deliver: Callable[[tuple[Stored, ...]], Sequence[Delivery]] | None = None,
    ) -> None:
        self.passages = list(passages)
        self.kill_before = False
        self.kill_after = False
        self._deliver = deliver

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        if self.kill_before:
            raise Killed
        return self.passages.pop(0) if self.passages else Passage()

    def after(self, name: str, messages: Sequence[Outgoing], answer: Ack | BusError) -> None:
        if self.kill_after:
            raise Killed

    def deliver(self, name: str, group: tuple[Stored, ...]) -> Sequence[Delivery]:
        return (Delivery(group),) if self._deliver is None else self._deliver(group)


class Scene:
    def __init__(self, faults: Script) -> None:
        self.loop = asyncio.get_running_loop()
        self.faults = faults
        self.server = MemoryServer(lambda: int(self.loop.time() * 1e9), faults=faults)
        self.gate = MemoryBus(self.server, GATE)
        self.view = MemoryBus(self.server, VIEW)

    def ids(self) -> list[str]:
        return [message.id for message in self.server.ledger.messages]


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """The virtual seconds that the scene took."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(scene())
        return loop.time()
    finally:
        loop.end()


def test_a_lost_request_is_never_stored() -> None:
    async def scene() -> None:
        here = Scene(Script([Passage("request-lost")]))
        with pytest.raises(UnansweredError):
            await here.gate.append(out(FENCE, "a"))
        await pause(100)
        assert here.ids() == []

    assert play(scene) == pytest.approx(105)


def test_a_lost_ack_leaves_the_message_stored_and_its_retry_stale() -> None:
    async def scene() -> None:
        here = Scene(Script([Passage("ack-lost", patience_seconds=0.5)]))
        with pytest.raises(UnansweredError):
            await here.gate.append(out(FENCE, "a", expect=0))
        assert here.ids() == ["a"]
        with pytest.raises(StaleError):
            await here.gate.append(out(FENCE, "a", expect=0))

    assert play(scene) == pytest.approx(0.5)


def test_a_message_can_be_stored_long_after_nobody_believes_in_it() -> None:
    async def scene() -> None:
        here = Scene(Script([Passage("stored-late", late_seconds=9, patience_seconds=0)]))
        with pytest.raises(UnansweredError):
            await here.gate.append(out(FENCE, "late", expect=0))
        assert await here.gate.last() == 0
        await pause(8.9)
        assert here.ids() == []
        await pause(0.2)
        assert here.ids() == ["late"]

    play(scene)


def test_a_message_that_is_late_loses_to_the_one_that_was_decided_meanwhile() -> None:
    async def scene() -> None:
        here = Scene(Script([Passage("stored-late", late_seconds=9, patience_seconds=0)]))
        with pytest.raises(UnansweredError):
            await here.gate.append(out(FENCE, "late", expect=0))
        await here.gate.append(out(FENCE, "meanwhile", expect=0))
        await pause(10)
        assert here.ids() == ["meanwhile"]

    play(scene)


def test_a_delay_costs_time_and_nothing_else() -> None:
    async def scene() -> None:
        here = Scene(Script([Passage(request_seconds=1, ack_seconds=2)]))
        assert (await here.gate.append(out(FENCE, "slow"))).seq == 1

    assert play(scene) == pytest.approx(3)


def test_a_worker_killed_at_the_call_has_stored_nothing_and_behind_it_everything() -> None:
    async def scene() -> None:
        here = Scene(Script())
        here.faults.kill_before = True
        with pytest.raises(Killed):
            await here.gate.append(out(FENCE, "never"))
        here.faults.kill_before, here.faults.kill_after = False, True
        with pytest.raises(Killed):
            await here.gate.append(out(FENCE, "stored"))
        assert here.ids() == ["stored"]

    play(scene)


def test_a_worker_killed_while_its_request_travels_does_not_take_it_back() -> None:
    async def scene() -> None:
        here = Scene(Script([Passage(request_seconds=1)]))
        appending = asyncio.create_task(here.gate.append(out(FENCE, "sent")))
        await pause(0.5)
        appending.cancel()
        here.gate.cut()
        await pause(1)
        assert here.ids() == ["sent"]

    play(scene)


def shuffled(group: tuple[Stored, ...]) -> Sequence[Delivery]:
    """Backwards, and all of it once more a second later."""
    return (Delivery(tuple(reversed(group))), Delivery(group, 1.0))


def test_a_group_can_come_reordered_and_twice() -> None:
    async def scene() -> None:
        here = Scene(Script(deliver=shuffled))
        await here.gate.append_batch([out(FENCE, "a"), out(FENCE, "b")])
        follower = Follower(here.view)
        await pause(2)
        assert [message.id for message in follower.raw] == ["b", "a", "a", "b"]
        await follower.end()

    play(scene)


def test_a_delayed_group_is_overtaken() -> None:
    def first_later(group: tuple[Stored, ...]) -> Sequence[Delivery]:
        return (Delivery(group, 3.0 if group[0].seq == 1 else 0.0),)

    async def scene() -> None:
        here = Scene(Script(deliver=first_later))
        follower = Follower(here.view)
        for name in "abc":
            await here.gate.append(out(FENCE, name))
            await pause(0.1)
        assert [message.id for message in follower.raw] == ["b", "c"]
        await pause(3)
        assert [message.id for message in follower.raw] == ["b", "c", "a"]
        await follower.end()

    play(scene)


def test_what_was_dropped_at_the_end_comes_after_a_missed_heartbeat() -> None:
    dropped: list[int] = []

    def drop_once(group: tuple[Stored, ...]) -> Sequence[Delivery]:
        if group[-1].seq == 2 and not dropped:
            dropped.append(2)
            return ()
        return (Delivery(group),)

    async def scene() -> None:
        here = Scene(Script(deliver=drop_once))
        follower = Follower(here.view)
        await here.gate.append(out(FENCE, "a"))
        await pause(1)
        await here.gate.append(out(FENCE, "b"))
        await pause(1)
        assert [message.id for message in follower.raw] == ["a"]
        await pause(10)
        assert [message.id for message in follower.raw] == ["a", "a", "b"]
        await follower.end()

    play(scene)


def test_an_idle_tail_lets_time_rest() -> None:
    async def scene() -> None:
        here = Scene(Script())
        follower = Follower(here.view)
        await here.gate.append(out(FENCE, "a"))
        await pause(3600)
        assert [message.id for message in follower.raw] == ["a"]
        await follower.end()

    loop = VirtualLoop()
    loop.run_until_complete(scene())
    assert loop.turns < 50
    loop.end()


def test_the_dedup_window_ends_in_virtual_time() -> None:
    async def scene() -> None:
        here = Scene(Script())
        await here.gate.append(out(FENCE, "a"))
        await pause(599)
        assert (await here.gate.append(out(FENCE, "a"))).duplicate
        await pause(2)
        assert not (await here.gate.append(out(FENCE, "a"))).duplicate

    play(scene)


def test_a_server_that_is_away_answers_when_it_is_back() -> None:
    async def scene() -> None:
        here = Scene(Script())
        here.server.stop()
        here.loop.call_later(2, here.server.start)
        assert (await here.gate.append(out(FENCE, "patient"))).seq == 1
        assert here.loop.time() == pytest.approx(2)
        here.server.stop()
        with pytest.raises(UnansweredError):
            await here.gate.append(out(FENCE, "in vain"))
        assert here.loop.time() == pytest.approx(7)

    play(scene)
