"""What the forecaster must know beside the samples: how each pool stands, and what became of what was asked for."""

import datetime as dt
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from events.ahead import is_to_come
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.fold import FoldsOfReader
from events.forecast import ForecastMade
from events.gate import Answer, GateDecided
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from projections.fleet.life import State as VmState
from projections.forecasts.fold import Forecasts
from projections.freezes.fold import Freezes
from projections.signals.fold import Signals
from projections.usage.fold import Usage
from schemas.capacity import ENFORCED, Capacity
from schemas.codes import Code
from schemas.contract.terms import Contract
from schemas.names import FORECAST
from schemas.pool import Pool
from schemas.reserve import floor_vms, reserve_vms
from services.forecaster.decide import LOST, MINUTE, Standing, past_cap

_Wish = ScaleRequested | QuiesceRequested | SaveRequested

RETRY: Final = dt.timedelta(minutes=5)
"""What was not granted in full is asked for again after so long, or sooner where the gate says so. It knows when a breaker ends, and
not when another host has room."""

RETRY_CAP: Final = dt.timedelta(minutes=1)
"""The same, where the cap was the reason: the forecaster sees for itself when the contract leaves more."""

_OF_HOSTS: Final[frozenset[Code]] = frozenset({"HostsFull", "BreakerOpen"})
"""Refusals that are nobody's mail, and that another host ends at any time."""


@dataclass(slots=True)
class _Desk:
    """One pool: what is unanswered, and what the last answers were."""

    waiting: dict[str, _Wish] = field(default_factory=dict[str, _Wish])
    moved_at: dt.datetime | None = None
    answered_at: dt.datetime | None = None
    """When a request of a forecaster was last answered, by the gate's clock."""
    retry_at: dt.datetime | None = None
    lacking: int = 0
    """The number of VMs in all that hosts had no room for, where that was the reason; else 0."""
    capped_at: dt.datetime | None = None
    refused: bool = False
    rest_at: dt.datetime | None = None
    """Until then no sleepers are asked to be saved."""
    lowered: deque[tuple[dt.datetime, int]] = field(default_factory=deque[tuple[dt.datetime, int]])


class Asked:
    """Every pool's requests to grow, shrink or sleep deeper, when it last moved, and whether it is past its cap.

    Bounded by what awaits an answer.
    """

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {ScaleRequested, QuiesceRequested, SaveRequested, GateDecided, ForecastMade}
    )

    def __init__(self) -> None:
        self._fences = Fences()
        self._desks: dict[tuple[str, str], _Desk] = {}
        self._open: dict[str, dict[int, tuple[str, str]]] = {}
        """By org: the sequence of each unanswered request, its id and its pool."""
        self._through: dict[str, int] = {}

    def desk(self, org: str, pool: str) -> _Desk:
        """What is known of one pool's requests; to be looked at only."""
        return self._desks.get((org, pool)) or _Desk()

    def apply(self, recorded: Recorded) -> None:
        """The requests now include the event."""
        match recorded.fact:
            case ForecastMade() as made:
                self._foresee(made)
            case ScaleRequested() | QuiesceRequested() | SaveRequested() as wish:
                self._see(wish)
                if recorded.seq > self._through.get(wish.org, 0):
                    desk = self._desks.setdefault((wish.org, wish.pool), _Desk())
                    desk.waiting[recorded.id] = wish
                    self._open.setdefault(wish.org, {})[recorded.seq] = (recorded.id, wish.pool)
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                self._close(decided)
            case _:
                pass

    def _foresee(self, made: ForecastMade) -> None:
        """An episode past the cap goes from its first forecast to the first that is within; one without a signal ends nothing."""
        desk = self._desks.setdefault((made.org, made.pool), _Desk())
        if made.reason == LOST:
            return
        if not made.capped:
            desk.capped_at, desk.refused = None, False
        elif desk.capped_at is None:
            desk.capped_at = made.made_at

    def _see(self, wish: _Wish) -> None:
        desk = self._desks.get((wish.org, wish.pool))
        if desk is not None and desk.capped_at is not None and wish.publisher == FORECAST:
            desk.refused = desk.refused or wish.key == past_cap(wish.pool, desk.capped_at)

    def _close(self, decided: GateDecided) -> None:
        for answer in decided.answers:
            if answer.pool is not None and (decided.org, answer.pool) in self._desks:
                desk = self._desks[decided.org, answer.pool]
                wish = desk.waiting.get(answer.request)
                if wish is not None:
                    _answered(desk, wish, answer, decided.now)
        self._through[decided.org] = max(decided.through, self._through.get(decided.org, 0))
        waiting = self._open.get(decided.org, {})
        for seq in [seq for seq in waiting if seq <= decided.through]:
            request, pool = waiting.pop(seq)
            self._desks[decided.org, pool].waiting.pop(request, None)


