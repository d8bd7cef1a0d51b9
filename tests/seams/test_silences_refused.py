"""Alertmanagers that are away, hang, refuse, or are none: each is an error in time, and says whether another try helps."""

import asyncio
import json
from typing import Final

import pytest

from lab.ports import LOOPBACK
from services.deleter.alertmanager import MOST_BYTES, Alertmanager
from services.deleter.port import SilenceError
from tests.seams.alerts import Speaks, now, speaking, wanted
from tests.support import free_port


def answering(body: bytes, status: str = "200 OK") -> Speaks:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


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
    async with speaking(_mute, seconds=0.1) as hanging:
        for _ in range(3):
            calls = [hanging.find("acme", "db", "d" * 32) for _ in range(8)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(one) for one in outcomes} == {SilenceError}


_ID: Final = "b9d2f1f0-5a0e-4c3a-9d2c-d7b9f1f05a0e"
_STRANGE: Final = {
    "id": _ID,
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
        await later.end(_ID)
