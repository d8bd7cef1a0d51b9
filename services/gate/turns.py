"""Who may have a sleeper to save by now: found without a look at all of those that wait.

Requests to save stand for hours: a night puts thousands of pools to sleep, and a host writes two guests at a time. So whoever waits
for a hand of a host stands in that host's line, and is looked at when a save of the host has its outcome; the first of the line
takes the hand, and the others are not asked. An org is looked at as well when a decision about it changed what stands, and
otherwise once a minute: a freeze that is over, a disk that may be tried again, a signal that is heard are seen then.

This is what a gate remembers of its own looks, and no fold: it says whom to look at, and what is decided then is decided from the
ledger alone.
"""

import datetime as dt
from collections import Counter
from itertools import islice
from typing import Final

from services.gate.draft import Draft
from services.gate.resting import MOST_SAVES, further, lasting, waited_for
from services.gate.state import State

LATE_SECONDS: Final = 60.0
"""So long nobody who waits goes without a look, whatever it is that changed."""

_AT_ONCE: Final = 16
"""Looks that are due by time alone which one call makes: one takes some 50 us, and more where more sleep."""


class Turns:
    """The lines of all hosts, and when each org is looked at without a reason."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._seen = 0
        self._lines: dict[str, dict[str, None]] = {}
        self._late: dict[str, float] = {}
        """By org, the first to be looked at first."""

    def due(self, now: dt.datetime, seconds: float) -> list[str]:
        """Orgs of which somebody is to be saved now, each told once; `seconds` is a time that no clock moves back.

        A hand that is promised to one of them is promised to no other in the same call.
        """
        saves, found, given = self._state.saves, list[str](), Counter[str]()
        stirred, freed = saves.since(self._seen)
        self._seen = saves.changed
        for host in freed:
            line = self._lines.get(host, {})
            while line and self._has_hand(host, given):
                org = next(iter(line))
                del line[org]
                if org not in found and self._look(org, now, seconds, given):
                    found.append(org)
        late = [org for org, at in islice(self._late.items(), _AT_ONCE) if at <= seconds]
        for org in dict.fromkeys([*stirred, *late]):
            if org not in found and self._look(org, now, seconds, given):
                found.append(org)
        return found

    def _has_hand(self, host: str, given: Counter[str]) -> bool:
        return self._state.fleet.saving(host) + given[host] < MOST_SAVES

    def _look(self, org: str, now: dt.datetime, seconds: float, given: Counter[str]) -> bool:
        """Whether it is the org's turn on a host with a free hand; where not, it stands in line."""
        draft = Draft(org, self._state, now)
        turns = Counter(vm.host for _, vms in further(draft) for vm in vms)
        has_turn = any(self._has_hand(host, given) for host in turns)
        if has_turn:
            given.update(turns)
        else:
            for host in (*turns, *waited_for(draft)):
                self._lines.setdefault(host, {})[org] = None
        self._late.pop(org, None)
        if has_turn or lasting(draft):
            self._late[org] = seconds + LATE_SECONDS
        return has_turn
