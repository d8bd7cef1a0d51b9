"""A storm of refusals: one mail at once, the others in a digest each period, none forgotten whatever is killed."""

import tracemalloc

import msgspec
import pytest

from events.envelope import Recorded
from events.gate import Answer, Evidence
from events.ids import derive
from events.scale import Sample, ScaleRequested
from schemas.contract.terms import Person
from services.notifier.decide import Episode
from services.notifier.digest import MOST_NAMED, Digest
from services.notifier.port import Mail
from services.notifier.smtp import Smtp
from services.notifier.state import post_of
from tests.rules.desk import CONTRACT, REF, Desk, answer, play
from tests.rules.notifier_relay import (
    FINAL,
    PERIOD,
    TEMPORARY,
    Gate,
    People,
    Relay,
    accepted,
    failed,
    named,
    notifier,
)
from tests.simulation.clock import EPOCH, pause

BETA = msgspec.structs.replace(CONTRACT, org="beta", id="beta-2026", owner=Person("boss", "0" * 64))
NS = 1_000_000_000


def wire_bytes(mail: Mail) -> int:
    """What the relay is given, headers and encoding included."""
    return len(Smtp("relay", 25)._compose(mail).as_bytes())


async def until(desk: Desk, seconds: float) -> None:
    """The virtual clock shows so many seconds since the epoch."""
    await pause((EPOCH - desk.clock.now()).total_seconds() + seconds)


def test_a_storm_is_one_mail_at_once_and_one_digest_that_names_all_others_once() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            requests = gate.refuse(0)
            await pause(1)
            assert named(desk) == requests
            assert "Further refusals until 09:15 UTC come together" in relay.taken[0].text
            for number in range(25):
                requests += gate.refuse(*range(number * 100 + 1, number * 100 + 101))
                await pause(20)
            await until(desk, PERIOD)
            assert len(relay.taken) == 1
            await pause(30)
            assert [len(mail.requests) for mail in accepted(desk)] == [1, 1000, 1000, 500]
            assert named(desk) == requests
            for number, mail in enumerate(relay.taken[1:], start=1):
                assert f"part {number} of 3" in mail.subject
                assert "refused 2,500 requests of acme: digest 09:00 to 09:15 UTC" in mail.subject
                assert "Refusals until 09:30 UTC" in mail.text.replace("\n", " ")
                assert wire_bytes(mail) < 200_000
            for mail, told in zip(relay.taken, accepted(desk), strict=True):
                assert mail.message_id == told.message_id
                assert all(request in mail.text for request in told.requests)
            await pause(10_000)
            assert len(relay.taken) == 4

    play(scene)


def test_a_digest_can_be_read_by_a_person() -> None:
    digest = Digest("acme", "acme-owner", int((EPOCH.timestamp() + PERIOD) * NS), PERIOD)
    began_ns = int(EPOCH.timestamp()) * NS
    bigger = Answer(
        "c" * 32,
        9,
        "web",
        "partial",
        "CapExceeded",
        7,
        2,
        (Evidence("vcpu", 90, 6, 900, 996, 100, 110),),
        None,
    )
    sample = Sample('p99{job="w\u00e4b"}\n > 1', 312.5, 250.0, EPOCH)
    asked = [
        (answer("a" * 32, 7), wish("shop"), 60),
        (answer("b" * 32, 8, "refused", "ContractExpired"), wish("signal", sample), 61),
        (bigger, wish("shop"), 62),
        (answer("d" * 32, 9), None, 63),
    ]
    for refused, by, seconds in asked:
        digest.add(refused, REF, by, began_ns + seconds * NS)
    text = digest.errand(0).text
    assert text.splitlines()[:5] == [
        "Virtscale refused 4 requests of acme, in whole or in part, from 2026-11-22",
        "09:01:00.000 UTC to 2026-11-22 09:01:03.000 UTC.",
        "CapExceeded: the largest would have taken acme to 996 vCPU; the limit is",
        "110.",
        "",
    ]
    assert (
        "acme/web, asked by shop, CapExceeded: 2 requests\n\n"
        f"  {'a' * 32}  09:01:00  0 of 500 VMs  596 of 110 vCPU\n"
        f"  {'c' * 32}  09:01:02  2 of 7 VMs  996 of 110 vCPU\n"
    ) in text
    assert 'acme/web, asked by signal (p99{job="w?b"} > 1 above 250), ContractExpired: 1' in text
    assert "asked by unknown, CapExceeded: 1 request\n" in text
    prose = " ".join(text.split())
    assert "What you can do (CapExceeded): ask for less" in prose
    assert "raised by at least 886 vCPU in an addendum" in prose
    assert (
        "What you can do (ContractExpired): contract acme-2026 version 1 is not valid at this time" in prose
    )
    assert all(len(line) <= 78 for line in text.splitlines())


