"""The notifier's way out against a real SMTP server, and through it the whole way from refusal to mail."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import worker
from events.bus.port import Outgoing
from events.clock import SystemClock
from events.envelope import address, read
from events.fact import Fact
from events.gate import Answer, ContractRef, Evidence, GateDecided
from events.ids import derive
from events.mail import MailAccepted, MailFailed
from events.registry import NEWEST
from events.vault import Vault
from lab.mail import MailSink
from lab.ports import LOOPBACK
from schemas.contract.terms import Person
from services.notifier.port import Mail, RelayError
from services.notifier.smtp import Smtp
from services.notifier.worker import Notifier
from tests import papers
from tests.support import eventually, free_port

MAIL = Mail(
    "<r1@virtscale.acme>", "owner@acme.test", "Virtscale refused 500 VMs for acme/web", "Größe: 596 vCPU\n"
)
REQUEST = derive("request", 1)
DIGEST_SECONDS = 2
UNTRUSTED = Path(__file__).with_name("untrusted.pem")
"""A key and the certificate that it gave to itself, for nobody.test, until 2126."""


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[MailSink]:
    server = MailSink(tmp_path / "mails", free_port())
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def relay(sink: MailSink) -> Smtp:
    return Smtp(LOOPBACK, sink.port)


async def refused(relay: Smtp, seconds: float = 5.0) -> RelayError:
    with pytest.raises(RelayError) as caught:
        await relay.send(MAIL, seconds)
    assert "owner@acme.test" not in str(caught.value)
    return caught.value


async def test_a_mail_arrives_with_its_id_and_its_letters_intact(relay: Smtp, sink: MailSink) -> None:
    await relay.send(MAIL, 5.0)
    (mail,) = await sink.wait_for(1, deadline_seconds=2)
    assert (mail.message_id, mail.recipients, mail.subject) == (MAIL.message_id, (MAIL.to,), MAIL.subject)
    message = message_from_bytes(mail.file.read_bytes(), policy=policy.default)
    body = message.get_body()
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == MAIL.text
    assert message["Auto-Submitted"] == "auto-generated"


async def test_greylisting_asks_for_another_try(relay: Smtp, sink: MailSink) -> None:
    sink.greylist(1)
    error = await refused(relay)
    assert not error.final
    assert "(451 4.7.1)" in str(error)
    await relay.send(MAIL, 5.0)


async def test_a_rejected_recipient_is_final(relay: Smtp, sink: MailSink) -> None:
    sink.reject()
    error = await refused(relay)
    assert error.final
    assert "(550 5.1.1)" in str(error)


async def test_a_relay_that_is_down_or_breaks_off_may_be_asked_again(relay: Smtp, sink: MailSink) -> None:
    sink.drop_after_data(1)
    assert not (await refused(relay)).final
    await sink.refuse()
    assert not (await refused(relay)).final


async def test_a_relay_that_says_nothing_ends_in_time() -> None:
    async def mute(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    server = await asyncio.start_server(mute, LOOPBACK, 0)
    try:
        started = asyncio.get_running_loop().time()
        error = await refused(Smtp(LOOPBACK, server.sockets[0].getsockname()[1]), 0.3)
        assert not error.final
        assert asyncio.get_running_loop().time() - started < 2
    finally:
        server.close()


async def test_a_certificate_that_is_not_trusted_is_not_tried_again_and_again() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(UNTRUSTED)

    async def offer_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 relay\r\n")
        await reader.readline()
        writer.write(b"250-relay\r\n250 STARTTLS\r\n")
        await reader.readline()
        writer.write(b"220 go\r\n")
        await writer.drain()
        try:
            await writer.start_tls(context)
        except (ssl.SSLError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(offer_tls, LOOPBACK, 0)
    try:
        error = await refused(Smtp(LOOPBACK, server.sockets[0].getsockname()[1]))
        assert error.final
        assert "is not trusted" in str(error)
    finally:
        server.close()


async def test_an_address_that_would_smuggle_a_header_is_final_and_sends_nothing(
    relay: Smtp, sink: MailSink
) -> None:
    mail = Mail(MAIL.message_id, "a@acme.test\r\nBcc: b@acme.test", MAIL.subject, MAIL.text)
    with pytest.raises(RelayError) as caught:
        await relay.send(mail, 5.0)
    assert caught.value.final
    assert not sink.mails


class Desk:
    """A ledger in memory with one refusal in it, and a notifier on real SMTP."""

    def __init__(self, sink: MailSink, vault: Vault) -> None:
        self.clock = SystemClock()
        self.server = MemoryServer(lambda: int(self.clock.now().timestamp() * 1e9))
        bus = MemoryBus(self.server, worker("notifier"))
        self.ledger = Ledger(bus)
        self.notifier = Notifier(
            self.ledger, bus, self.clock, Smtp(LOOPBACK, sink.port), vault, digest_seconds=DIGEST_SECONDS
        )
        self.fence = 0

    def write(self, fact: Fact) -> None:
        event = address(
            fact,
            writer=NEWEST[type(fact)].writer,
            id=derive("desk", self.server.ledger.last),
            time=self.clock.now(),
            cause=None,
            correlation=REQUEST,
        )
        self.server.put([Outgoing(event.subject, event.id, event.payload)], batch=False)

    def refuse(self, commitment: str) -> None:
        now = self.clock.now()
        contract = papers.terms(
            "acme", 100, owner=Person("acme-owner", commitment), valid_until=now + dt.timedelta(days=1)
        )
        self.write(papers.took_effect(contract, now))
        self.decide(REQUEST)

    def decide(self, *requests: str) -> None:
        """The gate refused these requests."""
        evidence = (Evidence("vcpu", 90, 6, 500, 596, 100, 110),)
        self.write(
            GateDecided(
                org="acme",
                gate="g1",
                through=1,
                follows=self.fence,
                state_seq=1,
                now=self.clock.now(),
                contract=ContractRef("acme-2026", 1, 1000),
                rules="test",
                answers=tuple(
                    Answer(request, 1, "web", "refused", "CapExceeded", 500, 0, evidence, None)
                    for request in requests
                ),
                orders=(),
            )
        )
        self.fence = self.server.ledger.last

    def facts(self) -> list[Fact]:
        return [read(one.seq, one.stored_ns, one.payload).fact for one in self.server.ledger.messages]


@pytest.fixture
async def desk(sink: MailSink, tmp_path: Path) -> AsyncIterator[Desk]:
    vault = Vault(tmp_path / "vault")
    desk = Desk(sink, vault)
    desk.refuse(vault.put("acme-owner", {"mail": "owner@acme.test"}))
    tasks = [asyncio.create_task(desk.notifier.work()), asyncio.create_task(desk.ledger.follow())]
    yield desk
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_refusal_is_accepted_within_seconds_although_greylisted_twice(
    sink: MailSink, desk: Desk
) -> None:
    sink.greylist(2)
    (mail,) = await sink.wait_for(1, deadline_seconds=10)
    assert mail.message_id == f"<{REQUEST}@virtscale.acme>"
    assert "the signed cap is 110" in mail.file.read_text()
    told = await eventually(lambda: [fact for fact in desk.facts() if isinstance(fact, MailAccepted)])
    assert (told[0].attempts, told[0].requests) == (3, (REQUEST,))
    assert (told[0].accepted_at - told[0].refused_at).total_seconds() < 10


async def test_a_refusal_whose_mail_is_rejected_becomes_an_alarm_without_an_address(
    sink: MailSink, desk: Desk
) -> None:
    sink.reject()
    told = await eventually(lambda: [fact for fact in desk.facts() if isinstance(fact, MailFailed)])
    assert told[0].code == "relay-refused"
    assert all(b"owner@acme.test" not in one.payload for one in desk.server.ledger.messages)


async def test_a_storm_arrives_as_one_mail_at_once_and_digests_that_name_every_request(
    sink: MailSink, desk: Desk
) -> None:
    await sink.wait_for(1, deadline_seconds=2)
    requests = [derive("storm", number) for number in range(1_200)]
    for start in range(0, len(requests), 60):
        desk.decide(*requests[start : start + 60])
    sink.greylist(1)
    first, *digests = await sink.wait_for(3, deadline_seconds=15)
    assert first.message_id == f"<{REQUEST}@virtscale.acme>"
    assert [mail.subject[-11:] for mail in sorted(digests, key=lambda mail: mail.subject)] == [
        "part 1 of 2",
        "part 2 of 2",
    ]
    told = await eventually(
        lambda: (
            mails
            if len(mails := [fact for fact in desk.facts() if isinstance(fact, MailAccepted)]) == 3
            else []
        )
    )
    written = {mail.message_id.strip(): mail for mail in digests}  # a long header begins on a line of its own
    for fact in told[1:]:
        file = written[fact.message_id].file
        body = message_from_bytes(file.read_bytes(), policy=policy.default).get_body()
        assert body is not None
        assert all(request in body.get_content() for request in fact.requests)
        assert file.stat().st_size < 200_000
    assert sorted(request for fact in told for request in fact.requests) == sorted([REQUEST, *requests])
