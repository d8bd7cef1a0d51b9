"""Opening the file of a view, however early whoever opens it is cancelled."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[aiosqlite.Connection]:
    """A connection to the file, closed when the block ends.

    A connection has a thread, and the thread answers to the event loop. One that is cancelled while it opens is opened all
    the same and then closed, because the library's own way leaves a thread behind that answers to a loop that is gone.
    """
    opening = asyncio.ensure_future(_connect(path))
    try:
        base = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await (await opening).close()
        raise
    try:
        yield base
    finally:
        await base.close()


async def _connect(path: Path) -> aiosqlite.Connection:
    return await aiosqlite.connect(path)
