"""Rounds on their way into the ledger: a few side by side, many in one atomic batch."""

import asyncio
from dataclasses import dataclass

from events.bus.flights import most_now
from events.bus.pen import Pen
from events.bus.port import Ack, BusError, KnownError, StaleError
from events.envelope import Addressed


@dataclass(eq=False, slots=True)
class _Round:
    """One decision, the sequence that its fence must stand at, and who waits for the answer."""

    event: Addressed
    expect: int
    ack: "asyncio.Future[Ack]"


class Rounds:
    """One gate's appends on its fences. Whoever appends has at most one round of an org under way."""

    def __init__(self, pen: Pen) -> None:
        self._pen = pen
        self._waiting: list[_Round] = []
        self._singles: set[asyncio.Task[None]] = set()
        self._batches: set[asyncio.Task[None]] = set()
        self._called = False

    async def append(self, event: Addressed, *, expect: int) -> Ack:
        """The round is in the ledger; `Stale` when its fence moved, whatever became of those beside it.

        Any other error is as the bus says it, and `Unanswered` means for every round of the batch that nobody knows.
        """
        loop = asyncio.get_running_loop()
        one = _Round(event, expect, loop.create_future())
        self._waiting.append(one)
        if not self._called:
            # At the end of this turn of the loop, when every org that a group of requests woke has decided.
            self._called = True
            loop.call_soon(self._send)
        return await one.ack

    def _send(self) -> None:
        self._called = False
        while most := most_now(len(self._waiting), len(self._singles), len(self._batches)):
            together, self._waiting = self._waiting[:most], self._waiting[most:]
            flights = self._singles if most == 1 else self._batches
            flight = asyncio.create_task(self._fly(together), name=f"gate: {most} rounds")
            flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._singles.discard(flight)
        self._batches.discard(flight)
        if not flight.cancelled():
            self._send()

    async def _fly(self, rounds: list[_Round]) -> None:
        """Every round has its answer, or what went wrong ends the gate: nobody else waits for this task."""
        try:
            await self._append(rounds)
        except Exception as error:  # noqa: BLE001 - not swallowed: whoever waits for a round raises it
            for one in rounds:
                _fail(one, error)

    async def _append(self, rounds: list[_Round]) -> None:
        """Every round has its answer."""
        if len(rounds) == 1:
            await self._alone(rounds[0])
            return
        try:
            ack = await self._pen.append_batch([(one.event, one.expect) for one in rounds])
        except (StaleError, KnownError):
            # One moved fence or one known id refuses all, and none was stored: each finds out for itself.
            await asyncio.gather(*(self._alone(one) for one in rounds))
        except BusError as error:
            for one in rounds:
                _fail(one, error)
        else:
            first = ack.seq - len(rounds) + 1
            for place, one in enumerate(rounds):
                _land(one, Ack(first + place))

    async def _alone(self, one: _Round) -> None:
        try:
            _land(one, await self._pen.append(one.event, expect=one.expect))
        except BusError as error:
            _fail(one, error)


def _land(one: _Round, ack: Ack) -> None:
    if not one.ack.done():
        one.ack.set_result(ack)


def _fail(one: _Round, error: Exception) -> None:
    if not one.ack.done():
        one.ack.set_exception(error)
