"""The telemetry: what pools' demand was, tick by tick. It fades, and nothing in it decides what happened.

Two signal workers tell the same tick, so a reader takes the first word on a pool and tick.
"""

import datetime as dt
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec
from prometheus_client import Counter

from events.bus.outsiders import Tally
from events.bus.permissions import TELEMETRY_OF
from events.bus.port import Bus, FullError, Outgoing, StaleError, TooLargeError, UnansweredError
from events.stored import Stored
from schemas.telemetry import MOST_POOLS, TICK_SECONDS, Told

MOST_TELLING: Final = 1000
"""Messages under way at once; one more is dropped, for the bus does not keep up and the next tick comes in 15 s."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)

DROPPED: Final = Counter(
    "virtscale_telemetry_dropped_total", "Messages of telemetry that the bus did not take, or not in time."
)
UNREADABLE: Final = Counter(
    "virtscale_telemetry_unreadable_total", "Messages in the telemetry that are none, and were left out."
)

log = logging.getLogger("virtscale.telemetry")
_told: Final = msgspec.json.Decoder(Told)


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of the telemetry: whose, what, and when the bus took it."""

    org: str
    told: Told
    stored_ns: int
    """Unix time of the bus, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in the order in which the bus took them, and where to read on: `seq` is that of the last one looked at."""

    heard: tuple[Heard, ...]
    seq: int
    end: bool
    """Nothing came: whoever goes on reads the same place again, later."""


class Telemetry:
    """One connection's way to tell and to read. A message that is lost is lost: the next tick says more."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._telling = 0
        self._tally = Tally(log.warning)

    async def tell(self, org: str, told: Told) -> None:
        """The tick's demand is in the stream, or counted as dropped; returns within the bus's timeout.

        Raises `Denied` where the bus does not let this user tell. Safe to repeat: readers take the first word.
        """
        if self._telling >= MOST_TELLING:
            DROPPED.inc()
            self._tally.add(
                "behind", f"Telemetry of {org} is dropped: {MOST_TELLING} messages are under way already."
            )
            return
        for part in _parts(told):
            payload = msgspec.json.encode(part)
            subject = TELEMETRY_OF.format(org)
            name = hashlib.sha256(b"telemetry " + subject.encode() + b" " + payload).hexdigest()[:32]
            self._telling += 1
            try:
                await self._bus.append(Outgoing(subject, name, payload))
            except (UnansweredError, FullError, StaleError, TooLargeError) as error:
                DROPPED.inc()
                self._tally.add("dropped", f"Telemetry of {org} is dropped: {error}")
            finally:
                self._telling -= 1

    async def after(self, seq: int, org: str = "*") -> Page:
        """The next messages behind a place in the stream, of one org or of all; the oldest there are behind place 0.

        Raises `Unanswered` when the bus is away.
        """
        return self._page(await self._bus.telemetry(TELEMETRY_OF.format(org), after=seq), seq)

    async def since(self, instant: dt.datetime, org: str = "*") -> Page:
        """The first messages that the bus took at or after an instant; `after` reads on. Raises `Unanswered`."""
        since_ns = (instant - _EPOCH) // _MICROSECOND * 1000
        return self._page(await self._bus.telemetry(TELEMETRY_OF.format(org), since_ns=since_ns), 0)

    def _page(self, group: list[Stored], seq: int) -> Page:
        heard = tuple(one for one in map(_read, group) if one is not None)
        if len(heard) < len(group):
            UNREADABLE.inc(len(group) - len(heard))
            self._tally.add(
                "unreadable", f"The telemetry holds what is none of it near {group[-1].seq}; left out."
            )
        return Page(heard, group[-1].seq if group else seq, end=not group)


def _read(stored: Stored) -> Heard | None:
    """The message; None for one that nobody's pen wrote, or that says something else."""
    if not stored.id:
        return None
    try:
        told = _told.decode(stored.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Heard(stored.subject.partition(".")[2], told, stored.stored_ns)


def _parts(told: Told) -> Iterator[Told]:
    """The same in messages of a bounded length."""
    pools = iter(told.pools)
    while part := tuple(islice(pools, MOST_POOLS)):
        yield Told(told.tick, part)


def tick_of(instant: dt.datetime, tick_seconds: int = TICK_SECONDS) -> int:
    """The number of the tick that an instant lies in."""
    return (instant - _EPOCH) // dt.timedelta(seconds=tick_seconds)


def end_of(tick: int, tick_seconds: int = TICK_SECONDS) -> dt.datetime:
    """The instant at which a tick is over, and the next one begins."""
    return _EPOCH + dt.timedelta(seconds=(tick + 1) * tick_seconds)
