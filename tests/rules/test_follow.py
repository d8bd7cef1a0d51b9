"""What a command says of its request, on a bus in memory."""

import asyncio
import datetime as dt

import pytest
from msgspec.structs import replace

from events.bus.permissions import reader
from events.bus.port import Ack
from events.gate import Answer, DrainCancelled, DrainOrdered, GateDecided, Order, SaveOrdered, WakeOrdered
from events.ids import derive
from events.mail import MailAccepted
from events.save import SaveRequested
from events.scale import ScaleRequested
from events.vm import VmAnnounced, VmReady, VmResumed, VmSaved, VmSaveFailed, VmWakeFailed
from schemas.capacity import Size
from services.notifier.decide import message_id
from tests.rules.desk import REF, Desk, answer, play
from tests.simulation.clock import pause
from virtscale.ask import events_after
from virtscale.follow import (
    _another_comes,
    _hear_of_mail,
    _look_for_episode,
    _report,
    _Trip,
    _until_left,
    _until_settled,
)

REQUEST = derive("request")
ORDER = derive("order")
SERVING = frozenset({"serving", "failed"})


def wish(now: dt.datetime) -> ScaleRequested:
    return ScaleRequested(
        org="acme",
        pool="web",
        publisher="operator",
        key="k",
        origin="person",
        add=1,
        want=None,
        up_to=False,
        received_at=now,
        sample=None,
    )


def decision(
    desk: Desk, asked: Ack, follows: int, answers: tuple[Answer, ...], *orders: Order
) -> GateDecided:
    return GateDecided(
        org="acme",
        gate="g1",
        through=asked.seq,
        follows=follows,
        state_seq=asked.seq,
        now=desk.clock.now(),
        contract=REF,
        rules="test",
        answers=answers,
        orders=orders,
    )


def test_a_vm_that_serves_before_its_waker_has_spoken_is_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scene() -> None:
        desk = Desk()
        now = desk.clock.now()
        asked = desk.write(wish(now), id=REQUEST)
        order = WakeOrdered(
            id=ORDER,
            vm="web-1",
            pool="web",
            host="h1",
            size=Size("small", 1, 512),
            request=REQUEST,
            purpose="serve",
            begin_by=now + dt.timedelta(seconds=60),
            ready_seconds=20,
        )
        desk.write(decision(desk, asked, 0, (answer(REQUEST, asked.seq, "admitted", "Granted"),), order))
        trip = _Trip("acme", REQUEST)
        events = events_after(desk.connect(reader("eye")), asked.seq - 1)
        following = asyncio.create_task(_until_settled(events, trip, SERVING))
        desk.write(
            VmReady(
                org="acme",
                vm="web-1",
                reservation=ORDER,
                boot_id="b",
                rebooted=False,
                clock_offset_ms=None,
                probe_started_at=now,
                answered_at=now,
                probes=1,
            )
        )
        desk.write(
            VmAnnounced(
                org="acme",
                vm="web-1",
                pool="web",
                reservation=ORDER,
                order=ORDER,
                backend="be_acme_web",
                address="127.0.0.1:1",
                announced_at=now,
            )
        )
        done, _ = await asyncio.wait({following}, timeout=30)
        assert not done
        assert [activation.stage for activation in trip.activations] == ["serving"]

        desk.write(
            VmResumed(
                depth="paused",
                refreshed=None,
                org="acme",
                vm="web-1",
                host="h1",
                reservation=ORDER,
                started_at=now,
                resumed_at=now,
                attempts=1,
            )
        )
        await asyncio.wait_for(following, 30)
        assert _report(trip, "table") == 0

    play(scene)
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[:4] == ["web-1", "resume", "serving", "-"]
    assert "-" not in row[4:]


def test_a_refusal_ends_although_no_mail_is_accepted_and_nothing_else_happens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scene() -> None:
        desk = Desk()
        asked = desk.write(wish(desk.clock.now()), id=REQUEST)
        desk.write(decision(desk, asked, 0, (answer(REQUEST, asked.seq),)))
        trip = _Trip("acme", REQUEST)
        events = events_after(desk.connect(reader("eye")), asked.seq - 1)
        began = asyncio.get_running_loop().time()
        await _until_settled(events, trip, SERVING)
        await _hear_of_mail(events, trip)
        assert 29 <= asyncio.get_running_loop().time() - began <= 31
        assert _report(trip, "table") == 3

    play(scene)
    assert "not accepted within 30 s" in capsys.readouterr().err


