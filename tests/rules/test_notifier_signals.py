"""Who is told of a lost signal, when, and how seldom: one mail when it begins, and one in each period while it comes and goes."""

import msgspec
import pytest

from events.ids import derive
from events.mail import is_of_signals
from events.pool import Source
from events.signal import SignalFound, SignalLost
from schemas.contract.terms import Person
from services.notifier import alarms
from tests.rules.desk import CONTRACT, Desk, play
from tests.rules.notifier_relay import TEMPORARY, Gate, People, Relay, accepted, failed, named, notifier
from tests.simulation.clock import pause

OPS = Person("acme-ops", "0" * 64)
NIGHT = Person("acme-night", "1" * 64)
WATCHED = msgspec.structs.replace(CONTRACT, technical=(OPS, NIGHT))


def people() -> People:
    return People(
        {"acme-owner": "owner@acme.test", "acme-ops": "ops@acme.test", "acme-night": "night@acme.test"}
    )


def lose(
    desk: Desk, query: str = "p99", *, pool: str = "web", source: Source = "trigger", org: str = "acme"
) -> str:
    name = derive("lost", org, pool, query, source, desk.clock.now().isoformat())
    desk.write(
        SignalLost(
            org=org,
            pool=pool,
            source=source,
            query=derive("query", query),
            last_sample_at=None,
            code="silent",
            text=f"The query of a trigger of {org}/{pool} has yielded nothing new for 31 s. The query: {query}",
            lost_at=desk.clock.now(),
        ),
        id=name,
    )
    return name


def find(desk: Desk, query: str = "p99", *, pool: str = "web") -> None:
    now = desk.clock.now()
    desk.write(
        SignalFound(
            org="acme", pool=pool, source="trigger", query=derive("query", query), lost_at=now, found_at=now
        )
    )


def test_each_technical_contact_is_told_once_and_what_is_lost_together_is_one_mail() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract(WATCHED)
        async with notifier(desk, relay, people()):
            lost = [lose(desk), lose(desk, "rate", source="demand")]
            await pause(3)
            lost.append(lose(desk, pool="db"))
            assert relay.taken == []
            await pause(10)
            told = {mail.person: mail for mail in accepted(desk)}
            assert set(told) == {"acme-ops", "acme-night"}, "and the owner is not, who hears of refusals"
            assert all(mail.requests == tuple(lost) for mail in told.values())
            assert all(is_of_signals(mail.message_id) for mail in told.values())
            assert len({mail.message_id for mail in told.values()}) == 2
            mail = next(one for one in relay.taken if one.to == "ops@acme.test")
            assert (
                mail.subject == "Virtscale lost 3 queries of 2 pools of acme: nothing is put to sleep there"
            )
            assert "The query: rate" in " ".join(mail.text.split())
            assert mail.text.count("heard again: not yet") == 3
            await pause(5000)
            assert len(relay.taken) == 2

    play(scene)


def test_where_the_contract_names_no_technical_contact_its_owner_is_told() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            lose(desk)
            await pause(20)
            assert [mail.person for mail in accepted(desk)] == ["acme-owner"]

    play(scene)


def test_a_signal_that_comes_and_goes_makes_one_mail_in_each_period_that_names_every_loss() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            lost = []
            for _ in range(30):
                lost.append(lose(desk))
                await pause(40)
                find(desk)
                await pause(20)
            await pause(2000)
            assert named(desk) == lost
            assert [len(mail.requests) for mail in accepted(desk)] == [1, 14, 15]
            assert "heard again: 20" in relay.taken[1].text
            lose(desk)
            await pause(15)
            assert len(relay.taken) == 4, "a new episode begins with a mail of its own"

    play(scene)


def test_lost_signals_and_refusals_do_not_wait_for_each_other() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            lose(desk)
            await pause(15)
            [request] = Gate(desk).refuse(1)
            await pause(5)
            assert [mail.requests for mail in accepted(desk)][1:] == [(request,)], (
                "the first refusal goes at once"
            )

    play(scene)


def test_a_mail_is_the_same_after_a_restart_and_is_not_sent_twice() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([True])
        desk.contract()
        async with notifier(desk, relay, people()):
            lose(desk)
            lose(desk, "rate")
            await pause(10.2)
        async with notifier(desk, relay, people()):
            await pause(60)
        async with notifier(desk, relay, people()):
            await pause(2000)
        assert len({mail.message_id for mail in relay.taken}) == 1
        assert len(accepted(desk)) == 1

    play(scene)


def test_a_relay_that_is_away_is_asked_again_and_one_who_is_erased_is_given_up() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay([TEMPORARY] * 3)
        desk.contract(WATCHED)
        who = people()
        who.erase("acme-night")
        async with notifier(desk, relay, who):
            lost = lose(desk)
            await pause(30)
            assert [(mail.person, mail.requests) for mail in accepted(desk)] == [("acme-ops", (lost,))]
            assert [(mail.person, mail.code) for mail in failed(desk)] == [("acme-night", "person-erased")]

    play(scene)


def test_more_losses_than_one_mail_may_name_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "MOST_NAMED", 10)

    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            lost = [lose(desk, pool=f"p{number}") for number in range(25)]
            await pause(20)
            assert sorted(len(mail.requests) for mail in accepted(desk)) == [5, 10, 10]
            assert sorted(named(desk)) == sorted(lost)

    play(scene)


def test_an_org_without_a_contract_has_nobody_to_tell() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        async with notifier(desk, relay, people()):
            lose(desk, org="beta")
            await pause(2000)
            assert relay.taken == []

    play(scene)
