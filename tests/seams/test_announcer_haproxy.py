import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from events.host import HostRegistered
from events.scale import ScaleRequested
from events.vm import VmAnnounced, VmAnnounceFailed, VmDrained, VmReady
from lab.balancer import Balancer, Frontend
from lab.ports import LOOPBACK, free_ports
from services.announcer.config import mark
from services.announcer.haproxy import Haproxy
from services.announcer.port import BalancerError
from services.announcer.worker import Announcer
from services.gate.worker import Gate
from tests import papers
from tests.support import eventually
from tests.told import Told, telling

BACKEND = "be_acme_web"


class Site:
    """An HAProxy, the installation's part of its configuration, and guests that say their names."""

    def __init__(self, directory: Path) -> None:
        pool_port, metrics_port = free_ports(2)
        self.balancer = Balancer(directory, [Frontend("acme", "web", pool_port)], metrics_port, keep=True)
        self.url = f"http://{LOOPBACK}:{pool_port}"
        self.own = directory / "own.cfg"
        self.own.write_text(self.balancer.base_config({BACKEND: [mark(BACKEND)]}))
        self.haproxy = Haproxy(self.balancer.socket, self.balancer.configuration, self.own)
        self.slow = asyncio.Event()
        """Requests for /slow are answered once this is set."""
        self.under_way = 0
        self.guests = AsyncExitStack()

    async def guest(self, name: str) -> str:
        """A guest that answers with its name; where."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                asked = await reader.readuntil(b"\r\n\r\n")
                if asked.startswith(b"GET /slow"):
                    self.under_way += 1
                    await self.slow.wait()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\nConnection: close\r\n\r\n"
                writer.write((head + name).encode())
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(answer, LOOPBACK, 0)
        self.guests.callback(server.close)
        return f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"

    async def get(self, path: str = "/") -> str:
        """Who answered, or the status when nobody did."""
        async with httpx.AsyncClient(timeout=20) as client:
            try:
                answer = await client.get(self.url + path)
            except httpx.TransportError as error:
                return type(error).__name__
        return answer.text if answer.status_code == 200 else str(answer.status_code)

    async def answers(self, rounds: int = 4) -> set[str]:
        return {await self.get() for _ in range(rounds)}

    async def reloads(self) -> bool:
        """True once HAProxy reads its file anew; just after its start the master refuses for a moment."""
        try:
            await self.balancer.reload()
        except OSError:
            return False
        return True

    async def state(self, name: str) -> str | None:
        try:
            found = (await self.haproxy.servers()).get((BACKEND, name))
        except BalancerError:
            return None
        return found.state if found else None

    def kept(self) -> list[str]:
        """The server lines of the file that a restart reads."""
        lines = self.balancer.configuration.read_text().splitlines()
        return [line.strip() for line in lines if line.strip().startswith("server ")]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    site = Site(tmp_path)
    async with site.guests:
        await site.balancer.start()
        yield site
        site.slow.set()
        await site.balancer.stop()


@pytest.fixture
async def told() -> AsyncGenerator[Told]:
    async with telling() as told:
        yield told


def announcing(told: Told, site: Site) -> AbstractAsyncContextManager[None]:
    return told.at_work(
        "announcer", lambda ledger, bus, clock: Announcer(ledger, bus, clock, site.haproxy).work()
    )


async def warm(told: Told, name: str, address: str) -> str:
    """The VM booted and its guest answered; the order's id."""
    order = await told.boot(name)
    await told.defined(name, address)
    await told.proven(name, cold=True)
    await told.ready(name)
    return order


@asynccontextmanager
async def serving(told: Told, site: Site, *names: str) -> AsyncGenerator[None]:
    """An announcer is at work, and these VMs serve."""
    async with announcing(told, site):
        for name in names:
            await warm(told, name, await site.guest(name))
        for name in names:
            await told.becomes(name, "serving")
        yield


async def test_a_vm_on_its_way_waits_in_maintenance_and_gets_traffic_once_it_is_warm(
    told: Told, site: Site
) -> None:
    address = await site.guest("web-1")
    async with announcing(told, site):
        order = await told.boot("web-1")
        await told.defined("web-1", address)
        await eventually(lambda: site.state("web-1"))
        assert await site.state("web-1") == "maint"
        assert await site.get() == "503"
        await told.ready("web-1")
        await told.becomes("web-1", "serving")
        assert await site.get() == "web-1"
    announced = told.all(VmAnnounced)
    assert [(one.order, one.backend, one.address) for one in announced] == [(order, BACKEND, address)]


