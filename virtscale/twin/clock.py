"""Time that passes only when nobody has anything to do: an event loop that jumps to its next timer.

A virtual hour costs what is done in it. Nothing here waits for the machine, so equal seeds give equal runs, and a
world in which nothing can ever happen again says so instead of hanging.
"""

import asyncio
import datetime as dt
import itertools
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, Final

MOST_TURNS_AT_ONCE: Final = 50_000
"""Turns of the loop without time passing: more of them is a loop that spins."""


class DeadlockError(Exception):
    """Everybody waits, and no timer is set: nothing can happen any more."""


class SpinError(Exception):
    """Something runs and runs and never waits: time cannot pass."""


class Soon(list[Any]):
    """A callback that will run: `[callback, arguments, context]`; cancelled, its callback is None.

    asyncio makes one for every step of every task and looks at few of them again. A list is made by C code alone, which
    an object with a constructor is not: this is the most frequent thing that a simulation does.
    """

    __slots__ = ()

    def cancel(self) -> None:
        """The callback does not run."""
        self[0] = None

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self[0] is None


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio loop without sockets, signals and threads, whose time is virtual and starts at 0.

    What is due at the same time runs in the order in which it was asked for. The loop's own machinery is written
    anew, without what only sockets and debugging need, because a simulation spends much of its time there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._present = 0.0
        self._timers: list[tuple[float, int, Soon]] = []
        self._waiting: deque[Soon] = deque()
        self._numbers = itertools.count()
        self._turns_at_once = 0
        self._over = False
        self.turns = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._present

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Soon:
        """The callback runs in the next turn."""
        soon = Soon((callback, args, copy_context() if context is None else context))
        self._waiting.append(soon)
        return soon

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Soon:
        """The callback runs after a delay in virtual seconds."""
        soon = Soon((callback, args, copy_context() if context is None else context))
        heappush(self._timers, (self._present + delay, next(self._numbers), soon))
        return soon

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Soon:
        """The callback runs when the loop's time is `when`."""
        soon = Soon((callback, args, copy_context() if context is None else context))
        heappush(self._timers, (when, next(self._numbers), soon))
        return soon

    def get_debug(self) -> bool:
        """Never: asyncio asks at every future."""
        return False

    def _run_once(self) -> None:
        """Turn after turn, until somebody calls `stop`: when nobody is ready the time jumps to the next timer."""
        timers, waiting = self._timers, self._waiting
        present, at_once = self._present, self._turns_at_once
        while True:
            self.turns += 1
            at_once += 1
            while timers and timers[0][2][0] is None:
                heappop(timers)
            if not waiting:
                if not timers:
                    raise DeadlockError(f"At {present:.6f} s everybody waits and no timer is set.")
                if timers[0][0] > present:
                    self._present = present = timers[0][0]
                    at_once = 0
            if at_once > MOST_TURNS_AT_ONCE:
                raise SpinError(f"At {present:.6f} s something runs without ever waiting for time to pass.")
            while timers and timers[0][0] <= present:
                waiting.append(heappop(timers)[2])
            for _ in range(len(waiting)):
                callback, args, context = waiting.popleft()
                if callback is None:
                    continue
                try:
                    context.run(callback, *args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio does it: told to the loop's handler
                    self.call_exception_handler({"message": f"{callback!r} failed", "exception": error})
            if self._over:
                break
        self._over, self._turns_at_once = False, at_once

    def stop(self) -> None:
        """The turn that is under way is the last one."""
        super().stop()
        self._over = True

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
    """The wall clock of one program: the loop's time since `epoch`, and how far this program's clock is off."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, epoch: dt.datetime, *, off_seconds: float = 0.0
    ) -> None:
        self._loop = loop
        self._epoch = epoch
        self._epoch_ns = int(epoch.timestamp()) * 1_000_000_000
        self.off_seconds = off_seconds

    def now(self) -> dt.datetime:
        """The present in UTC, as this program believes."""
        return self._epoch + dt.timedelta(seconds=self._loop.time() + self.off_seconds)

    def now_ns(self) -> int:
        """The present in Unix nanoseconds; never runs backwards while `off_seconds` stays."""
        return self._epoch_ns + round((self._loop.time() + self.off_seconds) * 1e9)
