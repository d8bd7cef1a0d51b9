"""One bus in memory, virtual time, and facts to put into its ledger: what tests of a worker's shell share."""

import asyncio
import datetime as dt
import functools
import itertools
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import ParamSpec

from events.bus.faults import Faults
from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import Permit, publisher, reader, worker
from events.bus.port import Ack, Outgoing, Stored
from events.envelope import Recorded, address, read
from events.fact import Fact
from events.gate import Answer, ContractRef, Evidence, GateDecided
from events.ids import derive
from events.pool import PoolDefined
from events.registry import NEWEST
from schemas.capacity import Capacity, Size
from schemas.codes import Code, Outcome
from schemas.contract.terms import Contract, Person
from schemas.pool import Pool, Trigger
from tests import papers
from tests.simulation.clock import EPOCH, VirtualClock, VirtualLoop

SHOP = publisher("acme", "shop")
P = ParamSpec("P")
CONTRACT = Contract(
    format=2,
    id="acme-2026",
    version=1,
    org="acme",
    quota=Capacity(vcpu=100, memory_mib=100_000),
    allowance_bp=1000,
    warm_reserve_bp=1000,
    price_eur_cents_month=100_000,
    owner=Person("acme-owner", "0" * 64),
    technical=(),
    valid_from=EPOCH - dt.timedelta(days=1),
    valid_until=EPOCH + dt.timedelta(days=365),
)
REF = ContractRef("acme-2026", 1, 1000)


def pool(name: str = "web", trigger: Trigger | None = None) -> Pool:
    return Pool(
        org="acme",
        name=name,
        size=Size("small", 1, 512),
        template="tiny",
        triggers=() if trigger is None else (trigger,),
    )


def answer(request: str, seq: int, outcome: Outcome = "refused", code: Code = "CapExceeded") -> Answer:
    evidence = (Evidence("vcpu", 90, 6, 500, 596, 100, 110),) if code == "CapExceeded" else ()
    granted = {"admitted": 2, "partial": 1}.get(outcome, 0)
    return Answer(request, seq, "web", outcome, code, 500, granted, evidence, retry_at=None)


class Desk:
    """A memory bus, and a hand that writes any worker's events into its ledger."""

    def __init__(self, *, dedup_seconds: float = 600.0, faults: Faults | None = None) -> None:
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.server = MemoryServer(self.clock.now_ns, dedup_seconds=dedup_seconds, faults=faults)
        self._numbers = itertools.count(1)
        self._fence = 0

    def connect(self, permit: Permit) -> MemoryBus:
        return MemoryBus(self.server, permit)

    def ledger(self, name: str = "eye") -> Ledger:
        return Ledger(self.connect(reader(name)))

    def worker_bus(self, writer: str) -> MemoryBus:
        return self.connect(worker(writer))  # pyright: ignore[reportArgumentType]

    def write(self, fact: Fact, *, id: str | None = None, cause: str | None = None) -> Ack:
        """Whoever owns the event wrote it."""
        row = NEWEST[type(fact)]
        writer = f"{row.writer}-h1" if row.per_host else row.writer
        name = id or derive("desk", next(self._numbers))
        event = address(fact, writer=writer, id=name, time=self.clock.now(), cause=cause, correlation=name)
        return self.server.put([Outgoing(event.subject, event.id, event.payload)], batch=False)

    def contract(self, contract: Contract = CONTRACT, *pools: Pool) -> None:
        self.write(papers.took_effect(contract, self.clock.now()))
        for definition in pools or (pool(),):
            self.write(PoolDefined(org=definition.org, pool=definition.name, definition=definition))

    def decide(self, *answers: Answer) -> Ack:
        """The gate answered, right after its last decision."""
        through = max((one.request_seq for one in answers), default=0)
        ack = self.write(
            GateDecided(
                org="acme",
                gate="g1",
                through=through,
                follows=self._fence,
                state_seq=self.server.ledger.last,
                now=self.clock.now(),
                contract=REF,
                rules="test",
                answers=answers,
                orders=(),
            )
        )
        self._fence = ack.seq
        return ack

    def stored(self) -> list[Stored]:
        return self.server.ledger.messages

    def facts(self, kind: type[Fact]) -> list[Recorded]:
        """Every event of this kind in the ledger."""
        recorded = (read(one.seq, one.stored_ns, one.payload) for one in self.stored())
        return [one for one in recorded if isinstance(one.fact, kind)]


@contextmanager
def virtual_time() -> Generator[VirtualLoop]:
    loop = VirtualLoop()
    try:
        yield loop
    finally:
        loop.end()


def play(scene: Callable[[], Awaitable[None]], *, most_seconds: float = 100_000.0) -> None:
    """The scene is played to its end in virtual time; every worker that it left running is cancelled."""

    async def whole() -> None:
        async with asyncio.timeout(most_seconds):
            await scene()

    with virtual_time() as loop:
        loop.run_until_complete(whole())


def played(scene: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """A test whose body is a scene: it is played as `play` does, and cannot be forgotten."""

    @functools.wraps(scene)
    def whole(*args: P.args, **kwargs: P.kwargs) -> None:
        play(lambda: scene(*args, **kwargs))

    return whole
