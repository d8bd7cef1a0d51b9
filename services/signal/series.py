"""What pushed series come to for each query that they answer: one sample a scrape, however many series it is made of. Pure.

The targets of a `sum` are scraped one after another. If each of them made a new sum, one scrape would look like many samples,
and one high target would set off a trigger that waits for three. So a sum is made once all of its series have come since the last.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from services.signal.port import Measurement
from services.signal.questions import AHEAD
from services.signal.remote_write import Pushed
from services.signal.selectors import Selector, selector_of

LATE: Final = dt.timedelta(seconds=30)
"""An older sample says nothing about now: a sender that was cut off sends what it has kept, in order."""

LOOK_BACK_MS: Final = 5 * 60 * 1000
"""A series without a new sample for so long is over, as it is for Prometheus."""

MOST_MEMBERS: Final = 10_000
"""Series of one query; with more it is asked for instead."""

Member = tuple[tuple[str, str], ...]
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


@dataclass(slots=True)
class _Group:
    """The series of one query."""

    selector: Selector
    values: dict[Member, tuple[int, float]] = field(default_factory=dict[Member, tuple[int, float]])
    """When each one's newest sample was taken, and its value."""
    came: set[Member] = field(default_factory=set[Member])
    """Those that have come since the last value was made."""
    whole: bool = False
    """Whether all of them have come at least once: one has come twice."""

    def take(self, member: Member, at_ms: int, value: float) -> Measurement | None:
        """What the series come to, if this one completes a scrape."""
        again = member in self.came
        self.values[member] = at_ms, value
        self.came.add(member)
        if self.selector.reckoning is None:
            self.values = {one: kept for one, kept in self.values.items() if kept[0] > at_ms - LOOK_BACK_MS}
            self.came.clear()
            return _measured(at_ms, value) if len(self.values) == 1 else None
        if not again and not (self.whole and self.came.issuperset(self.values)):
            return None
        self.values = {one: kept for one, kept in self.values.items() if kept[0] > at_ms - LOOK_BACK_MS}
        self.whole = True
        self.came.clear()
        newest = max(at for at, _ in self.values.values())
        return _measured(newest, self.selector.reckoning([value for _, value in self.values.values()]))

    def end(self, member: Member) -> None:
        """The series is over."""
        self.values.pop(member, None)
        self.came.discard(member)


class Groups:
    """The series of every query that pushes can answer."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._by_name: dict[str, list[str]] = {}

    def keep(self, queries: Iterable[str]) -> None:
        """These are the queries. Those that pushes cannot answer are left out; one that is new begins with nothing."""
        wanted = [(query, selector_of(query)) for query in queries]
        self._groups = {
            query: self._groups.get(query) or _Group(selector)
            for query, selector in wanted
            if selector is not None
        }
        by_name: dict[str, list[str]] = defaultdict(list)
        for query, group in self._groups.items():
            by_name[group.selector.name].append(query)
        self._by_name = dict(by_name)

    @property
    def names(self) -> frozenset[bytes]:
        """The series that matter."""
        return frozenset(name.encode() for name in self._by_name)

    def take(
        self, pushed: Iterable[Pushed], now: dt.datetime
    ) -> tuple[dict[str, Measurement], dict[str, int]]:
        """The newest value of each query that has a new one, and how many samples were taken, late, future, old or ends."""
        found: dict[str, Measurement] = {}
        counted: dict[str, int] = defaultdict(int)
        now_ms = (now - _EPOCH) // _MILLISECOND
        for one in pushed:
            member = tuple(sorted(one.labels.items()))
            for query in self._by_name.get(one.labels.get("__name__", ""), ()):
                group = self._groups[query]
                if not group.selector.matches(one.labels):
                    continue
                for at_ms, value in one.samples:
                    verdict = _verdict(group, member, at_ms, value, now_ms)
                    counted[verdict] += 1
                    if verdict == "ended":
                        group.end(member)
                    elif verdict == "taken" and value is not None:
                        measured = group.take(member, at_ms, value)
                        if measured is not None:
                            found[query] = measured
        return found, counted


def _verdict(group: _Group, member: Member, at_ms: int, value: float | None, now_ms: int) -> str:
    known = group.values.get(member)
    if known is None and value is not None and len(group.values) >= MOST_MEMBERS:
        return "too-many"
    if known is not None and at_ms <= known[0]:
        return "old"
    if value is None:
        return "ended"
    if at_ms > now_ms + AHEAD // _MILLISECOND:
        return "future"
    return "late" if at_ms < now_ms - LATE // _MILLISECOND else "taken"


def _measured(at_ms: int, value: float) -> Measurement:
    return Measurement(value, _EPOCH + at_ms * _MILLISECOND)