def _answered(desk: _Desk, wish: _Wish, answer: Answer, now: dt.datetime) -> None:
    if answer.granted and not isinstance(wish, SaveRequested):
        desk.moved_at = now
    if wish.publisher != FORECAST:
        return
    desk.answered_at = now
    if isinstance(wish, QuiesceRequested) and answer.granted:
        desk.lowered.append((now, answer.granted))
        while desk.lowered[0][0] <= now - MINUTE:
            desk.lowered.popleft()
    if isinstance(wish, ScaleRequested):
        # What hangs on a silent host may leave a pool no place below its maximum: then nothing is to be asked for either.
        missed = answer.code == "AlreadyAtMax" or (
            answer.outcome in {"partial", "refused"} and answer.code != "BatchTooLarge"
        )
        by_then = now + (RETRY_CAP if answer.code == "CapExceeded" else RETRY)
        desk.retry_at = min(answer.retry_at or by_then, by_then) if missed else None
        desk.lacking = (wish.want or 0) if missed and answer.code in _OF_HOSTS else 0
    if isinstance(wish, SaveRequested):
        # What was granted goes to disk one by one, and where that fails the gate says until when.
        desk.rest_at = answer.retry_at or (now + RETRY if answer.granted else None)


@dataclass(frozen=True, slots=True)
class State:
    """All that a verdict is made from beside the samples: views over the same events, to the same sequence."""

    fleet: Fleet = field(default_factory=Fleet)
    usage: Usage = field(default_factory=Usage)
    contracts: Contracts = field(default_factory=Contracts)
    freezes: Freezes = field(default_factory=Freezes)
    signals: Signals = field(default_factory=Signals)
    forecasts: Forecasts = field(default_factory=Forecasts)
    asked: Asked = field(default_factory=Asked)

    @classmethod
    def of(cls, reader: FoldsOfReader) -> "State":
        """The folds that a reader keeps up to date."""
        return cls(
            reader.fold(Fleet),
            reader.fold(Usage),
            reader.fold(Contracts),
            reader.fold(Freezes),
            reader.fold(Signals),
            reader.fold(Forecasts),
            reader.fold(Asked),
        )

    def apply(self, recorded: Recorded) -> None:
        """All include the event; for who has no reader."""
        for fold in (
            self.fleet,
            self.usage,
            self.contracts,
            self.freezes,
            self.signals,
            self.forecasts,
            self.asked,
        ):
            fold.apply(recorded)

    def foreseen(self) -> list[tuple[str, str]]:
        """The pools that forecasts are made of, in the order in which they were first defined."""
        return [key for key, pool in self.fleet.pools.items() if pool.forecast != "off"]

    def pool(self, org: str, name: str) -> Pool:
        """The pool with the numbers that the org's contract sets for it."""
        pool, contract = self.fleet.pools[org, name], self.usage.contracts.get(org)
        return pool if contract is None else contract.pool(pool)


