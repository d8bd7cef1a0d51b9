"""One mail that is to be handed over, and the words that all mails share."""

import datetime as dt
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from events.gate import ContractRef, Evidence
from events.sentences import unit
from schemas.capacity import STORED
from schemas.ics import Appointment
from services.notifier.port import Mail


@dataclass(frozen=True, slots=True)
class Errand:
    """A mail to somebody of an org and the refused requests, lost signals, maintenance, deletion or troubles it names: the same for each attempt, until it has ended."""

    place: Hashable
    """What it is about: while an errand is under way, none of the same place begins."""
    org: str
    person: str
    name: str
    """Its id: the request's, or one that is derived from all requests it names."""
    message_id: str
    requests: tuple[str, ...]
    refused_at: dt.datetime
    """When the first of what it names was stored."""
    digest_at: dt.datetime | None
    """The mark of a digest; None for the mail about one refusal."""
    subject: str
    text: str
    about: Literal["refusals", "signals", "maintenance", "deletions", "troubles"] = "refusals"
    appointment: Appointment | None = None
    """What is put beside it, for the reader's calendar."""

    def to(self, address: str) -> Mail:
        """The mail, with the address that the vault gives now."""
        return Mail(self.message_id, address, self.subject, self.text, self.appointment)


def advice(org: str, code: str, line: Evidence | None, contract: ContractRef | None) -> str:
    """What the owner can do about a refusal with this code, and by how much the line was exceeded."""
    agreed = "the contract" if contract is None else f"contract {contract.id} version {contract.version}"
    if code == "ContractExpired":
        return f"{agreed} is not valid at this time: have it renewed. Until then nothing of {org} can grow."
    over = f" by at least {line.projected - line.limit} {unit(line)}" if line is not None else ""
    room = f"let pools sleep that are not needed (`virtscale quiesce {org}/POOL N`)"
    if line is not None and line.dimension in STORED:
        room = f"drop snapshots and backups that are not needed (`virtscale vm copies --org {org}`)"
    return f"ask for less, {room}, or have the quota of {agreed} raised{over} in an addendum."


def moment(at: dt.datetime) -> str:
    """The instant in UTC, to the millisecond."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def minute(at: dt.datetime) -> str:
    """The time of day in UTC, to the minute; what an episode announces its digests by."""
    return at.astimezone(dt.UTC).strftime("%H:%M UTC")


def span(seconds: int) -> str:
    """A length of time in minutes where it is some, else in seconds."""
    minutes, rest = divmod(seconds, 60)
    if rest:
        return f"{seconds} seconds"
    return "minute" if minutes == 1 else f"{minutes} minutes"


def when(at_ns: int) -> dt.datetime:
    """Unix nanoseconds as a datetime, to the microsecond."""
    return dt.datetime.fromtimestamp(at_ns // 1000 / 1e6, dt.UTC)
