"""The users as a process of their own, so that what they measure is the pool and not the workers' own work.

`python -m virtscale.demo.users` is told on standard input what to do, in one line of JSON, and works until that ends; on standard
output it tells of every request that ended, in lines of JSON.
"""

import asyncio
import signal
import sys
from typing import Final

import msgspec

from virtscale.demo.day import Piece
from virtscale.demo.load import Ended, Users

TELL_SECONDS: Final = 0.25


class Asked(msgspec.Struct, frozen=True):
    """Which curve to follow, from when on (Unix seconds), and where the requests go."""

    piece: Piece
    starts_at: float
    per_vm: float
    host: str
    port: int


async def work(asked: Asked) -> None:
    """Requests are sent until standard input ends."""
    ended: list[Ended] = []

    def per_second(at: float) -> float:
        return asked.piece.vms_at(at - asked.starts_at) * asked.per_vm

    async with asyncio.TaskGroup() as parts:
        tasks = [
            parts.create_task(Users(asked.host, asked.port, per_second, ended.append).work()),
            parts.create_task(_tell(ended)),
        ]
        await asyncio.to_thread(sys.stdin.buffer.read)
        for task in tasks:
            task.cancel()


async def _tell(ended: list[Ended]) -> None:
    while True:
        await asyncio.sleep(TELL_SECONDS)
        if ended:
            sys.stdout.buffer.write(msgspec.json.encode(ended) + b"\n")
            sys.stdout.buffer.flush()
            ended.clear()


def main() -> None:
    """Whoever started us ends us: Ctrl-C on a terminal reaches us too, and is theirs to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(work(msgspec.json.decode(sys.stdin.buffer.readline(), type=Asked)))


if __name__ == "__main__":
    main()
