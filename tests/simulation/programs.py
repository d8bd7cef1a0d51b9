"""Programs that live, are killed at any line that can be seen from outside, and are started again.

A program is one worker with everything it has in a process of its own: its ledger reader, its folds, its connection
to the bus, its access to the outside. A kill strikes before or after a call to any of these. What the program
had asked for by then may still take effect; the program itself has no further effect, and knows nothing afterwards.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

from tests.simulation.chance import Chance, Plan, Weather

_present: ContextVar["Life | None"] = ContextVar("life", default=None)

LOOKS: Final = frozenset(
    {
        *("servers", "probe", "query", "domains", "state", "contact"),
        *("last", "last_on", "read", "read_ahead", "store", "permit", "listed"),
    }
)
"""Calls that only look, and do so all the time: kills strike them less often."""

MOST_KILLS: Final = 30
"""A world in which nobody lives long enough to finish anything teaches nothing."""


class Grim:
    """Decides who dies, and when."""

    def __init__(self, plan: Plan, chance: Chance) -> None:
        self._plan = plan
        self._chance = chance
        self.kills = 0

    def strikes(self, method: str) -> bool:
        """Whether the caller dies at this call."""
        rate = self._plan.kill / 20 if method in LOOKS else self._plan.kill
        if self.kills >= MOST_KILLS or not self._chance.strikes(rate):
            return False
        self.kills += 1
        return True

    def down_seconds(self) -> float:
        """How long a dead program stays dead."""
        return self._chance.seconds(0.05, 15.0)


class Life:
    """One life of a program, from its start to its death."""

    def __init__(self, program: "Program", number: int) -> None:
        self.program = program
        self.number = number
        self.alive = True
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.ends: list[Callable[[], None]] = []

    def reach(self, target: Any) -> Any:
        """Access of this life to something outside of it; every call may be its last."""
        return self.program.reaching(self, target)

    def strike(self, method: str, when: str) -> None:
        """The life may end here."""
        if self.alive and self.program.grim.strikes(method):
            self.program.kill(f"{when} {method}")

    def end(self) -> None:
        """Nothing of this life goes on; what others do for it does."""
        self.alive = False
        for task in list(self.tasks):
            task.cancel()
        for end in self.ends:
            end()


class Reach:
    """In the place of a port: passes every call on while its life lasts, and lets it end there."""

    def __init__(self, life: Life, target: Any) -> None:
        self._life = life
        self._target = target

    def __getattr__(self, method: str) -> Any:
        target = getattr(self._target, method)
        if method == "tail":
            passed: Any = self._tail(target)
        elif method == "serve":
            passed = self._serve(target)
        elif inspect.iscoroutinefunction(target):
            passed = self._call(method, target)
        elif callable(target):
            passed = self._do(method, target)
        else:
            return target
        self.__dict__[method] = passed
        return passed

    def _call(self, method: str, target: Callable[..., Awaitable[Any]]) -> Any:
        gate = self._gate

        async def call(*arguments: Any, **named: Any) -> Any:
            gate(method, "before")
            try:
                answer = await target(*arguments, **named)
            except Exception:  # whatever the port raises is passed on, unless the caller dies hearing it
                gate(method, "after")
                raise
            gate(method, "after")
            return answer

        return call

    def _gate(self, method: str, when: str) -> None:
        self._life.strike(method, when)
        if not self._life.alive:
            raise asyncio.CancelledError

    def _do(self, method: str, target: Callable[..., Any]) -> Any:
        def do(*arguments: Any, **named: Any) -> Any:
            self._gate(method, "before")
            answer = target(*arguments, **named)
            self._gate(method, "after")
            return answer

        return do

    def _tail(self, target: Any) -> Any:
        async def tail(after: int) -> Any:
            self._gate("tail", "before")
            async for group in target(after):
                if not self._life.alive:
                    raise asyncio.CancelledError
                yield group

        return tail

    def _serve(self, target: Any) -> Any:
        life = self._life

        async def serve(subject: str, queue: str, handler: Callable[[str, bytes], Awaitable[bytes]]) -> None:
            async def handle(subject: str, payload: bytes) -> bytes:
                if not life.alive:
                    raise asyncio.CancelledError
                # A dead program answers nobody: then this is cancelled, and whoever asked waits in vain.
                answer = await asyncio.shield(life.program.spawn(life, handler(subject, payload)))
                self._gate("reply", "before")
                return answer

            self._gate("serve", "before")
            await target(subject, queue, handle)

        return serve


class Program:
    """A worker under a supervisor that starts it again."""

    def __init__(
        self,
        name: str,
        main: Callable[[Life], Awaitable[None]],
        grim: Grim,
        weather: Weather,
        *,
        note: Callable[[str], None],
        crashed: Callable[[str], None],
        reaching: Callable[[Life, Any], Any] = Reach,
    ) -> None:
        """`reaching` makes a life's access to something outside of it."""
        self.name = name
        self.reaching = reaching
        self.grim = grim
        self._main = main
        self._weather = weather
        self._note = note
        self._crashed = crashed
        self.life: Life | None = None
        self.lives = 0

    def start(self) -> None:
        """A new life begins, with nothing but the ledger to know from."""
        if self.life is not None:
            return
        self.lives += 1
        life = self.life = Life(self, self.lives)
        self._note(f"{self.name} starts its life {self.lives}")
        task = self.spawn(life, self._main(life))
        task.add_done_callback(lambda ended: self._ended(life, ended))

    def spawn(self, life: Life, work: Awaitable[Any]) -> "asyncio.Task[Any]":
        """The work belongs to the life, and ends with it."""
        before = _present.set(life)
        try:
            return asyncio.ensure_future(work)
        finally:
            _present.reset(before)

    def kill(self, why: str) -> None:
        """The life is over; a new one begins after a while."""
        life = self.life
        if life is None:
            return
        self._note(f"{self.name} is killed {why}")
        self.life = None
        life.end()
        down = 0.05 if self._weather.calm else self.grim.down_seconds()
        asyncio.get_running_loop().call_later(down, self.start)

    def _ended(self, life: Life, task: "asyncio.Task[Any]") -> None:
        if task.cancelled() or not life.alive:
            if not task.cancelled():
                task.exception()
            return
        error = task.exception()
        self._crashed(f"{self.name} ended by itself: {_flat(error)}")


def _flat(error: BaseException | None) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_flat(one) for one in error.exceptions)
    return f"{type(error).__name__}: {error}" if error is not None else "without a word"


def make_task(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> "asyncio.Task[Any]":
    """A task that is known to the life that made it."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **named)
    life = _present.get()
    if life is not None:
        life.tasks[task] = None
        task.add_done_callback(lambda _: life.tasks.pop(task, None))
        if not life.alive:
            task.cancel()
    return task