async def test_announcing_costs_a_few_milliseconds_between_two_events(told: Told, site: Site) -> None:
    """The budget of the step is 525 ms; what is the announcer's own must vanish in it."""
    names = [f"web-{number}" for number in range(1, 9)]
    async with serving(told, site, *names):
        pass
    at = {ready.vm: ready.answered_at for ready in told.all(VmReady)}
    took_ms = sorted(
        (one.announced_at - at[one.vm]) / dt.timedelta(milliseconds=1) for one in told.all(VmAnnounced)
    )
    print("announced after", [round(one, 2) for one in took_ms], "ms")
    assert len(took_ms) == 8
    assert took_ms[4] < 50


async def test_stock_that_is_only_prepared_gets_no_traffic(told: Told, site: Site) -> None:
    address = await site.guest("web-2")
    async with serving(told, site, "web-1"):
        await told.boot("web-2", purpose="stock")
        await told.defined("web-2", address)
        await told.ready("web-2")
        assert await site.answers() == {"web-1"}
        assert await site.state("web-2") is None
    assert told.vm("web-2").state == "warm"


async def test_a_drained_vm_ends_its_slow_request_and_gets_no_new_one(told: Told, site: Site) -> None:
    async with serving(told, site, "web-1", "web-2"):
        slow = [asyncio.create_task(site.get("/slow")) for _ in range(2)]
        await eventually(lambda: site.under_way == 2)
        drain = await told.drain("web-1", 30)
        await eventually(lambda: _is(site, "web-1", "drain"))
        assert await site.answers() == {"web-2"}
        assert told.vm("web-1").state == "draining"
        site.slow.set()
        assert sorted(await asyncio.gather(*slow)) == ["web-1", "web-2"]
        await told.becomes("web-1", "drained")
        assert await site.state("web-1") == "maint"
    drained = told.all(VmDrained)
    assert [(one.drain, one.sessions_cut) for one in drained] == [(drain, 0)]


async def test_sessions_that_outlast_the_drain_are_cut_and_counted(told: Told, site: Site) -> None:
    async with serving(told, site, "web-1"):
        slow = asyncio.create_task(site.get("/slow"))
        await eventually(lambda: site.under_way == 1)
        await told.drain("web-1", 1)
        await told.becomes("web-1", "drained")
        assert (await slow) != "web-1"
    assert [one.sessions_cut for one in told.all(VmDrained)] == [1]


async def test_an_announcer_that_starts_again_does_not_start_the_drain_time_again(
    told: Told, site: Site
) -> None:
    async with serving(told, site, "web-1"):
        slow = asyncio.create_task(site.get("/slow"))
        await eventually(lambda: site.under_way == 1)
    await told.drain("web-1", 45, ordered_at=told.clock.now() - dt.timedelta(seconds=44))
    async with announcing(told, site):
        await told.becomes("web-1", "drained")
    assert (await slow) != "web-1"
    assert [one.sessions_cut for one in told.all(VmDrained)] == [1]


async def test_a_drain_that_is_taken_back_serves_again_within_milliseconds(told: Told, site: Site) -> None:
    async with serving(told, site, "web-1"):
        slow = asyncio.create_task(site.get("/slow"))
        await eventually(lambda: site.under_way == 1)
        await told.drain("web-1", 30)
        await eventually(lambda: _is(site, "web-1", "drain"))
        started = asyncio.get_running_loop().time()
        cancel = await told.cancel_drain("web-1")
        await told.becomes("web-1", "serving")
        assert asyncio.get_running_loop().time() - started < 0.09
        assert await site.get() == "web-1"
        site.slow.set()
        assert await slow == "web-1"
    assert told.all(VmAnnounced)[-1].order == cancel
    assert told.all(VmDrained) == []


async def test_demand_that_returns_takes_drains_back_and_each_vm_gets_work_again(
    told: Told, site: Site
) -> None:
    names = [f"web-{number}" for number in range(1, 6)]
    async with serving(told, site, *names):
        slow = [asyncio.create_task(site.get("/slow")) for _ in range(40)]
        await eventually(lambda: site.under_way == len(slow))
        now, day = told.clock.now(), dt.timedelta(days=1)
        await told.tell(
            HostRegistered("platform", "h1", "test:///default", 1, "test", 8, 4096, now),
            papers.took_effect(papers.terms("acme", valid_from=now - day, valid_until=now + day), now),
        )
        await told.order(*(told.drain_order(name) for name in names))
        for name in names:
            await eventually(lambda name=name: _is(site, name, "drain"))
        took_ms: list[float] = []
        async with told.at_work("gate", lambda ledger, bus, clock: Gate(ledger, bus, clock, "g1").work([])):
            for number in range(1, len(names) + 1):
                started = asyncio.get_running_loop().time()
                await told.tell(
                    ScaleRequested(
                        "acme", "web", "shop", f"k{number}", "program", 1, None, False, told.clock.now(), None
                    )
                )
                await eventually(
                    lambda number=number: told.fleet.count("acme", "web", frozenset({"serving"})) == number,
                    every_seconds=0.0005,
                )
                took_ms.append((asyncio.get_running_loop().time() - started) * 1000)
        states = [await site.state(name) for name in names]
        site.slow.set()
        assert set(await asyncio.gather(*slow)) <= set(names), "a request was cut off"
    print("request stored -> serving again:", " ".join(f"{one:.1f}" for one in took_ms), "ms")
    assert states == ["ready"] * len(names)
    assert told.all(VmDrained) == []


