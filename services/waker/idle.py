"""For how long no VM was awake on a host, and what the host measured of itself meanwhile, told when it ends and every hour.

Since when a host is idle is in the ledger, and outlives its waker; what it measures is not, so that a waker which starts in the
middle of an idle time has nothing to say of that part.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from events.bus.ledger import Bell
from events.clock import Clock
from events.dead import DeadHosts
from events.envelope import Recorded
from events.fences import Fences
from events.gate import GateDecided, Rise
from events.host import (
    Energy,
    HostAdmitted,
    HostCordoned,
    HostFenced,
    HostIdled,
    HostRegistered,
    HostRemoved,
    Residency,
)
from events.vm import VmFoundAwake, VmQuiesced, VmStopped, VmWakeFailed
from projections.fleet.fold import Fleet
from schemas.names import PLATFORM
from services.waker.outcomes import Outcomes
from services.waker.state import Key
from services.waker.sysfs import Counters, Meter

LEAST: Final = dt.timedelta(seconds=60)
"""A host that is idle for less is not worth an event: pools breathe faster than that."""

EVERY: Final = dt.timedelta(hours=1)
SAMPLE_SECONDS: Final = 60.0
"""The energy counter of a package begins anew after 262 kJ: 44 minutes at 100 W."""

MOST_TOLD: Final = 16
"""Residencies and energies in one event."""

_LATE: Final = dt.timedelta(seconds=5)
"""A meter that was set going this much later than its host fell idle has still measured the whole."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time without a VM awake, from where it was last told of, and whether it has been."""

    since: dt.datetime
    until: dt.datetime | None = None
    told: bool = False


class Idleness:
    """Since when each host is idle, and which idle times have ended and were not told yet."""

    def __init__(self) -> None:
        self._fences = Fences()
        self._dead = DeadHosts()
        self._awake: dict[str, dict[Key, str]] = {}
        self._on: dict[Key, str] = {}
        self.now: dict[str, Span] = {}
        """By host; one that is not in it is not idle, or dead."""
        self.over: dict[str, Span] = {}
        """The last idle time of each host that is over and worth telling."""

    def apply(self, recorded: Recorded) -> None:
        """The idleness now includes the event."""
        match recorded.fact:
            case HostRegistered(host=host, observed_at=moment) as fact:
                self._dead.apply(fact)
                self._fall_idle(host, moment)
            case HostAdmitted(host=host, admitted_at=moment) as fact:
                self._dead.apply(fact)
                self._fall_idle(host, moment)
            case HostFenced(host=host) | HostRemoved(host=host) as fact:
                self._dead.apply(fact)
                self._forget(host)
            case HostCordoned():
                pass
            case GateDecided(org=org, orders=orders, now=now) as decided if self._fences.pass_on(
                recorded, decided
            ):
                for order in orders:
                    if isinstance(order, Rise) and order.host not in self._dead:
                        self._begin((org, order.vm), order.host, order.id, now)
            case VmFoundAwake(org=org, vm=vm, host=host, reservation=reservation, observed_at=moment):
                if (org, vm) not in self._on:
                    self._begin((org, vm), host, reservation, moment)
            case VmQuiesced(org=org, vm=vm, reservation=reservation, quiesced_at=moment):
                self._end((org, vm), reservation, moment)
            case VmStopped(org=org, vm=vm, reservation=reservation, stopped_at=moment):
                self._end((org, vm), reservation, moment)
            case VmWakeFailed(org=org, vm=vm, reservation=reservation, observed_at=moment):
                self._end((org, vm), reservation, moment)
            case HostIdled() as told:
                self._tell(told)
            case _:
                pass

    def _begin(self, key: Key, host: str, reservation: str, moment: dt.datetime) -> None:
        former = self._on.get(key)
        if former is not None and former != host:
            self._awake[former].pop(key, None)
        self._on[key] = host
        self._awake.setdefault(host, {})[key] = reservation
        span = self.now.pop(host, None)
        if span is not None and moment > span.since and (span.told or moment - span.since >= LEAST):
            self.over[host] = Span(span.since, moment, span.told)

    def _end(self, key: Key, reservation: str | None, moment: dt.datetime) -> None:
        host = self._on.get(key)
        if host is not None and self._awake[host].get(key) == reservation:
            del self._on[key]
            del self._awake[host][key]
            self._fall_idle(host, moment)

    def _fall_idle(self, host: str, moment: dt.datetime) -> None:
        if not self._awake.get(host) and host not in self._dead:
            self.now.setdefault(host, Span(moment))

    def _forget(self, host: str) -> None:
        for key in self._awake.pop(host, {}):
            self._on.pop(key, None)
        self.now.pop(host, None)
        self.over.pop(host, None)

    def _tell(self, told: HostIdled) -> None:
        over, now = self.over.get(told.host), self.now.get(told.host)
        if over is not None and over.until is not None and told.idle_from <= over.since < told.idle_until:
            if told.ended or told.idle_until >= over.until:
                del self.over[told.host]
            else:
                self.over[told.host] = Span(told.idle_until, over.until, told=True)
        elif now is not None and not told.ended and told.idle_from <= now.since < told.idle_until:
            self.now[told.host] = Span(told.idle_until, told=True)


