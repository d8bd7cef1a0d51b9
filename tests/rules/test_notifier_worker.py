"""The notifier on a bus in memory, in virtual time, with a relay that misbehaves."""

import errno

import msgspec
import pytest

from events.ids import derive
from events.person import PersonErased, PersonEraseRequested
from schemas.contract.terms import Person
from services.notifier.port import Mail, RelayError
from tests.rules.desk import CONTRACT, Desk, answer, play
from tests.rules.notifier_relay import (
    FINAL,
    TEMPORARY,
    Gate,
    People,
    Relay,
    SlowRelay,
    accepted,
    failed,
    notifier,
)
from tests.simulation.clock import pause

BETA = msgspec.structs.replace(CONTRACT, org="beta", id="beta-2026", owner=Person("boss", "0" * 64))


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
            [request] = Gate(desk).refuse(1)
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
            [request] = Gate(desk).refuse(1)
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
            Gate(desk).refuse(1)
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
            Gate(desk).refuse(1)
            await pause(9)
            relay.seconds = 0.0
            await pause(20)
            assert len(accepted(desk)) == 1

    play(scene)


def test_what_was_not_told_before_a_kill_is_told_after_it_and_nothing_twice() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([TEMPORARY] * 3)
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            [first] = gate.refuse(1)
            await pause(1)
        [second] = gate.refuse(2)
        async with notifier(desk, relay, People()):
            await pause(10)
            assert [one.requests for one in accepted(desk)] == [(first,)]
        await pause(1000)
        async with notifier(desk, relay, People()):
            await pause(10)
        async with notifier(desk, relay, People()):
            await pause(10)
        assert [one.requests for one in accepted(desk)] == [(first,), (second,)]
        assert len(relay.taken) == 2

    play(scene)


def test_at_most_three_mails_of_one_org_are_on_their_way_and_all_arrive() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay(seconds=0.2)
        desk.contract()
        async with notifier(desk, relay, People()):
            requests = Gate(desk).refuse(*range(5_001))
            await pause(910)
            told = [request for mail in accepted(desk) for request in mail.requests]
            assert sorted(told) == sorted(requests)
            assert relay.most_at_once == 3
            assert len(relay.taken) == 6

    play(scene)


def test_one_mail_that_waits_does_not_hold_up_the_others() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([TEMPORARY] * 2)
        desk.contract()
        desk.contract(BETA)
        async with notifier(desk, relay, People()):
            Gate(desk).refuse(1)
            await pause(0.6)
            Gate(desk, "beta").refuse(1)
            await pause(0.1)
            assert [one.org for one in accepted(desk)] == ["beta"]

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
            Gate(desk).refuse(1)
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
            Gate(desk).refuse(1)
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
            Gate(desk).refuse(1)
            await pause(20)
            assert len(accepted(desk)) == 1

    play(scene)


@pytest.mark.parametrize("seconds", [0.0, 5.0], ids=["refused at once", "refused after long"])
def test_an_org_whose_mail_is_refused_keeps_no_other_org_waiting(seconds: float) -> None:
    class OneBad(Relay):
        async def send(self, mail: Mail, timeout_seconds: float) -> None:
            if "acme" in mail.to:
                self.attempts += 1
                await pause(seconds)
                raise TEMPORARY
            await super().send(mail, timeout_seconds)

    async def scene() -> None:
        desk, relay = Desk(), OneBad()
        desk.contract()
        desk.contract(BETA)
        bad, good = Gate(desk), Gate(desk, "beta")
        async with notifier(desk, relay, People(), digest_seconds=60):
            bad.refuse(*range(12_000))
            for minute in range(5):
                await pause(63)
                good.refuse(minute)
                await pause(30)
                assert len(accepted(desk)) == minute + 1
            assert relay.attempts > 50

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
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            gate.refuse(1)
            await pause(1)
            assert len(accepted(desk)) == 1
            assert gate.last is not None
            desk.write(gate.last, id=derive("a copy"))
            await pause(2000)
            assert relay.attempts == 1

    play(scene)


def test_a_notifier_that_is_told_to_end_as_the_relay_answers_ends_and_writes_nothing_more() -> None:
    async def scene() -> None:
        desk, relay = Desk(), SlowRelay()
        desk.contract()
        async with notifier(desk, relay, People()):
            Gate(desk).refuse(1)
            await pause(1)
            relay.answer()
        assert (accepted(desk), failed(desk)) == ([], [])
        async with notifier(desk, relay, People()):
            await pause(1)
            relay.answer()
            await pause(1)
            (mail,) = accepted(desk)
            assert mail.attempts == 1, "whoever comes next hands it over again"

    play(scene)
