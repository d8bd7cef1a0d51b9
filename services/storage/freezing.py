"""Guests whose file systems stand still while a snapshot is taken, so that it is more than what a power cut leaves."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

Still = Callable[[str, str], AbstractAsyncContextManager[bool]]
"""Of a host and its domain: whether the guest's file systems stand still within."""


@asynccontextmanager
async def moving(host: str, domain: str) -> AsyncGenerator[bool]:
    """Nobody is asked to stand still."""
    del host, domain
    yield False
