"""Reading the ledger: every event once, in order, without a gap, into folds that all workers here share."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import cast

from prometheus_client import Counter

from events.bus.port import Bus, LedgerDiffersError, Stored, UnansweredError
from events.envelope import Recorded, read
from events.fact import Fact
from events.fold import F, Fold

_FAR = 4_000  # messages behind which it is cheaper to read them than to be told of each
_MANY = 200  # messages in one group of a tail that make one look how far behind it is
_RETRY_SECONDS = 0.1
_MOST_NOISE = 10_000  # subjects with noise that are remembered; the fences and request subjects are far fewer

NOISE = Counter(
    "virtscale_ledger_noise", "Messages in the ledger that are no events and were written by nobody's pen"
)


class Dispatch:
    """Gives an event to those of the folds that take its type, in their order; which those are is found once a type.

    Half of a worker's start went into folds that looked at an event and found that it said nothing to them.
    """

    def __init__(self, folds: Iterable[Fold]) -> None:
        self._folds = tuple(folds)
        self._takers: dict[type[Fact], tuple[Callable[[Recorded], None], ...]] = {}

    def take(self, recorded: Recorded) -> None:
        """All folds now include the event."""
        kind = type(recorded.fact)
        takers = self._takers.get(kind)
        if takers is None:
            named = ((fold, takes(fold)) for fold in self._folds)
            takers = tuple(fold.apply for fold, kinds in named if kinds is None or kind in kinds)
            self._takers[kind] = takers
        for apply in takers:
            apply(recorded)


def takes(fold: Fold) -> frozenset[type[Fact]] | None:
    """What the fold says in `TAKES`; None for one that is given everything."""
    return cast("frozenset[type[Fact]] | None", getattr(fold, "TAKES", None))


class Bell:
    """Rings when the ledger has grown; many rings before one `wait` are one."""

    def __init__(self) -> None:
        self._rang = True
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Whoever waits is woken; whoever comes next does not wait."""
        self._rang = True
        self._wake()

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """True when it rang since the last wait, False when the time is over first. One waits at a time.

        A timer of its own is a third of what `asyncio.timeout` costs, and a worker waits here after every event.
        """
        if not self._rang:
            loop = asyncio.get_running_loop()
            assert self._waiting is None, "one waits at a time"
            waiting = self._waiting = loop.create_future()
            timer = None if timeout_seconds is None else loop.call_later(timeout_seconds, self._wake)
            try:
                await waiting
            finally:
                self._waiting = None
                if timer is not None:
                    timer.cancel()
        rang, self._rang = self._rang, False
        return rang

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Ledger:
    """One reader for all workers of a process: it decodes each event once and feeds every fold.

    The ledger in sequence order is the only queue there is. Whatever the tail does (repeat, skip, reorder), the
    folds see sequence 1, 2, 3 and so on. An event that cannot be understood stops the reading, and with it every
    worker that waits on it: half a truth is not folded.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._folds: dict[type[Fold], Fold] = {}
        self._dispatch = Dispatch(())
        self._noise: OrderedDict[str, int] = OrderedDict()
        self._bells: list[Bell] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.seq = 0
        """The last sequence that all folds include."""
        self.newest: Stored | None = None
        """The last message that all folds include, as the bus holds it."""
        self.live = asyncio.Event()
        """Set once the folds include all that was stored when the reading began: before, nobody acts."""

    def fold(self, kind: type[F]) -> F:
        """The one fold of this kind; created on first use, which must be before the reading begins."""
        known = self._folds.get(kind)
        if known is None:
            assert self.seq == 0, f"{kind.__name__} joins after the reading began"
            known = self._folds[kind] = kind()
            self._dispatch = Dispatch(self._folds.values())
        assert isinstance(known, kind)
        return known

    def bell(self) -> Bell:
        """A bell that rings after each group of events has been folded."""
        bell = Bell()
        self._bells.append(bell)
        return bell

    def noise_on(self, subject: str) -> int:
        """The sequence of the last message on a subject that is no event; 0 where there is none.

        Whoever expects a last sequence must take it into account, since the bus counts it.
        """
        return self._noise.get(subject, 0)

    async def look_on(self, subject: str) -> None:
        """Noise that is the last on the subject is known again, however much of it came elsewhere since.

        What to do after a stale append: only so much noise is remembered, and without its place every further append
        on the subject would be stale as well.
        """
        while True:
            try:
                stored = await self._bus.last_on(subject)
                break
            except UnansweredError:
                await asyncio.sleep(_RETRY_SECONDS)
        if stored is not None and not stored.id and stored.seq <= self.seq:
            self._hear(stored)

    async def reach(self, seq: int) -> None:
        """The folds include everything up to `seq`."""
        if self.seq < seq:
            reached = asyncio.get_running_loop().create_future()
            self._waiters.append((seq, reached))
            await reached

    async def catch_up(self) -> None:
        """The folds include everything that the bus's leader says was stored when it was asked.

        What to do after an answer that says nothing: it may have been stored, and if so it is read now. That it is
        not found proves nothing, for it may be stored later.
        """
        await self.reach(await self._last())

    async def follow(self) -> None:
        """Reads for ever; ends only with an error: `UnknownEventError` for an event nobody understands, `LedgerDiffers`.

        What was stored before is read by sequence, which is many times faster than being told of it; then the tail
        tells, and whenever it has fallen far behind it is given up and the reading catches up first.

        Each tail, and each of its reconnections, tells the newest message that was folded once more. When it is another
        one now, the bus came back with an older copy of its store. The trap: a copy that ends before it shows nothing
        until somebody has filled its place; that nobody does so unseen is what the sealer's permits are for.
        """
        goal = await self._last()
        await self._read_to(goal)
        self.live.set()
        while True:
            while (goal := await self._last()) > self.seq + _FAR:
                await self._read_to(goal)
            async with aclosing(self._bus.tail(max(self.seq - 1, 0))) as tail:
                if await self._listen(tail):
                    return

    async def _listen(self, tail: AsyncGenerator[list[Stored]]) -> bool:
        """Folds what the tail brings; True when it ended, False when it has fallen too far behind."""
        async for group in tail:
            for stored in group:
                if stored.seq <= self.seq:
                    self._compare(stored)
                    continue
                if stored.seq > self.seq + 1:
                    await self._read_to(stored.seq - 1)
                self._take(stored)
            self._wake()
            if len(group) >= _MANY and await self._last() > self.seq + _FAR:
                return False
        return True

    async def _read_to(self, last: int) -> None:
        """The folds include everything up to `last`, which the bus holds; others have their turn in between."""
        while self.seq < last:
            try:
                group = await self._bus.read_ahead(self.seq + 1, last)
            except UnansweredError:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for stored in group:
                self._take(stored)
            self._wake()
            await asyncio.sleep(0)

    def _compare(self, again: Stored) -> None:
        """What is told again and was folded last is what was folded; what came before it is not kept, and says nothing."""
        if again.seq == self.seq and again != self.newest:
            raise LedgerDiffersError(
                f"Sequence {again.seq} of the ledger is not the one that this process has read: the bus came back with an "
                "older copy of its store and went on from there. Nothing more is done. Run `virtscale ledger verify`, then "
                "`virtscale ledger recover`."
            )

    def _wake(self) -> None:
        for bell in self._bells:
            bell.ring()
        for seq, reached in self._waiters:
            if seq <= self.seq and not reached.done():
                reached.set_result(None)
        self._waiters = [waiter for waiter in self._waiters if not waiter[1].done()]

    async def _last(self) -> int:
        while True:
            try:
                return await self._bus.last()
            except UnansweredError:
                await asyncio.sleep(_RETRY_SECONDS)

    def _take(self, stored: Stored) -> None:
        assert stored.seq == self.seq + 1, (stored.seq, self.seq)
        self.newest = stored
        if not stored.id:
            # No pen wrote this: it is an answer of the bus's own API that somebody who may read had sent here
            # (permissions.py says how). It is no event and folds to nothing, but it stands on its subject.
            self._hear(stored)
            NOISE.inc()
            self.seq = stored.seq
            return
        recorded = read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
        self._dispatch.take(recorded)
        self.seq = stored.seq

    def _hear(self, noise: Stored) -> None:
        """The noise is remembered as the newest there is."""
        self._noise[noise.subject] = noise.seq
        self._noise.move_to_end(noise.subject)
        while len(self._noise) > _MOST_NOISE:
            self._noise.popitem(last=False)
