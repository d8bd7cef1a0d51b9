"""What the notifier must know: which refusals, lost signals, maintenance, deletions and troubles nobody has been told of, and who is to
be erased.
"""

import datetime as dt
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from events.ahead import AHEAD
from events.contract import ContractTookEffect
from events.envelope import Recorded
from events.fences import Fences
from events.gate import Answer, GateDecided
from events.mail import (
    MailAccepted,
    MailFailed,
    is_of_deletion,
    is_of_maintenance,
    is_of_signals,
    is_of_trouble,
)
from events.person import PersonErased, PersonEraseRequested
from events.signal import SignalFound, SignalLost
from services.notifier import alarms, misfortune
from services.notifier.alarms import Alarms
from services.notifier.appointments import Notices, OfEntry
from services.notifier.asked import Wish
from services.notifier.decide import (
    DIGEST_SECONDS,
    SETTLE_SECONDS,
    Episode,
    is_refusal,
    owner_of,
    technical_of,
)
from services.notifier.digest import Digest
from services.notifier.errand import Errand, when
from services.notifier.farewells import Farewells, OfDeletion
from services.notifier.refusal import Refusal
from services.notifier.troubles import OfTrouble, Troubles

_SETTLE_NS = int(SETTLE_SECONDS * 1_000_000_000)
_AHEAD_NS = AHEAD // dt.timedelta(microseconds=1) * 1000


@dataclass(frozen=True, slots=True)
class Erasure:
    """Somebody asked that a person be erased."""

    org: str
    person: str
    request: str


@dataclass(frozen=True, slots=True)
class Due:
    """A mail that may be handed over now; written only when there is a way out for it."""

    place: Hashable
    write: Callable[[], Errand]


@dataclass(slots=True)
class Untold:
    """What the owners of one org have not been told of: refusals that began an episode, and those that wait."""

    firsts: dict[str, Refusal] = field(default_factory=dict[str, Refusal])
    digests: dict[tuple[str, int], Digest] = field(default_factory=dict[tuple[str, int], Digest])
    """By owner and mark."""
    _waiting: dict[str, tuple[str, int, int]] = field(default_factory=dict[str, tuple[str, int, int]])
    """Where each request waits: owner and mark of its digest, and the part of it."""

    def __contains__(self, request: str) -> bool:
        return request in self.firsts or request in self._waiting

    def wait(self, request: str, digest: Digest, part: int) -> None:
        """The request waits in this part of this digest."""
        self.digests[digest.person, digest.mark_ns] = digest
        self._waiting[request] = digest.person, digest.mark_ns, part

    def tell(self, requests: Iterable[str]) -> None:
        """A mail named these requests, or failed for good; those that are not known change nothing."""
        for request in requests:
            self.firsts.pop(request, None)
            waiting = self._waiting.pop(request, None)
            if waiting is not None:
                person, mark_ns, part = waiting
                digest = self.digests[person, mark_ns]
                digest.tell(part, request)
                if not digest.parts:
                    del self.digests[person, mark_ns]

    def due(self, now_ns: int, latest_ns: int) -> Iterator[Due]:
        """Every mail whose time has come: first the beginnings of episodes, then digests, the oldest first.

        So has that of a digest whose mark is later than any can be by now, `latest_ns`: the bus's clock was ahead when it took what
        the digest names, and nobody waits until it is that late.
        """
        for refusal in self.firsts.values():
            yield Due(refusal.place, refusal.errand)
        for digest in self.digests.values():
            if digest.mark_ns + _SETTLE_NS <= now_ns or digest.mark_ns > latest_ns:
                for part in digest.parts:
                    yield Due(digest.place(part), functools.partial(digest.errand, part))


