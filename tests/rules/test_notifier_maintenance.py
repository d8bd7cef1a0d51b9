"""Who hears of maintenance: each technical contact, once, in order, with an entry for the calendar."""

import datetime as dt
import email
import email.policy
from email.message import EmailMessage

from events.fact import Fact
from events.mail import is_of_maintenance
from services.notifier.appointments import OfEntry
from services.notifier.decide import digest_at
from services.notifier.smtp import Smtp
from tests.keeping import TWO
from tests.rules.desk import Desk, play
from tests.rules.notifier_relay import TEMPORARY, Relay, accepted, notifier
from tests.rules.test_notifier_signals import WATCHED, people
from tests.rules.windows import TONIGHT, Windows
from tests.simulation.clock import pause


def told(house: Windows) -> list[tuple[Fact, str]]:
    """What the steward said, with its ids."""
    return [(line.fact, line.id) for line in house.lines if isinstance(line.fact, OfEntry)]


def announced() -> Windows:
    house = Windows().house()
    house.wants(TWO)
    house.look()
    return house


def test_each_contact_has_one_mail_that_says_when_in_both_zones_what_and_how_to_have_it_later() -> None:
    house = announced()

    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            for fact, id_ in told(house) * 2:
                desk.write(fact, id=id_)
            await pause(2)
            mails = {mail.person: mail for mail in accepted(desk)}
            assert set(mails) == {"acme-ops", "acme-night"}
            assert all(is_of_maintenance(mail.message_id) for mail in mails.values())
            assert all(mail.requests == (told(house)[0][1],) for mail in mails.values())
            await pause(5000)
            assert len(relay.taken) == 2
            mail = relay.taken[0]
            assert mail.subject == "Announced: maintenance of acme/db, 2026-11-22 22:00 CET (21:00 UTC)"
            words = " ".join(mail.text.split())
            assert "resize: size from 1 vCPU, 1024 MiB to 2 vCPU, 2048 MiB" in words
            assert "in the window 22:00-05:00 Europe/Berlin, by policy maintenance-12h" in words
            assert f"virtscale maintenance postpone {house.entry.id[:12]}" in words
            assert "each with `--reason`" in words, "neither command runs without"
            assert "The guest is shut down and started again once." in words

    play(scene)


def test_moved_and_cancelled_are_told_in_order_to_the_same_entry_of_the_calendar() -> None:
    house = announced()
    house.please("postpone")
    house.look()
    house.please("cancel")
    house.look()

    async def scene() -> None:
        desk, relay = Desk(), Relay([TEMPORARY, TEMPORARY])
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            for fact, id_ in told(house):
                desk.write(fact, id=id_)
            await pause(60)
            mine = [mail for mail in relay.taken if mail.to == "ops@acme.test"]
            assert [mail.subject.partition(":")[0] for mail in mine] == ["Announced", "Changed", "Cancelled"]
            entries = [mail.appointment for mail in mine]
            assert all(entry is not None for entry in entries)
            assert [(entry.revision, entry.cancelled) for entry in entries if entry] == [
                (0, False),
                (1, False),
                (2, True),
            ]
            assert len({entry.uid for entry in entries if entry}) == 1
            assert "the fair is on." in " ".join(mine[2].text.split())

    play(scene)


def test_work_that_is_done_as_announced_is_no_mail_and_work_that_was_refused_is_one() -> None:
    done, refused = announced(), announced()
    refused.contract_of(vcpu=1)
    for house in (done, refused):
        house.to(TONIGHT).look()
        _, order = house.gate()
        if order is not None:
            house.rebooted(order)
        house.look()

    async def scene() -> None:
        for house, subjects in ((done, ["Announced"]), (refused, ["Announced", "Not done", "Announced"])):
            desk, relay = Desk(), Relay()
            desk.contract()
            async with notifier(desk, relay, people()):
                for fact, id_ in told(house):
                    desk.write(fact, id=id_)
                await pause(60)
                assert sorted(mail.subject.partition(":")[0] for mail in relay.taken) == sorted(subjects)
                assert all("CapExceeded" in mail.text for mail in relay.taken if "Not done" in mail.subject)

    play(scene)


def test_a_notifier_that_starts_anew_says_nothing_twice() -> None:
    house = announced()

    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        for fact, id_ in told(house):
            desk.write(fact, id=id_)
        for _ in range(3):
            async with notifier(desk, relay, people()):
                await pause(30)
        assert len(relay.taken) == 1

    play(scene)


def test_the_mail_carries_a_calendar_object_with_its_method_and_the_readers_address() -> None:
    house = announced()
    house.please("cancel")
    house.look()

    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            for fact, id_ in told(house):
                desk.write(fact, id=id_)
            await pause(30)
        found: list[tuple[str | None, str]] = []
        for mail in relay.taken:
            whole = email.message_from_bytes(
                Smtp("relay", 25)._compose(mail).as_bytes(), policy=email.policy.default
            )
            assert isinstance(whole, EmailMessage)
            for part in whole.walk():
                if part.get_content_type() == "text/calendar":
                    method = part.get_param("method")
                    found.append((str(method), part.get_content().replace("\r\n ", "")))
        assert [method for method, _ in found] == ["REQUEST", "CANCEL"]
        assert [f"METHOD:{method}" in text for method, text in found] == [True, True]
        assert [f"SEQUENCE:{number}" in text for number, (_, text) in enumerate(found)] == [True, True]
        assert all(
            "mailto:owner@acme.test" in text and "DTSTART:20261122T210000Z" in text for _, text in found
        )

    play(scene)


def test_a_mail_about_maintenance_says_nothing_about_a_digest_of_refusals() -> None:
    house = announced()

    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            for fact, id_ in told(house):
                desk.write(fact, id=id_)
            await pause(10)
            (mail,) = accepted(desk)
            assert digest_at(mail, mail.refused_at + dt.timedelta(seconds=1)) is None

    play(scene)
