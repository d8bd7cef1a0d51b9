"""Silences in a real Alertmanager: from their instant on, once however often they are asked for, and never waited for without end."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest

from events.clock import SystemClock
from lab import alertmanager as lab
from lab.ports import LOOPBACK
from services.deleter.alertmanager import MOST_BYTES, Alertmanager
from services.deleter.port import Silence, SilenceError
from tests.seams.alerts import alert, listed, silence, states
from tests.support import eventually, free_port

SECOND: Final = dt.timedelta(seconds=1)
HOUR: Final = dt.timedelta(hours=1)
Speaks = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[lab.Alertmanager]:
    part = lab.Alertmanager(tmp_path, free_port())
    await part.start()
    yield part
    await part.stop()


@pytest.fixture
async def http(server: lab.Alertmanager) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


@pytest.fixture
async def silences(server: lab.Alertmanager) -> AsyncIterator[Alertmanager]:
    port = Alertmanager(server.url)
    yield port
    await port.close()


def now() -> dt.datetime:
    return SystemClock().now()


def wanted(begins_at: dt.datetime, *, vm: str = "db", deletion: str = "d" * 32) -> Silence:
    return Silence(
        "acme", vm, deletion, begins_at, begins_at + 38 * 24 * HOUR, "virtscale", f"acme/{vm} is deleted"
    )


@asynccontextmanager
async def speaking(speaks: Speaks, *, seconds: float = 2.0) -> AsyncGenerator[Alertmanager]:
    """The port to a server of another kind."""

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await speaks(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(hear, LOOPBACK, 0)
    port = Alertmanager(f"http://{LOOPBACK}:{listening.sockets[0].getsockname()[1]}", seconds)
    yield port
    await port.close()
    listening.close()


def answering(body: bytes, status: str = "200 OK") -> Speaks:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


async def test_alerts_of_the_vm_are_suppressed_from_the_instant_on_and_no_others(
    silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    for labels in ({"org": "acme", "vm": "db"}, {"org": "acme", "vm": "db-2"}, {"org": "other", "vm": "db"}):
        await alert(http, **labels)
    await alert(http, vm="db")
    begins_at = now() + 1.5 * SECOND
    ours = await silences.set(wanted(begins_at))
    [found] = await silences.find("acme", "db", "d" * 32)
    assert (found.id, found.begun) == (ours, False)
    before = 0

    async def begun() -> bool:
        nonlocal before
        told = await states(http)
        if now() < begins_at:
            assert set(told.values()) == {"active"}
            before += 1
        return told["acme/db"] == "suppressed"

    await eventually(begun, 4)
    assert before > 0
    assert await states(http) == {
        "acme/db": "suppressed",
        "acme/db-2": "active",
        "other/db": "active",
        "/db": "active",
    }
    [found] = await silences.find("acme", "db", "d" * 32)
    assert (found.id, found.begun) == (ours, True)
    assert found.ends_at - found.starts_at == 38 * 24 * HOUR

    await silences.end(ours)
    await silences.end(ours)
    assert (await states(http))["acme/db"] == "active"
    assert await silences.find("acme", "db", "d" * 32) == ()


async def test_a_life_that_repeats_what_a_former_one_did_makes_no_second(
    server: lab.Alertmanager, silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    """One whose instant is to come, and one whose instant is over, which begins when it is set."""
    to_come, over = wanted(now() + HOUR), wanted(now() - HOUR, vm="web", deletion="e" * 32)
    ids = [await silences.set(one) for one in (to_come, over)]
    again = Alertmanager(server.url)
    assert [await again.set(one) for one in (to_come, over)] == ids
    await again.close()
    assert await listed(http) == dict(zip(ids, ("pending", "active"), strict=True))


async def test_who_is_killed_before_the_answer_finds_the_silence_again(
    server: lab.Alertmanager, silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The server is asked and its answer to what changes something is lost."""
        asked = await reader.readuntil(b"\r\n\r\n")
        there, back = await asyncio.open_connection(LOOPBACK, server.port)
        back.write(asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        if asked.startswith(b"POST"):
            length = next(
                int(line.split(b":")[1]) for line in asked.lower().split(b"\r\n") if b"-length" in line
            )
            back.write(await reader.readexactly(length))
        answer = await there.read()
        if not asked.startswith(b"POST"):
            writer.write(answer)
            await writer.drain()
        back.close()

    one = wanted(now() + HOUR)
    async with speaking(cut) as deaf:
        with pytest.raises(SilenceError) as caught:
            await deaf.set(one)
    assert (caught.value.code, caught.value.lost, caught.value.final) == ("Silence", True, False)
    assert list((await listed(http)).values()) == ["pending"], "it was set, and nobody heard of it"
    found = await silences.set(one)
    assert await listed(http) == {found: "pending"}


async def test_a_silence_that_says_otherwise_is_changed_and_is_the_same_one_while_the_server_lets_it(
    silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    first = wanted(now() + HOUR)
    ours = await silences.set(first)
    later = wanted(first.starts_at + HOUR)
    assert await silences.set(later) == ours
    [found] = await silences.find("acme", "db", "d" * 32)
    assert abs(found.starts_at - later.starts_at) < SECOND
    assert abs(found.ends_at - later.ends_at) < SECOND

    started = wanted(now() - HOUR)
    other = await silences.set(started)
    assert other != ours, (
        "what is to begin may not begin in the past: the server makes another one, and ends this"
    )
    assert await listed(http) == {ours: "expired", other: "active"}
    longer = Silence(*_values(started)[:4], started.ends_at + HOUR, *_values(started)[5:])
    assert await silences.set(longer) == other
    [found] = await silences.find("acme", "db", "d" * 32)
    assert abs(found.ends_at - longer.ends_at) < SECOND

    put_off = await silences.set(first)
    assert (await listed(http))[other] == "expired", (
        "what began does not begin later: the server makes another one"
    )
    assert [one.id for one in await silences.find("acme", "db", "d" * 32)] == [put_off]


def _values(one: Silence) -> tuple[str, str, str, dt.datetime, dt.datetime, str, str]:
    return one.org, one.vm, one.deletion, one.starts_at, one.ends_at, one.created_by, one.comment


async def test_each_deletion_has_its_own_and_nobody_elses_is_touched(
    silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    by_hand = await silence(http, now(), org="acme", vm="db", comment=f"not ours (deletion {'c' * 32})")
    foreign = await silence(http, now(), org="acme", vm="db")
    first = await silences.set(wanted(now() + HOUR))
    second = await silences.set(wanted(now() + HOUR, deletion="e" * 32))
    assert await silences.find("acme", "web", "d" * 32) == ()
    await silences.end(first)
    assert await silences.find("acme", "db", "d" * 32) == ()
    assert [one.id for one in await silences.find("acme", "db", "e" * 32)] == [second]
    third = await silences.set(wanted(now() + HOUR))
    assert await listed(http) == {
        by_hand: "active",
        foreign: "active",
        first: "expired",
        second: "pending",
        third: "pending",
    }


async def test_what_landed_late_or_was_changed_by_hand_is_one_silence_again(
    silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    late = [
        await silence(
            http, now() + HOUR, org="acme", vm="db", severity="page", comment=f"x (deletion {'d' * 32})"
        )
        for _ in range(3)
    ]
    assert [one.id for one in await silences.find("acme", "db", "d" * 32)] == sorted(late)
    kept = await silences.set(wanted(now() - HOUR))
    assert {one for one, state in (await listed(http)).items() if state != "expired"} == {kept}
    await alert(http, org="acme", vm="db")
    assert await states(http) == {"acme/db": "suppressed"}


async def test_what_an_alertmanager_forgot_is_set_anew_and_ends_without_complaint(
    server: lab.Alertmanager, silences: Alertmanager, http: httpx.AsyncClient
) -> None:
    former = await silences.set(wanted(now() - HOUR))
    await server.part.kill()
    with pytest.raises(SilenceError) as caught:
        await silences.find("acme", "db", "d" * 32)
    assert caught.value.lost
    await server.part.start()
    assert await silences.find("acme", "db", "d" * 32) == ()
    await silences.end(former)
    anew = await silences.set(wanted(now() - HOUR))
    assert await listed(http) == {anew: "active"}


async def test_a_silence_whose_end_is_over_is_refused_for_good_in_the_servers_words(
    silences: Alertmanager,
) -> None:
    with pytest.raises(SilenceError, match=r"answered 400: .*end time can't be in the past") as caught:
        await silences.set(wanted(now() - 40 * 24 * HOUR))
    assert (caught.value.lost, caught.value.final) == (False, True)
    with pytest.raises(SilenceError, match="silenceID in path must be of type uuid") as caught:
        await silences.end("hello")
    assert caught.value.final


async def test_a_server_that_is_away_or_has_no_address_is_said_in_time_and_without_its_password() -> None:
    away = Alertmanager(f"http://virtscale:secret@{LOOPBACK}:{free_port()}")
    with pytest.raises(SilenceError, match=LOOPBACK) as caught:
        await away.set(wanted(now()))
    assert (caught.value.lost, caught.value.final) == (True, False)
    assert "secret" not in str(caught.value)
    await away.close()
    for url in (
        "",
        "alertmanager",
        "ftp://127.0.0.1",
        "http://127.0.0.1:99999",
        "http://\x00",
        "http://[",
    ):
        nowhere = Alertmanager(url)
        with pytest.raises(SilenceError, match="alertmanager_url") as caught:
            await nowhere.end("x")
        assert (caught.value.lost, caught.value.final) == (False, True), url
        await nowhere.close()


async def _mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Something comes all the time, and no timeout of a single reading ever ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[")
    while not writer.is_closing() and not reader.at_eof():
        writer.write(b" ")
        await writer.drain()
        try:
            async with asyncio.timeout(0.02):
                await reader.read(1 << 16)
        except TimeoutError:
            continue


@pytest.mark.parametrize("speaks", [_mute, _dripping])
async def test_a_server_that_hangs_holds_nobody(speaks: Speaks) -> None:
    async with speaking(speaks, seconds=0.3) as hanging:
        for call in (hanging.set(wanted(now())), hanging.find("acme", "db", "d" * 32), hanging.end("x")):
            began = asyncio.get_running_loop().time()
            with pytest.raises(SilenceError, match="did not answer within") as caught:
                await call
            assert asyncio.get_running_loop().time() - began < 1.5
            assert caught.value.lost


async def test_no_call_is_held_by_one_that_was_given_up() -> None:
    async with speaking(_mute, seconds=0.2) as hanging:
        for _ in range(6):
            calls = [hanging.find("acme", "db", "d" * 32) for _ in range(8)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(one) for one in outcomes} == {SilenceError}


_STRANGE: Final = {
    "id": "b9d2f1f0-5a0e-4c3a-9d2c-d7b9f1f05a0e",
    "status": {"state": "pending"},
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2026-01-02T00:00:00Z",
    "comment": "",
    "createdBy": "",
    "matchers": [],
}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>log in</html>",
        b"{}",
        b"null",
        b"[[]]",
        b'[{"id": "hello"}]',
        json.dumps([{**_STRANGE, "status": {"state": "asleep"}}]).encode(),
        json.dumps([{**_STRANGE, "startsAt": "yesterday"}]).encode(),
        json.dumps([{**_STRANGE, "id": "../../-/quit"}]).encode(),
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * (MOST_BYTES + 1),
    ],
)
async def test_an_answer_that_is_none_is_an_error_and_may_be_asked_again(body: bytes) -> None:
    async with speaking(answering(body)) as odd:
        with pytest.raises(SilenceError) as caught:
            await odd.set(wanted(now()))
        assert (caught.value.lost, caught.value.final) == (False, False)
        assert len(str(caught.value)) < 400


async def test_what_does_not_speak_http_is_lost() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        await reader.read(100)

    async with speaking(greet) as odd:
        with pytest.raises(SilenceError, match="cannot be reached") as caught:
            await odd.find("acme", "db", "d" * 32)
        assert caught.value.lost


@pytest.mark.parametrize(
    ("status", "final"),
    [
        ("301 Moved", True),
        ("401 Unauthorized", True),
        ("404 Not Found", False),
        ("429 Slow", False),
        ("502 Bad", False),
    ],
)
async def test_a_refusal_is_final_where_another_try_cannot_help(status: str, *, final: bool) -> None:
    async with speaking(answering(b"<html>not found</html>", status)) as proxy:
        for call in (proxy.set(wanted(now())), proxy.end("x")):
            with pytest.raises(SilenceError, match=rf"answered {status[:3]}\.") as caught:
                await call
            assert (caught.value.lost, caught.value.final) == (False, final)


async def test_an_unknown_silence_is_over_for_later_servers_too() -> None:
    """From 0.27 on they say 404 and nothing more."""
    async with speaking(answering(b"", "404 Not Found")) as later:
        await later.end(msgspec.convert(_STRANGE["id"], str))