async def test_a_vm_that_crashed_gets_no_traffic_and_keeps_its_place(told: Told, site: Site) -> None:
    async with serving(told, site, "web-1", "web-2"):
        await told.crashed("web-1")
        await eventually(lambda: _is(site, "web-1", "maint"), 1.0)
        assert await site.answers() == {"web-2"}
        await eventually(lambda: len(site.kept()) == 1)
        order = await told.boot("web-1")
        await told.ready("web-1", "boot-2")
        await told.becomes("web-1", "serving")
        assert await site.answers() == {"web-1", "web-2"}
    assert Counter(one.vm for one in told.all(VmAnnounced)) == {"web-1": 2, "web-2": 1}
    assert told.all(VmAnnounced)[-1].order == order


async def test_a_balancer_killed_and_started_again_serves_the_same_vms_and_nothing_is_said_twice(
    told: Told, site: Site
) -> None:
    async with serving(told, site, "web-1", "web-2"):
        await eventually(lambda: len(site.kept()) == 2)
        await site.balancer.kill()
        await eventually(lambda: _both(site), why="the kept file brings both back")
        await warm(told, "web-3", await site.guest("web-3"))
        await told.becomes("web-3", "serving")
        assert await site.answers(6) == {"web-1", "web-2", "web-3"}
    assert Counter(one.vm for one in told.all(VmAnnounced)) == {"web-1": 1, "web-2": 1, "web-3": 1}
    assert told.all(VmAnnounceFailed) == []


async def test_a_balancer_that_lost_even_its_file_is_put_right_from_the_ledger(
    told: Told, site: Site
) -> None:
    async with serving(told, site, "web-1", "web-2"):
        await told.drain("web-2")
        await told.becomes("web-2", "drained")
        await told.suspend("web-2")
        stale = [f"server web-2 {told.vm('web-2').address}", f"server stranger {LOOPBACK}:9"]
        await eventually(lambda: len(site.kept()) == 1)
        site.balancer.write({BACKEND: stale})
        await eventually(site.reloads)
        await eventually(lambda: _states(site, {"web-1": "ready", "web-2": "maint"}))
        assert await site.answers() == {"web-1"}


async def test_a_vm_that_wakes_while_the_balancer_is_away_is_announced_when_it_is_back(
    told: Told, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(told, site, "web-1"):
        await site.balancer.stop()
        await warm(told, "web-2", await site.guest("web-2"))
        await eventually(lambda: "does not answer" in caplog.text)
        assert told.vm("web-2").state == "warm"
        await site.balancer.restart()
        await told.becomes("web-2", "serving")
        # Its file may be a moment old when it went; what is missing then is added within two seconds.
        await eventually(lambda: _both(site), 5.0)
    assert told.all(VmAnnounceFailed) == []


async def test_an_announcer_killed_before_it_could_say_so_announces_once(told: Told, site: Site) -> None:
    address = await site.guest("web-1")
    await site.haproxy.add(BACKEND, "web-1", address)
    await site.haproxy.set_state(BACKEND, "web-1", "ready")
    order = await warm(told, "web-1", address)
    for _ in range(2):
        async with announcing(told, site):
            await told.becomes("web-1", "serving")
            assert await site.get() == "web-1"
    assert [one.order for one in told.all(VmAnnounced)] == [order]


async def test_a_balancer_without_the_pools_backend_refuses_and_the_ledger_says_so(
    told: Told, site: Site
) -> None:
    site.balancer.frontends = (Frontend("acme", "shop", site.balancer.frontends[0].port),)
    site.balancer.write({})
    await eventually(site.reloads)
    async with announcing(told, site):
        order = await warm(told, "web-1", await site.guest("web-1"))
        await told.becomes("web-1", "unannounced")
    failed = told.all(VmAnnounceFailed)
    assert [(one.order, one.code) for one in failed] == [(order, "balancer-refused")]
    assert "No such backend" in failed[0].text


async def _is(site: Site, name: str, state: str) -> bool:
    return await site.state(name) == state


async def _both(site: Site) -> bool:
    return await site.answers() == {"web-1", "web-2"}


async def _states(site: Site, wanted: dict[str, str]) -> bool:
    try:
        servers = await site.haproxy.servers()
    except BalancerError:
        return False
    return {name: server.state for (_, name), server in servers.items()} == wanted