def test_digests_follow_each_period_and_an_episode_ends_with_a_quiet_one() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            for at, number in [(0, 1), (850, 2), (1700, 3), (1710, 4), (3590, 5), (3600, 6), (7000, 7)]:
                await until(desk, at)
                gate.refuse(number)
            await pause(5000)
            told = [
                (round((mail.accepted_at - EPOCH).total_seconds()), len(mail.requests))
                for mail in accepted(desk)
            ]
            # 1 begins; 2 is in the digest of 900, 3 and 4 in that of 1800, and until 2700 there is none.
            assert told == [(0, 1), (902, 1), (1802, 2), (3590, 1), (4492, 1), (7000, 1)]

    play(scene)


def test_a_digest_has_one_name_and_is_in_the_ledger_once_however_often_the_notifier_is_killed() -> None:
    async def scene(lives: list[float]) -> None:
        desk, relay = Desk(dedup_seconds=0), Relay([True] * 3, seconds=0.3)
        desk.contract()
        gate = Gate(desk)
        requests = gate.refuse(*range(2_400))
        for seconds in lives:
            async with notifier(desk, relay, People()):
                await pause(seconds)
            await pause(0.05)
        async with notifier(desk, relay, People()):
            await pause(3 * PERIOD)
        assert sorted(set(named(desk))) == sorted(requests)
        by_set = {mail.requests: mail.message_id for mail in accepted(desk)}
        assert len(by_set) == len(set(by_set.values())) == 4
        assert {mail.message_id for mail in relay.taken} == set(by_set.values())
        assert len(named(desk)) == len(requests)

    for lives in ([0.1], [0.35, 0.2], [901.0], [902.1] * 6, [902.4, 0.35, 0.31], [902.65] * 3, [2000.0]):
        play(lambda lives=lives: scene(lives))


def test_a_notifier_that_was_away_for_an_hour_tells_everything_when_it_is_back() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        gate = Gate(desk)
        requests: list[str] = []
        for number in range(8):
            requests += gate.refuse(number)
            await pause(600)
        async with notifier(desk, relay, People()):
            await pause(30)
        # 0 begins; 1, then 2, then 3 and 4, and so on wait for a mark that is over, but for the last.
        assert named(desk) == requests
        assert [len(mail.requests) for mail in accepted(desk)] == [1, 1, 1, 2, 1, 2]

    play(scene)


def test_a_relay_that_never_answers_costs_no_refusal_its_mail() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay(seconds=1e6)
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            requests = gate.refuse(*range(50))
            await pause(PERIOD + 200)
            assert accepted(desk) == []
            relay.seconds = 0.0
            await pause(90)
            assert sorted(named(desk)) == sorted(requests)

    play(scene)


def test_a_digest_that_is_refused_for_good_or_for_an_hour_is_an_alarm_that_names_every_request() -> None:
    async def scene(relay: Relay, code: str) -> None:
        desk = Desk()
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            requests = gate.refuse(*range(20))
            await pause(PERIOD + 3_700)
            assert [fact.code for fact in failed(desk)] == [code] * 2
            assert sorted(request for fact in failed(desk) for request in fact.requests) == sorted(requests)
            assert all(b"owner@acme.test" not in one.payload for one in desk.stored())

    play(lambda: scene(Relay([FINAL, FINAL]), "relay-refused"))
    play(lambda: scene(Relay([TEMPORARY] * 1_000), "relay-unreachable"))


def test_a_new_owner_gets_what_is_refused_from_then_on_and_the_old_one_what_was_before() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            old = gate.refuse(1, 2)
            desk.contract(msgspec.structs.replace(CONTRACT, version=2, owner=Person("boss", "0" * 64)))
            await pause(60)
            new = gate.refuse(3, 4)
            await pause(1)
            assert [(mail.person, mail.requests) for mail in accepted(desk)] == [
                ("acme-owner", (old[0],)),
                ("boss", (new[0],)),
            ]
            await pause(2 * PERIOD)
            assert [(mail.person, mail.requests) for mail in accepted(desk)[2:]] == [
                ("acme-owner", (old[1],)),
                ("boss", (new[1],)),
            ]

    play(scene)


