"""One thread for the calls that block on one host, so that they take effect one after the other."""

import asyncio
import queue
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

from services.storage.errors import StorageError

T = TypeVar("T")

MOST_WAITING: Final = 256
CALL_SECONDS: Final = 45.0
"""libvirt waits 30 s for the lock of a domain before it says no."""


class Calls(Protocol):
    """How calls that block are made."""

    async def __call__(self, what: str, call: Callable[[], T]) -> T:
        """The answer of `call`; `StorageError` where there is none in time. `what` is for the sentence about it."""
        ...


class Lane:
    """A daemon thread that makes one call at a time: at the end nobody waits for one that never returns."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def call(self, what: str, call: Callable[[], T], seconds: float = CALL_SECONDS) -> T:
        """The answer of `call`, made when all before it have ended; one that is cancelled before its turn is never made.

        What the system refuses it (no room, no such directory, a name that is too long) is a `StorageError`, and so is a file that is
        shorter than its own head says: one disk that cannot be had is told as such, and every other one is served.
        """
        if self._calls.qsize() >= MOST_WAITING:
            raise StorageError(f"{MOST_WAITING} calls wait for {self._name} already; {what} was not asked.")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._calls.put((future, call))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise StorageError(
                f"{self._name} did not answer within {seconds:g} s when asked to {what}."
            ) from None
        except OSError as error:
            where = f" ({error.filename})" if error.filename is not None else ""
            raise StorageError(
                f"{self._name} cannot {what}: {error.strerror or error}{where}. See to the host's disk; it is tried again."
            ) from error
        except (struct.error, UnicodeDecodeError) as error:
            raise StorageError(
                f"{self._name} cannot {what}: a file is not what it says it is ({error}). Run `qemu-img check` on the VM's disk."
            ) from error

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
