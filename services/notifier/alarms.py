"""Lost signals that nobody has been told of, and the mails that name them.

A signal that comes and goes makes one mail in each period, and not one each time.
"""

import datetime as dt
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from events.envelope import Recorded
from events.ids import derive
from events.mail import signals_id
from events.signal import SignalFound, SignalLost
from services.notifier.bulletins import Bulletin, Bulletins
from services.notifier.errand import Errand, minute, moment, span, when

MOST_NAMED: Final = 500
"""Losses in one mail; each has some 400 bytes of text."""

_WIDTH: Final = 76


@dataclass(slots=True)
class Loss:
    """One lost query, and when it was found again, if it was."""

    pool: str
    text: str
    at_ns: int
    found_at: dt.datetime | None = None


def errand(bulletin: Bulletin[Loss]) -> Errand:
    """The mail, as what it names stands now."""
    org, losses = bulletin.org, bulletin.items
    name = derive("signals", bulletin.person, *losses)
    pools = sorted({loss.pool for loss in losses.values()})
    which = f"{org}/{pools[0]}" if len(pools) == 1 else f"{len(pools)} pools of {org}"
    return Errand(
        place=bulletin.place,
        org=org,
        person=bulletin.person,
        name=name,
        message_id=signals_id(org, name),
        requests=tuple(losses),
        refused_at=when(min(loss.at_ns for loss in losses.values())),
        digest_at=None,
        subject=f"Virtscale lost {_queries(len(losses))} of {which}: nothing is put to sleep there",
        text=_text(bulletin),
        about="signals",
    )


def _text(bulletin: Bulletin[Loss]) -> str:
    org, losses = bulletin.org, bulletin.items
    lines = [
        (
            f"Virtscale no longer hears {_queries(len(losses))} of {org}. Silence is no zero: what is awake stays awake, "
            "and neither triggers nor forecasts put a VM to sleep in these pools until it hears them again."
        ),
    ]
    for loss in sorted(losses.values(), key=lambda one: (one.pool, one.at_ns)):
        again = "not yet" if loss.found_at is None else moment(loss.found_at)
        lines += [
            "",
            loss.text,
            f"  lost at {moment(when(loss.at_ns))}, heard again: {again}",
        ]
    lines += [
        "",
        (
            "What you can do: see that the metrics store is up and that each query yields one number there. `virtscale "
            "signals` lists what is lost now. Where a query is no longer right, define the pool with another."
        ),
        "",
        (
            f"What is lost until {minute(when(bulletin.next_ns))} is told in one mail then, and so every "
            f"{span(bulletin.period_seconds)} while there is more."
        ),
        "",
        f"Virtscale wrote this because the contract of {org} names you. The ledger holds the same.",
        "",
    ]
    return "\n".join(
        line if line.startswith("  ") else textwrap.fill(line, _WIDTH, break_long_words=False)
        for line in lines
    )


class Alarms:
    """Losses without a mail, for each person who is to be told of them."""

    def __init__(self, period_seconds: int) -> None:
        self.contacts: dict[str, tuple[str, ...]] = {}
        """Who is told, by org."""
        self._bulletins = Bulletins[Loss]("signals", period_seconds)
        self._lost: dict[tuple[str, str, str, str], Loss] = {}
        """By query, the newest loss that was not found."""

    def lose(self, fact: SignalLost, recorded: Recorded) -> None:
        """The loss waits for a mail to each of the org's technical contacts."""
        loss = Loss(fact.pool, fact.text, recorded.stored_ns)
        people = self.contacts.get(fact.org, ())
        if self._bulletins.wait(fact.org, people, recorded.id, loss, MOST_NAMED):
            self._lost[fact.org, fact.pool, fact.source, fact.query] = loss

    def find(self, fact: SignalFound, recorded: Recorded) -> None:
        """A mail that is still to go says so."""
        loss = self._lost.pop((fact.org, fact.pool, fact.source, fact.query), None)
        if loss is not None:
            loss.found_at = recorded.stored_at

    def tell(self, org: str, person: str, losses: Iterable[str]) -> None:
        """A mail to the person named these losses, or failed for good."""
        self._bulletins.tell(org, person, losses)

    def due(self, now_ns: int, latest_ns: int) -> Iterable[tuple[str, list[Bulletin[Loss]]]]:
        """The mails whose time has come, of each org that has one."""
        return self._bulletins.due(now_ns, latest_ns)

    def times(self) -> Iterator[int]:
        """When mails are due."""
        return self._bulletins.times()


def _queries(number: int) -> str:
    return "1 query" if number == 1 else f"{number:,} queries"