def told(
    desk: Desk, refused_at: dt.datetime, mark: dt.datetime | None = None, others: str = derive("others")
) -> None:
    """The relay took a mail about other refusals: the first of an episode, or those of a digest."""
    desk.write(
        MailAccepted(
            org="acme",
            person="acme-owner",
            message_id=message_id("acme", others, None if mark is None else int(mark.timestamp()) * 10**9),
            requests=(others,),
            attempts=1,
            refused_at=refused_at,
            accepted_at=desk.clock.now(),
        )
    )


@pytest.mark.parametrize(
    ("began_seconds", "mark_seconds", "digest"),
    [
        (-60, None, "09:29 UTC"),
        (-890, None, "09:15 UTC"),
        (-2_000, -5, "09:29 UTC"),
        (-2_000, -890, "09:15 UTC"),
    ],
    ids=["just begun", "about to be told", "a new period", "a period that ends"],
)
def test_a_refusal_in_an_episode_ends_at_once_and_says_which_digest_will_name_it(
    began_seconds: int, mark_seconds: int | None, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        await pause(15 * 60)
        now = desk.clock.now()
        mark = None if mark_seconds is None else now + dt.timedelta(seconds=mark_seconds)
        told(desk, now + dt.timedelta(seconds=began_seconds), mark)
        assert await refused(desk) == 0

    play(scene)
    assert f"this one will be named in the digest at {digest}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("began_seconds", "mark_seconds"), [(-901, None), (-3_000, -901)], ids=["one refusal", "a digest"]
)
def test_a_refusal_after_an_episode_has_a_mail_of_its_own_which_is_waited_for(
    began_seconds: int, mark_seconds: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        await pause(3_600)
        now = desk.clock.now()
        mark = None if mark_seconds is None else now + dt.timedelta(seconds=mark_seconds)
        told(desk, now + dt.timedelta(seconds=began_seconds), mark)
        assert await refused(desk) == pytest.approx(30)

    play(scene)
    assert "digest at" not in capsys.readouterr().err


def test_a_mail_that_comes_while_one_waits_tells_of_the_episode_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        began = desk.clock.now()
        await pause(2)
        waiting = asyncio.create_task(refused(desk))
        await pause(3)
        told(desk, began)
        assert await waiting == pytest.approx(3, abs=0.1)

    play(scene)
    assert "this one will be named in the digest at 09:15 UTC" in capsys.readouterr().err


def test_a_mail_that_was_taken_before_the_command_looks_for_it_is_the_refusals_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Some milliseconds are enough for it; it was taken for an earlier refusal's then."""

    async def scene() -> None:
        desk = Desk()
        desk.contract()
        assert await refused(desk, mailed=True) == 0

    play(scene)
    said = capsys.readouterr().err
    assert "mail to acme-owner accepted 0 ms after the refusal" in said
    assert "digest" not in said


async def refused(desk: Desk, *, mailed: bool = False) -> float:
    """The request is refused, followed to its end, and reported; the seconds for which its mail was waited for."""
    asked = desk.write(wish(desk.clock.now()), id=REQUEST)
    desk.write(decision(desk, asked, 0, (answer(REQUEST, asked.seq),)))
    if mailed:
        told(desk, desk.clock.now(), others=REQUEST)
    trip = _Trip("acme", REQUEST)
    bus = desk.connect(reader("eye"))
    events = events_after(bus, asked.seq - 1)
    await _until_settled(events, trip, SERVING)
    began = asyncio.get_running_loop().time()
    await _look_for_episode(bus, trip)
    await _hear_of_mail(events, trip)
    assert _report(trip, "table") == 3
    return asyncio.get_running_loop().time() - began


def test_a_drain_that_demand_cancels_is_not_waited_for() -> None:
    async def scene() -> None:
        desk = Desk()
        asked = desk.write(wish(desk.clock.now()), id=REQUEST)
        drain = DrainOrdered(
            id=ORDER, vm="web-1", pool="web", reservation=derive("r"), request=REQUEST, drain_seconds=45
        )
        first = desk.write(
            decision(desk, asked, 0, (answer(REQUEST, asked.seq, "admitted", "Granted"),), drain)
        )
        trip = _Trip("acme", REQUEST)
        events = events_after(desk.connect(reader("eye")), asked.seq - 1)
        following = asyncio.create_task(_until_left(events, trip))
        done, _ = await asyncio.wait({following}, timeout=5)
        assert not done
        back = DrainCancelled(
            id=derive("back"),
            vm="web-1",
            pool="web",
            reservation=derive("r"),
            drain=ORDER,
            request=derive("other"),
        )
        desk.write(decision(desk, asked, first.seq, (), back))
        await asyncio.wait_for(following, 30)
        assert trip.left["web-1"][0] == "serves again"

    play(scene)


def test_a_vm_that_takes_the_place_of_one_that_failed_is_followed_too() -> None:
    async def scene() -> None:
        desk = Desk()
        now = desk.clock.now()
        asked = desk.write(wish(now), id=REQUEST)
        order = WakeOrdered(
            id=ORDER,
            vm="web-1",
            pool="web",
            host="h1",
            size=Size("small", 1, 512),
            request=REQUEST,
            purpose="serve",
            begin_by=now + dt.timedelta(seconds=60),
            ready_seconds=20,
        )
        granted = replace(answer(REQUEST, asked.seq, "admitted", "Granted"), granted=1)
        first = desk.write(decision(desk, asked, 0, (granted,), order))
        desk.write(VmWakeFailed("acme", "web-1", "h1", ORDER, "wake-refused", "no", "paused", now))
        trip = _Trip("acme", REQUEST)
        events = events_after(desk.connect(reader("eye")), asked.seq - 1)
        await _until_settled(events, trip, SERVING)
        assert trip.lacks
        another = replace(order, id=derive("another"), vm="web-2")
        desk.write(decision(desk, asked, first.seq, (), another))
        assert await _another_comes(events, trip)
        desk.write(
            VmAnnounced("acme", "web-2", "web", another.id, another.id, "be", "127.0.0.1:1", now), id="a" * 32
        )
        desk.write(VmResumed("acme", "web-2", "h1", another.id, "paused", now, now, None, 1))
        await _until_settled(events, trip, SERVING)
        assert not trip.lacks
        assert [one.stage for one in trip.activations] == ["failed", "serving"]
        assert _report(trip, "table") == 0

    play(scene)


def test_where_nobody_takes_the_place_of_one_that_failed_that_is_a_failure() -> None:
    async def scene() -> None:
        desk = Desk()
        now = desk.clock.now()
        asked = desk.write(wish(now), id=REQUEST)
        order = WakeOrdered(ORDER, "web-1", "web", "h1", Size("small", 1, 512), REQUEST, "serve", now, 20)
        desk.write(decision(desk, asked, 0, (answer(REQUEST, asked.seq, "admitted", "Granted"),), order))
        desk.write(VmWakeFailed("acme", "web-1", "h1", ORDER, "wake-refused", "no", "paused", now))
        trip = _Trip("acme", REQUEST)
        events = events_after(desk.connect(reader("eye")), asked.seq - 1)
        await _until_settled(events, trip, SERVING)
        assert trip.lacks
        assert not await _another_comes(events, trip)
        assert _report(trip, "table") == 1

    play(scene)


def test_a_request_to_save_is_followed_until_each_vm_sleeps_as_it_will() -> None:
    async def scene() -> None:
        desk = Desk()
        now = desk.clock.now()
        wanted = SaveRequested("acme", "web", "operator", "k", "person", 0, now)
        asked = desk.write(wanted, id=REQUEST)
        orders = [SaveOrdered(derive(vm), vm, "web", "h1", 1, REQUEST) for vm in ("web-1", "web-2")]
        desk.write(decision(desk, asked, 0, (answer(REQUEST, asked.seq, "admitted", "Granted"),), *orders))
        desk.write(VmSaved("acme", "web-1", "h1", orders[0].id, 1, 3 << 20, now))
        desk.write(VmSaveFailed("acme", "web-2", "h1", orders[1].id, 1, "disk-full", "no space", now))
        trip = _Trip("acme", REQUEST)
        await _until_left(events_after(desk.connect(reader("eye")), asked.seq - 1), trip)
        assert {vm: how for vm, (how, _) in trip.left.items()} == {
            "web-1": "saved, 3 MiB",
            "web-2": "sleeps on in RAM: disk-full: no space",
        }
        assert trip.known is not None
        assert (trip.known.verb, trip.known.asked) == ("save", "0 in RAM")

    play(scene)
