"""One VM's way to its traffic and back, as the ledger has it: announced, drained, or quietly put right.

A way is walked in short steps, and before each the ledger is asked again: what the gate changed meanwhile takes
effect after the call under way, and no call is ever abandoned half-way and overtaken by the next.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable
from typing import Final

from events.bus.ledger import Bell, Ledger
from events.bus.pen import Pen
from events.clock import Clock
from events.fact import Fact
from events.ids import derive
from events.vm import VmAnnounced, VmAnnounceFailed, VmDrained
from projections.fleet.fold import Fleet, Vm
from schemas.names import shorten
from services.announcer.decide import (
    ANNOUNCE_SECONDS,
    MOST_REFUSALS,
    Aim,
    aim,
    drain_seconds_left,
    repair,
)
from services.announcer.metrics import TROUBLES
from services.announcer.mirror import Mirror, Place
from services.announcer.port import BalancerError, backend_name
from services.announcer.state import Changes

_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 0.05
"""A request that chose its server just before the drain is counted by then."""

log = logging.getLogger("virtscale.announcer")


class Routes:
    """All VMs' ways, with what they share: the ledger, the mirror, and who waits for the next look."""

    def __init__(self, ledger: Ledger, pen: Pen, clock: Clock, mirror: Mirror) -> None:
        self._ledger = ledger
        self._pen = pen
        self._clock = clock
        self._mirror = mirror
        self._fleet = ledger.fold(Fleet)
        self._changes = ledger.fold(Changes)
        self._complaint = ""
        self.began: int | None = None
        """Where the ledger ended when this announcer began; what is behind it was heard as it happened."""
        self.looks = Bell()
        """Rings when somebody wants the load balancer looked at."""
        self.draining: dict[tuple[str, str], asyncio.Event] = {}
        """VMs whose sessions are watched, each with the event that tells it of a look."""
        self.troubled = False
        """A call failed since this was last set to False: the mirror may be wrong."""

    def needs(self, vm: Vm) -> bool:
        """Whether anything is to be done for the VM."""
        wanted = aim(vm)
        if wanted in {"announce", "drain"}:
            return True
        return (
            self._mirror.known and repair(wanted, vm.address, self._mirror.servers.get(place(vm))) is not None
        )

    async def settle(self, key: tuple[str, str], news: asyncio.Event) -> None:
        """The load balancer does for the VM what the ledger says, as far as it lets us; the looks see to the rest."""
        while True:
            news.clear()
            vm = self._fleet.vms[key]
            match aim(vm):
                case "announce":
                    await self._announce(vm, news)
                case "drain":
                    self.draining[key] = news
                    try:
                        await self._drain(vm, news)
                    finally:
                        del self.draining[key]
                case wanted:
                    if not await self._repair(vm, wanted):
                        return

    def complain(self, error: BalancerError) -> None:
        """The failure is counted, said once, and looked into soon."""
        TROUBLES.labels("refused" if error.refused else "unreachable").inc()
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.warning("%s", error)
        self.troubled = True
        self.looks.ring()

    def calm(self) -> None:
        """The load balancer does what it is told; the next failure is news again."""
        if self._complaint:
            log.info("the load balancer does as it is told again")
            self._complaint = ""

    async def _repair(self, vm: Vm, wanted: Aim) -> bool:
        """One step towards what is wanted; False when there is none to take, or it failed. Safe to repeat."""
        at = place(vm)
        if not self._mirror.known:
            return False
        match repair(wanted, vm.address, self._mirror.servers.get(at)):
            case "add":
                assert vm.address is not None, vm
                return await self._tried(self._mirror.add(at, vm.address))
            case "ready":
                return await self._tried(self._mirror.set_state(at, "ready"))
            case "maint":
                return await self._tried(self._mirror.set_state(at, "maint"))
            case None:
                return False

    async def _announce(self, vm: Vm, news: asyncio.Event) -> None:
        """The VM gets work and the ledger says so; or the load balancer did not take it in time, and it says that."""
        assert vm.address is not None, vm
        loop, at = asyncio.get_running_loop(), place(vm)
        gives_up_at = loop.time() + ANNOUNCE_SECONDS
        known = self._mirror.servers.get(at)
        present = assumed = known is not None and known.address == vm.address
        pause, refusals = _FIRST_PAUSE_SECONDS, 0
        while self._still(vm):
            news.clear()
            try:
                if not present:
                    await self._mirror.add(at, vm.address)  # safe to repeat: it is there once, in maintenance
                    present = True
                await self._mirror.set_state(at, "ready")  # safe to repeat: a ready server stays ready
            except BalancerError as error:
                self.complain(error)
                present = False
                if assumed:  # a load balancer that started anew does not know it any more
                    assumed = False
                    continue
                refusals += error.refused
                if refusals >= MOST_REFUSALS or loop.time() >= gives_up_at:
                    await self._give_up(vm, error)
                    return
                await _wait(news, pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                continue
            fact = VmAnnounced(
                org=vm.org,
                vm=vm.name,
                pool=vm.pool,
                reservation=_id(vm.reservation),
                order=_id(vm.order),
                backend=at[0],
                address=vm.address,
                announced_at=self._clock.now(),
            )
            await self._record(vm, "vm.announced", fact)
            return

    async def _give_up(self, vm: Vm, error: BalancerError) -> None:
        log.error("%s/%s could not be announced: %s", vm.org, vm.name, error)
        fact = VmAnnounceFailed(
            org=vm.org,
            vm=vm.name,
            reservation=_id(vm.reservation),
            order=_id(vm.order),
            code="balancer-refused" if error.refused else "balancer-unreachable",
            text=shorten(str(error)),
            observed_at=self._clock.now(),
        )
        await self._record(vm, "vm.announce-failed", fact)

    async def _drain(self, vm: Vm, news: asyncio.Event) -> None:
        """The VM's sessions ended, or were cut when its time was over, and the ledger says so.

        It is believed only what a look saw that began after the drain took hold. A server that is not there any
        more may have left sessions to the old half of a reload, which nobody can look into: they get their time.
        The trap: so have those of a server that did come through the reload, and of them nothing is known.
        """
        loop, at = asyncio.get_running_loop(), place(vm)
        ends_at = loop.time() + self._seconds_left(vm)
        asked_at, held_at, pause = math.inf, None, _FIRST_PAUSE_SECONDS
        while self._still(vm):
            news.clear()
            found, looked_at = self._mirror.servers.get(at), self._mirror.looked_at
            gone = found is None and looked_at > asked_at
            if found is not None and found.state == "ready":
                held_at = None  # not yet drained, or its file, older than the drain, brought it back
            if held_at is None and not gone:
                asked_at = loop.time()
                if await self._tried(self._mirror.set_state(at, "drain")):  # safe to repeat: it drains on
                    held_at = loop.time()
                    self.looks.ring()
                else:
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            elif gone or (held_at is not None and looked_at > held_at + _SETTLE_SECONDS):
                sessions = found.sessions if found is not None else 0
                if loop.time() >= ends_at or (found is not None and not sessions):
                    cut = await self._close(vm, at, sessions) if found is not None else 0
                    if cut is not None and self._still(vm):
                        await self._tell_drained(vm, cut)
                        return
                    held_at = None
            asks_again = held_at is None and not gone
            await _wait(news, pause if asks_again else max(_SETTLE_SECONDS, ends_at - loop.time()))

    async def _close(self, vm: Vm, at: Place, sessions: int) -> int | None:
        """Nothing reaches the server any more; how many sessions had to be cut, or None when that failed.

        Nobody is cut off from a VM whose drain was taken back meanwhile.
        """
        try:
            await self._mirror.set_state(at, "maint")  # safe to repeat: it stays in maintenance
            if not sessions or not self._still(vm):
                return 0
            return await self._mirror.cut(at)  # safe to repeat: the second time there are none
        except BalancerError as error:
            self.complain(error)
            return None

    async def _tell_drained(self, vm: Vm, cut: int) -> None:
        if cut:
            log.info("%s/%s: its drain time is over, %d sessions were cut", vm.org, vm.name, cut)
        fact = VmDrained(
            org=vm.org,
            vm=vm.name,
            reservation=_id(vm.reservation),
            drain=_id(vm.order),
            sessions_cut=cut,
            drained_at=self._clock.now(),
        )
        await self._record(vm, "vm.drained", fact)

    def _seconds_left(self, vm: Vm) -> float:
        """How long the sessions may still last: all of their time where the drain was heard of as it was ordered.

        No clock says otherwise: one that was set forward would cut them off at once. What was ordered before this announcer began,
        the two clocks must say, for lack of anything better.
        """
        drain = self._changes.drain(vm.org, vm.name, _id(vm.order))
        if drain is None:  # an order that was void took it away: the pool's own time
            return float(self._fleet.pools[vm.org, vm.pool].drain_seconds)
        if self.began is not None and vm.since_seq > self.began:
            return float(drain.seconds)
        return drain_seconds_left(drain, self._clock.now())

    def _still(self, vm: Vm) -> bool:
        """Whether the ledger still says of the VM what it said when its present way began."""
        now = self._fleet.vms[vm.org, vm.name]
        return (now.state, now.order, now.reservation) == (vm.state, vm.order, vm.reservation)

    async def _tried(self, call: Awaitable[None]) -> bool:
        try:
            await call
        except BalancerError as error:
            self.complain(error)
            return False
        return True

    async def _record(self, vm: Vm, name: str, fact: Fact) -> None:
        """The outcome is in the ledger and folded, so that the way goes on from what it says then."""
        order = _id(vm.order)
        ack = await self._pen.record(
            fact, id=derive(order, name, vm.name), cause=order, correlation=vm.request or order
        )
        await self._ledger.reach(ack.seq)


def place(vm: Vm) -> Place:
    """Where the VM stands in the load balancer."""
    return backend_name(vm.org, vm.pool), vm.name


def _id(known: str | None) -> str:
    assert known is not None, "a VM on its way has an order and a reservation"
    return known


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
