"""When the five stages of a deletion come: local calendar days first, converted to instants afterwards.

prepare 5 days before, soft on the day itself, then hard, purge and recycle as the policy says. The trap: seconds are no days. A
deletion of 2026-10-22 in Berlin whose stages were 86,400 s apart would erase backups an hour earlier than it promised, as every
stage after the clocks go back would be. A stage may come late; none ever comes early.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from schemas.dated import at, named
from schemas.moment import Moment
from schemas.names import Word
from schemas.objection import Objection
from schemas.struct import Value
from schemas.zones import BERLIN, Zone, day_begins, zone

Stage = Literal["prepare", "soft", "hard", "purge", "recycle"]

STAGES: Final[tuple[Stage, ...]] = ("prepare", "soft", "hard", "purge", "recycle")
"""In the order in which they come: contacts are told; the VM is stopped; its disk is gone; its backups are gone; its name is
free."""

MOST_DAYS_AHEAD: Final = 366
"""All five instants are fixed when the deletion is, and further ahead no one knows how the clocks of a zone will go."""


class Policy(Value, frozen=True):
    """Local days from the day of the deletion to each stage, from an instant on."""

    version: Word
    valid_from: Moment
    prepare_days: int = -5
    soft_days: int = 0
    hard_days: int = 3
    purge_days: int = 32
    recycle_days: int = 38

    def days(self) -> tuple[int, int, int, int, int]:
        """The days in the order of `STAGES`."""
        return self.prepare_days, self.soft_days, self.hard_days, self.purge_days, self.recycle_days


POLICIES: Final = (
    Policy("deletion-2019-03", dt.datetime(2019, 3, 28, tzinfo=dt.UTC), purge_days=8),
    Policy("deletion-2024-10", dt.datetime(2024, 10, 29, tzinfo=dt.UTC)),
)
"""From the platform's page on virtual machines and the dates of its changes: until 2024-10-29 backups went on the eighth day."""


class Schedule(Value, frozen=True):
    """The five instants of one deletion, with all that they were computed from; an event keeps it, and nobody computes it anew."""

    policy: Word
    zone: Zone
    day: dt.date
    """The local day of the soft stage, as it was asked for."""
    prepare: Moment
    soft: Moment
    hard: Moment
    purge: Moment
    recycle: Moment
    prepared_at_once: bool = False
    """The day of the preparation had begun when the deletion was scheduled, so that it was due then and there."""

    def instants(self) -> Iterator[tuple[Stage, dt.datetime]]:
        """Each stage with its instant, in the order of `STAGES`."""
        return zip(STAGES, (self.prepare, self.soft, self.hard, self.purge, self.recycle), strict=True)


def policy(now: dt.datetime) -> Policy:
    """The policy that holds at an instant; `PolicyError` before the oldest."""
    return at(POLICIES, now)


def chosen(version: str) -> Policy:
    """The policy of this version; `PolicyError` where there is none."""
    return named(POLICIES, version)


def earliest(now: dt.datetime, where: str = BERLIN) -> dt.date:
    """The first day for which a deletion can be scheduled: the one that begins at the next local midnight."""
    return now.astimezone(zone(where)).date() + dt.timedelta(days=1)


def stages(day: dt.date, where: str, by: Policy) -> Schedule:
    """When each stage of a deletion on this local day comes; `ZoneError` for a zone that is none.

    Each is the instant at which its own local day begins, the later one where a midnight comes twice or is skipped.
    """
    place = zone(where)
    prepare, soft, hard, purge, recycle = (
        day_begins(day + dt.timedelta(days=days), place) for days in by.days()
    )
    return Schedule(by.version, where, day, prepare, soft, hard, purge, recycle)


def objection(day: dt.date, now: dt.datetime, where: str = BERLIN) -> Objection | None:
    """Why no deletion is scheduled for this day; None when one may be. `ZoneError` for a zone that is none."""
    today, first = now.astimezone(zone(where)).date(), earliest(now, where)
    if day < first:
        when = "today" if day == today else "in the past"
        return Objection(
            "DeletionTooSoon",
            f"A deletion on {day} was asked for, and in {where} that is {when}: the earliest is {first}, as soon as it begins "
            f"there. Ask for {first} or later.",
        )
    last = today + dt.timedelta(days=MOST_DAYS_AHEAD)
    if day > last:
        return Objection(
            "DeletionTooFar",
            f"A deletion on {day} was asked for, {(day - today).days} days ahead; the most are {MOST_DAYS_AHEAD} days, so {last}. "
            "Ask for an earlier day, or ask again later.",
        )
    return None


def scheduled(day: dt.date, where: str, by: Policy, now: dt.datetime) -> Schedule:
    """The stages of a deletion that is scheduled now; a preparation whose day has begun is due now, and the schedule says so.

    The day must be one to which there is no objection, so that the soft stage is always ahead.
    """
    planned = stages(day, where, by)
    assert now < planned.soft, (now, planned)
    if now <= planned.prepare:
        return planned
    return msgspec.structs.replace(planned, prepare=now.astimezone(dt.UTC), prepared_at_once=True)


def said(schedule: Schedule, where: str | None = None) -> str:
    """The schedule for people, in the time of a zone, the deletion's own if none is named."""
    name = where or schedule.zone
    place = zone(name)
    dates = ", ".join(f"{stage} {_local(instant, place)}" for stage, instant in schedule.instants())
    late = (
        " Its preparation was due before it was scheduled, so that it begins at once."
        if schedule.prepared_at_once
        else ""
    )
    return f"{dates} ({name}; policy {schedule.policy}).{late}"


def _local(instant: dt.datetime, place: dt.tzinfo) -> str:
    return f"{instant.astimezone(place):%Y-%m-%d %H:%M}"


__all__ = [
    "MOST_DAYS_AHEAD",
    "POLICIES",
    "STAGES",
    "Policy",
    "Schedule",
    "Stage",
    "chosen",
    "earliest",
    "objection",
    "policy",
    "said",
    "scheduled",
    "stages",
]
