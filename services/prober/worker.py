"""The prober at work: from the order on, a guest is asked until it answers or its readiness window is over."""

import asyncio
import datetime as dt
import logging
from dataclasses import dataclass, field
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from events.fact import Fact
from events.ids import derive
from events.vm import VmReady, VmUnready
from projections.fleet.fold import Fleet
from schemas.names import shorten
from services.prober.decide import (
    MOST_IN_FLIGHT,
    first_pause_seconds,
    patience_seconds,
    pause_seconds,
    rebooted,
    window_seconds,
)
from services.prober.port import Guests, Pulse
from services.prober.state import Trip, Trips

_MILLISECOND: Final = dt.timedelta(milliseconds=1)

log = logging.getLogger("virtscale.prober")


@dataclass(frozen=True, slots=True)
class _Answered:
    """The first good answer: when its probe went out, and when it came."""

    pulse: Pulse
    started_at: dt.datetime
    answered_at: dt.datetime


@dataclass(slots=True)
class _Watch:
    """One trip under observation; what its task must notice arrives through `news`."""

    trip: Trip
    address: str | None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    answered: _Answered | None = None
    telling: bool = False
    """Its outcome is being recorded: not to be interrupted any more."""
    probes: int = 0
    step: int = 0
    next_at: float = 0.0
    ends_at: float | None = None
    in_flight: dict[asyncio.Task[None], None] = field(default_factory=dict["asyncio.Task[None]", None])