def test_a_storm_of_one_org_delays_no_refusal_of_another() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay(seconds=0.5)
        desk.contract()
        desk.contract(BETA)
        storm, calm = Gate(desk), Gate(desk, "beta")
        async with notifier(desk, relay, People(), digest_seconds=60):
            storm.refuse(*range(12_000))
            await pause(62.1)
            [request] = calm.refuse(1)
            await pause(1.1)
            assert request in named(desk)
            assert len(named(desk)) < 12_000

    play(scene)


@pytest.mark.parametrize("off_seconds", [-20.0, 20.0], ids=["behind", "ahead"])
def test_a_clock_that_is_off_leaves_no_refusal_out(off_seconds: float) -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            desk.clock.off_seconds = off_seconds
            # The bus has its own clock in truth; here both share one, so the notifier's is put off between stores.
            requests: list[str] = []
            for number in range(100):
                desk.clock.off_seconds = 0.0
                requests += gate.refuse(number)
                desk.clock.off_seconds = off_seconds
                await pause(10)
            await pause(PERIOD * 2)
            assert sorted(named(desk)) == sorted(requests)

    play(scene)


def test_an_answer_that_is_told_twice_is_named_once() -> None:
    async def scene() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            requests = gate.refuse(1, 2)
            assert gate.last is not None
            desk.write(gate.last, id=derive("a copy"))
            await pause(PERIOD * 2)
            assert named(desk) == requests

    play(scene)


def wish(publisher: str, sample: Sample | None = None) -> ScaleRequested:
    return ScaleRequested(
        org="acme",
        pool="web",
        publisher=publisher,
        key="k",
        origin="program" if sample is None else "trigger",
        add=500,
        want=None,
        up_to=False,
        received_at=EPOCH,
        sample=sample,
    )


def test_the_longest_names_and_numbers_stay_below_two_hundred_kilobytes_a_mail() -> None:
    org, most = "o" * 40, 2**53
    digest = Digest(org, "p" * 40, 10**18, PERIOD)
    for number in range(3_000):
        pool = f"{number:040d}"
        refused = Answer(
            derive(number),
            most,
            pool,
            "partial",
            "CapExceeded",
            most,
            most,
            (Evidence("object_bytes", most, most, most, most, most, 1),),
            None,
        )
        sample = Sample("=\u20ac" * 2_000, 1e300, 1e300, EPOCH)
        digest.add(refused, REF, wish("x" * 40, sample), 10**18 + number)
    mails = [digest.errand(part).to("owner@acme.test") for part in digest.parts]
    assert len(mails) > 3
    assert max(wire_bytes(mail) for mail in mails) < 200_000
    assert sum(len(part) for part in digest.parts.values()) == 3_000


def test_a_storm_costs_the_notifier_little_memory_for_each_refusal_whatever_was_asked() -> None:
    post = post_of(PERIOD)()
    seq = 0

    def record(fact: object, id_: str) -> Recorded:
        nonlocal seq
        seq += 1
        return Recorded(seq, seq * 1000, id_, "w", EPOCH, None, id_, "t", fact)  # pyright: ignore[reportArgumentType]

    async def contract() -> None:
        desk = Desk()
        desk.contract()
        post.apply(desk.facts(object)[0])  # pyright: ignore[reportArgumentType]

    play(contract)
    tracemalloc.start()
    try:
        fence = 0
        for start in range(0, 5_120, 64):
            asked = [derive(number) for number in range(start, start + 64)]
            for request in asked:
                sample = Sample("q" * 4_000 + request, 1.0, 0.5, EPOCH)
                post.apply(record(wish("signal", sample), request))
            decided = Gate.decision("acme", fence, EPOCH, *(answer(request, 1) for request in asked))
            done = record(decided, derive("round", start))
            post.apply(done)
            fence = done.seq
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(1 for _, mails in post.due(10**19) for _ in mails) == 1 + -(-5_119 // MOST_NAMED)
    assert size < 5_120 * 1_000


def test_an_episode_survives_a_bus_clock_that_is_set_back_a_little_and_not_one_that_is_set_back_far() -> None:
    episode = Episode.begin(10_000 * NS, PERIOD)
    assert episode.holds(9_990 * NS, PERIOD)
    assert episode.mark_ns(9_990 * NS, PERIOD) == 10_900 * NS
    assert not episode.holds(9_000 * NS, PERIOD)
    assert not episode.holds(10_900 * NS, PERIOD)
    longer = episode.after(10_900 * NS, PERIOD)
    assert longer.holds(11_799 * NS, PERIOD)
    assert longer.mark_ns(11_799 * NS, PERIOD) == 11_800 * NS
    assert not longer.holds(11_800 * NS, PERIOD)
    assert longer.after(10_900 * NS, PERIOD) == longer
