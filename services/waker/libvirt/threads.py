"""A few threads for calls that block."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")

MOST_THREADS: Final = 48
"""Each call of one host under way has one: effects, boots, restores, saves, refreshes, looks and questions about memory have 46 slots between them."""

MOST_WAITING: Final = 1024


class Threads:
    """Up to `MOST_THREADS` threads, started as they are needed.

    The standard pool would do, but for its end: it waits at exit for calls that may never return. These threads
    are daemons. A call that is cancelled before its turn is never made.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._started = 0
        self._idle = threading.Semaphore(0)

    def submit(self, call: Callable[[], T]) -> "Future[T] | None":
        """The answer to come; None when a thousand calls wait already."""
        if self._calls.qsize() >= MOST_WAITING:
            return None
        future: Future[T] = Future()
        self._calls.put((future, call))
        if not self._idle.acquire(blocking=False) and self._started < MOST_THREADS:
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():
                try:
                    answer = call()
                except BaseException as error:  # noqa: BLE001 - whatever it is, the one who asked must hear it
                    future.set_exception(error)
                else:
                    future.set_result(answer)
            del future, call
            self._idle.release()
