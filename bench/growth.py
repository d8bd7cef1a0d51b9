"""What a decision costs in CPU as the house grows: in orgs, and in VMs of one org. Folds and rules, without a bus.

A step is what one request costs a gate: the request is folded, the decision made, the decision folded. Every second
request is admitted and wakes a VM, which then falls asleep again, so that the house stays as it is; the others are
past the cap.
"""

import datetime as dt
import gc
import itertools
import statistics
import time
from dataclasses import dataclass
from typing import Final

from bench import orgs
from events.envelope import Recorded
from events.fact import Fact
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.ids import derive
from events.registry import NEWEST
from events.scale import ScaleRequested
from events.vm import VmQuiesced
from schemas.intake import MOST_VMS
from services.gate.decide import decide
from services.gate.state import State

NOW: Final = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
SCALES: Final = (10, 100, 1_000, 10_000)
STEPS: Final = 1_000
"""Requests in one sample; several samples of all scales are taken in turns, for machines are noisy."""

SLEEPERS: Final = 10
"""VMs of each org where orgs are what grows."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds of one request: deciding alone, and with what the gate folds for it."""

    decide_us: float
    step_us: float


class Site:
    """Folds over a ledger that is never written: so many orgs, each with so many VMs asleep."""

    def __init__(self, orgs_count: int, vms: int) -> None:
        self._state = State()
        self._seq = 0
        self._names = itertools.cycle(orgs.names(orgs_count))
        self._happened(orgs.host(NOW))
        for org in orgs.names(orgs_count):
            for fact in orgs.founding(org, NOW):
                self._happened(fact)
            for first in range(0, vms, 50):
                self._stock(org, range(first, min(first + 50, vms)))

    def steps(self, count: int) -> Cost:
        """So many requests were decided, each of another org; what one of them cost."""
        deciding = stepping = 0
        for number in range(count):
            org = next(self._names)
            began = time.process_time_ns()
            self._happened(_request(org, self._seq, admitted=bool(number % 2)))
            before = time.process_time_ns()
            decision = decide(org, self._state, now=NOW, gate="bench", state_seq=self._seq)
            after = time.process_time_ns()
            assert decision is not None, org
            self._happened(decision.decided)
            ended = time.process_time_ns()
            deciding += after - before
            stepping += ended - began
            assert len(decision.decided.orders) == number % 2, decision
            for order in decision.decided.orders:
                assert isinstance(order, WakeOrdered), order
                self._quiesced(org, order)
        return Cost(deciding / count / 1000, stepping / count / 1000)

    def _stock(self, org: str, numbers: range) -> None:
        """VMs were booted, and sleep."""
        orders = tuple(
            BootOrdered(
                id=derive(org, number),
                vm=f"{orgs.ROOMY}-{number}",
                pool=orgs.ROOMY,
                host=orgs.HOST,
                size=orgs.SMALL,
                template="tiny",
                request=derive(org),
                purpose="stock",
                begin_by=NOW,
                ready_seconds=1,
            )
            for number in numbers
        )
        self._happened(
            GateDecided(
                org=org,
                gate="bench",
                through=0,
                follows=self._state.docket.fence_seq(org),
                state_seq=self._seq,
                now=NOW,
                contract=None,
                rules="bench",
                answers=(),
                orders=orders,
            )
        )
        for order in orders:
            self._quiesced(org, order)

    def _quiesced(self, org: str, order: BootOrdered | WakeOrdered) -> None:
        self._happened(
            VmQuiesced(
                org=org,
                vm=order.vm,
                host=orgs.HOST,
                reservation=order.id,
                cause="ordered",
                quiesced_at=NOW,
            )
        )

    def _happened(self, fact: Fact) -> None:
        self._seq += 1
        row, name = NEWEST[type(fact)], f"{self._seq:032x}"
        writer = f"{row.writer}-{orgs.HOST}" if row.per_host else row.writer
        self._state.apply(Recorded(self._seq, self._seq, name, writer, NOW, None, name, row.tag, fact))


def measure(samples: int) -> tuple[dict[int, Cost], dict[int, Cost]]:
    """The cost by number of orgs, and by number of VMs in one org; medians of so many samples."""
    by_orgs = {scale: Site(scale, SLEEPERS) for scale in SCALES}
    by_vms = {scale: Site(1, scale) for scale in SCALES}
    sites = [*by_orgs.values(), *by_vms.values()]
    gc.collect()
    gc.freeze()
    try:
        costs = {site: [site.steps(STEPS) for _ in range(1)] for site in sites}  # warm
        for _ in range(samples):
            for site in sites:
                costs[site].append(site.steps(STEPS))
    finally:
        gc.unfreeze()

    def median(site: Site) -> Cost:
        taken = costs[site][1:]
        return Cost(
            statistics.median(one.decide_us for one in taken), statistics.median(one.step_us for one in taken)
        )

    return (
        {scale: median(site) for scale, site in by_orgs.items()},
        {scale: median(site) for scale, site in by_vms.items()},
    )


def _request(org: str, number: int, *, admitted: bool) -> ScaleRequested:
    return ScaleRequested(
        org=org,
        pool=orgs.ROOMY if admitted else orgs.HUGE,
        publisher="bench",
        key=f"{number}",
        origin="program",
        add=1 if admitted else MOST_VMS,
        want=None,
        up_to=False,
        received_at=NOW,
        sample=None,
    )
