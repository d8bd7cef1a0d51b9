"""Whose telemetry is away: nothing comes of any pool of an org, so that whoever says that a query is lost may be gone as well."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from schemas.telemetry import TICK_SECONDS
from services.forecaster.roster import NEVER, RING, Roster

LEAST_SECONDS: Final = 60.0
"""So long an org's telemetry may always leave us waiting."""

FIRST_SECONDS: Final = 150.0
"""After the only sample there ever was nobody knows when the next is due; as signal has it."""

MOST_SECONDS: Final = 300.0
"""No series may take longer, whatever its distance: Prometheus forgets it then."""

SELDOM: Final = 2.5
"""Where samples come seldom, they are away after so many times the shorter of their last two distances; as signal has it."""


def away(roster: Roster) -> frozenset[str]:
    """The orgs of whose pools nothing came for longer than their samples are usually apart, at the newest tick."""
    newest: dict[str, int] = {}
    for (org, _), tick in zip(roster.names, roster.measured.tolist(), strict=True):
        if tick > newest.get(org, NEVER):
            newest[org] = tick
    silent = {org for org, tick in newest.items() if (roster.number - tick) * TICK_SECONDS >= LEAST_SECONDS}
    if not silent:
        return frozenset()
    columns: dict[str, list[int]] = {org: [] for org in silent}
    for column, (org, _) in enumerate(roster.names):
        if org in silent:
            columns[org].append(column)
    return frozenset(
        org
        for org, places in columns.items()
        if (roster.number - newest[org]) * TICK_SECONDS >= _patience_seconds(roster, places)
    )


def _patience_seconds(roster: Roster, columns: Sequence[int]) -> float:
    """How long the telemetry of these pools together may be away, by the last hour."""
    last = roster.number
    rows = np.arange(last - RING + 1, last + 1) % RING
    told = np.flatnonzero(np.any(roster.samples[np.ix_(rows, np.array(columns))] >= 0, axis=1))
    if len(told) == 0:
        return LEAST_SECONDS
    if len(told) == 1:
        return FIRST_SECONDS
    apart = int(np.diff(told[-3:]).min()) * TICK_SECONDS
    return min(max(LEAST_SECONDS, SELDOM * apart), MOST_SECONDS)
