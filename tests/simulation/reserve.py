"""The warm reserve and the other floors of pools, and how long the gate may tell anybody to wait: looked at as decisions are stored.

The ledger is what a decision had read of it, so how many VMs a pool had is remembered by its place there. What the pools are and
what the contract says changes under the same fence as the decision, and is the same then and now.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Final, TypeVar

from events.ahead import AHEAD
from events.envelope import Recorded
from events.forecast import ForecastMade
from events.gate import Answer, BootOrdered, DrainCancelled, DrainOrdered, GateDecided, WakeOrdered
from events.scale import ScaleRequested
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.names import FORECAST
from schemas.pool import Pool
from schemas.reserve import floor_vms, reserve_vms

T = TypeVar("T")

Place = tuple[str, str]
"""Org and pool."""

MOST_WAIT: Final = {
    "QuiesceRate": dt.timedelta(minutes=1),
    "BreakerOpen": dt.timedelta(minutes=30),
    "SaveHeldBack": dt.timedelta(hours=1),
}
"""So long at most whoever was answered so is told to wait; `Cooldown` is the pool's own, and a freeze is somebody's."""


class Floors:
    """How each pool stood at each place of the ledger."""

    def __init__(self, fleet: Fleet, usage: Usage) -> None:
        self._fleet = fleet
        self._usage = usage
        self._staying: dict[Place, list[tuple[int, int]]] = {}
        self._capped: dict[Place, list[tuple[int, bool]]] = {}
        self._refills: dict[str, Place] = {}
        """Requests of a forecaster for what is within its forecast, and so within the cap as it saw it."""

    def apply(self, line: Recorded) -> Iterator[str]:
        """The event is stored, and the folds have it; what is wrong with it."""
        match line.fact:
            case GateDecided() as decided:
                yield from self._drained(decided, line.seq)
                for answer in decided.answers:
                    yield from self._refilled(decided, answer, line.seq)
                    yield from self._waits(decided, answer, line.seq)
            case ScaleRequested(org=org, pool=pool, publisher=publisher, key=key):
                if publisher == FORECAST and key.endswith("/scale"):
                    self._refills[line.id] = org, pool
            case ForecastMade(org=org, pool=pool, capped=capped):
                self._capped.setdefault((org, pool), []).append((line.seq, capped))
            case _:
                pass
        for place in self._fleet.pools if type(line.fact) in Fleet.TAKES else ():
            past = self._staying.setdefault(place, [])
            staying = self._fleet.staying(*place)
            if not past or past[-1][1] != staying:
                past.append((line.seq, staying))

    def _drained(self, decided: GateDecided, seq: int) -> Iterator[str]:
        """Nobody brings a pool below its floor, whoever asks."""
        org = decided.org
        for name in {order.pool for order in decided.orders if isinstance(order, DrainOrdered)}:
            ordered = [order for order in decided.orders if order.pool == name]
            gone = sum(isinstance(order, DrainOrdered) for order in ordered)
            come = sum(
                isinstance(order, DrainCancelled)
                or (isinstance(order, WakeOrdered | BootOrdered) and order.purpose == "serve")
                for order in ordered
            )
            stayed = _at(self._staying[org, name], decided.state_seq, 0)
            floor = floor_vms(
                self._usage.contracts.get(org), self._pool(org, name), self._fleet.forecasting(org)
            )
            if stayed + come - gone < floor:
                yield f"{gone} of {stayed} VMs of {org}/{name} are sent away at #{seq}, and nobody may bring it below {floor}."

    def _refilled(self, decided: GateDecided, answer: Answer, seq: int) -> Iterator[str]:
        """What lacks of the reserve alone is clipped, and no refusal, of which somebody would be mailed."""
        place = self._refills.get(answer.request)
        if place is None or answer.code != "CapExceeded":
            return
        contract = self._usage.contracts[decided.org]
        reserve = reserve_vms(contract, self._pool(*place), self._fleet.forecasting(decided.org))
        capped = _at(self._capped.get(place, []), decided.state_seq, False)
        if not capped and answer.asked - answer.granted <= reserve:
            lacks = answer.asked - answer.granted
            yield f"A refill of {place[0]}/{place[1]} was refused at #{seq} for the {lacks} VMs that lack of its reserve of {reserve}."

    def _waits(self, decided: GateDecided, answer: Answer, seq: int) -> Iterator[str]:
        """Whoever is told to wait is told no longer than what he waits for may last, whatever clock was wrong before."""
        if answer.retry_at is None or answer.pool is None:
            return
        most = MOST_WAIT.get(answer.code)
        if answer.code == "Cooldown":
            most = dt.timedelta(seconds=self._pool(decided.org, answer.pool).cooldown_seconds)
        if most is not None and answer.retry_at > decided.now + most + AHEAD:
            yield (
                f"{decided.org}/{answer.pool} is told at #{seq} to wait until {answer.retry_at} for {answer.code}, which lasts "
                f"{most} at most, and it was {decided.now}."
            )

    def _pool(self, org: str, name: str) -> Pool:
        """The pool with the numbers that the contract sets for it."""
        pool, contract = self._fleet.pools[org, name], self._usage.contracts.get(org)
        return pool if contract is None else contract.pool(pool)


def _at(past: list[tuple[int, T]], seq: int, otherwise: T) -> T:
    """What was so at a place of the ledger."""
    return next((value for at, value in reversed(past) if at <= seq), otherwise)
