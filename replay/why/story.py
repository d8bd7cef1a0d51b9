"""What happened to one pool lately, folded beside the gate's own state: requests, answers, orders, outcomes."""

import datetime as dt
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from events.contract import ContractTookEffect
from events.envelope import Recorded
from events.fact import Fact
from events.forecast import ForecastMade
from events.freeze import FreezeRequested, ScalingFrozen, ScalingThawed, ThawRequested
from events.gate import Answer, ContractRef, GateDecided
from events.host import HostAdmitted, HostCordoned, HostFenced, HostRemoved
from events.pool import PoolObserved
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from replay.why.chain import Link

MOST_LATELY: Final = 400
"""Events about the pool that are remembered, and its requests of each kind: the last ones, and of what follows the first."""

MOST_WINDOWS: Final = 4
"""Windows of five minutes that are remembered: the one that an instant lies in is told after it has ended."""

Scaling = ScaleRequested | QuiesceRequested | StockRequested


@dataclass(frozen=True, slots=True)
class Heard:
    """One request about the pool, and what became of it by the end of the reading."""

    id: str
    seq: int
    at: dt.datetime
    wish: Scaling
    answer: Answer | None = None
    contract: ContractRef | None = None
    decided_at: dt.datetime | None = None
    decided_seq: int | None = None


@dataclass(slots=True)
class Story:
    """The last requests and events of one pool."""

    org: str
    pool: str
    heard: dict[int, Heard] = field(default_factory=dict[int, Heard])
    """Requests by their sequence, in order."""
    lately: deque[Link] = field(default_factory=lambda: deque[Link](maxlen=MOST_LATELY))
    decision: Link | None = None
    """The last decision that answered a request about the pool or ordered something of it."""
    rules: str | None = None
    """Of that decision."""
    triggered: Heard | None = None
    """The last request of the pool's trigger."""

    observed: deque[PoolObserved] = field(default_factory=lambda: deque[PoolObserved](maxlen=MOST_WINDOWS))
    """The last windows that signal told of the pool."""
    foreseen: deque[ForecastMade] = field(default_factory=lambda: deque[ForecastMade](maxlen=MOST_WINDOWS))
    """The last forecasts of the pool that were told."""
    vms: set[str] = field(default_factory=set[str])
    """Every VM that the pool ever had."""
    follows: bool = False
    """Whether this is what followed a story, and no longer the story itself."""
    _alike: dict[type[Scaling], deque[int]] = field(default_factory=dict[type[Scaling], deque[int]])
    """Sequences of the requests in `heard`, by kind: one kind pushes out none of another."""

    def sequel(self) -> "Story":
        """What follows this story, to be told on without a change to this one.

        It adds answers to the requests that the story knows, and takes in no other: what was asked later was not known,
        and however much of it there is, it pushes out nothing that was. `lately` begins anew, and keeps the first events.
        """
        return replace(
            self,
            heard=dict(self.heard),
            lately=deque(maxlen=MOST_LATELY),
            observed=self.observed.copy(),
            foreseen=deque(maxlen=MOST_LATELY),
            vms=set(self.vms),
            follows=True,
        )

    def apply(self, recorded: Recorded) -> None:
        """The story now includes the event."""
        match recorded.fact:
            case PoolObserved() as seen if (seen.org, seen.pool) == (self.org, self.pool):
                self.observed.append(seen)
            case ForecastMade() as told if (told.org, told.pool) == (self.org, self.pool):
                self.foreseen.append(told)
                self._note(Link(recorded))
            case GateDecided() as decided if decided.org == self.org:
                self._decide(recorded, decided)
            case fact if isinstance(fact, Scaling) and (fact.org, fact.pool) == (self.org, self.pool):
                self._hear(recorded, fact)
            case fact if self._is_ours(fact):
                self._note(Link(recorded))
            case _:
                pass

    def _note(self, link: Link) -> None:
        if not (self.follows and len(self.lately) == MOST_LATELY):
            self.lately.append(link)

    def _hear(self, recorded: Recorded, wish: Scaling) -> None:
        self._note(Link(recorded))
        if self.follows:
            return
        heard = self.heard[recorded.seq] = Heard(recorded.id, recorded.seq, recorded.stored_at, wish)
        if isinstance(wish, ScaleRequested) and wish.origin == "trigger":
            self.triggered = heard
        alike = self._alike.setdefault(type(wish), deque())
        alike.append(recorded.seq)
        if len(alike) > MOST_LATELY:
            del self.heard[alike.popleft()]

    def _decide(self, recorded: Recorded, decided: GateDecided) -> None:
        answers = tuple(answer for answer in decided.answers if answer.pool == self.pool)
        orders = tuple(order for order in decided.orders if order.pool == self.pool)
        if not (answers or orders):
            return
        self.decision = Link(recorded, answers, orders)
        self.vms.update(order.vm for order in orders)
        self.rules = decided.rules
        self._note(self.decision)
        for answer in answers:
            heard = self.heard.get(answer.request_seq)
            if heard is not None and heard.answer is None:
                self.heard[heard.seq] = replace(
                    heard,
                    answer=answer,
                    contract=decided.contract,
                    decided_at=recorded.stored_at,
                    decided_seq=recorded.seq,
                )

    def _is_ours(self, fact: Fact) -> bool:
        if isinstance(fact, HostCordoned | HostAdmitted | HostFenced | HostRemoved):
            return True  # where VMs may start is every pool's affair
        if fact.org != self.org:
            return False
        if isinstance(fact, FreezeRequested | ThawRequested | ScalingFrozen | ScalingThawed):
            return fact.pool in {None, self.pool}
        vm, pool = getattr(fact, "vm", None), getattr(fact, "pool", None)
        if vm is not None and pool == self.pool:
            self.vms.add(vm)  # perhaps one that runs although nobody ordered it
        return pool == self.pool or vm in self.vms or isinstance(fact, ContractTookEffect)