class Prober:
    """Asks every guest that is on its way up; one prober serves all hosts."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, guests: Guests) -> None:
        self._ledger = ledger
        self._clock = clock
        self._guests = guests
        self._pen = Pen(bus, "prober", clock)
        self._fleet = ledger.fold(Fleet)
        self._trips = ledger.fold(Trips)
        self._bell = ledger.bell()
        self._running: dict[str, tuple[_Watch, asyncio.Task[None]]] = {}

    async def work(self) -> None:
        """Every order to get up is watched until it has an outcome, for ever."""
        await self._ledger.live.wait()
        async with asyncio.TaskGroup() as watches:
            while True:
                self._drop_ended()
                for key, trip in self._trips.open.items():
                    vm = self._fleet.vms.get(key)
                    if vm is None or vm.reservation != trip.order:
                        continue  # an order that was void when it was given
                    known = self._running.get(trip.order)
                    if known is None:
                        self._begin(watches, trip, vm.address)
                    else:
                        self._update(known[0], trip, vm.address)
                await self._bell.wait()

    def _begin(self, watches: asyncio.TaskGroup, trip: Trip, address: str | None) -> None:
        watch = _Watch(trip, address)
        task = watches.create_task(self._observe(watch), name=f"probe {trip.org}/{trip.vm}")
        self._running[trip.order] = watch, task
        task.add_done_callback(lambda _: self._running.pop(trip.order, None))

    def _update(self, watch: _Watch, trip: Trip, address: str | None) -> None:
        """The watch knows what the ledger says by now, and is woken when that is something new."""
        if watch.trip == trip and watch.address == address:
            return
        if watch.trip.awake_at is None and trip.awake_at is not None:
            # It just woke: what was asked before may be lost, so the schedule begins anew, and the oldest probe
            # makes room for it.
            watch.step = 0
            watch.next_at = min(
                watch.next_at, asyncio.get_running_loop().time() + first_pause_seconds(cold=trip.cold)
            )
            if len(watch.in_flight) >= MOST_IN_FLIGHT:
                next(iter(watch.in_flight)).cancel()
        watch.trip, watch.address = trip, address
        watch.news.set()

    def _drop_ended(self) -> None:
        """Nobody asks a guest any more whose reservation ended otherwise."""
        orders = {trip.order for trip in self._trips.open.values()}
        for order, (watch, task) in list(self._running.items()):
            if order not in orders and not watch.telling:
                task.cancel()

    async def _observe(self, watch: _Watch) -> None:
        """The trip has its outcome: the guest answered, or did not within its window."""
        async with asyncio.TaskGroup() as probes:
            await self._ask_until_known(watch, probes)
            for probe in watch.in_flight:
                probe.cancel()
            watch.telling = True
            if watch.answered is not None:
                await self._tell_ready(watch, watch.answered)
            else:
                await self._tell_unready(watch)

    async def _ask_until_known(self, watch: _Watch, probes: asyncio.TaskGroup) -> None:
        """Returns when an answer is there, or when the window is over without one."""
        loop = asyncio.get_running_loop()
        while watch.answered is None:
            watch.news.clear()
            now = loop.time()
            if watch.ends_at is None and watch.trip.awake_at is not None:
                left = window_seconds(watch.trip.ready_seconds, watch.trip.awake_at, self._clock.now())
                watch.ends_at = now + left
            if watch.ends_at is not None and now >= watch.ends_at:
                return
            may_ask = watch.address is not None and len(watch.in_flight) < MOST_IN_FLIGHT
            if may_ask and now >= watch.next_at:
                self._ask(watch, probes, now)
                may_ask = len(watch.in_flight) < MOST_IN_FLIGHT
            moments = [watch.next_at] if may_ask else []
            if watch.ends_at is not None:
                moments.append(watch.ends_at)
            try:
                async with asyncio.timeout_at(min(moments, default=None)):
                    await watch.news.wait()
            except TimeoutError:
                continue

    def _ask(self, watch: _Watch, probes: asyncio.TaskGroup, now: float) -> None:
        """One more probe is on its way. Safe to repeat: it only asks."""
        assert watch.address is not None, watch
        probe = probes.create_task(self._probe(watch, watch.address, patience_seconds(watch.step)))
        watch.in_flight[probe] = None
        watch.probes += 1
        watch.next_at = now + max(pause_seconds(watch.step), first_pause_seconds(cold=watch.trip.cold))
        watch.step += 1

    async def _probe(self, watch: _Watch, address: str, patience: float) -> None:
        probe = asyncio.current_task()
        assert probe is not None
        started_at = self._clock.now()
        try:
            pulse = await self._guests.probe(address, patience)
            if pulse is not None and watch.answered is None:
                watch.answered = _Answered(pulse, started_at, self._clock.now())
        finally:
            watch.in_flight.pop(probe, None)
            watch.news.set()

    async def _tell_ready(self, watch: _Watch, answered: _Answered) -> None:
        trip, pulse = watch.trip, answered.pulse
        known = self._fleet.vms[trip.org, trip.vm].boot_id
        offset_ms = None
        if pulse.clock_ms is not None:
            now_ms = (answered.answered_at - dt.datetime.fromtimestamp(0, dt.UTC)) // _MILLISECOND
            offset_ms = pulse.clock_ms - now_ms
        fact = VmReady(
            org=trip.org,
            vm=trip.vm,
            reservation=trip.order,
            boot_id=pulse.boot_id,
            rebooted=rebooted(known, pulse.boot_id, cold=trip.cold),
            clock_offset_ms=offset_ms,
            probe_started_at=answered.started_at,
            answered_at=answered.answered_at,
            probes=watch.probes,
        )
        if fact.rebooted:
            log.warning("%s/%s was resumed, and answers as another boot than before", trip.org, trip.vm)
        await self._record(trip, "vm.ready", fact)

    async def _tell_unready(self, watch: _Watch) -> None:
        trip = watch.trip
        where = f"at {watch.address}" if watch.address else "(its address is not known)"
        text = (
            f"The guest of {trip.org}/{trip.vm} {where} gave no proper answer to {watch.probes} probes within "
            f"{trip.ready_seconds} s of being awake. It counts until it is stopped."
        )
        log.warning("%s", text)
        fact = VmUnready(
            org=trip.org,
            vm=trip.vm,
            reservation=trip.order,
            code="probe-timeout",
            text=shorten(text),
            observed_at=self._clock.now(),
            probes=watch.probes,
        )
        await self._record(trip, "vm.unready", fact)

    async def _record(self, trip: Trip, name: str, fact: Fact) -> None:
        """The outcome is in the ledger and folded, so that the trip is over for this prober too."""
        ack = await self._pen.record(
            fact, id=derive(trip.order, name, trip.vm), cause=trip.order, correlation=trip.request
        )
        await self._ledger.reach(ack.seq)
