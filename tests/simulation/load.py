"""Clients who ask at all times: for more, for fewer, for nonsense, the same thing twice, and all at once."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from events.bus.memory import MemoryBus
from events.bus.port import UnansweredError
from schemas.intake import Receipt, Rejection
from tests.simulation.chance import Chance, Plan
from tests.simulation.clock import pause

MOST_TRIES: Final = 5
ANSWER_SECONDS: Final = 6.0

WRONG: Final[tuple[tuple[str, bytes], ...]] = (
    ("scale", b"{"),
    ("scale", b'{"pool": "web", "key": "x"}'),
    ("scale", b'{"pool": "web", "key": "x", "add": 1, "want": 2}'),
    ("scale", b'{"pool": "web", "key": "x", "add": -1}'),
    ("scale", b'{"pool": "nosuch", "key": "x", "add": 1}'),
    ("scale", b'{"pool": "we.b", "key": "x", "add": 1}'),
    ("quiesce", b'{"pool": "web", "key": "x", "count": 0}'),
    ("explode", b"{}"),
    ("stock", b"\xff\xfe"),
    ("scale", b'{"pool": "' + b"w" * 20_000 + b'"}'),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what was made of it; None when nobody answered in all tries."""

    org: str
    publisher: str
    verb: str
    payload: bytes
    answer: Receipt | Rejection | None


@dataclass(slots=True)
class Client:
    """One publisher of one org."""

    org: str
    publisher: str
    bus: MemoryBus
    pools: tuple[str, ...]
    chance: Chance
    plan: Plan
    asked: list[Asked] = field(default_factory=list)
    _number: int = 0

    async def stock_up(self, vms: int) -> None:
        """Each pool is asked to hold sleepers."""
        for pool in self.pools:
            await self.ask("stock", {"pool": pool, "key": f"stock-{pool}", "vms": vms})

    async def keep_asking(self, until: float, mean_seconds: float) -> None:
        """Questions in no order, until the loop's time is `until`."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as questions:
            while loop.time() < until:
                await pause(self.chance.rng.expovariate(1 / mean_seconds))
                many = self.chance.rng.choice((1, 1, 1, 1, 1, 1, 2, 8))
                for _ in range(many):
                    questions.create_task(self._anything())

    async def _anything(self) -> None:
        rng = self.chance.rng
        self._number += 1
        pool = rng.choice(self.pools)
        body: dict[str, Any] = {"pool": pool, "key": f"k{self._number}", "wait": rng.random() < 0.3}
        match rng.choices(
            ("add", "want", "quiesce", "stock", "save", "wrong", "twice", "other", "erase"),
            (80, 30, 70, 10, 40, 20, 20, 10, 1),
        )[0]:
            case "add":
                body |= {"add": rng.choice((1, 1, 1, 2, 2, 3, 500)), "up_to": rng.random() < 0.3}
                await self.ask("scale", body)
            case "want":
                await self.ask("scale", body | {"want": rng.randrange(6)})
            case "quiesce":
                await self.ask("quiesce", body | {"count": rng.choice((1, 1, 2, 4))})
            case "stock":
                await self.ask("stock", body | {"vms": rng.randrange(1, 6)})
            case "save":
                await self.ask("save", body | {"paused": rng.choice((0, 0, 1, 2))})
            case "twice":
                body |= {"add": 1}
                await asyncio.gather(self.ask("scale", body), self.ask("scale", body))
                await self.ask("scale", body)
            case "erase":
                await self.ask("erase", {"person": f"{self.org}-owner", "key": f"k{self._number}"})
            case "other":
                await self.ask("scale", body | {"add": 1})
                await self.ask("scale", body | {"add": 2})
            case _:
                verb, payload = rng.choice(WRONG)
                await self._ask(verb, payload)

    async def ask(self, verb: str, body: dict[str, Any]) -> Receipt | Rejection | None:
        """The question is asked until somebody answers it, under one key."""
        return await self._ask(verb, msgspec.json.encode(body))

    async def _ask(self, verb: str, payload: bytes) -> Receipt | Rejection | None:
        answer: Receipt | Rejection | None = None
        for attempt in range(MOST_TRIES):
            try:
                raw = await self.bus.ask(f"in.{self.org}.{self.publisher}.{verb}", payload, ANSWER_SECONDS)
            except UnansweredError:
                await pause(0.2 * 2**attempt)
                continue
            answer = msgspec.json.decode(raw, type=Receipt if b'"seq"' in raw else Rejection)
            if isinstance(answer, Rejection) and answer.code in {"Overloaded", "BusUnanswered"}:
                await pause(0.2 * 2**attempt)
                continue
            break
        self.asked.append(Asked(self.org, self.publisher, verb, payload, answer))
        return answer
