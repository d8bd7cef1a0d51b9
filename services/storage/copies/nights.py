"""Which VM is to be backed up tonight: rules, and what they go by. Pure.

A night is a local day in the zone of the pool's window, from that window's opening to its close. Backups are made each night, also where
the window is for some weekdays alone: those are the days on which the VM may be interrupted, and a backup interrupts nobody.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from events.copy import CopyDue, CopyFailed, CopyMade, CopyRestored
from events.deletion import DeletionBegun, DeletionCancelled
from events.envelope import Recorded
from events.fact import Fact
from events.pool import PoolDefined
from events.volume import VolumeAdopted, VolumeCreated
from projections.copies.fold import Copies
from projections.deletions.fold import Deletions
from projections.directory.fold import Directory
from projections.fleet.fold import Fleet
from projections.volumes.fold import Volumes
from schemas.copy import of_night
from schemas.maintenance import Window
from schemas.pool import Pool
from schemas.zones import ZoneError, zone

MOST_TRIES: Final = 3
BETWEEN: Final = dt.timedelta(minutes=10)
"""From one try of a night's backup to the next."""

_DAY: Final = dt.timedelta(days=1)


class Due(msgspec.Struct, frozen=True):
    """A backup that is to be asked for now."""

    org: str
    vm: str
    pool: str
    night: dt.date
    attempt: int

    @property
    def copy(self) -> str:
        """The name of the night's backup."""
        return of_night(self.night)


class Nights:
    """When each VM's backup was last asked for; and a number that changes whenever something may have come to be due.

    A backup that is asked for, or made, makes none due: at night all VMs would be looked through after each.
    """

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            PoolDefined,
            CopyDue,
            CopyMade,
            CopyFailed,
            CopyRestored,
            VolumeCreated,
            VolumeAdopted,
            DeletionBegun,
            DeletionCancelled,
        }
    )

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], tuple[dt.date, dt.datetime]] = {}
        """The latest night, and when it was asked for."""
        self.changes = 0

    def apply(self, recorded: Recorded) -> None:
        """The event is known."""
        self.changes += type(recorded.fact) in _NEWS
        match recorded.fact:
            case CopyDue(org=org, vm=vm, night=night, due_at=due_at):
                self.asked[org, vm] = max((night, due_at), self.asked.get((org, vm), (night, due_at)))
            case _:
                pass


_NEWS: Final = Nights.TAKES - {CopyDue, CopyMade}


class Sky(msgspec.Struct, frozen=True):
    """All that a night's backups follow from."""

    nights: Nights
    copies: Copies
    deletions: Deletions
    directory: Directory
    fleet: Fleet
    volumes: Volumes


def look(sky: Sky, now: dt.datetime) -> tuple[list[Due], dt.datetime | None]:
    """What is to be asked for now, and when to look again if nothing happens before; None where no pool wants backups."""
    due: list[Due] = []
    again: list[dt.datetime] = []
    for pool in sky.fleet.pools.values():
        if pool.kind != "kept" or pool.backups != "nightly":
            continue
        try:
            night, opens = _night(pool.window, now), opening(pool.window, now)
        except ZoneError:
            continue  # a zone that somebody dropped: the pool is refused when it is defined anew
        again.append(opens)
        if night is not None:
            found = list(_of_pool(sky, pool, night, now))
            due.extend(one for one in found if isinstance(one, Due))
            again.extend(one for one in found if not isinstance(one, Due))
    return due, min(again, default=None)


def _of_pool(sky: Sky, pool: Pool, night: dt.date, now: dt.datetime) -> Iterator[Due | dt.datetime]:
    """For each VM without a backup of this night: that one is due, or when."""
    for kept in sky.directory.of_pool(pool.org, pool.name):
        key = (kept.org, kept.name)
        deletion = sky.deletions.of(*key)
        if key not in sky.volumes.disks or (deletion is not None and deletion.stops):
            continue
        tried = sky.copies.tried(*key, night)
        due = Due(*key, pool.name, night, tried + 1)
        if sky.copies.has_night(*key, night) or tried >= MOST_TRIES or (*key, due.copy) in sky.copies.making:
            continue
        latest, asked_at = sky.nights.asked.get(key, (night, now))
        if latest != night:
            asked_at = now - BETWEEN  # by a clock that was ahead for a while: nobody waits for what it said
        # The same with one that was ahead within the night: nobody waits for longer than after any other try.
        if tried and now < asked_at + BETWEEN and asked_at <= now + BETWEEN:
            yield asked_at + BETWEEN
        else:
            yield due


def _night(window: Window, now: dt.datetime) -> dt.date | None:
    """The night that it is, the latest where there are two; None by day."""
    for night in _days(window, now, (0, -1, -2)):
        opens, closes = night_of(window, night)
        if opens <= now < closes:
            return night
    return None


def opening(window: Window, now: dt.datetime) -> dt.datetime:
    """When the next night begins."""
    return min(
        opens
        for opens, closes in (night_of(window, night) for night in _days(window, now, (-1, 0, 1, 2)))
        if now < opens < closes
    )


def night_of(window: Window, night: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """From when until when it is this night, in UTC. What a change of clocks makes doubtful counts late, so that nothing is early."""
    morning = night + _DAY if window.over_midnight else night
    return _instant(window, night, window.start), _instant(window, morning, window.end)


def _days(window: Window, now: dt.datetime, offsets: Iterable[int]) -> Iterator[dt.date]:
    today = now.astimezone(zone(window.zone)).date()
    return (today + offset * _DAY for offset in offsets)


def _instant(window: Window, day: dt.date, wall: str) -> dt.datetime:
    """When a clock there reads this: the later time where it does so twice, and where it never does, when it reads more."""
    local = dt.datetime.combine(day, dt.time.fromisoformat(wall), zone(window.zone))
    return max(local.astimezone(dt.UTC), local.replace(fold=1).astimezone(dt.UTC))
