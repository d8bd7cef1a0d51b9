"""The notifier on a bus in memory, in virtual time, with a relay that misbehaves."""

import asyncio
import errno
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from events.bus.ledger import Ledger
from events.gate import GateDecided
from events.ids import derive
from events.mail import MailAccepted, MailFailed
from events.person import PersonErased, PersonEraseRequested
from events.scale import ScaleRequested
from events.vault import VaultError
from schemas.contract import Person
from services.notifier.port import Mail, RelayError
from services.notifier.worker import Notifier
from tests.rules.desk import CONTRACT, REF, Desk, answer, play
from tests.simulation.clock import pause

TEMPORARY = RelayError("The relay refused the recipient (451).", final=False)
FINAL = RelayError("The relay refused the recipient owner@acme.test (550).", final=True)


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


@dataclass
class People:
    mails: dict[str, str] = field(default_factory=lambda: {"acme-owner": "owner@acme.test"})
    damaged: int = 0

    def contact(self, person: str) -> str | None:
        if self.damaged:
            self.damaged -= 1
            raise VaultError("What the vault holds does not fit its key.")
        return self.mails.get(person)

    def erase(self, person: str) -> bool:
        return self.mails.pop(person, None) is not None


@asynccontextmanager
async def notifier(desk: Desk, relay: Relay, people: People) -> AsyncGenerator[None]:
    bus = desk.worker_bus("notifier")
    ledger = Ledger(bus)
    worker = Notifier(ledger, bus, desk.clock, relay, people)
    tasks = [asyncio.create_task(worker.work()), asyncio.create_task(ledger.follow())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bus.cut()


def refuse(desk: Desk, number: int = 1) -> str:
    """A request is refused; its id."""
    request = derive("request", number)
    ack = desk.write(
        ScaleRequested(
            org="acme",
            pool="web",
            publisher="shop",
            key=f"k{number}",
            origin="program",
            add=500,
            want=None,
            up_to=False,
            received_at=desk.clock.now(),
            sample=None,
        ),
        id=request,
    )
    desk.decide(answer(request, ack.seq))
    return request


def accepted(desk: Desk) -> list[MailAccepted]:
    return [one.fact for one in desk.facts(MailAccepted) if isinstance(one.fact, MailAccepted)]


def failed(desk: Desk) -> list[MailFailed]:
    return [one.fact for one in desk.facts(MailFailed) if isinstance(one.fact, MailFailed)]


@pytest.mark.parametrize(
    ("answers", "seconds", "attempts"),
    [
        ([], 0.0, 1),
        ([TEMPORARY, TEMPORARY], 1.5, 3),
        ([True], 0.5, 2),
        ([TEMPORARY] * 8, 23.5, 9),
    ],
    ids=["a good day", "greylisted twice", "taken, and the answer lost", "down for a while"],
)
def test_a_refusal_is_with_the_relay_within_thirty_seconds(
    answers: list[RelayError | bool], seconds: float, attempts: int
) -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay(list(answers))
        desk.contract()
        async with notifier(desk, relay, People()):
            request = refuse(desk)
            await pause(40)
            (mail,) = accepted(desk)
            assert (mail.requests, mail.attempts, mail.person) == ((request,), attempts, "acme-owner")
            assert mail.message_id == f"<{request}@virtscale.acme>"
            assert (mail.accepted_at - mail.refused_at).total_seconds() == pytest.approx(seconds, abs=0.1)
            assert {one.message_id for one in relay.taken} == {mail.message_id}

    play(scene)


def test_a_relay_that_says_no_for_good_is_not_asked_again_and_the_ledger_holds_no_address() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([FINAL])
        desk.contract()
        async with notifier(desk, relay, People()):
            request = refuse(desk)
            await pause(100)
            (mail,) = failed(desk)
            assert (mail.requests, mail.code, mail.attempts) == ((request,), "relay-refused", 1)
            assert relay.attempts == 1
            assert all(b"owner@acme.test" not in one.payload for one in desk.stored())

    play(scene)


def test_a_relay_that_stays_away_is_given_up_after_an_hour_with_an_alarm() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([TEMPORARY] * 1000)
        desk.contract()
        async with notifier(desk, relay, People()):
            refuse(desk)
            await pause(3500)
            assert failed(desk) == []
            await pause(200)
            (mail,) = failed(desk)
            assert mail.code == "relay-unreachable"

    play(scene)


def test_a_relay_that_hangs_is_one_failed_attempt() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay(seconds=1e6)
        desk.contract()
        async with notifier(desk, relay, People()):
            refuse(desk)
            await pause(9)
            relay.seconds = 0.0
            await pause(20)
            assert len(accepted(desk)) == 1

    play(scene)


def test_what_was_not_told_before_a_kill_is_told_after_it_and_nothing_twice() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([TEMPORARY] * 3)
        desk.contract()
        async with notifier(desk, relay, People()):
            refuse(desk, 1)
            await pause(1)
        refuse(desk, 2)
        async with notifier(desk, relay, People()):
            await pause(10)
        async with notifier(desk, relay, People()):
            await pause(10)
        assert sorted(one.requests[0] for one in accepted(desk)) == sorted(
            [derive("request", 1), derive("request", 2)]
        )
        assert len(relay.taken) == 2

    play(scene)


def test_at_most_three_mails_of_one_org_are_on_their_way_and_all_arrive() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay(seconds=0.2)
        desk.contract()
        async with notifier(desk, relay, People()):
            for number in range(600):
                refuse(desk, number)
            await pause(60)
            assert len(accepted(desk)) == 600
            assert relay.most_at_once == 3
            assert len(relay.taken) == 600

    play(scene)


def test_one_mail_that_waits_does_not_hold_up_the_others() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([TEMPORARY] * 5)
        desk.contract()
        async with notifier(desk, relay, People()):
            for number in range(5):
                refuse(desk, number)
            await pause(0.1)
            refuse(desk, 5)
            await pause(0.1)
            assert [one.requests[0] for one in accepted(desk)] == [derive("request", 5)]

    play(scene)


def test_an_erased_person_gets_no_mail_and_the_ledger_says_why() -> None:
    async def scene() -> None:
        desk, relay, people = Desk(), Relay(), People()
        desk.contract()
        async with notifier(desk, relay, people):
            erasing = PersonEraseRequested(
                org="acme",
                person="acme-owner",
                publisher="operator",
                key="k",
                received_at=desk.clock.now(),
            )
            desk.write(erasing)
            refuse(desk)
            await pause(1)
            (erased,) = desk.facts(PersonErased)
            assert isinstance(erased.fact, PersonErased)
            assert erased.fact.existed
            (mail,) = failed(desk)
            assert (mail.code, mail.attempts) == ("person-erased", 0)
            assert relay.attempts == 0
            desk.write(erasing, id=derive("again"))
            await pause(1)
            assert len(desk.facts(PersonErased)) == 2

    play(scene)


def test_a_vault_that_cannot_be_read_is_tried_again() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, People(damaged=3)):
            refuse(desk)
            await pause(20)
            assert len(accepted(desk)) == 1

    play(scene)


