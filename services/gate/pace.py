"""How soon a pool may move again: the age of a measurement, cooldowns, and how many forecasts may send to sleep in a minute."""

import datetime as dt

from events.ahead import is_to_come
from events.gate import Evidence
from events.scale import Sample
from schemas.pool import Pool
from services.gate.draft import Draft
from services.gate.state import MINUTE


def stale(draft: Draft, pool: Pool, sample: Sample | None) -> bool:
    """Whether a measurement is too old to say anything about now: older than the pool looks ahead."""
    return sample is not None and draft.now - sample.observed_at > dt.timedelta(seconds=pool.horizon_seconds)


def cooled_at(draft: Draft, pool: Pool) -> dt.datetime | None:
    """When the pool's cooldown is over, if it is not. Only triggers ask: never a person, a program or a forecast."""
    if draft.scaled(pool.name):
        return _over(draft, pool, draft.now)
    return _over(draft, pool, draft.docket.scaled_at(draft.org, pool.name))


def settled_at(draft: Draft, pool: Pool) -> dt.datetime | None:
    """When the pool has stood still for its cooldown, if it has not: what came may go by a trigger only then."""
    if draft.moved(pool.name):
        return _over(draft, pool, draft.now)
    return _over(draft, pool, draft.docket.moved_at(draft.org, pool.name))


def sated_at(draft: Draft, pool: Pool) -> dt.datetime | None:
    """When the pool has not grown for its cooldown, if it has: what came may go by a forecast only then.

    A forecast that lowers step by step flaps nothing, so that its own steps start no cooldown: `quiesce_per_minute` paces them.
    Two in one round are one, since the second was made without knowing of the first.
    """
    if draft.slept(pool.name):
        return _over(draft, pool, draft.now)
    return _over(draft, pool, draft.docket.grown_at(draft.org, pool.name))


def rate_evidence(draft: Draft, pool: Pool, requested: int) -> Evidence:
    """VMs of the pool that forecasts sent to sleep within the last minute, against the most that they may."""
    lately = draft.docket.slept(draft.org, pool.name, draft.now)
    used = sum(vms for _, vms in lately) + draft.slept(pool.name)
    return Evidence(
        dimension="quiesce_per_minute",
        used=used,
        reserved=0,
        requested=requested,
        projected=used + requested,
        quota=None,
        limit=pool.quiesce_per_minute,
    )


def rated_at(draft: Draft, pool: Pool) -> dt.datetime:
    """When forecasts may send the next VM of the pool to sleep, where they sent some: a minute after the first that counts now."""
    began_at, _ = draft.docket.slept(draft.org, pool.name, draft.now)[0]
    return began_at + MINUTE


def _over(draft: Draft, pool: Pool, began_at: dt.datetime | None) -> dt.datetime | None:
    """The end of the cooldown that began then; None when there is none, it is over, or it began by a clock that was wrong."""
    if began_at is None or is_to_come(began_at, draft.now):
        return None
    ends_at = began_at + dt.timedelta(seconds=pool.cooldown_seconds)
    return ends_at if draft.now < ends_at else None
