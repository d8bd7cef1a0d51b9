"""Asks a house as its operator, and follows what becomes of it in folds of the tests' own process."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from events.bus.ledger import Ledger
from events.bus.port import Bus, UnansweredError
from events.envelope import Recorded
from events.fact import Fact
from events.forecast import ForecastMade
from events.host import HostIdled
from events.ledger import LedgerSealed
from events.pool import PoolObserved
from events.signal import SignalFound, SignalLost
from events.volume import SnapshotFailed, SnapshotTaken
from projections.activations.fold import Activation, Activations
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.intake import Receipt, Rejection, Request, Scale, Stock
from virtscale.ask import new_key

ORG: Final = "acme"
POOL: Final = "web"
ANSWER_SECONDS: Final = 2.0
F = TypeVar("F", bound=Fact)

ENDED: Final = frozenset({"serving", "prepared", "failed"})


class History:
    """Every event, in order."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []

    def apply(self, recorded: Recorded) -> None:
        self.events.append(recorded)

    def asked(self, seq: int) -> list[Recorded]:
        """What happened after a sequence, but for what time brings: observations, forecasts, pins of those who sleep, seals."""
        return [one for one in self.events[seq:] if not isinstance(one.fact, BROUGHT)]

    def facts(self, seq: int, kind: type[F]) -> list[F]:
        """What happened of one kind after a sequence."""
        return [recorded.fact for recorded in self.events[seq:] if isinstance(recorded.fact, kind)]


BROUGHT = (
    PoolObserved,
    LedgerSealed,
    ForecastMade,
    SignalLost,
    SignalFound,
    HostIdled,
    SnapshotTaken,
    SnapshotFailed,
)
"""Nobody asked for these."""


class RejectedError(Exception):
    """The intake turned the request away."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(f"{rejection.code}: {rejection.text}")
        self.rejection = rejection


class Client:
    """One operator and one reader; `until` waits for what the ledger says, with a deadline."""

    def __init__(self, bus: Bus, ledger: Ledger) -> None:
        self.bus = bus
        self.ledger = ledger
        self.fleet = ledger.fold(Fleet)
        self.usage = ledger.fold(Usage)
        self.trips = ledger.fold(Activations)
        self.contracts = ledger.fold(Contracts)
        self.history = ledger.fold(History)
        self._bell = ledger.bell()
        self._following = asyncio.create_task(ledger.follow(), name="client")

    async def close(self) -> None:
        """Nothing is followed any more."""
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    async def ask(
        self, verb: str, request: Request, *, org: str = ORG, deadline_seconds: float = 15.0
    ) -> Receipt:
        """The request is stored; asked again under its key for as long as nobody answers."""
        payload = msgspec.json.encode(request)
        async with asyncio.timeout(deadline_seconds):
            while True:
                try:
                    answer = await self.bus.ask(f"in.{org}.operator.{verb}", payload, ANSWER_SECONDS)
                    break
                except UnansweredError:
                    await self._bell.wait(0.05)
        if "seq" not in msgspec.json.decode(answer):
            raise RejectedError(msgspec.json.decode(answer, type=Rejection))
        return msgspec.json.decode(answer, type=Receipt)

    async def scale(self, add: int, *, deadline_seconds: float = 15.0) -> Receipt:
        """A request for more VMs is stored."""
        wish = Scale(pool=POOL, key=new_key(), add=add)
        return await self.ask("scale", wish, deadline_seconds=deadline_seconds)

    async def stock(self, vms: int) -> Receipt:
        """A request for so many VMs in the pool is stored."""
        return await self.ask("stock", Stock(pool=POOL, key=new_key(), vms=vms))

    async def until(self, condition: Callable[[], bool], deadline_seconds: float, why: str) -> None:
        """The folds say so."""
        try:
            async with asyncio.timeout(deadline_seconds):
                while not condition():
                    if self._following.done():
                        self._following.result()
                    await self._bell.wait(0.2)
        except TimeoutError:
            raise AssertionError(f"not within {deadline_seconds} s: {why}; {self.report()}") from None

    async def ended(self, receipt: Receipt, deadline_seconds: float = 20.0) -> list[Activation]:
        """The request was answered, and every VM that it was granted serves, was prepared, or failed."""

        def all_ended() -> bool:
            known = self.trips.requests.get(receipt.id)
            if known is None or known.answer is None:
                return False
            trips = self.trips.of(receipt.id)
            return all(trip.stage in ENDED for trip in trips)

        await self.until(all_ended, deadline_seconds, f"request {receipt.id} has not ended")
        return self.trips.of(receipt.id)

    async def served(self, receipt: Receipt, deadline_seconds: float = 20.0) -> list[Activation]:
        """Every VM that the request was granted serves."""
        trips = await self.ended(receipt, deadline_seconds)
        assert [trip.failure for trip in trips if trip.stage != "serving"] == [], self.report()
        return trips

    def states(self) -> dict[str, str]:
        """Every VM of the pool with its state."""
        return {vm.name: vm.state for vm in self.fleet.vms.values() if (vm.org, vm.pool) == (ORG, POOL)}

    def awake(self) -> set[str]:
        """VMs that count as awake."""
        return {vm for org, vm in self.usage.holdings if org == ORG}

    def report(self) -> str:
        """The state of things, for a failure's message."""
        newest = [f"{recorded.seq} {recorded.type}" for recorded in self.history.events[-12:]]
        return f"VMs {self.states()}, awake {sorted(self.awake())}, ledger {self.ledger.seq}: {', '.join(newest)}"
