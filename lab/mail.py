"""A mail sink on loopback: accepts mail, keeps it, and misbehaves on request."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from lab.errors import LabError
from lab.ports import LOOPBACK, require_free

REMEMBERED_MAILS = 10_000
SIZE_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Mail:
    """One accepted mail: when it was taken, for whom, under which Message-ID, and its file."""

    number: int
    arrived_at: datetime
    message_id: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    file: Path


class MailSink:
    """An SMTP server that keeps every accepted mail as NNN.eml below `directory` and in `mails`.

    The newest 10,000 are remembered; the files stay. The switches (`greylist`, `reject`, `drop_after_data`, `refuse`,
    `accept`) hold until changed; a dropped mail *is* kept, because that is what the drop hides from the sender.
    """

    def __init__(self, directory: Path, port: int, on_mail: Callable[[Mail], None] | None = None) -> None:
        self.directory = directory
        self.port = port
        self.mails: deque[Mail] = deque(maxlen=REMEMBERED_MAILS)
        self._on_mail = on_mail
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._greylist_left = 0
        self._drops_left = 0
        self._rejecting = False
        self._arrived = asyncio.Condition()
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        """The sink accepts mail; numbering goes on after the files that are there."""
        require_free(self.port, "the mail sink")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)  # mails hold addresses, which nobody else here may read
        taken = [int(path.stem) for path in self.directory.glob("*.eml") if path.stem.isdigit()]
        self._numbers = itertools.count(max(taken, default=0) + 1)
        await self._listen()

    async def stop(self) -> None:
        """The sink is gone; its files stay."""
        await self.refuse()

    async def refuse(self) -> None:
        """Connections are refused, and open ones are cut, until `accept`."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in tuple(self._open):
            connection.cut()
        await server.wait_closed()

    async def accept(self) -> None:
        """Mail is taken again and every switch is off."""
        self._greylist_left = self._drops_left = 0
        self._rejecting = False
        if self._server is None:
            await self._listen()

    def greylist(self, times: int) -> None:
        """The next `times` recipients are answered 451, later ones are taken."""
        self._greylist_left = times

    def reject(self) -> None:
        """Every recipient is answered 550 until `accept`."""
        self._rejecting = True

    def drop_after_data(self, times: int) -> None:
        """The next `times` mails are kept, but the connection is cut before the sender hears so."""
        self._drops_left = times

    async def wait_for(self, count: int, deadline_seconds: float) -> tuple[Mail, ...]:
        """At least `count` mails have arrived in all; raises `lab.mail-missing` after the deadline."""
        try:
            async with asyncio.timeout(deadline_seconds), self._arrived:
                await self._arrived.wait_for(lambda: len(self.mails) >= count)
        except TimeoutError as error:
            raise LabError(
                "lab.mail-missing",
                f"{len(self.mails)} of {count} mails arrived within {deadline_seconds:g} s; look at the sender's log.",
            ) from error
        return tuple(self.mails)

    # The names of the next two methods are aiosmtpd's.
    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Answer one recipient as the switches say."""
        if self._rejecting:
            return f"550 5.1.1 <{address}> is not accepted here"
        if self._greylist_left > 0:
            self._greylist_left -= 1
            return "451 4.7.1 Greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Recipient taken"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep one mail; its number is in the answer."""
        mail = self._keep(envelope)
        self.mails.append(mail)
        if self._on_mail is not None:
            self._on_mail(mail)
        async with self._arrived:
            self._arrived.notify_all()
        if self._drops_left > 0:
            self._drops_left -= 1
            _abort(server.transport)
        return f"250 2.0.0 Taken as {mail.number:03d}"

    async def _listen(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self, self._open), LOOPBACK, self.port
        )

    def _keep(self, envelope: Envelope) -> Mail:
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode()
        headers = message_from_bytes(raw, policy=policy.default)
        number = next(self._numbers)
        path = self.directory / f"{number:03d}.eml"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(raw)
        return Mail(
            number=number,
            arrived_at=datetime.now(UTC),
            message_id=str(headers.get("Message-ID", "")),
            sender=envelope.mail_from or "",
            recipients=tuple(str(address) for address in envelope.rcpt_tos),
            subject=str(headers.get("Subject", "")),
            file=path,
        )


class _Connection(SMTP):
    """One client's connection; known to the sink while it is open, so that it can be cut."""

    def __init__(self, sink: MailSink, open_connections: set[_Connection]) -> None:
        super().__init__(sink, hostname="mail.lab", enable_SMTPUTF8=True, data_size_limit=SIZE_LIMIT_BYTES)
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._open_connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._open_connections.discard(self)
        super().connection_lost(error)

    def cut(self) -> None:
        _abort(self.transport)


def _abort(transport: asyncio.BaseTransport | None) -> None:
    """The connection is gone without another byte.

    aiosmtpd names the transport by its smallest class; asking for a larger one would miss uvloop's.
    """
    if transport is not None:
        cast("asyncio.WriteTransport", transport).abort()
