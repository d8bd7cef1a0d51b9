"""Lost signals that nobody has been told of, and the mails that name them.

An episode begins as one of refusals does. What is lost within its first seconds is one mail; what is lost later waits for the
next mark, so that a signal that comes and goes makes one mail in each period and not one each time.
"""

import datetime as dt
import textwrap
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

from events.envelope import Recorded
from events.ids import derive
from events.mail import signals_id
from events.signal import SignalFound, SignalLost
from services.notifier.decide import GATHER_SECONDS, Episode
from services.notifier.errand import Errand, minute, moment, span, when

MOST_NAMED: Final = 500
"""Losses in one mail; each has some 400 bytes of text."""

_MOST_COUNTED: Final = 10_000
"""People and times whose losses are counted; those that are past are forgotten then."""

_WIDTH: Final = 76
_NS: Final = 1_000_000_000


@dataclass(slots=True)
class Loss:
    """One lost query, and when it was found again, if it was."""

    pool: str
    text: str
    at_ns: int
    found_at: dt.datetime | None = None


@dataclass(slots=True)
class Bulletin:
    """A mail to one person that is due at `due_ns`, and the losses it names, by the ids of their events."""

    org: str
    person: str
    due_ns: int
    number: int
    next_ns: int
    """When what follows is told."""
    period_seconds: int
    losses: dict[str, Loss] = field(default_factory=dict[str, Loss])

    @property
    def place(self) -> Hashable:
        """What its errand is about."""
        return "signals", self.org, self.person, self.due_ns, self.number

    def errand(self) -> Errand:
        """The mail, as what it names stands now."""
        name = derive("signals", self.person, *self.losses)
        pools = sorted({loss.pool for loss in self.losses.values()})
        which = f"{self.org}/{pools[0]}" if len(pools) == 1 else f"{len(pools)} pools of {self.org}"
        return Errand(
            place=self.place,
            org=self.org,
            person=self.person,
            name=name,
            message_id=signals_id(self.org, name),
            requests=tuple(self.losses),
            refused_at=when(min(loss.at_ns for loss in self.losses.values())),
            digest_at=None,
            subject=f"Virtscale lost {_queries(len(self.losses))} of {which}: nothing is put to sleep there",
            text=self._text(),
            about="signals",
        )

    def _text(self) -> str:
        lines = [
            (
                f"Virtscale no longer hears {_queries(len(self.losses))} of {self.org}. Silence is no zero: what is awake stays awake, "
                "and neither triggers nor forecasts put a VM to sleep in these pools until it hears them again."
            ),
        ]
        for loss in sorted(self.losses.values(), key=lambda one: (one.pool, one.at_ns)):
            again = "not yet" if loss.found_at is None else moment(loss.found_at)
            lines += [
                "",
                loss.text,
                f"  lost at {moment(when(loss.at_ns))}, heard again: {again}",
            ]
        lines += [
            "",
            (
                "What you can do: see that the metrics store is up and that each query yields one number there. `virtscale signals` "
                "lists what is lost now. Where a query is no longer right, define the pool with another."
            ),
            "",
            (
                f"What is lost until {minute(when(self.next_ns))} is told in one mail then, and so every "
                f"{span(self.period_seconds)} while there is more."
            ),
            "",
            f"Virtscale wrote this because the contract of {self.org} names you. The ledger holds the same.",
            "",
        ]
        return "\n".join(
            line if line.startswith("  ") else textwrap.fill(line, _WIDTH, break_long_words=False)
            for line in lines
        )


Where = tuple[str, str, int, int]
"""Org, person, when it is due, and the number of the mail among those that are due then."""


class Alarms:
    """Losses without a mail, for each person who is to be told of them. Its times are those of the bus."""

    def __init__(self, period_seconds: int) -> None:
        self.contacts: dict[str, tuple[str, ...]] = {}
        """Who is told, by org."""
        self._period_seconds = period_seconds
        self._episodes: dict[tuple[str, str], Episode] = {}
        self._bulletins: dict[Where, Bulletin] = {}
        self._waits: dict[tuple[str, str, str], Where] = {}
        """In which mail each person's losses wait, by the loss's id."""
        self._named: dict[tuple[str, str, int], int] = defaultdict(int)
        """Losses that were ever put into the mails of one person and time: which mail one is in follows from the ledger alone."""
        self._lost: dict[tuple[str, str, str, str], Loss] = {}
        """By query, the newest loss that was not found."""

    def lose(self, fact: SignalLost, recorded: Recorded) -> None:
        """The loss waits for a mail to each of the org's technical contacts."""
        loss = Loss(fact.pool, fact.text, recorded.stored_ns)
        people = self.contacts.get(fact.org, ())
        new = [person for person in people if (fact.org, person, recorded.id) not in self._waits]
        for person in new:
            self._wait(fact.org, person, recorded.id, loss)
        if new:
            self._lost[fact.org, fact.pool, fact.source, fact.query] = loss

    def find(self, fact: SignalFound, recorded: Recorded) -> None:
        """A mail that is still to go says so."""
        loss = self._lost.pop((fact.org, fact.pool, fact.source, fact.query), None)
        if loss is not None:
            loss.found_at = recorded.stored_at

    def tell(self, org: str, person: str, losses: Iterable[str]) -> None:
        """A mail to the person named these losses, or failed for good."""
        for id_ in losses:
            where = self._waits.pop((org, person, id_), None)
            if where is not None:
                bulletin = self._bulletins[where]
                del bulletin.losses[id_]
                if not bulletin.losses:
                    del self._bulletins[where]

    def due(self, now_ns: int, latest_ns: int) -> Iterable[tuple[str, list[Bulletin]]]:
        """The mails whose time has come, the oldest first, of each org that has one; or comes later than any can, `latest_ns`."""
        found: dict[str, list[Bulletin]] = defaultdict(list)
        for bulletin in self._bulletins.values():
            if bulletin.due_ns <= now_ns or bulletin.due_ns > latest_ns:
                found[bulletin.org].append(bulletin)
        return found.items()

    def times(self) -> Iterable[int]:
        """When mails are due."""
        return (bulletin.due_ns for bulletin in self._bulletins.values())

    def _wait(self, org: str, person: str, id_: str, loss: Loss) -> None:
        period, at_ns = self._period_seconds, loss.at_ns
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
        number = self._named[key] // MOST_NAMED
        if len(self._named) > _MOST_COUNTED:
            self._named = defaultdict(
                int, {one: count for one, count in self._named.items() if one[2] >= at_ns}
            )
        self._named[key] += 1
        where = (*key, number)
        bulletin = self._bulletins.get(where)
        if bulletin is None:
            next_ns = mark_ns if due_ns < mark_ns else mark_ns + period * _NS
            bulletin = self._bulletins[where] = Bulletin(org, person, due_ns, number, next_ns, period)
        bulletin.losses[id_] = loss
        self._waits[org, person, id_] = where


def _queries(number: int) -> str:
    return "1 query" if number == 1 else f"{number:,} queries"
