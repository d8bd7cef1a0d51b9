"""The tail of the ledger in memory, with the healing that the real one has."""

import asyncio
from collections import deque
from typing import Final

from events.bus.faults import Faults
from events.bus.port import Stored
from events.bus.store import Store

MOST_MESSAGES: Final = 512
"""In one group, as many as two pull requests bring."""

HEARTBEAT_SECONDS: Final = 5.0


class MemoryTail:
    """What one reader still has to get. Groups wait here until it takes them."""

    def __init__(self, name: str, ledger: Store, faults: Faults, up: asyncio.Event, after: int) -> None:
        self._name = name
        self._ledger = ledger
        self._faults = faults
        self._up = up
        self._sent = after
        """The last sequence that was sent off to the reader, whether or not it arrived."""
        self._taken = after
        """The highest that it took."""
        self._groups: deque[tuple[Stored, ...]] = deque()
        self._on_the_way = 0
        self._news = asyncio.Event()
        self._scheduled: list[asyncio.TimerHandle] = []
        self._ringing = False
        self._ended = False
        self._heartbeat: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.ring()

    def ring(self) -> None:
        """Something was stored: it is sent off in this turn of the loop, together with what else is."""
        if not self._ringing:
            self._ringing = True
            self._loop.call_soon(self._send)

    async def take(self) -> list[Stored]:
        """The next group, when there is one; empty when there will be none any more."""
        while not self._groups:
            if self._ended:
                return []
            self._news.clear()
            await self._news.wait()
        group = list(self._groups.popleft())
        self._taken = max(self._taken, group[-1].seq)
        return group

    def restart(self) -> None:
        """What was on its way is lost; delivery goes on with the last that was taken or waits to be, once more."""
        for handle in self._scheduled:
            handle.cancel()
        self._scheduled.clear()
        self._on_the_way = 0
        self._sent = max([self._taken, *(group[-1].seq for group in self._groups), 1]) - 1
        self.ring()

    def end(self) -> None:
        """Nothing arrives any more, and nobody waits for it."""
        self._ended = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._news.set()
        for handle in self._scheduled:
            handle.cancel()
        self._scheduled.clear()

    def _send(self) -> None:
        self._ringing = False
        if self._ended or not self._up.is_set():
            return
        while self._sent < self._ledger.last:
            group = tuple(self._ledger.read(self._sent + 1, self._sent + MOST_MESSAGES))
            self._sent = group[-1].seq
            for arriving, delay_seconds in self._faults.deliver(self._name, group):
                if not arriving:
                    continue
                if delay_seconds > 0:
                    self._on_the_way += 1
                    self._scheduled.append(self._loop.call_later(delay_seconds, self._arrive_later, arriving))
                else:
                    self._arrive(arriving)
        self._watch()

    def _watch(self) -> None:
        """Look again in a while as long as something that was sent has not been taken; else let time rest."""
        if self._heartbeat is None and self._taken < self._ledger.last and not self._ended:
            self._heartbeat = self._loop.call_later(HEARTBEAT_SECONDS, self._look)

    def _look(self) -> None:
        # The heartbeat names the last message that was sent. When it did not arrive, and is not about to,
        # delivery starts anew with the last that was taken.
        self._heartbeat = None
        if not self._groups and not self._on_the_way and self._taken < self._ledger.last:
            self.restart()
        self._watch()

    def _arrive_later(self, group: tuple[Stored, ...]) -> None:
        self._on_the_way -= 1
        self._arrive(group)

    def _arrive(self, group: tuple[Stored, ...]) -> None:
        self._groups.append(group)
        self._news.set()
