"""Where the sealer's files are written: on a thread of its own, so that a slow disk holds up nobody else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Aside(Protocol):
    """Makes calls that block, one at a time and in order."""

    async def call(self, work: Callable[[], T]) -> T:
        """What the work returned; whoever stops waiting for it does not stop it."""
        ...

    def end(self) -> None:
        """Every call has ended, and none is made any more."""
        ...


class Thread:
    """One thread of this process."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sealer")

    async def call(self, work: Callable[[], T]) -> T:
        """What the work returned."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def end(self) -> None:
        """Every call has ended: waits for the one under way, some milliseconds on a disk that works."""
        self._pool.shutdown(wait=True, cancel_futures=True)