def test_a_key_file_that_cannot_be_read_is_tried_again() -> None:
    class Unreadable(People):
        def contact(self, person: str) -> str | None:
            if self.damaged:
                self.damaged -= 1
                raise PermissionError(errno.EACCES, "Permission denied", "keys/x")
            return super().contact(person)

    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, Unreadable(damaged=3)):
            refuse(desk)
            await pause(20)
            assert len(accepted(desk)) == 1

    play(scene)


@pytest.mark.parametrize("seconds", [0.0, 5.0], ids=["refused at once", "refused after long"])
def test_an_org_whose_mail_is_refused_keeps_no_other_org_waiting(seconds: float) -> None:
    class OneBad(Relay):
        async def send(self, mail: Mail, timeout_seconds: float) -> None:
            if "acme" in mail.to:
                await pause(seconds)
                raise TEMPORARY
            await super().send(mail, timeout_seconds)

    async def scene() -> None:
        desk, relay = Desk(), OneBad()
        desk.contract()
        desk.contract(msgspec.structs.replace(CONTRACT, org="beta", id="b", owner=Person("boss", "0" * 64)))
        people = People({"acme-owner": "owner@acme.test", "boss": "boss@beta.test"})
        async with notifier(desk, relay, people):
            for number in range(256):
                refuse(desk, number)
            fence = 0
            for minute in range(5):
                await pause(60)
                request = derive("beta", minute)
                fence = desk.write(
                    GateDecided(
                        org="beta",
                        gate="g1",
                        through=1,
                        follows=fence,
                        state_seq=desk.server.ledger.last,
                        now=desk.clock.now(),
                        contract=REF,
                        rules="test",
                        answers=(answer(request, 1),),
                        orders=(),
                    )
                ).seq
                await pause(30)
                assert len(accepted(desk)) == minute + 1

    play(scene)


def test_answers_that_are_no_refusal_send_nothing() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, People()):
            desk.decide(
                answer("b" * 32, 3, "admitted", "Granted"), answer("c" * 32, 4, "refused", "HostsFull")
            )
            await pause(10)
            assert relay.attempts == 0
            assert (accepted(desk), failed(desk)) == ([], [])

    play(scene)


def test_a_copy_of_a_decision_sends_no_second_mail() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, People()):
            refuse(desk)
            await pause(1)
            assert len(accepted(desk)) == 1
            (decided,) = desk.facts(GateDecided)
            desk.write(decided.fact, id=derive("a copy"))
            await pause(10)
            assert relay.attempts == 1

    play(scene)