@dataclass(slots=True)
class Orgs:
    """What one tick looks up once for each org, and what it has already asked for in it."""

    state: State
    now: dt.datetime
    rested_seq: int
    """What fell asleep at this sequence or before has slept for ten minutes."""
    _pools: dict[str, int] = field(default_factory=dict[str, int])
    _room: dict[str, Capacity | None] = field(default_factory=dict[str, Capacity | None])

    def __post_init__(self) -> None:
        for (org, _), pool in self.state.fleet.pools.items():
            if pool.forecast == "on":
                self._pools[org] = self._pools.get(org, 0) + 1

    def standing(self, org: str, name: str) -> Standing:
        """How the pool stands now, after what this tick asked for other pools of its org."""
        state, now = self.state, self.now
        pool, contract = state.pool(org, name), state.usage.contracts.get(org)
        fleet, desk = state.fleet, state.asked.desk(org, name)
        staying, pools = fleet.staying(org, name), self._pools.get(org, 0)
        # What a gate said by a clock that was ahead, or so it seems by now, keeps nobody waiting.
        wrong = desk.answered_at is not None and is_to_come(desk.answered_at, now)
        moved_at = desk.moved_at if desk.moved_at is None or not is_to_come(desk.moved_at, now) else None
        mine = [wish for wish in desk.waiting.values() if wish.publisher == FORECAST]
        paused = fleet.members(org, name, "quiesced")
        rests = desk.rest_at is None or wrong or now >= desk.rest_at
        return Standing(
            pool=pool,
            reserve=0 if contract is None else reserve_vms(contract, pool, pools),
            floor=floor_vms(contract, pool, pools),
            staying=staying,
            serving=len(fleet.members(org, name, "serving")),
            most=staying + self._left(org, pool, now),
            frozen=state.freezes.over(org, name, now) is not None,
            lost=state.signals.lost(org, name),
            capped_at=desk.capped_at,
            refused=desk.refused,
            moved_at=moved_at,
            raising=max((wish.want or 0 for wish in mine if isinstance(wish, ScaleRequested)), default=0),
            lowering=any(not isinstance(wish, ScaleRequested) for wish in mine),
            retry_at=None if wrong else desk.retry_at,
            lacking=desk.lacking,
            lowered=sum(count for at, count in desk.lowered if at > now - MINUTE and not is_to_come(at, now)),
            paused=len(paused),
            rested=self._rested(org, paused) if pool.sleep == "auto" and rests else 0,
        )

    def promise(self, org: str, name: str, vms: int) -> None:
        """So many VMs more were asked for: what the contract leaves to the org's other pools is less by them."""
        room, size = self._room.get(org), self.state.pool(org, name).size
        if room is not None and vms > 0:
            taken = size.compute * vms
            self._room[org] = Capacity(
                max(0, room.vcpu - taken.vcpu), max(0, room.memory_mib - taken.memory_mib)
            )

    def _rested(self, org: str, paused: dict[str, None]) -> int:
        """Sleepers stand in the order in which they fell asleep, so that the first who has not rested ends the count."""
        count = 0
        for name in paused:
            since = self.state.fleet.vms[org, name].asleep_since
            if since is None or since > self.rested_seq:
                break
            count += 1
        return count

    def _left(self, org: str, pool: Pool, now: dt.datetime) -> int:
        """How many more VMs of the pool the contract leaves; those on their way out come back for nothing."""
        if org not in self._room:
            self._room[org] = _room(self.state, org, now)
        room = self._room[org]
        if room is None:
            return 0
        back = self.state.fleet.count(org, pool.name, _LEAVING)
        return back + min(room.of(one) // pool.size.compute.of(one) for one in ENFORCED)


_LEAVING: Final[frozenset[VmState]] = frozenset({"draining", "drained"})


def _room(state: State, org: str, now: dt.datetime) -> Capacity | None:
    """What the contract leaves free; None where nothing of the org may grow."""
    document = state.contracts.in_force(org)
    if document is None or not document.signed.signatures or state.usage.strays(org):
        return None
    contract: Contract = document.contract
    if not contract.valid_from <= now < contract.valid_until:
        return None
    used, limit = state.usage.used(org) + state.usage.reserved(org), contract.limit
    left = {one: limit.of(one) - used.of(one) for one in ENFORCED}
    if min(left.values()) < 0:
        return None
    return Capacity(left["vcpu"], left["memory_mib"])
