import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from events.vm import VmAnnounced, VmAnnounceFailed, VmDrained
from services.announcer.mirror import Mirror
from services.announcer.port import BalancerError, Server, ServerState
from services.announcer.worker import Announcer
from tests.simulation.clock import VirtualClock, VirtualLoop, pause
from tests.support import eventually
from tests.told import Told, telling

ADDRESS = "127.0.0.1:20001"
AT = ("be_acme_web", "web-1")


class Toy:
    """A load balancer in memory: what it was asked, what it has, and whether it answers."""

    def __init__(self) -> None:
        self.has: dict[tuple[str, str], Server] = {}
        self.asked: list[str] = []
        self.kept: list[dict[str, dict[str, str]]] = []
        self.away = False
        self.look_seconds = 0.001

    async def _call(self, what: str) -> None:
        self.asked.append(what)
        await pause(0.001)
        if self.away:
            raise BalancerError("The toy is away.")

    async def servers(self) -> Mapping[tuple[str, str], Server]:
        await self._call("look")
        seen = dict(self.has)
        await pause(self.look_seconds)
        return seen

    async def add(self, backend: str, name: str, address: str) -> None:
        await self._call(f"add {name}")
        self.has[backend, name] = Server(backend, name, address, "maint")

    async def set_state(self, backend: str, name: str, state: ServerState) -> None:
        await self._call(f"{state} {name}")
        if (backend, name) not in self.has:
            raise BalancerError("No such server.")
        known = self.has[backend, name]
        self.has[backend, name] = Server(backend, name, known.address, state, known.sessions)

    async def cut(self, backend: str, name: str) -> int:
        await self._call(f"cut {name}")
        known = self.has[backend, name]
        self.has[backend, name] = Server(backend, name, known.address, known.state)
        return known.sessions

    async def remove(self, backend: str, name: str) -> bool:
        await self._call(f"remove {name}")
        return self.has.pop((backend, name), None) is not None

    async def keep(self, servers: Mapping[str, Mapping[str, str]]) -> None:
        await pause(0.001)
        self.kept.append({backend: dict(listed) for backend, listed in servers.items()})

    def busy(self, sessions: int) -> None:
        known = self.has[AT]
        self.has[AT] = Server(*AT, known.address, known.state, sessions)

    def calls(self) -> list[str]:
        """What was asked about web-1, without looks."""
        return [one for one in self.asked if one != "look"]


@asynccontextmanager
async def announcing(told: Told, toy: Toy) -> AsyncGenerator[None]:
    async with told.at_work(
        "announcer", lambda ledger, bus, clock: Announcer(ledger, bus, clock, toy).work()
    ):
        yield


def story(tell: Callable[[Told, Toy], Awaitable[None]]) -> None:
    """The story is told in virtual time."""
    loop = VirtualLoop()

    async def whole() -> None:
        async with telling(VirtualClock(loop)) as told:
            await tell(told, Toy())

    try:
        loop.run_until_complete(whole())
    finally:
        loop.end()


async def warm(told: Told) -> None:
    await told.boot("web-1")
    await told.defined("web-1", ADDRESS)
    await told.proven("web-1", cold=True)
    await told.ready("web-1")


def test_announcing_a_prepared_vm_is_one_call() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        async with announcing(told, toy):
            await told.boot("web-1")
            await told.defined("web-1", ADDRESS)
            await eventually(lambda: AT in toy.has)
            toy.asked.clear()
            await told.ready("web-1")
            await told.becomes("web-1", "serving")
            assert toy.calls() == ["ready web-1"]

    story(tell)


def test_a_balancer_that_stays_away_for_20_s_ends_the_order_and_the_vm_stays_out_of_it() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        toy.away = True
        async with announcing(told, toy):
            await warm(told)
            started = asyncio.get_running_loop().time()
            await told.becomes("web-1", "unannounced", 60)
            assert 20 <= asyncio.get_running_loop().time() - started < 23
            toy.away = False
            toy.has[AT] = Server(*AT, ADDRESS, "ready")  # a call landed late
            await eventually(lambda: toy.has[AT].state == "maint")
        assert [one.code for one in told.all(VmAnnounceFailed)] == ["balancer-unreachable"]
        assert told.all(VmAnnounced) == []

    story(tell)


def test_a_vm_that_stops_while_the_balancer_is_away_is_not_announced_any_more() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        toy.away = True
        async with announcing(told, toy):
            await warm(told)
            await pause(1)
            await told.crashed("web-1")
            toy.away = False
            await pause(10)
        assert told.all(VmAnnounced) == []
        assert told.all(VmAnnounceFailed) == []
        assert all(server.state == "maint" for server in toy.has.values())

    story(tell)


