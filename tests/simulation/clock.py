"""Time that passes only when nobody has anything to do: an event loop that jumps to its next timer.

A virtual hour costs what is done in it. Nothing here waits for the machine, so equal seeds give equal runs, and a
world in which nothing can ever happen again says so instead of hanging.
"""

import asyncio
import datetime as dt
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

EPOCH: Final = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
"""The wall clock when the loop's time is 0."""

MOST_TURNS_AT_ONCE: Final = 50_000
"""Turns of the loop without time passing: more of them is a loop that spins."""


class DeadlockError(Exception):
    """Everybody waits, and no timer is set: nothing can happen any more."""


class SpinError(Exception):
    """Something runs and runs and never waits: time cannot pass."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio loop without sockets, signals and threads, whose time is virtual and starts at 0.

    What is due at the same time runs in the order in which it was asked for. The loop's own machinery is written
    anew, without what only sockets and debugging need, because a simulation spends much of its time there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._present = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._waiting: deque[asyncio.Handle] = deque()
        self._numbers = itertools.count()
        self._turns_at_once = 0
        self.turns = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._present

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """The callback runs in the next turn."""
        handle = asyncio.Handle(callback, args, self, context)
        self._waiting.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """The callback runs after a delay in virtual seconds."""
        return self.call_at(self._present + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """The callback runs when the loop's time is `when`."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is skipped when its time comes."""

    def _run_once(self) -> None:
        """One turn: when nobody is ready the time jumps to the next timer."""
        timers, waiting = self._timers, self._waiting
        self.turns += 1
        self._turns_at_once += 1
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not waiting:
            if not timers:
                raise DeadlockError(f"At {self._present:.6f} s everybody waits and no timer is set.")
            if timers[0][0] > self._present:
                self._present = timers[0][0]
                self._turns_at_once = 0
        if self._turns_at_once > MOST_TURNS_AT_ONCE:
            raise SpinError(f"At {self._present:.6f} s something runs without ever waiting for time to pass.")
        while timers and timers[0][0] <= self._present:
            waiting.append(heapq.heappop(timers)[2])
        for _ in range(len(waiting)):
            handle = waiting.popleft()
            if not handle.cancelled():
                handle._run()

    def _process_events(self, event_list: list[Any]) -> None:
        assert event_list == []

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector, so nobody has to be woken."""

    def end(self) -> None:
        """Every task is cancelled and has ended, and the loop is closed.

        A task that will not end is given up after a hundred tries: it belongs to a program that was killed.
        """
        for _ in range(100):
            left = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
            if not left:
                break
            for task in left:
                task.cancel()
            self.run_until_complete(asyncio.wait(left, timeout=0.001))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()


def pause(seconds: float) -> "asyncio.Future[None]":
    """Virtual seconds go by for whoever awaits this; somebody else may cancel it."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    loop.call_later(seconds, _settle, over)
    return over


def _settle(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


class VirtualClock:
    """The wall clock of one program: the loop's time, and how far this program's clock is off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, off_seconds: float = 0.0) -> None:
        self._loop = loop
        self.off_seconds = off_seconds

    def now(self) -> dt.datetime:
        """The present in UTC, as this program believes."""
        return EPOCH + dt.timedelta(seconds=self._loop.time() + self.off_seconds)

    def now_ns(self) -> int:
        """The present in Unix nanoseconds; never runs backwards while `off_seconds` stays."""
        return int(EPOCH.timestamp()) * 1_000_000_000 + round((self._loop.time() + self.off_seconds) * 1e9)
