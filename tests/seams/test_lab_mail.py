from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from lab.mail import MailSink
from lab.ports import LOOPBACK
from tests.support import free_port


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[MailSink]:
    server = MailSink(tmp_path, free_port())
    await server.start()
    yield server
    await server.stop()


async def _send(sink: MailSink, message_id: str = "<refusal-1@virtscale>") -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "virtscale@lab", "owner@acme.test", message_id
    mail["Subject"] = "Überzogen: acme/web"
    mail.set_content("Nothing was started.")
    await aiosmtplib.send(mail, hostname=LOOPBACK, port=sink.port, timeout=3)


async def test_an_accepted_mail_is_kept_as_a_file_and_in_memory(sink: MailSink) -> None:
    await _send(sink)
    await _send(sink, "<refusal-2@virtscale>")
    first, second = await sink.wait_for(2, deadline_seconds=2)
    assert (first.message_id, first.recipients) == ("<refusal-1@virtscale>", ("owner@acme.test",))
    assert first.subject == "Überzogen: acme/web"
    assert first.file.name == "001.eml"
    assert "Nothing was started." in second.file.read_text()
    assert first.arrived_at <= second.arrived_at


async def test_a_greylisted_recipient_is_taken_at_the_second_try(sink: MailSink) -> None:
    sink.greylist(1)
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
        await _send(sink)
    assert caught.value.recipients[0].code == 451
    await _send(sink)
    assert len(sink.mails) == 1


async def test_a_rejected_recipient_is_answered_550_until_mail_is_accepted_again(sink: MailSink) -> None:
    sink.reject()
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
        await _send(sink)
    assert caught.value.recipients[0].code == 550
    await sink.accept()
    await _send(sink)
    assert len(sink.mails) == 1


async def test_a_connection_dropped_after_the_data_hides_a_mail_that_was_taken(sink: MailSink) -> None:
    sink.drop_after_data(1)
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await _send(sink)
    await _send(sink)
    assert [mail.message_id for mail in sink.mails] == ["<refusal-1@virtscale>"] * 2


async def test_a_sink_that_refuses_is_down_until_it_accepts(sink: MailSink) -> None:
    await sink.refuse()
    with pytest.raises(aiosmtplib.SMTPConnectError):
        await _send(sink)
    await sink.accept()
    await _send(sink)
    assert len(sink.mails) == 1


async def test_nobody_else_on_the_machine_may_read_a_mail(sink: MailSink) -> None:
    await _send(sink)
    assert sink.directory.stat().st_mode & 0o777 == 0o700
    assert sink.mails[0].file.stat().st_mode & 0o777 == 0o600