def test_sessions_are_waited_for_until_the_drain_time_is_over_and_then_cut() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        async with announcing(told, toy):
            await warm(told)
            await told.becomes("web-1", "serving")
            toy.busy(3)
            started = asyncio.get_running_loop().time()
            await told.drain("web-1", 45)
            await told.becomes("web-1", "drained", 60)
            assert 45 <= asyncio.get_running_loop().time() - started < 45.5
            assert toy.calls()[-3:] == ["drain web-1", "maint web-1", "cut web-1"]
        assert [one.sessions_cut for one in told.all(VmDrained)] == [3]

    story(tell)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_cuts_nobody_off_before_the_drain_time_is_over(hours: int) -> None:
    async def tell(told: Told, toy: Toy) -> None:
        async with announcing(told, toy):
            await warm(told)
            await told.becomes("web-1", "serving")
            toy.busy(3)
            started = asyncio.get_running_loop().time()
            await told.drain("web-1", 45, ordered_at=told.clock.now() + dt.timedelta(hours=hours))
            await told.becomes("web-1", "drained", 60)
            assert 45 <= asyncio.get_running_loop().time() - started < 45.5

    story(tell)


def test_a_drain_survives_a_balancer_that_forgets_and_one_that_remembers_too_well() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        async with announcing(told, toy):
            await warm(told)
            await told.becomes("web-1", "serving")
            toy.busy(1)
            await told.drain("web-1", 45)
            await pause(1)
            toy.has[AT] = Server(*AT, ADDRESS, "ready", 1)  # started again with an older file
            await eventually(lambda: toy.has[AT].state == "drain")
            del toy.has[AT]  # started again with the newest
            started = asyncio.get_running_loop().time()
            await told.becomes("web-1", "drained", 60)
            assert asyncio.get_running_loop().time() - started > 40
        assert [one.sessions_cut for one in told.all(VmDrained)] == [0]

    story(tell)


@pytest.mark.parametrize("killed_after_seconds", [0.0005, 0.0015, 0.0025, 0.0035, 0.05, 1.0])
def test_an_announcer_killed_at_any_moment_is_replaced_by_one_that_finishes(
    killed_after_seconds: float,
) -> None:
    async def tell(told: Told, toy: Toy) -> None:
        await warm(told)
        async with announcing(told, toy):
            await pause(killed_after_seconds)
        async with announcing(told, toy):
            await told.becomes("web-1", "serving")
            await told.drain("web-1", 45)
            await pause(killed_after_seconds)
        async with announcing(told, toy):
            await told.becomes("web-1", "drained")
            assert toy.has[AT].state == "maint"

    story(tell)


def test_the_file_lists_who_serves_and_nobody_else() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        async with announcing(told, toy):
            await warm(told)
            await told.becomes("web-1", "serving")
            await eventually(lambda: toy.kept[-1] == {"be_acme_web": {"web-1": ADDRESS}})
            await told.drain("web-1", 45)
            await eventually(lambda: toy.kept[-1] == {"be_acme_web": {}}, 1.0)

    story(tell)


def test_a_look_does_not_undo_what_was_called_while_it_was_under_way() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        del told
        toy.has[AT] = Server(*AT, ADDRESS, "ready")
        toy.look_seconds = 1.0
        mirror = Mirror(toy)
        await mirror.look(0.0)
        look = asyncio.create_task(mirror.look(1.0))
        await pause(0.5)
        await mirror.set_state(AT, "maint")
        await look
        assert mirror.servers[AT].state == "maint"
        toy.has[AT] = Server(*AT, ADDRESS, "drain")
        await mirror.look(2.0)
        assert mirror.servers[AT].state == "drain"

    story(tell)


@pytest.mark.parametrize("call", ["maint web-1", "cut web-1"])
def test_a_drain_that_is_taken_back_while_it_ends_is_not_told_as_ended_and_the_vm_serves(call: str) -> None:
    async def tell(told: Told, toy: Toy) -> None:
        async with announcing(told, toy):
            await warm(told)
            await told.becomes("web-1", "serving")
            toy.busy(2)
            await told.drain("web-1", 5)
            await eventually(lambda: toy.asked[-1] == call, 30.0, every_seconds=0.0005)
            cancel = await told.cancel_drain("web-1")
            await told.becomes("web-1", "serving")
            await pause(5)
            assert told.all(VmAnnounced)[-1].order == cancel
            assert told.all(VmDrained) == []
            assert toy.has[AT].state == "ready"
            assert toy.has[AT].sessions == (2 if call == "maint web-1" else 0)

    story(tell)


def test_a_drain_that_is_taken_back_at_any_moment_leaves_a_vm_that_serves_or_one_that_drained() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        async with announcing(told, toy):
            await warm(told)
            await told.becomes("web-1", "serving")
            for tenth in range(60):
                toy.busy(tenth % 3)
                await told.drain("web-1", 1)
                await pause(tenth * 0.02)
                await told.cancel_drain("web-1")
                await told.becomes("web-1", "serving")
                assert toy.has[AT].state == "ready", tenth

    story(tell)
