"""What the breakers know: where VMs are tried, how often that failed, and which VMs are lost by it."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from events.ahead import is_to_come
from events.breaker import BreakerClosed, BreakerOpened

REPLACED_WITHIN: Final = dt.timedelta(seconds=60)
"""A failed VM is replaced so soon or never: whoever still wants it has asked again by then. One that is so long in being switched
off is waited for no more either, so that a host that does not answer keeps no pool below what is wanted."""

STALE_GUEST: Final = frozenset({"not-refreshed", "clock-off", "rebooted"})
"""Codes of guests that woke and are not fit to serve: the host did its part, and a cold boot mends it."""

DIED: Final = "guest-died"
PAUSED: Final = "guest-paused"
"""What is told of guests that started and ended before they answered: switched off or crashed, or paused by nobody's order, as QEMU
does where a disk is full."""

UNTAKEN: Final = frozenset({"balancer-unreachable", "balancer-refused"})
"""Codes of VMs that could serve, and that the load balancer did not take: another VM would fare no better."""

Place = Literal["host", "template", "sleepers", "balancer"]
"""Where the pool's VMs are not started: a host, new ones from a template, sleepers of a template, which woke unfit to serve, or
anywhere, since the load balancer took none of those before. The ledger has the last three under the scope `template`; which one
opened, its code says, and which one closed, what was due."""

Key = tuple[str, str, Place, str]
"""Org, pool, and the host or template; sleepers are those of a template, and what the balancer did not take is named as the pool."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row at one place, and, once it was opened, until when nothing is tried there."""

    failures: int = 0
    code: str = ""
    """Of the last failure."""
    told_failures: int = 0
    """As its opening said; those that are counted since then come into no view before they are told."""
    told_code: str = ""
    openings: int = 0
    """How often it was opened since something last woke there."""
    opened_seq: int = 0
    opened_at: dt.datetime | None = None
    until: dt.datetime | None = None
    failed: bool = False
    """It is to be opened, or opened again."""
    worked: bool = False
    """Something woke there after its time: it is to be closed."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One order that starts a VM, under way."""

    reservation: str
    pool: str
    host: str
    template: str | None
    request: str
    replaceable: bool
    """It was to serve, and is no replacement itself."""
    seq: int
    awaited_until: dt.datetime
    """The latest moment at which it could serve if all is well; whoever is told that it did not begin by then still waits for it."""
    sleepers: str | None = None
    """The pool's template where it was asleep, which says whose sleepers wake unfit."""
    cold: bool = False
    """Its guest woke and was not fit to serve."""
    failed_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A VM that failed to wake and counts no more; somebody still waits for one."""

    pool: str
    vm: str
    host: str
    reservation: str
    request: str
    lost_at: dt.datetime
    cold: bool
    """Its place is taken by a VM that boots: another sleeper would be no fitter to serve."""


def keys_of(fact: BreakerOpened | BreakerClosed) -> tuple[Key, ...]:
    """Which breakers the fact may be about; one that opens is about the first."""
    if fact.scope == "host":
        return ((fact.org, fact.pool, "host", fact.name),)
    template: Key = (fact.org, fact.pool, "template", fact.name)
    sleepers: Key = (fact.org, fact.pool, "sleepers", fact.name)
    balancer: Key = (fact.org, fact.pool, "balancer", fact.name)
    if isinstance(fact, BreakerOpened):
        return (sleepers if fact.code in STALE_GUEST else balancer if fact.code in UNTAKEN else template,)
    return (template, sleepers, balancer)


def lately(trip: Trip, now: dt.datetime) -> bool:
    """Whether it failed so lately that it is waited for until it is off; by a clock that was ahead, nobody would be for long."""
    at = trip.failed_at
    return at is not None and now < at + REPLACED_WITHIN and not is_to_come(at, now)


def places(org: str, trip: Trip | None, code: str = "") -> Iterable[Key]:
    """Where the trip was tried; what the template itself lacks is not the host's fault, a guest that woke unfit is its sleep's, and
    what the load balancer did not take is its own.
    """
    if trip is None:
        return
    if code in UNTAKEN:
        yield (org, trip.pool, "balancer", trip.pool)
        return
    unfit = code in STALE_GUEST
    if not unfit and code != "template-missing":
        yield (org, trip.pool, "host", trip.host)
    if not unfit and trip.template is not None:
        yield (org, trip.pool, "template", trip.template)
    if (unfit or not code) and trip.sleepers is not None:
        yield (org, trip.pool, "sleepers", trip.sleepers)
