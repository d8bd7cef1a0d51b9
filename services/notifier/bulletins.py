"""What several people are to be told of, gathered into few mails: one when it begins, and one in each period while there is more.

An episode begins as one of refusals does. What comes within its first seconds is one mail; what comes later waits for the next mark.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from services.notifier.decide import GATHER_SECONDS, Episode

_MOST_COUNTED: Final = 10_000
"""People and times of which is counted what they are told; those that are past are forgotten then."""

_NS: Final = 1_000_000_000


class Timed(Protocol):
    """Something that was stored at a time."""

    @property
    def at_ns(self) -> int:
        """When, by the bus's clock."""
        ...


T = TypeVar("T", bound=Timed)
Where = tuple[str, str, int, int]
"""Org, person, when it is due, and the number of the mail among those that are due then."""


@dataclass(slots=True)
class Bulletin(Generic[T]):
    """A mail to one person that is due at `due_ns`, and what it names, by the ids of the events."""

    about: str
    org: str
    person: str
    due_ns: int
    number: int
    next_ns: int
    """When what follows is told."""
    period_seconds: int
    items: dict[str, T] = field(default_factory=dict[str, T])

    @property
    def place(self) -> Hashable:
        """What its errand is about."""
        return self.about, self.org, self.person, self.due_ns, self.number


class Bulletins(Generic[T]):
    """What waits for a mail, for each person who is to be told of it. Its times are those of the bus."""

    def __init__(self, about: str, period_seconds: int) -> None:
        self._about = about
        self._period_seconds = period_seconds
        self._episodes: dict[tuple[str, str], Episode] = {}
        self._bulletins: dict[Where, Bulletin[T]] = {}
        self._waits: dict[tuple[str, str, str], Where] = {}
        """In which mail what each person is to be told of waits, by the event's id."""
        self._named: dict[tuple[str, str, int], int] = defaultdict(int)
        """How much was ever put into the mails of one person and time: which mail one is in follows from the ledger alone."""

    def wait(self, org: str, people: Iterable[str], id_: str, item: T, most: int) -> bool:
        """It waits for a mail to each of the people, with at most so many others; whether it is news to anybody."""
        new = [person for person in people if (org, person, id_) not in self._waits]
        for person in new:
            self._wait(org, person, id_, item, most)
        return bool(new)

    def tell(self, org: str, person: str, ids: Iterable[str]) -> None:
        """A mail to the person named these, or failed for good."""
        for id_ in ids:
            where = self._waits.pop((org, person, id_), None)
            if where is not None:
                bulletin = self._bulletins[where]
                del bulletin.items[id_]
                if not bulletin.items:
                    del self._bulletins[where]

    def due(self, now_ns: int, latest_ns: int) -> Iterable[tuple[str, list[Bulletin[T]]]]:
        """The mails whose time has come, the oldest first, of each org that has one; or comes later than any can, `latest_ns`."""
        found: dict[str, list[Bulletin[T]]] = defaultdict(list)
        for bulletin in self._bulletins.values():
            if bulletin.due_ns <= now_ns or bulletin.due_ns > latest_ns:
                found[bulletin.org].append(bulletin)
        return found.items()

    def times(self) -> Iterator[int]:
        """When mails are due."""
        return (bulletin.due_ns for bulletin in self._bulletins.values())

    def _wait(self, org: str, person: str, id_: str, item: T, most: int) -> None:
        period, at_ns = self._period_seconds, item.at_ns
        gather_ns = int(min(GATHER_SECONDS, period) * _NS)
        episode = self._episodes.get((org, person))
        if episode is None or not episode.holds(at_ns, period):
            episode = self._episodes[org, person] = Episode.begin(at_ns, period)
        mark_ns = episode.mark_ns(at_ns, period)
        due_ns = mark_ns
        if at_ns < episode.began_ns + gather_ns:
            due_ns = episode.began_ns + gather_ns
        else:
            episode = self._episodes[org, person] = episode.after(mark_ns, period)
        key = org, person, due_ns
        number = self._named[key] // most
        if len(self._named) > _MOST_COUNTED:
            self._named = defaultdict(
                int, {one: count for one, count in self._named.items() if one[2] >= at_ns}
            )
        self._named[key] += 1
        where = (*key, number)
        bulletin = self._bulletins.get(where)
        if bulletin is None:
            next_ns = mark_ns if due_ns < mark_ns else mark_ns + period * _NS
            bulletin = self._bulletins[where] = Bulletin(
                self._about, org, person, due_ns, number, next_ns, period
            )
        bulletin.items[id_] = item
        self._waits[org, person, id_] = where