class Idler:
    """The waker's word for how its host idles; `counters` is None where the host's own are out of reach."""

    def __init__(
        self,
        idleness: Idleness,
        fleet: Fleet,
        outcomes: Outcomes,
        clock: Clock,
        counters: Callable[[], Awaitable[Counters]] | None,
    ) -> None:
        self._idleness = idleness
        self._fleet = fleet
        self._outcomes = outcomes
        self._clock = clock
        self._counters = counters
        self._meter: Meter | None = None
        self._sample_at = 0.0
        """When the counters are read again, on the loop's clock."""
        self._measured: dt.datetime | None = None
        """The beginning of the idle time that the meter measures."""

    async def watch(self, host: str, cpus: Callable[[], int], bell: Bell) -> None:
        """Each idle time of the host is told, for ever."""
        while True:
            over, now = self._idleness.over.get(host), self._idleness.now.get(host)
            moment = self._clock.now()
            if over is not None and over.until is not None:
                await self._tell(host, cpus(), over, over.until, ended=True)
            elif now is not None and moment - now.since >= EVERY:
                await self._tell(host, cpus(), now, moment, ended=False)
            elif now is not None:
                await bell.wait(await self._sample(now))
            else:
                self._meter = self._measured = None
                await bell.wait()

    async def _sample(self, now: Span) -> float:
        """After how many seconds to come back; the counters were read if it was time.

        The bell rings for everybody's events, and a machine has hundreds of counters: they are read by time alone.
        """
        loop = asyncio.get_running_loop()
        begins = self._measured != now.since
        if self._counters is not None and (begins or loop.time() >= self._sample_at):
            counted = await self._counters()
            if begins:
                self._measured = now.since
                self._meter = Meter(counted) if self._clock.now() - now.since <= _LATE else None
            elif self._meter is not None:
                self._meter.sample(counted)
            self._sample_at = loop.time() + SAMPLE_SECONDS
        return SAMPLE_SECONDS if self._counters is None else max(0.001, self._sample_at - loop.time())

    async def _tell(self, host: str, cpus: int, span: Span, until: dt.datetime, *, ended: bool) -> None:
        meter = None
        if self._counters is not None and self._measured == span.since and self._meter is not None:
            meter = self._meter
            meter.sample(await self._counters())
        fact = HostIdled(
            org=PLATFORM,
            host=host,
            idle_from=span.since,
            idle_until=until,
            ended=ended,
            paused=self._fleet.paused(host),
            saved=self._fleet.saved(host),
            cpus=cpus,
            residencies=tuple(
                Residency(state, spent // 1000) for state, spent in (meter.idle_us if meter else {}).items()
            )[:MOST_TOLD],
            energies=tuple(
                Energy(zone, drawn // 1000) for zone, drawn in (meter.energy_uj if meter else {}).items()
            )[:MOST_TOLD],
        )
        # Safe to repeat: of two that begin at one moment readers take the longer.
        await self._outcomes.idled(fact)
        self._meter = self._measured = None
        if not ended and self._counters is not None:
            # What follows is measured from where this ended, and not from the next sample on.
            self._measured, self._meter = until, Meter(await self._counters())
            self._sample_at = asyncio.get_running_loop().time() + SAMPLE_SECONDS
