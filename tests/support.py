"""What tests of every folder share: waiting on a condition, with a deadline, and a port of one's own.

The repository's root is on pytest's path and `tests` is a namespace package, so a test says
`from tests.support import eventually`. Nothing else in tests/ may sleep (tests/test_tidy.py looks).
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from lab.ports import free_ports

Seen = TypeVar("Seen")


async def eventually(
    condition: Callable[[], Seen | Awaitable[Seen]],
    deadline_seconds: float = 10.0,
    *,
    every_seconds: float = 0.01,
    why: str = "",
) -> Seen:
    """What `condition` first answered that was true, asked until then.

    The condition may be a plain function or a coroutine function. An error of its own is not waited out: it
    comes through at once, because a condition that cannot be asked is a broken test.

    Raises:
        AssertionError: the deadline passed; the message carries `why` and the last answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_seconds
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                answer = condition()
                seen = await cast("Awaitable[Seen]", answer) if inspect.isawaitable(answer) else answer
        except TimeoutError as late:
            message = (
                f"not within {deadline_seconds} s: {why or condition}; the question itself never returned"
            )
            raise AssertionError(message) from late
        if seen:
            return seen
        if loop.time() >= deadline:
            message = f"not within {deadline_seconds} s: {why or condition}; the last answer was {seen!r}"
            raise AssertionError(message)
        await asyncio.sleep(every_seconds)


async def turns(number: int) -> None:
    """The event loop went round so many times: a moment that no clock names."""
    for _ in range(number):
        await asyncio.sleep(0)


def free_port() -> int:
    """A TCP port on loopback that nobody listened on a moment ago; bind it soon."""
    return free_ports(1)[0]
