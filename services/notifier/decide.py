"""The rules of the notifier: which answers are told, when, and how long it keeps trying."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

from events.contract import ContractTookEffect
from events.gate import Answer
from events.mail import MailAccepted, is_of_refusals
from schemas.contract.document import terms

TOLD: Final = frozenset({"CapExceeded", "ContractExpired"})
"""Refusals that the contract is the reason for: only its owner can do something about them."""

ATTEMPT_SECONDS: Final = 5.0
"""One attempt may take so long; a relay that needs longer is asked again."""

PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0)
"""Between the first attempts; the last one repeats. Greylisted twice is then accepted after 1.5 s."""

PROMISE_SECONDS: Final = 30.0
"""The first refusal of an episode is with the relay within this time, if the relay takes mail at all."""

SLOW_PAUSE_SECONDS: Final = 60.0
GIVE_UP_SECONDS: Final = 3600.0

DIGEST_SECONDS: Final = 900
"""The period of an episode: the promise to the org's owner is a digest every 15 minutes (ADR 10)."""

SETTLE_SECONDS: Final = 2.0
"""A digest goes out so long after its mark: the notifier's clock may be ahead of the bus's, by which refusals are
stored, and what was stored just before the mark is on its way. What comes later still has a digest of its own."""

GATHER_SECONDS: Final = 10.0
"""The first mail of an episode about lost signals or VMs waits so long: a metrics store that is gone takes every query with it,
within two looks, and one mail names them all."""

_NS: Final = 1_000_000_000
_DIGEST: Final = re.compile(r"\.(\d{1,13})\.digest@")


def is_refusal(answer: Answer) -> bool:
    """Whether the org's owner is told of this answer; the one place that says so."""
    return answer.outcome in {"refused", "partial"} and answer.code in TOLD


def owner_of(took: ContractTookEffect) -> str:
    """The person who is told of the org's refusals from here on."""
    return terms(took.document).owner.person


def technical_of(took: ContractTookEffect) -> tuple[str, ...]:
    """The people who are told of the org's lost signals, maintenance and VMs from here on: its technical contacts, or its owner where it names none."""
    named = tuple(dict.fromkeys(one.person for one in terms(took.document).technical))
    return named or (owner_of(took),)


def pause_seconds(attempts: int, elapsed_seconds: float) -> float | None:
    """How long to wait after so many failed attempts; None when it is time to give up."""
    if elapsed_seconds >= GIVE_UP_SECONDS:
        return None
    quick = PAUSES_SECONDS[min(attempts, len(PAUSES_SECONDS)) - 1]
    return quick if elapsed_seconds + quick < PROMISE_SECONDS else SLOW_PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class Episode:
    """Refusals that follow each other: the first is told at once, the others at the marks, a period apart.

    Times are those at which the bus stored the decisions, so that whoever reads the ledger finds the same episodes.
    """

    began_ns: int
    """When its first refusal was stored; the marks are counted from here."""
    ends_ns: int
    """From here on a refusal is the first of another episode: a period will have passed without one."""

    @staticmethod
    def begin(at_ns: int, period_seconds: int) -> "Episode":
        """The episode of a refusal that none is open for."""
        return Episode(at_ns, at_ns + period_seconds * _NS)

    def holds(self, at_ns: int, period_seconds: int) -> bool:
        """Whether a refusal that was stored then belongs to it.

        One that seems older than the beginning does, because the bus's clock may be set back a little; one that seems
        older by more than a period does not, for it would wait that much longer.
        """
        return self.began_ns - period_seconds * _NS <= at_ns < self.ends_ns

    def mark_ns(self, at_ns: int, period_seconds: int) -> int:
        """When the digest is due that names a refusal which was stored then."""
        period_ns = period_seconds * _NS
        return self.began_ns + (max(0, at_ns - self.began_ns) // period_ns + 1) * period_ns

    def after(self, mark_ns: int, period_seconds: int) -> "Episode":
        """The same episode, with a refusal that waits for this mark: it lasts a period longer than that."""
        return Episode(self.began_ns, max(self.ends_ns, mark_ns + period_seconds * _NS))


def message_id(org: str, name: str, mark_ns: int | None = None) -> str:
    """The same for every attempt: a relay that took the mail without saying so gets it under the same name.

    `name` is the request's id, or the id of the set of requests that a digest names; a digest also says its mark, in
    milliseconds since 1970, so that whoever hears of it knows when the next one is due.
    """
    digest = "" if mark_ns is None else f".{mark_ns // 1_000_000}.digest"
    return f"<{name}{digest}@virtscale.{org}>"


def digest_at(
    mail: MailAccepted, refused_at: dt.datetime, period_seconds: int = DIGEST_SECONDS
) -> dt.datetime | None:
    """When the digest is due that will name a refusal stored at `refused_at`, if this mail before it tells that.

    For those who did not read the whole ledger. None proves nothing: the mail may be an episode's that has ended, be
    older than the last mark, or tell of something else.
    """
    if not is_of_refusals(mail.message_id):
        return None
    marked = _DIGEST.search(mail.message_id)
    began = mail.refused_at if marked is None else dt.datetime.fromtimestamp(int(marked[1]) / 1e3, dt.UTC)
    due = began + dt.timedelta(seconds=period_seconds)
    return due if began <= refused_at < due else None
