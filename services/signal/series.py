"""What pushed series come to for each query that they answer: one sample a scrape, however many series it is made of. Pure.

The targets of a `sum` are scraped one after another. If each of them made a new sum, one scrape would look like many samples,
and one high target would set off a trigger that waits for three. So a sum is made once all of its series have come since the last.
Which these are nobody knows at first, and a part of a sum is a wrong one: until the slowest has come, the query is asked for.
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

_FORGET_MS: Final = 1_000

SETTLING: Final = dt.timedelta(seconds=90)
"""So long after its first series came a sum is not made of pushes, however often that one comes meanwhile.

Intervals differ from target to target, and Prometheus's own default is a minute: the slowest has come by then, with half a minute
for delays."""

MOST_MEMBERS: Final = 10_000
"""Series of one query; with more it is asked for instead."""

Member = tuple[tuple[str, str], ...]
Taken = tuple[int, float]
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


@dataclass(slots=True)
class _Group:
    """The series of one query."""

    selector: Selector
    settling_ms: int
    values: dict[Member, Taken] = field(default_factory=dict[Member, Taken])
    """When each one's newest sample was taken, and its value."""
    came: set[Member] = field(default_factory=set[Member])
    """Those of them that have come since the last value was made."""
    began_ms: int = 0
    """When the first of them came, by our clock."""
    forgot_ms: int = 0
    """What was older than this is over."""
    fresh: dict[Member, Taken] = field(default_factory=dict[Member, Taken])
    """The newest samples of the push that is being read."""

    def known(self, member: Member) -> Taken | None:
        """The newest sample of a series."""
        return self.fresh.get(member) or self.values.get(member)

    def has_room(self) -> bool:
        """Whether one more series is kept."""
        if len(self.values) + len(self.fresh) < MOST_MEMBERS:
            return True
        return len(self.values) < MOST_MEMBERS and len(self.values.keys() | self.fresh.keys()) < MOST_MEMBERS

    def end(self, member: Member) -> None:
        """The series is over."""
        self.fresh.pop(member, None)
        self.values.pop(member, None)
        self.came.discard(member)

    def take(self, now_ms: int) -> Measurement | None:
        """What the series come to, if those that are fresh complete a scrape; the last value, if they complete two."""
        fresh, self.fresh = self.fresh, {}
        if not fresh:
            return None
        self._forget(max(at for at, _ in fresh.values()) - LOOK_BACK_MS)
        if not self.values:
            self.began_ms = now_ms
        self.began_ms = min(self.began_ms, now_ms)  # a clock that was ahead
        if self.selector.reckoning is None:
            self.values.update(fresh)
            return _measured(*next(iter(self.values.values()))) if len(self.values) == 1 else None
        if now_ms - self.began_ms < self.settling_ms:
            self.values.update(fresh)
            return None
        found = None
        for member, taken in fresh.items():
            again = member in self.came
            self.values[member] = taken
            self.came.add(member)
            if again or len(self.came) == len(self.values):
                self.came.clear()
                newest = max(at for at, _ in self.values.values())
                found = _measured(
                    newest, self.selector.reckoning([value for _, value in self.values.values()])
                )
        return found

    def _forget(self, before_ms: int) -> None:
        """Series without a sample since are over. All are looked at once a second: a push has hundreds of portions."""
        if self.values and before_ms - self.forgot_ms < _FORGET_MS:
            return
        self.forgot_ms = before_ms
        self.values = {member: kept for member, kept in self.values.items() if kept[0] > before_ms}
        self.came.intersection_update(self.values)


class Groups:
    """The series of every query that pushes can answer."""

    def __init__(self, settling: dt.timedelta = SETTLING) -> None:
        """`settling` is how long all series of a sum are waited for."""
        self._settling_ms = settling // _MILLISECOND
        self._groups: dict[str, _Group] = {}
        self._by_name: dict[str, list[str]] = {}

    def keep(self, queries: Iterable[str]) -> None:
        """These are the queries. Those that pushes cannot answer are left out; one that is new begins with nothing."""
        wanted = [(query, selector_of(query)) for query in queries]
        self._groups = {
            query: self._groups.get(query) or _Group(selector, self._settling_ms)
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
        touched: dict[str, _Group] = {}
        for one in pushed:
            member = tuple(sorted(one.labels.items()))
            for query in self._by_name.get(one.labels.get("__name__", ""), ()):
                group = self._groups[query]
                if not group.selector.matches(one.labels):
                    continue
                touched[query] = group
                for at_ms, value in one.samples:
                    verdict = _verdict(group, member, at_ms, value, now_ms)
                    counted[verdict] += 1
                    if verdict == "ended":
                        group.end(member)
                    elif verdict == "taken" and value is not None:
                        group.fresh[member] = at_ms, value
        for query, group in touched.items():
            measured = group.take(now_ms)
            if measured is not None:
                found[query] = measured
        return found, counted


def _verdict(group: _Group, member: Member, at_ms: int, value: float | None, now_ms: int) -> str:
    known = group.known(member)
    if known is None and value is not None and not group.has_room():
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
