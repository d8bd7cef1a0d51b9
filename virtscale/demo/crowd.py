"""The users' process seen from the run: started, heard, and ended with it."""

import asyncio
import sys
from array import array
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec

from lab.errors import LabError
from virtscale.demo.load import Ended
from virtscale.demo.users import Asked

_LINE_BYTES: Final = 1 << 22
_END_SECONDS: Final = 5.0
_ended: Final = msgspec.json.Decoder(list[Ended])


@dataclass(slots=True)
class Requests:
    """Every request that ended: when it was due, how long it took, and who answered.

    Twenty bytes a request: an hour at 100 a second is 7 MB.
    """

    due_at: "array[float]" = field(default_factory=lambda: array("d"))
    took_ms: "array[float]" = field(default_factory=lambda: array("d"))
    by: "array[int]" = field(default_factory=lambda: array("i"))
    """The place in `vms` of the VM that answered; -1 where the request failed."""
    vms: dict[str, int] = field(default_factory=dict[str, int])
    failures: dict[str, int] = field(default_factory=dict[str, int])
    """By what went wrong."""

    def take(self, one: Ended) -> None:
        """The request is among them."""
        self.due_at.append(one.due_at)
        self.took_ms.append(one.took_ms)
        if one.why:
            self.failures[one.why] = self.failures.get(one.why, 0) + 1
        self.by.append(-1 if one.why else self.vms.setdefault(one.vm, len(self.vms)))


@asynccontextmanager
async def crowd(asked: Asked, requests: Requests) -> AsyncGenerator[None]:
    """The users are at it while the block lasts; their process is gone behind it, whatever happened.

    Raises `lab.users-gone` where their process ends before that.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "virtscale.demo.users"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(asked) + b"\n")
        async with asyncio.TaskGroup() as parts:
            hearing = parts.create_task(_hear(process.stdout, requests), name="users")
            yield
            hearing.cancel()
    finally:
        await _end(process)


async def _hear(said: asyncio.StreamReader, requests: Requests) -> None:
    while line := await said.readline():
        for one in _ended.decode(line):
            requests.take(one)
    raise LabError(
        "lab.users-gone", "The users' process has ended by itself; nobody sends requests any more."
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Its input ends, and so does it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
