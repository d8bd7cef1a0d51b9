"""A notifier on a bus in memory, with a relay that misbehaves and people who may leave: what its tests share."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from events.gate import MOST_ANSWERS, Answer, GateDecided
from events.ids import derive
from events.mail import MailAccepted, MailFailed
from events.scale import ScaleRequested
from events.vault import VaultError
from services.notifier.port import Mail, RelayError
from services.notifier.worker import Notifier
from tests.rules.desk import REF, Desk, answer
from tests.rules.one_life import one_life
from tests.simulation.clock import pause

TEMPORARY = RelayError("The relay refused the recipient (451).", final=False)
FINAL = RelayError("The relay refused the recipient owner@acme.test (550).", final=True)

PERIOD = 900


@dataclass
class Relay:
    """Answers with these, in order, and then takes everything; `True` takes the mail and raises nevertheless."""

    answers: list[RelayError | bool] = field(default_factory=list)
    taken: list[Mail] = field(default_factory=list)
    attempts: int = 0
    at_once: int = 0
    most_at_once: int = 0
    seconds: float = 0.0

    async def send(self, mail: Mail, timeout_seconds: float) -> None:
        del timeout_seconds
        self.attempts += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await pause(self.seconds)
            said = self.answers.pop(0) if self.answers else None
            if isinstance(said, RelayError):
                raise said
            self.taken.append(mail)
            if said is True:
                raise RelayError("The relay cannot be reached.", final=False)
        finally:
            self.at_once -= 1


class SlowRelay:
    """Answers when it is told to, and is waited for as SMTP clients wait."""

    def __init__(self) -> None:
        self.asked: asyncio.Future[None] | None = None

    async def send(self, mail: Mail, timeout_seconds: float) -> None:
        del mail
        self.asked = asyncio.get_running_loop().create_future()
        await asyncio.wait_for(self.asked, timeout_seconds)

    def answer(self) -> None:
        """The mail that was handed over is taken."""
        assert self.asked is not None
        self.asked.set_result(None)


@dataclass
class People:
    mails: dict[str, str] = field(
        default_factory=lambda: {"acme-owner": "owner@acme.test", "boss": "boss@beta.test"}
    )
    damaged: int = 0

    def contact(self, person: str) -> str | None:
        if self.damaged:
            self.damaged -= 1
            raise VaultError("What the vault holds does not fit its key.")
        return self.mails.get(person)

    def erase(self, person: str) -> bool:
        return self.mails.pop(person, None) is not None


@asynccontextmanager
async def notifier(
    desk: Desk, relay: Relay | SlowRelay, people: People, digest_seconds: int = PERIOD
) -> AsyncGenerator[None]:
    """A notifier at work; afterwards it is gone as if killed."""
    async with one_life(
        desk,
        "notifier",
        lambda ledger, bus: Notifier(
            ledger, bus, desk.clock, relay, people, digest_seconds=digest_seconds
        ).work(),
    ):
        yield


class Gate:
    """Refuses one org's requests, each decision right after the one before."""

    def __init__(self, desk: Desk, org: str = "acme") -> None:
        self.desk = desk
        self.org = org
        self.last: GateDecided | None = None
        self._fence = 0

    def refuse(self, *numbers: int, pool: str = "web", publisher: str = "shop") -> list[str]:
        """Requests with these numbers are stored and refused; their ids."""
        requests: list[str] = []
        for start in range(0, len(numbers), MOST_ANSWERS):
            requests += self._round(numbers[start : start + MOST_ANSWERS], pool, publisher)
        return requests

    def _round(self, numbers: Iterable[int], pool: str, publisher: str) -> list[str]:
        asked = {derive("request", self.org, number): number for number in numbers}
        answers = tuple(
            answer(request, self._ask(request, number, pool, publisher)) for request, number in asked.items()
        )
        self.last = self.decision(self.org, self._fence, self.desk.clock.now(), *answers)
        self._fence = self.desk.write(self.last).seq
        return list(asked)

    @staticmethod
    def decision(org: str, follows: int, now: dt.datetime, *answers: Answer) -> GateDecided:
        """A round that answers so, and orders nothing."""
        through = answers[-1].request_seq
        return GateDecided(
            org=org,
            gate="g1",
            through=through,
            follows=follows,
            state_seq=through,
            now=now,
            contract=REF,
            rules="test",
            answers=answers,
            orders=(),
        )

    def _ask(self, request: str, number: int, pool: str, publisher: str) -> int:
        wish = ScaleRequested(
            org=self.org,
            pool=pool,
            publisher=publisher,
            key=f"k{number}",
            origin="program",
            add=500,
            want=None,
            up_to=False,
            received_at=self.desk.clock.now(),
            sample=None,
        )
        return self.desk.write(wish, id=request).seq


def accepted(desk: Desk) -> list[MailAccepted]:
    return [one.fact for one in desk.facts(MailAccepted) if isinstance(one.fact, MailAccepted)]


def failed(desk: Desk) -> list[MailFailed]:
    return [one.fact for one in desk.facts(MailFailed) if isinstance(one.fact, MailFailed)]


def named(desk: Desk) -> list[str]:
    """Every request that an accepted mail names, in the order of the mails, as often as it is named."""
    return [request for mail in accepted(desk) for request in mail.requests]
