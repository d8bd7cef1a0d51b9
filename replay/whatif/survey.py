"""The first reading of a window: which rounds there were and what each had folded, and how long outcomes took.

A round is decided from the ledger up to its `state_seq` and stored later, so that whoever decides it again must know of it
before its place comes.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from statistics import median_low
from typing import Final, Literal

from events.envelope import Recorded
from events.gate import (
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    GateDecided,
    Order,
    SaveOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.order import OrderOverdue
from events.pool import PoolDefined
from events.vm import VmAnnounced, VmDrained, VmQuiesced, VmReady, VmSaved, VmStopped
from projections.fleet.fold import Vm
from replay.metering import HOUR_NS
from schemas.pool import Pool

Trip = Literal["wake", "boot", "stock", "return", "drain", "suspend", "save", "stop"]
"""From an order to its outcome: serving, answered (stock), drained, asleep, asleep on disk, off."""

SECOND_NS: Final = HOUR_NS // 3600

SWIFT_NS: Final = SECOND_NS
"""How long a suspend, a stop or a return is taken to last where none was recorded: each takes well under a second
(docs/performance.md)."""


@dataclass(frozen=True, slots=True)
class Round:
    """One recorded decision: where it stands, what it was made from, and up to where it answered."""

    seq: int
    org: str
    gate: str
    now: dt.datetime
    follows: int
    state_seq: int
    through: int
    rules: str
    kept: bool
    """There is nothing to decide again: it defines pools as files said, or the window begins between it and its facts."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """How long something is taken to last, and where that number comes from."""

    ns: int
    basis: str


@dataclass(slots=True)
class Survey:
    """Rounds in ledger order, and the durations of trips that began and ended within the window, by pool."""

    rounds: list[Round] = field(default_factory=list[Round])
    trips: dict[tuple[Trip, str, str], list[int]] = field(
        default_factory=dict[tuple[Trip, str, str], list[int]]
    )
    first_ns: int = 0
    last_ns: int = 0
    _open: dict[str, tuple[Trip, str, str, int]] = field(
        default_factory=dict[str, tuple[Trip, str, str, int]]
    )
    _chain: dict[str, Round] = field(default_factory=dict[str, Round])
    """Each org's last round: the next one follows it, and what does not is a copy, which no fold takes."""
    _first: int = 0
    _defines: bool = False
    _cut: bool = False

    def preface(self, recorded: Recorded) -> None:
        """The event stands right before the window."""
        self._cut = is_ruled(recorded)

    def take(self, recorded: Recorded) -> None:
        """The event is taken into account."""
        self._first = self._first or recorded.seq
        self.first_ns = self.first_ns or recorded.stored_ns
        self.last_ns = max(self.last_ns, recorded.stored_ns)
        match recorded.fact:
            case PoolDefined():
                self._defines = True
                return
            case GateDecided() as decided:
                self._decided(recorded, decided)
                self._cut = False
            case VmReady(reservation=reservation):
                self._close(f"stock {reservation}", recorded)
            case VmAnnounced(order=order):
                self._close(order, recorded)
            case VmDrained(drain=drain):
                self._close(drain, recorded)
            case VmQuiesced(reservation=reservation, cause="ordered"):
                self._close(f"suspend {reservation}", recorded)
            case VmSaved(order=order):
                self._close(order, recorded)
            case VmStopped(reservation=str() as reservation, cause="ordered"):
                self._close(f"stop {reservation}", recorded)
            case _:
                pass
        self._defines = False

    def by_state_seq(self) -> Iterator[Round]:
        """The rounds that are decided again, in the order in which their gates had folded what they decided from."""
        again = (one for one in self.rounds if not one.kept)
        return iter(sorted(again, key=attrgetter("state_seq", "seq")))

    def least_state_seq(self, seq: int) -> int:
        """How far the oldest of the rounds had folded, if that is before `seq`; else `seq`."""
        return min([seq, *(one.state_seq for one in self.rounds if not one.kept)])

    def lasting(self, vm: Vm, pool: Pool | None) -> Lasting:
        """How long the order that the VM is under would have taken: the pool's recorded median, else its own limit."""
        trip = trip_of(vm)
        known = self.trips.get((trip, vm.org, vm.pool))
        if known:
            return Lasting(median_low(known), f"median of {len(known)} recorded in the window")
        match trip:
            case "wake" if pool is not None:
                return Lasting(pool.readiness_seconds * SECOND_NS, "none recorded: readiness time")
            case "boot" | "stock" if pool is not None:
                return Lasting(pool.boot_seconds * SECOND_NS, "none recorded: boot time")
            case "drain" if pool is not None:
                return Lasting(pool.drain_seconds * SECOND_NS, "none recorded: drain time")
            case _:
                return Lasting(SWIFT_NS, "none recorded: 1 s")

    def _decided(self, recorded: Recorded, decided: GateDecided) -> None:
        one = Round(
            seq=recorded.seq,
            org=decided.org,
            gate=decided.gate,
            now=decided.now,
            follows=decided.follows,
            state_seq=decided.state_seq,
            through=decided.through,
            rules=decided.rules,
            kept=self._cut or (self._defines and not (decided.answers or decided.orders)),
        )
        if not self._follows(one):
            return
        self._chain[one.org] = one
        self.rounds.append(one)
        for order in decided.orders:
            self._begin(decided.org, order, recorded.stored_ns)

    def _follows(self, one: Round) -> bool:
        """Whether the round is the next one of its org.

        The window's first follows one from before it, which was not read: of two that do, the copy follows the older.
        """
        last = self._chain.get(one.org)
        if last is None or one.follows == last.seq:
            return True
        if last.follows < one.follows < self._first:
            self.rounds.remove(last)
            return True
        return False

    def _begin(self, org: str, order: Order, at_ns: int) -> None:
        match order:
            case WakeOrdered(purpose="keep") | BootOrdered(purpose="keep"):
                pass  # such a VM is asked for by name, and no other rules would have chosen it
            case WakeOrdered():
                self._open[order.id] = ("wake", org, order.pool, at_ns)
            case BootOrdered(purpose="serve"):
                self._open[order.id] = ("boot", org, order.pool, at_ns)
            case BootOrdered():
                self._open[f"stock {order.id}"] = ("stock", org, order.pool, at_ns)
            case DrainCancelled():
                self._open.pop(order.drain, None)
                self._open[order.id] = ("return", org, order.pool, at_ns)
            case DrainOrdered():
                self._open[order.id] = ("drain", org, order.pool, at_ns)
            case SuspendOrdered():
                self._open[f"suspend {order.reservation}"] = ("suspend", org, order.pool, at_ns)
            case SaveOrdered():
                self._open[order.id] = ("save", org, order.pool, at_ns)
            case StopOrdered():
                self._open[f"stop {order.reservation}"] = ("stop", org, order.pool, at_ns)
            case _:
                pass  # about the very VM that is named

    def _close(self, name: str, recorded: Recorded) -> None:
        began = self._open.pop(name, None)
        if began is not None:
            trip, org, pool, at_ns = began
            self.trips.setdefault((trip, org, pool), []).append(max(0, recorded.stored_ns - at_ns))


def is_ruled(recorded: Recorded) -> bool:
    """Whether it is a fact that stands in one batch with the round behind it."""
    return recorded.writer == "gate" and not isinstance(recorded.fact, GateDecided | OrderOverdue)


def trip_of(vm: Vm) -> Trip:
    """What a VM under an order is on its way to."""
    match vm.state:
        case "waking":
            return "wake"
        case "booting":
            return "boot" if vm.purpose == "serve" else "stock"
        case "warm":
            return "return"
        case "draining":
            return "drain"
        case "suspending":
            return "suspend"
        case "saving":
            return "save"
        case _:
            return "stop"
