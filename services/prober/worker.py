"""The prober at work: from the order on, a guest is asked until it answers or its readiness window is over."""

import asyncio
import datetime as dt
import logging
from dataclasses import dataclass, field
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock, machine
from events.fact import Fact
from events.ids import derive
from events.vm import VmReady, VmUnready
from projections.fleet.fold import Fleet
from schemas.names import shorten
from services.prober.decide import (
    LONGEST_PAUSE_SECONDS,
    MOST_IN_FLIGHT,
    MOST_OFF_MS,
    Seen,
    Verdict,
    complaint,
    first_pause_seconds,
    is_other_boot,
    judge,
    offset_ms,
    patience_seconds,
    pause_seconds,
    window_seconds,
)
from services.prober.port import Guests, Pulse
from services.prober.state import Trip, Trips

_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_EPOCH: Final = dt.datetime.fromtimestamp(0, dt.UTC)

log = logging.getLogger("virtscale.prober")


@dataclass(frozen=True, slots=True)
class _Answered:
    """A good answer: when its probe went out, when it came, and what it shows."""

    pulse: Pulse
    started_at: dt.datetime
    answered_at: dt.datetime
    offset_ms: int | None
    seen: Seen


@dataclass(slots=True)
class _Watch:
    """One trip under observation; what its task must notice arrives through `news`."""

    trip: Trip
    address: str | None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    answered: _Answered | None = None
    """The latest good answer."""
    off_answers: int = 0
    """Good answers since it was known awake whose clock was off."""
    telling: bool = False
    """Its outcome is being recorded: not to be interrupted any more."""
    probes: int = 0
    step: int = 0
    next_at: float = 0.0
    ends_at: float | None = None
    in_flight: dict[asyncio.Task[None], None] = field(default_factory=dict["asyncio.Task[None]", None])

    def verdict(self) -> Verdict:
        """What is known of the guest by now."""
        return judge(self.trip, self.answered.seen if self.answered else None, self.off_answers)


class Prober:
    """Asks every guest that is on its way up; one prober serves all hosts."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, guests: Guests) -> None:
        self._ledger = ledger
        self._clock = clock
        self._guests_clock = machine(clock)
        """What guests should show: theirs are set by the machine's."""
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
                    if not self._holds(key, trip):
                        continue  # an order that was void when it was given
                    address = self._fleet.vms[key].address
                    known = self._running.get(trip.order)
                    if known is None:
                        self._begin(watches, trip, address)
                    else:
                        self._update(known[0], trip, address)
                await self._bell.wait()

    def _holds(self, key: tuple[str, str], trip: Trip) -> bool:
        vm = self._fleet.vms.get(key)
        return vm is not None and vm.reservation == trip.order

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
            pause = 0.0 if watch.answered is not None else first_pause_seconds(seldom=trip.cold)
            watch.next_at = min(watch.next_at, asyncio.get_running_loop().time() + pause)
            if len(watch.in_flight) >= MOST_IN_FLIGHT:
                next(iter(watch.in_flight)).cancel()
        watch.trip, watch.address = trip, address
        watch.news.set()

    def _drop_ended(self) -> None:
        """Nobody asks a guest any more whose reservation ended otherwise, or with its host."""
        orders = {trip.order for key, trip in self._trips.open.items() if self._holds(key, trip)}
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
            verdict = watch.verdict()
            if watch.answered is not None and verdict == "ready":
                await self._tell_ready(watch, watch.answered)
            else:
                await self._tell_unready(watch, verdict)

    async def _ask_until_known(self, watch: _Watch, probes: asyncio.TaskGroup) -> None:
        """Returns when the guest is ready or never will be, or when the window is over.

        The trap: a guest that answers while its waker has not spoken yet is asked seldom from then on. Each probe takes CPU
        from its agent, which is at work just then; without KVM that made a wake half as long again.
        """
        loop = asyncio.get_running_loop()
        while watch.verdict() in {"again", "wait"}:
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
        known_awake = watch.trip.awake_at is not None
        probe = probes.create_task(
            self._probe(watch, watch.address, patience_seconds(watch.step), known_awake=known_awake)
        )
        watch.in_flight[probe] = None
        watch.probes += 1
        seldom = watch.trip.cold or watch.verdict() == "wait"
        watch.next_at = now + max(pause_seconds(watch.step), first_pause_seconds(seldom=seldom))
        watch.step += 1

    async def _probe(self, watch: _Watch, address: str, patience: float, *, known_awake: bool) -> None:
        probe = asyncio.current_task()
        assert probe is not None
        started_at = self._clock.now()
        try:
            pulse = await self._guests.probe(address, patience)
            if pulse is not None:
                self._note(watch, pulse, started_at, known_awake=known_awake)
                if watch.verdict() == "wait":
                    watch.next_at = max(
                        watch.next_at, asyncio.get_running_loop().time() + LONGEST_PAUSE_SECONDS
                    )
                    for other in watch.in_flight:
                        if other is not probe:
                            other.cancel()
        finally:
            watch.in_flight.pop(probe, None)
            watch.news.set()

    def _note(self, watch: _Watch, pulse: Pulse, started_at: dt.datetime, *, known_awake: bool) -> None:
        """The answer is the latest one, unless it is known good and this one is not: of two under way the older may come last."""
        now = self._clock.now()
        told_ms, off_ms = offset_ms(pulse, (self._guests_clock.now() - _EPOCH) // _MILLISECOND)
        if told_ms is None and not known_awake and watch.trip.refreshes:
            off_ms = 0  # to the second, and perhaps of before it was set: what its agent read back says more
        vm = self._fleet.vms.get((watch.trip.org, watch.trip.vm))
        other_boot = is_other_boot(vm.boot_id if vm is not None else None, pulse.boot_id)
        if watch.verdict() in {"again", "wait"}:
            watch.answered = _Answered(pulse, started_at, now, told_ms, Seen(other_boot, off_ms))
        watch.off_answers += known_awake and off_ms > MOST_OFF_MS

    async def _tell_ready(self, watch: _Watch, answered: _Answered) -> None:
        trip, pulse = watch.trip, answered.pulse
        fact = VmReady(
            org=trip.org,
            vm=trip.vm,
            reservation=trip.order,
            boot_id=pulse.boot_id,
            rebooted=False,
            clock_offset_ms=answered.offset_ms,
            probe_started_at=answered.started_at,
            answered_at=answered.answered_at,
            probes=watch.probes,
        )
        await self._record(trip, "vm.ready", fact)

    async def _tell_unready(self, watch: _Watch, verdict: Verdict) -> None:
        trip = watch.trip
        where = f"at {watch.address}" if watch.address else "(its address is not known)"
        code, text = complaint(
            verdict, trip, where, watch.answered.seen if watch.answered else None, watch.probes
        )
        log.warning("%s", text)
        fact = VmUnready(
            org=trip.org,
            vm=trip.vm,
            reservation=trip.order,
            code=code,
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
