"""A mail relay over SMTP, and what its refusals mean: try again, or leave it."""

import asyncio
import re
import ssl
from email.message import EmailMessage
from typing import Final

import aiosmtplib

from schemas.ics import invitation
from services.notifier.port import Mail, RelayError

SENDER: Final = "virtscale@localhost"

_PERMANENT: Final = 500
_ENHANCED: Final = re.compile(r"^\s*(\d\.\d{1,3}\.\d{1,3})\b")
_CUT_SHORT: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Smtp:
    """The relay at `host:port`, with STARTTLS where it offers it; a new connection for each mail.

    A connection costs some 4 ms of the 30 s, and one that is kept may have died unnoticed.
    """

    def __init__(self, host: str, port: int, sender: str = SENDER) -> None:
        self._host = host
        self._port = port
        self._sender = sender

    async def send(self, mail: Mail, timeout_seconds: float) -> None:
        """The relay took the mail and answers for it; `RelayError` otherwise, in words that hold no address.

        The relay may have taken it even so: a connection that breaks after the data hides its yes.
        """
        where = f"The relay {self._host}:{self._port}"
        try:
            async with asyncio.timeout(timeout_seconds):
                await aiosmtplib.send(
                    self._compose(mail),
                    sender=self._sender,
                    recipients=[mail.to],
                    hostname=self._host,
                    port=self._port,
                    timeout=timeout_seconds,
                )
        except aiosmtplib.SMTPRecipientsRefused as refused:
            # The exception itself has no code: each recipient has its own, and there is one.
            code, said = refused.recipients[0].code, refused.recipients[0].message
            raise _refusal(f"{where} refused the recipient", code, said) from refused
        except aiosmtplib.SMTPResponseException as refused:
            raise _refusal(f"{where} refused the mail", refused.code, refused.message) from refused
        except aiosmtplib.SMTPNotSupported as error:
            raise RelayError(
                f"{where} cannot take such a mail: {type(error).__name__}.", final=True
            ) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            # A TLS failure is an OSError, alone or behind a connection error; certificates do not mend themselves.
            tls = _tls_failure(error)
            if tls is not None:
                raise RelayError(f"{where} is not trusted: {tls.reason or tls}.", final=True) from error
            raise RelayError(f"{where} cannot be reached: {type(error).__name__}.", final=False) from error
        except ValueError as error:
            raise RelayError("The mail cannot be written: the address is not valid.", final=True) from error

    def _compose(self, mail: Mail) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Message-ID"] = mail.message_id
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office reply comes back
        message.set_content(mail.text)
        if mail.appointment is not None:
            method = "CANCEL" if mail.appointment.cancelled else "REQUEST"
            message.add_alternative(
                invitation(mail.appointment, self._sender, [mail.to]),
                maintype="text",
                subtype="calendar",
                params={"method": method, "charset": "utf-8", "component": "VEVENT"},
                filename="maintenance.ics",
                disposition="attachment",
            )
        return message


def _refusal(what: str, code: int, said: str) -> RelayError:
    """4xx asks for another try and 5xx for none (RFC 5321, 4.2.1); of the relay's words only its codes are kept."""
    enhanced = _ENHANCED.match(said)
    codes = f"{code} {enhanced.group(1)}" if enhanced else str(code)
    return RelayError(f"{what} ({codes}).", final=code >= _PERMANENT)


def _tls_failure(error: BaseException) -> ssl.SSLError | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _CUT_SHORT):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
