"""Requests as real publishers make them, one at a time, on a schedule, or many at once, and when each was decided."""

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from bench import orgs
from bench.caller import Caller
from bench.watch import Seen, Watch
from schemas.intake import MOST_VMS, Rejection, Scale
from services.signal.decide import request_id

_STRIDE: Final = 67
"""Longer than there are requesters, and shares no factor with 1,000: every requester comes to every org."""

CROWDED: Final = frozenset({"Overloaded", "TooManyRequests"})
"""A request that the intake had no room for; it is counted, and that it is in a table says that the table is bad."""


@dataclass(slots=True)
class Times:
    """What became of requests, in milliseconds and in the order they ended."""

    decided: list[float] = field(default_factory=list[float])
    """From the request being stored, by the server's stamp, until another connection has read the decision."""
    whole: list[float] = field(default_factory=list[float])
    """From asking until another connection has read the decision."""
    outcomes: dict[str, int] = field(default_factory=dict[str, int])
    seconds: float = 0.0
    cpu_us: dict[str, float] = field(default_factory=dict[str, float])
    """CPU microseconds of each party for one decision."""

    @property
    def per_second(self) -> float:
        """Decisions in each second of the run."""
        return len(self.decided) / self.seconds

    def note(self, seen: Seen, asked_ns: int) -> None:
        """One request was decided."""
        self.decided.append((seen.readable_ns - seen.stored_ns) / 1e6)
        self.whole.append((seen.readable_ns - asked_ns) / 1e6)
        self.outcomes[seen.outcome] = self.outcomes.get(seen.outcome, 0) + 1


class Requester:
    """One publisher on its own connection; every second wish is one VM more, every other one is past the cap."""

    def __init__(self, caller: Caller, name: str, places: Iterator[str], watch: Watch, run: str) -> None:
        self._caller = caller
        self._name = name
        self._places = places
        self._watch = watch
        self._run = run
        self._number = itertools.count()

    async def ask(self, times: Times, due_ns: int | None = None) -> None:
        """One request is stored and its decision was read; `due_ns` is when it should have been made."""
        number, org = next(self._number), next(self._places)
        key = f"{self._run}-{number}"
        wish = (
            Scale(pool=orgs.ROOMY, key=key, add=1)
            if number % 2
            else Scale(pool=orgs.HUGE, key=key, add=MOST_VMS)
        )
        seen = self._watch.expect(request_id(org, self._name, "scale", key))
        asked_ns = due_ns or time.time_ns()
        answer = await self._caller.ask(f"in.{org}.{self._name}.scale", msgspec.json.encode(wish))
        if b'"seq":' not in answer:
            rejection = msgspec.json.decode(answer, type=Rejection)
            if rejection.code not in CROWDED:
                raise SystemExit(rejection.text)
            times.outcomes[rejection.code] = times.outcomes.get(rejection.code, 0) + 1
            return
        times.note(await seen, asked_ns)

    async def try_ask(self) -> bool:
        """Whether somebody took a request; False while nobody serves the intake."""
        try:
            await self.ask(Times())
        except LookupError:
            return False
        return True


async def one_by_one(requester: Requester, count: int) -> Times:
    """So many requests, each after the decision on the one before it."""
    times, began = Times(), time.perf_counter()
    for _ in range(count):
        await requester.ask(times)
    times.seconds = time.perf_counter() - began
    return times


async def closed(requesters: list[Requester], seconds: float) -> Times:
    """Each requester asks again as soon as its decision was read, for so long."""
    times, began = Times(), time.perf_counter()

    async def loop(requester: Requester) -> None:
        while time.perf_counter() - began < seconds:
            await requester.ask(times)

    await asyncio.gather(*(loop(requester) for requester in requesters))
    times.seconds = time.perf_counter() - began
    return times


async def scheduled(requesters: list[Requester], per_second: float, seconds: float) -> Times:
    """Requests at fixed moments, whatever became of those before; each is timed from when it was due."""
    times, tasks = Times(), list[asyncio.Task[None]]()
    began_ns, began, turn = time.time_ns(), time.perf_counter(), itertools.cycle(requesters)
    for number in range(int(per_second * seconds)):
        due = number / per_second
        wait = due - (time.perf_counter() - began)
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(next(turn).ask(times, began_ns + int(due * 1e9))))
    await asyncio.gather(*tasks)
    times.seconds = time.perf_counter() - began
    return times


def over(count: int, first: int) -> Iterator[str]:
    """The names of `count` orgs for ever; requesters that begin one after another ask for different ones at a time."""
    return (f"org-{(first + _STRIDE * step) % count}" for step in itertools.count())


def merged(parts: Iterable[Times]) -> Times:
    """All parts as one."""
    whole = Times()
    for part in parts:
        whole.decided += part.decided
        whole.whole += part.whole
        whole.seconds += part.seconds
        for outcome, count in part.outcomes.items():
            whole.outcomes[outcome] = whole.outcomes.get(outcome, 0) + count
    return whole
