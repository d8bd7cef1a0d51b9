"""What nats-server sends in answer to DIRECT.GET, as it was seen from 2.15.1."""

SUBJECT = "_INBOX_view.reader.0123456789abcdef"
STAMP = b"2026-11-22T05:35:39.99534415Z"
STAMP_NS = 1_795_325_739_995_344_150


def message(
    seq: int,
    payload: bytes = b"{}",
    *,
    subject: str = "vs.acme.gate.org.acme.gate.decided",
    id: str | None = "id",
    extra: bytes = b"",
    to: str = SUBJECT,
    stamp: bytes = STAMP,
) -> bytes:
    """One message of an answer; `extra` stands among the headers that its writer chose."""
    block = b"NATS/1.0\r\n"
    if id is not None:
        block += f"Nats-Msg-Id: {id}\r\n".encode()
    block += extra + (
        b"Nats-Stream: LEDGER\r\nNats-Subject: %b\r\nNats-Sequence: %d\r\nNats-Time-Stamp: %b\r\n"
        b"Nats-Num-Pending: 3\r\nNats-Last-Sequence: %d\r\n\r\n"
    ) % (subject.encode(), seq, stamp, seq - 1)
    return _framed(to, block, payload)


def ended(status: bytes = b"204 EOB", *, last: int = 0, pending: int = 0, to: str = SUBJECT) -> bytes:
    """The end of an answer."""
    fields = (
        b""
        if status.startswith(b"404")
        else (b"Nats-Num-Pending: %d\r\nNats-Last-Sequence: %d\r\n" % (pending, last))
    )
    return _framed(to, b"NATS/1.0 %b\r\n%b\r\n" % (status, fields), b"")


def _framed(to: str, block: bytes, payload: bytes) -> bytes:
    sizes = b"%d %d" % (len(block), len(block) + len(payload))
    return b"HMSG %b 1 %b\r\n%b%b\r\n" % (to.encode(), sizes, block, payload)
