"""A small witness, as C2SP tlog-witness describes one: a real HTTP server on loopback that remembers what it signed.

It keeps one log's last checkpoint in a file, answers 409 with its size to whoever is wrong about that, 422 to a proof that
does not hold, and signs nothing that does not go on from what it signed before.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from nacl.signing import SigningKey

from events.tlog import cosign
from events.tlog.checkpoint import Checkpoint, opened
from events.tlog.checkpoint import parse as parse_checkpoint
from events.tlog.note import NoteError, Opener, split
from events.tlog.tree import EMPTY_ROOT, verify_consistency
from lab.ports import LOOPBACK

MOST_BODY_BYTES = 64 * 1024
READ_SECONDS = 5.0

Answer = tuple[int, str, str]
"""Status, content type, body."""


class WitnessServer:
    """One witness of one log. `silent` takes requests and never answers, `broken` answers with nonsense."""

    def __init__(self, name: str, log: Opener | None, state: Path) -> None:
        self.cosigner = cosign.Cosigner(name, SigningKey(name.encode().ljust(32, b"\x01")[:32]))
        self.log = log
        """The log's key; None takes the first log that comes, by its name alone, and signs without looking."""
        self.silent = False
        self.broken = False
        self.asked = 0
        self.signed: list[Checkpoint] = []
        self.url = ""
        self._state = state

    @property
    def place(self) -> str:
        """How a house names it: where it is, and its key."""
        return f"{self.url} {self.cosigner.verifier.vkey}"

    def last(self) -> Checkpoint | None:
        """What it signed last, as its file says."""
        return parse_checkpoint(self._state.read_text()) if self._state.exists() else None

    def judge(self, body: bytes) -> Answer:
        """What it answers to a request to add a checkpoint."""
        try:
            request = cosign.parse(body.decode())
            text = split(request.note)[0]
            asked = opened(request.note, self.log) if self.log is not None else parse_checkpoint(text)
        except (NoteError, UnicodeDecodeError) as error:
            return 403, "text/plain", str(error)
        known = self.last()
        size, root = (known.size, known.root) if known is not None else (0, EMPTY_ROOT)
        if request.old > asked.size:
            return 400, "text/plain", "The old size is larger than the checkpoint's."
        if request.old != size:
            return 409, cosign.CONFLICT_TYPE, f"{size}\n"
        if not verify_consistency(size, asked.size, root, asked.root, request.path):
            return 422, "text/plain", "The proof does not hold."
        self._remember(text)
        self.signed.append(asked)
        return 200, "text/plain", self.cosigner.sign(text, int(time.time())).line

    def _remember(self, text: str) -> None:
        """On the disk before anybody hears that it was signed."""
        draft = self._state.with_suffix(".draft")
        with draft.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._state)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with as many requests as come on it."""
        try:
            async with asyncio.timeout(60):
                while (body := await _body(reader)) is not None:
                    self.asked += 1
                    if self.silent:
                        await reader.read()  # until whoever asked has given up
                        return
                    status, kind, text = (200, "text/plain", "yes\n") if self.broken else self.judge(body)
                    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(text.encode())}\r\n\r\n"
                    writer.write(head.encode() + text.encode())
                    await writer.drain()
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next request; None when there is none."""
    line = await reader.readline()
    if not line:
        return None
    assert line.startswith(b"POST "), line
    length = 0
    while (header := await reader.readline()).strip():
        name, _, value = header.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
    assert length <= MOST_BODY_BYTES, length
    return await asyncio.wait_for(reader.readexactly(length), READ_SECONDS)


@asynccontextmanager
async def a_witness(
    state: Path, log: Opener | None = None, name: str = "witness.example/w1"
) -> AsyncGenerator[WitnessServer]:
    """A witness on a free port, gone when the block ends; its state stays."""
    witness = WitnessServer(name, log, state)
    server = await asyncio.start_server(witness.serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    witness.url = f"http://{LOOPBACK}:{port}/add-checkpoint"
    try:
        yield witness
    finally:
        server.close()
