"""The announcer at work: who serves gets traffic, who leaves gets none, whatever the load balancer went through."""

import asyncio
import logging
from typing import Final

from events.bus.ledger import Bell, Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from projections.fleet.fold import Fleet
from services.announcer.metrics import ANSWERS
from services.announcer.mirror import Mirror
from services.announcer.port import Balancer, BalancerError, backend_name
from services.announcer.route import Routes
from services.announcer.state import Changes

_LOOK_SECONDS: Final = 2.0
_DRAIN_LOOK_SECONDS: Final = 0.1
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_KEEP_SECONDS: Final = 0.1
"""Changes within this time are written into the file together."""
_MOST_REMOVED: Final = 8
"""Servers that one look clears away."""

log = logging.getLogger("virtscale.announcer")


class Announcer:
    """The only one who touches the load balancer; one announcer serves all pools."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, balancer: Balancer) -> None:
        self._ledger = ledger
        self._balancer = balancer
        self._mirror = Mirror(balancer)
        self._routes = Routes(ledger, Pen(bus, "announcer", clock), clock, self._mirror)
        self._fleet = ledger.fold(Fleet)
        self._changes = ledger.fold(Changes)
        self._bell = ledger.bell()
        self._keep = Bell()
        self._running: dict[tuple[str, str], asyncio.Event] = {}

    async def work(self) -> None:
        """The load balancer and its file follow the ledger, for ever."""
        await self._ledger.live.wait()
        self._routes.began = self._ledger.seq
        await self._look()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_for_ever(tasks), name="look at the load balancer")
            tasks.create_task(self._keep_for_ever(), name="keep the load balancer's file")
            seen = 0
            while True:
                changed = self._changes.since(seen)
                seen = self._ledger.seq
                for key in changed:
                    self._wake(tasks, key)
                if changed:
                    self._keep.ring()
                await self._bell.wait()

    def _wake(self, tasks: asyncio.TaskGroup, key: tuple[str, str]) -> None:
        """The VM's way looks at the ledger again; it is begun when there is something to do and nobody on it."""
        news = self._running.get(key)
        if news is not None:
            news.set()
        elif key in self._fleet.vms and self._routes.needs(self._fleet.vms[key]):
            self._running[key] = asyncio.Event()
            tasks.create_task(self._walk(key, self._running[key]), name=f"announce {'/'.join(key)}")

    async def _walk(self, key: tuple[str, str], news: asyncio.Event) -> None:
        try:
            await self._routes.settle(key, news)
        finally:
            del self._running[key]

    async def _look_for_ever(self, tasks: asyncio.TaskGroup) -> None:
        """What the load balancer has is compared with the ledger: often while somebody drains, else now and then.

        So a load balancer that was killed, started again or reloaded, and a call that failed or landed late, are
        put right within seconds.
        """
        loop = asyncio.get_running_loop()
        compare_at, pause = 0.0, _FIRST_PAUSE_SECONDS
        while True:
            if await self._look() and (self._routes.troubled or loop.time() >= compare_at):
                compare_at = loop.time() + _LOOK_SECONDS
                if not self._routes.troubled:
                    self._routes.calm()
                    pause = _FIRST_PAUSE_SECONDS
                self._routes.troubled = False
                for key in self._fleet.vms:
                    self._wake(tasks, key)
                await self._clear_away()
            for news in self._routes.draining.values():
                news.set()
            await self._routes.looks.wait(_DRAIN_LOOK_SECONDS if self._routes.draining else _LOOK_SECONDS)
            if self._routes.troubled:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _look(self) -> bool:
        try:
            await self._mirror.look(asyncio.get_running_loop().time())
        except BalancerError as error:
            ANSWERS.set(0)
            self._routes.complain(error)
            return False
        ANSWERS.set(1)
        return True

    async def _clear_away(self) -> None:
        """Servers that no VM of the ledger stands behind are gone, or tried again at the next look.

        Sleeping VMs keep their place: that makes their next wake one call. Safe to repeat.
        """
        pools = {backend_name(org, pool): (org, pool) for org, pool in self._fleet.pools}
        strangers = [
            server
            for server in self._mirror.servers.values()
            if server.backend in pools and not self._stands_behind(*pools[server.backend], server.name)
        ]
        for server in strangers[:_MOST_REMOVED]:
            at = server.backend, server.name
            try:
                if server.state != "maint":
                    await self._mirror.set_state(at, "maint")
                if await self._mirror.remove(at):
                    log.info("%s/%s was in the load balancer and is no VM; it is removed", *at)
            except BalancerError as error:
                self._routes.complain(error)
                return

    def _stands_behind(self, org: str, pool: str, name: str) -> bool:
        vm = self._fleet.vms.get((org, name))
        return vm is not None and vm.pool == pool

    async def _keep_for_ever(self) -> None:
        """The file lists who serves, a moment after it changed: a reload or a restart loses none of them."""
        kept: dict[str, dict[str, str]] | None = None
        while True:
            serving = self._serving()
            if serving != kept:
                try:
                    await self._balancer.keep(serving)  # safe to repeat: the file is replaced whole
                    kept = serving
                except BalancerError as error:
                    self._routes.complain(error)
                    if not error.refused:
                        await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
                        continue
                    kept = serving
            await self._keep.wait()
            await asyncio.sleep(_KEEP_SECONDS)

    def _serving(self) -> dict[str, dict[str, str]]:
        serving: dict[str, dict[str, str]] = {}
        for org, pool in self._fleet.pools:
            listed = (
                (name, self._fleet.vms[org, name]) for name in self._fleet.members(org, pool, "serving")
            )
            serving[backend_name(org, pool)] = {name: vm.address for name, vm in listed if vm.address}
        return serving
