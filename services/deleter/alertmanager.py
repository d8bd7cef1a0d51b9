"""Silences in an Alertmanager, by its API v2; what 0.25 makes of each question is told in docs/signals.md."""

import asyncio
import datetime as dt
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

import httpx
import msgspec

from services.deleter.port import Found, Silence, SilenceError, labels

CALL_SECONDS: Final = 5.0
"""A question takes some 2 ms on loopback (docs/signals.md)."""

MOST_BYTES: Final = 1024 * 1024
"""A silence has some 400 bytes, and asked for are one VM's alone; ended ones stay for five days."""

_MOST_WORDS: Final = 200

_MEND: Final = "write where it is as `alertmanager_url` into house.json"

_LATER: Final = frozenset(
    {
        HTTPStatus.NOT_FOUND,  # a silence that was forgotten meanwhile, or a proxy whose Alertmanager is not there yet
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Refusals that another try may change, as may those from 500 on."""

_FORGOTTEN: Final = b"silence not found"
"""What 0.25 says, with status 500, when a silence is to end that it does not know; later ones say 404 and nothing."""


class _Matcher(msgspec.Struct, frozen=True, rename="camel", order=True):
    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True


class _Status(msgspec.Struct, frozen=True):
    state: Literal["pending", "active", "expired"]


class _Standing(msgspec.Struct, frozen=True, rename="camel"):
    """A silence as the server tells it; its times have milliseconds."""

    id: UUID
    status: _Status
    starts_at: dt.datetime
    ends_at: dt.datetime
    comment: str
    created_by: str
    matchers: tuple[_Matcher, ...]


class _Wanted(msgspec.Struct, frozen=True, rename="camel"):
    """A silence as it is asked for; with an id, instead of the one that has it."""

    starts_at: str
    ends_at: str
    comment: str
    created_by: str
    matchers: tuple[_Matcher, ...]
    id: UUID | None = None


class _Set(msgspec.Struct, frozen=True):
    id: UUID = msgspec.field(name="silenceID")


class _Problem(msgspec.Struct, frozen=True):
    message: str


_Answer = TypeVar("_Answer")


class Alertmanager:
    """The API v2 at `url`, over a new connection for each question: calls are days apart, and a kept one may have died unnoticed."""

    def __init__(self, url: str, call_seconds: float = CALL_SECONDS) -> None:
        """`call_seconds` bounds each call as a whole, however many questions it asks."""
        self._url = url.rstrip("/")
        self._name = f"Alertmanager at {re.sub('//[^/]*@', '//', self._url)!a:.100}"
        self._has_address = _is_address(self._url)
        self._seconds = call_seconds
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=0),
            timeout=call_seconds,
            # A proxy of the environment would be asked for what stands beside us.
            trust_env=False,
        )

    async def close(self) -> None:
        """No connection is open any more."""
        await self._client.aclose()

    async def set(self, silence: Silence) -> str:
        """The deletion has this one silence; its id. See the port.

        Of several, as when nobody heard of one that landed late, one stays. Where the server makes a new one of it (its start was
        moved, or somebody changed the matchers by hand) it ends the former in the same step: alerts are not told in between.
        """
        async with self._bounded(f"silence alerts of {silence.org}/{silence.vm}") as call:
            standing = await _standing(call, silence.org, silence.vm, silence.deletion)
            kept = await _put(call, silence, standing[0] if standing else None)
            for surplus in standing[1:]:
                await _end(call, str(surplus.id))
            return kept

    async def find(self, org: str, vm: str, deletion: str) -> tuple[Found, ...]:
        """The deletion's silences that have not ended, by id. See the port."""
        async with self._bounded(f"list the silences of {org}/{vm}") as call:
            return tuple(
                Found(str(one.id), one.starts_at, one.ends_at, one.status.state == "active")
                for one in await _standing(call, org, vm, deletion)
            )

    async def end(self, id: str) -> None:
        """The silence is over. See the port."""
        async with self._bounded(f"end the silence {id!a:.50}") as call:
            await _end(call, id)

    @asynccontextmanager
    async def _bounded(self, what: str) -> AsyncGenerator["_Call"]:
        """Whatever hinders the call, or makes it too long, is a `SilenceError`."""
        if not self._has_address:
            raise SilenceError(f"{self._name} has no address that can be asked: {_MEND}.", final=True)
        try:
            async with asyncio.timeout(self._seconds):
                yield _Call(self._client, self._url, f"{self._name}, asked to {what},")
        except (TimeoutError, httpx.TimeoutException) as error:
            text = f"{self._name} did not answer within {self._seconds:g} s when asked to {what}."
            raise SilenceError(text, lost=True) from error
        except httpx.HTTPError as error:
            text = f"{self._name} cannot be reached ({type(error).__name__}) to {what}."
            raise SilenceError(text, lost=True) from error


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked of one server for one purpose, which its errors name."""

    client: httpx.AsyncClient
    url: str
    prefix: str

    async def ask(self, method: str, path: str, content: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of one answer; the reading of a longer one ends with an error."""
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        body = bytearray()
        async with self.client.stream(method, self.url + path, content=content, headers=headers) as answer:
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MOST_BYTES:
                    raise SilenceError(f"{self.prefix} answered with more than {MOST_BYTES} bytes.")
            return answer.status_code, bytes(body)

    def refused(self, status: int, body: bytes) -> SilenceError:
        """The error for an answer that is no yes; of its words only those that are Alertmanager's."""
        words = "".join(filter(str.isprintable, _words(body)))[:_MOST_WORDS]
        text = f"{self.prefix} answered {status}{f': {words}' if words else ''}."
        later = status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return SilenceError(text, final=not later)

    def read(self, body: bytes, type: type[_Answer]) -> _Answer:
        """The answer, where it is one."""
        try:
            return msgspec.json.decode(body, type=type)
        except msgspec.DecodeError as error:
            raise SilenceError(f"{self.prefix} gave an answer that cannot be read: {error}.") from error


def _is_address(url: str) -> bool:
    """Whether it can be asked at all: httpx would find a port that is none only while it connects."""
    try:
        parts = urlsplit(url)
        return httpx.URL(url).scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False


async def _standing(call: _Call, org: str, vm: str, deletion: str) -> list[_Standing]:
    filters = [("filter", f'{name}="{value}"') for name, value in labels(org, vm)]
    status, body = await call.ask("GET", f"/api/v2/silences?{urlencode(filters)}")
    if status != HTTPStatus.OK:
        raise call.refused(status, body)
    return sorted(
        (
            one
            for one in call.read(body, tuple[_Standing, ...])
            if one.status.state != "expired" and one.comment.endswith(_mark(deletion))
        ),
        key=lambda one: one.id,
    )


async def _put(call: _Call, silence: Silence, standing: _Standing | None) -> str:
    """The silence is as it is wanted, under the id of the standing one if the server lets it."""
    wanted = _Wanted(
        starts_at=_time(silence.starts_at),
        ends_at=_time(silence.ends_at),
        comment=f"{silence.comment} {_mark(silence.deletion)}",
        created_by=silence.created_by,
        matchers=tuple(_Matcher(name, value) for name, value in silence.matchers),
    )
    if standing is not None:
        if standing.status.state == "active" and silence.starts_at <= standing.starts_at:
            # It began when it was set, since its instant was over: the server would end it for any other start.
            wanted = msgspec.structs.replace(wanted, starts_at=_time(standing.starts_at))
        if _said(standing) == wanted:
            return str(standing.id)
        wanted = msgspec.structs.replace(wanted, id=standing.id)
    status, body = await call.ask("POST", "/api/v2/silences", msgspec.json.encode(wanted))
    if status != HTTPStatus.OK:
        raise call.refused(status, body)
    return str(call.read(body, _Set).id)


async def _end(call: _Call, id: str) -> None:
    status, body = await call.ask("DELETE", f"/api/v2/silence/{quote(id, safe='')}")
    forgotten = _FORGOTTEN in body if body else status == HTTPStatus.NOT_FOUND
    if status != HTTPStatus.OK and not forgotten:
        raise call.refused(status, body)


def _said(standing: _Standing) -> _Wanted:
    """A silence that stands, in the words in which one is asked for."""
    return _Wanted(
        starts_at=_time(standing.starts_at),
        ends_at=_time(standing.ends_at),
        comment=standing.comment,
        created_by=standing.created_by,
        matchers=tuple(sorted(standing.matchers)),
    )


def _mark(deletion: str) -> str:
    """What ends the comment of a deletion's silence, and of no other's."""
    return f"(deletion {deletion})"


def _time(moment: dt.datetime) -> str:
    """As the server tells it too, which cuts off what is below a millisecond."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(body: bytes) -> str:
    """The server's reason: 0.25 gives a text, or an object where the request has not the right form."""
    try:
        said = msgspec.json.decode(body, type=str | _Problem)
    except msgspec.DecodeError:
        return ""  # a proxy's page, say: its status is all that is known
    return said if isinstance(said, str) else said.message
