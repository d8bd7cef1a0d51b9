"""One raw connection to nats-server, from its dialling to its end: who we are, one subject, one question at a time."""

import asyncio
import base64
import re
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
import nkeys

from events import keys
from events.bus.permissions import DIRECT_GET, LEDGER
from events.bus.port import BusError, DeniedError, Stored, UnansweredError
from events.bus.reader.frames import Ended, FrameError, Frames, Said

USUAL_PORT: Final = 4222

_DENIED: Final = re.compile(r"Permissions Violation for (Publish|Subscription) to", re.IGNORECASE)


class _Info(msgspec.Struct, frozen=True):
    nonce: str = ""
    tls_required: bool = False


class Connection(asyncio.Protocol):
    """What came over one connection; `news` is set whenever there is something to look at.

    `broken` says why nothing will come any more. Nothing here waits, and nothing is dialled twice: whoever reads
    makes another one.
    """

    def __init__(self, name: str, seed: bytes | None, subject: str) -> None:
        self.news = asyncio.Event()
        self.ready = False
        """The server knows us and has our subscription."""
        self.broken: BusError | None = None
        self._name = name
        self._seed = seed
        self._subject = subject
        self._frames = Frames(subject)
        self._ended: Ended | None = None
        self._greeted = False
        self._transport: asyncio.Transport | None = None

    def take(self) -> tuple[list[Stored], Ended | None]:
        """The messages that came since the last call, and the end of the answer if it came too."""
        stored, self._frames.stored = self._frames.stored, []
        ended, self._ended = self._ended, None
        if self.broken is None:
            self.news.clear()
        return stored, ended

    def ask(self, first: int, batch: int, most_bytes: int) -> None:
        """The ledger's messages from `first` on are on their way: at most `batch`, of about `most_bytes` in all."""
        body = b'{"seq":%d,"batch":%d,"max_bytes":%d}' % (first, batch, most_bytes)
        self._write(
            b"PUB %b %b %d\r\n%b\r\n"
            % (DIRECT_GET.format(LEDGER).encode(), self._subject.encode(), len(body), body)
        )

    def close(self) -> None:
        """Nothing comes or goes any more, at once."""
        self._break(UnansweredError(f"{self._name} left the bus."))
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server's greeting comes next."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was asked is not answered."""
        del exc
        self._break(UnansweredError(f"{self._name} has no answer: the connection broke."))

    def data_received(self, data: bytes) -> None:
        """What is whole waits to be taken; the server's own words are answered."""
        if self.broken is not None:
            return
        frames = self._frames
        try:
            frames.feed(data)
            signs, frames.signs = frames.signs, []
            for sign in signs:
                match sign:
                    case Ended():
                        self._ended = sign
                    case Said(verb=verb, text=text):
                        self._hear(verb, text)
        except FrameError as error:
            self._break(error)
            if self._transport is not None:
                self._transport.abort()
        self.news.set()

    # -------------------------------------------------------------------------------------------- what is said

    def _hear(self, verb: str, text: str) -> None:
        match verb:
            case "INFO":
                if not self._greeted:
                    self._greeted = True
                    self._introduce(text)
            case "PING":
                self._write(b"PONG\r\n")
            case "PONG":
                self.ready = True
            case "+OK":
                pass
            case "-ERR":
                self._break(self._refusal(text))
            case _:
                raise FrameError(f"The bus said {verb[:40]!r}, which no nats-server says.")

    def _introduce(self, text: str) -> None:
        try:
            info = msgspec.json.decode(text, type=_Info)
        except msgspec.DecodeError as error:
            raise FrameError(f"The bus greeted {self._name} with what is no greeting: {error}.") from error
        if info.tls_required:
            self._break(BusError(f"The bus wants TLS, which the reader of {self._name} does not speak."))
            return
        options: dict[str, object] = {
            "verbose": False,
            "pedantic": False,
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "lang": "python",
            "version": "1",
            "name": f"{self._name} reading",
        }
        if self._seed is not None:
            signed = _sign(self._seed, info.nonce.encode())
            options |= {"nkey": keys.public_key(self._seed), "sig": base64.b64encode(signed).decode()}
        self._write(
            b"CONNECT %b\r\nSUB %b 1\r\nPING\r\n" % (msgspec.json.encode(options), self._subject.encode())
        )

    def _refusal(self, text: str) -> BusError:
        denied = _DENIED.search(text)
        if denied is not None:
            asked = denied[1].lower() == "publish"
            what = f"publish on {DIRECT_GET.format(LEDGER)}" if asked else f"listen on {self._subject}"
            return DeniedError(f"The bus does not let {self._name} {what}; nothing was read.")
        if "authorization violation" in text.lower():
            return DeniedError(f"The bus does not know the key of {self._name}.")
        return UnansweredError(f"The bus broke with {self._name}: {text[:200]}.")

    def _write(self, data: bytes) -> None:
        if self._transport is not None and self.broken is None:
            self._transport.write(data)

    def _break(self, why: BusError) -> None:
        self.broken = self.broken or why
        self.news.set()


def _sign(seed: bytes, nonce: bytes) -> bytes:
    pair = cast("Any", nkeys).from_seed(bytearray(seed))  # the package names no types
    return cast("bytes", pair.sign(nonce))


async def dial(url: str, name: str, seed: bytes | None, subject: str, timeout_seconds: float) -> Connection:
    """A connection that is ready to be asked; `Unanswered` or `Denied` when that cannot be within the time."""
    at = urlsplit(url)
    connection = Connection(name, seed, subject)
    try:
        async with asyncio.timeout(timeout_seconds):
            await asyncio.get_running_loop().create_connection(
                lambda: connection, at.hostname or "127.0.0.1", at.port or USUAL_PORT
            )
            while not connection.ready and connection.broken is None:
                await connection.news.wait()
                connection.news.clear()
    except OSError as error:
        connection.close()
        why = "nobody answers in time" if isinstance(error, TimeoutError) else error
        raise UnansweredError(f"{name} could not reach the bus at {url}: {why}.") from error
    except BaseException:
        connection.close()
        raise
    if connection.broken is not None:
        connection.close()
        raise connection.broken
    return connection