class Post:
    """Refusals and lost signals without a mail and people without an end, folded from the ledger.

    `digest_seconds` is the period of an episode. It belongs to the kind, since folds are made by their kind alone:
    `post_of` gives the kind for another period.
    """

    digest_seconds: ClassVar[int] = DIGEST_SECONDS

    def __init__(self) -> None:
        self._fences = Fences()
        self._owners: dict[str, str] = {}
        self._open: dict[str, Wish] = {}
        self._episodes: dict[tuple[str, str], Episode] = {}
        self._untold: dict[str, Untold] = {}
        self._erasures: dict[tuple[str, str], Erasure] = {}
        self._alarms = Alarms(self.digest_seconds)
        self._notices = Notices(self._alarms.contacts)
        self._farewells = Farewells(self._alarms.contacts)
        self._troubles = Troubles(self.digest_seconds, self._alarms.contacts)
        self._newest_ns = 0
        """When the bus took the last event."""

    def due(self, now_ns: int) -> Iterable[tuple[str, Iterable[Due]]]:
        """The mails whose time has come, of each org that has one."""
        latest_ns = self._newest_ns + self.digest_seconds * 1_000_000_000 + _AHEAD_NS
        for org, untold in self._untold.items():
            if next(untold.due(now_ns, latest_ns), None) is not None:
                yield org, untold.due(now_ns, latest_ns)
        for org, bulletins in self._alarms.due(now_ns, latest_ns):
            yield org, [Due(one.place, functools.partial(alarms.errand, one)) for one in bulletins]
        for org, bulletins in self._troubles.due(now_ns, latest_ns):
            yield org, [Due(one.place, functools.partial(misfortune.errand, one)) for one in bulletins]
        for org, notices in self._notices.due():
            yield org, [Due(notice.place, notice.errand) for notice in notices]
        for org, farewells in self._farewells.due(now_ns):
            yield org, [Due(farewell.place, farewell.errand) for farewell in farewells]

    def next_ns(self, now_ns: int) -> int | None:
        """When the next mail is due that is not yet; None when none waits."""
        times = (
            digest.mark_ns + _SETTLE_NS
            for untold in self._untold.values()
            for digest in untold.digests.values()
        )
        waiting = (
            *times,
            *self._alarms.times(),
            *self._troubles.times(),
            *self._farewells.times(now_ns),
        )
        return min((time for time in waiting if time > now_ns), default=None)

    def erasures(self) -> Iterable[Erasure]:
        """People who are to be erased and are not yet, oldest first."""
        return self._erasures.values()

    def apply(self, recorded: Recorded) -> None:
        """The post now includes the event."""
        self._newest_ns = recorded.stored_ns
        if isinstance(recorded.fact, Wish):  # beside what one is to a calendar, or to a night
            self._open[recorded.id] = recorded.fact
        match recorded.fact:
            case ContractTookEffect(org=org) as took:
                self._owners[org] = owner_of(took)
                self._alarms.contacts[org] = technical_of(took)
            case GateDecided() as decided:
                if self._fences.pass_on(recorded, decided):
                    self._close(decided, recorded)
                    self._troubles.decide(decided, recorded)
            case SignalLost() as fact:
                self._alarms.lose(fact, recorded)
            case SignalFound() as fact:
                self._alarms.find(fact, recorded)
            case fact if isinstance(fact, OfEntry):
                self._notices.take(fact, recorded)
            case fact if isinstance(fact, OfDeletion):
                self._farewells.take(fact, recorded)
            case MailAccepted() | MailFailed() as mail if is_of_trouble(mail.message_id):
                self._troubles.tell(mail.org, mail.person, mail.requests)
            case MailAccepted() | MailFailed() as mail if is_of_deletion(mail.message_id):
                self._farewells.tell(mail.org, mail.person, mail.requests)
            case MailAccepted() | MailFailed() as mail if is_of_maintenance(mail.message_id):
                self._notices.tell(mail.org, mail.person, mail.requests)
            case MailAccepted() | MailFailed() as mail if is_of_signals(mail.message_id):
                self._alarms.tell(mail.org, mail.person, mail.requests)
            case MailAccepted(org=org, requests=requests) | MailFailed(org=org, requests=requests):
                untold = self._untold.get(org)
                if untold is not None:
                    untold.tell(requests)
                    if not untold.firsts and not untold.digests:
                        del self._untold[org]
            case PersonEraseRequested(org=org, person=person):
                self._erasures.setdefault((org, person), Erasure(org, person, recorded.id))
            case PersonErased(org=org, person=person):
                self._erasures.pop((org, person), None)
            case _:
                pass
        if isinstance(recorded.fact, OfTrouble):  # beside what they are to deletions
            self._troubles.take(recorded.fact, recorded)

    def _close(self, decided: GateDecided, recorded: Recorded) -> None:
        for answer in decided.answers:
            wish = self._open.pop(answer.request, None)
            owner = self._owners.get(decided.org)
            if owner is not None and is_refusal(answer):
                self._refuse(owner, answer, wish, decided, recorded)

    def _refuse(
        self, owner: str, answer: Answer, wish: Wish | None, decided: GateDecided, recorded: Recorded
    ) -> None:
        """The refusal begins an episode of this owner, or waits for a digest of the one that is open."""
        org, at_ns, period = decided.org, recorded.stored_ns, self.digest_seconds
        untold = self._untold.setdefault(org, Untold())
        if answer.request in untold:
            return
        episode = self._episodes.get((org, owner))
        if episode is None or not episode.holds(at_ns, period):
            episode = self._episodes[org, owner] = Episode.begin(at_ns, period)
            untold.firsts[answer.request] = Refusal(
                org=org,
                person=owner,
                answer=answer,
                contract=decided.contract,
                wish=wish,
                seq=recorded.seq,
                refused_at=recorded.stored_at,
                digest_at=when(episode.mark_ns(at_ns, period)),
                digest_seconds=period,
            )
            return
        mark_ns = episode.mark_ns(at_ns, period)
        self._episodes[org, owner] = episode.after(mark_ns, period)
        digest = untold.digests.get((owner, mark_ns)) or Digest(org, owner, mark_ns, period)
        untold.wait(answer.request, digest, digest.add(answer, decided.contract, wish, at_ns))


@functools.cache
def post_of(digest_seconds: int) -> type[Post]:
    """The kind of post whose episodes have this period; the same each time it is asked for."""
    if digest_seconds == Post.digest_seconds:
        return Post
    return type("Post", (Post,), {"digest_seconds": digest_seconds})
