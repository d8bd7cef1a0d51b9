"""A long past, written through the real bus: VMs that were woken, served, were drained and slept, over and over.

Each turn of an org is fifteen events: a request, its decision, two wakes with what came of them, the request to quiesce,
its decision, two drains, the decision to suspend, two VMs asleep. The orgs' turns run side by side, so that neighbours
in the ledger are about different orgs. No contract and no pool stands in it: nothing here is decided, only told.
"""

import asyncio
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from events.bus.port import Bus, Outgoing
from events.envelope import address
from events.fact import Fact
from events.gate import (
    Answer,
    ContractRef,
    DrainOrdered,
    Evidence,
    GateDecided,
    Order,
    SuspendOrdered,
    WakeOrdered,
)
from events.ids import derive
from events.quiesce import QuiesceRequested
from events.scale import Sample, ScaleRequested
from events.vm import VmAnnounced, VmDrained, VmQuiesced, VmReady, VmResumed
from schemas.capacity import Size

ORGS: Final = 50
VMS: Final = 20
"""VMs of each org, two of which make each turn."""

BATCH: Final = 1000
HOST: Final = "h1"
SMALL: Final = Size(name="small", vcpu=2, memory_mib=512)
BEGAN: Final = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)


@dataclass(slots=True)
class Org:
    """What an org's next event must know of those before it."""

    name: str
    fence_seq: int = 0
    cause: str = ""
    through: int = 0


class History:
    """Gives the events of the ledger one after another; `seq` is the sequence that the next one will have."""

    def __init__(self) -> None:
        self.seq = 1
        self._orgs = [Org(f"org-{number}") for number in range(ORGS)]

    def messages(self) -> Iterator[Outgoing]:
        """Every message of the past, in order, without end."""
        turn = 0
        while True:
            steps = [self._turn(org, turn) for org in self._orgs]
            for events in zip(*steps, strict=True):
                yield from events
            turn += 1

    def _turn(self, org: Org, turn: int) -> Iterator[Outgoing]:
        names = [f"web-{(2 * turn + place) % VMS + 1}" for place in range(2)]
        ids = [derive(org.name, turn, name) for name in names]
        drains = [derive(id_, "drain") for id_ in ids]
        yield self._told(org, "signal", _wanted(org.name, turn, self._now()))
        yield self._decided(
            org, 2, tuple(_wake(*pair, org.cause, self._now()) for pair in zip(names, ids, strict=True))
        )
        for name, id_ in zip(names, ids, strict=True):
            yield self._told(org, f"waker-{HOST}", _resumed(org.name, name, id_, self._now()))
        for name, id_ in zip(names, ids, strict=True):
            yield self._told(org, "prober", _ready(org.name, name, id_, self._now()))
        for name, id_ in zip(names, ids, strict=True):
            yield self._told(org, "announcer", _announced(org.name, name, id_, self._now()))
        yield self._told(org, "signal", _unwanted(org.name, turn, self._now()))
        yield self._decided(
            org,
            2,
            tuple(
                DrainOrdered(
                    id=drain, vm=name, pool="web", reservation=id_, request=org.cause, drain_seconds=45
                )
                for name, id_, drain in zip(names, ids, drains, strict=True)
            ),
        )
        for name, id_, drain in zip(names, ids, drains, strict=True):
            yield self._told(org, "announcer", _drained(org.name, name, id_, drain, self._now()))
        yield self._decided(
            org,
            0,
            tuple(
                SuspendOrdered(
                    id=derive(id_, "suspend"), vm=name, pool="web", host=HOST, reservation=id_, request=None
                )
                for name, id_ in zip(names, ids, strict=True)
            ),
        )
        for name, id_ in zip(names, ids, strict=True):
            yield self._told(org, f"waker-{HOST}", _quiesced(org.name, name, id_, self._now()))

    def _now(self) -> dt.datetime:
        return BEGAN + dt.timedelta(milliseconds=self.seq)

    def _told(self, org: Org, writer: str, fact: Fact) -> Outgoing:
        id_ = derive("history", self.seq)
        if isinstance(fact, ScaleRequested | QuiesceRequested):
            org.through, org.cause = self.seq, id_
        event = address(fact, writer=writer, id=id_, time=self._now(), cause=org.cause, correlation=org.cause)
        self.seq += 1
        return Outgoing(event.subject, event.id, event.payload)

    def _decided(self, org: Org, granted: int, orders: tuple[Order, ...]) -> Outgoing:
        answers = (_answer(org, granted),) if granted else ()
        decided = GateDecided(
            org=org.name,
            gate="bench-1",
            through=org.through,
            follows=org.fence_seq,
            state_seq=self.seq - 1,
            now=self._now(),
            contract=ContractRef(id=f"{org.name}-2026", version=1, allowance_bp=1000),
            rules="1",
            answers=answers,
            orders=orders,
        )
        org.fence_seq = self.seq
        return self._told(org, "gate", decided)


async def write(bus: Bus, events: int, messages: Iterator[Outgoing] | None = None) -> None:
    """The ledger, empty before, holds so many events; in atomic batches, each encoded while the last is stored.

    With `messages`, the ones that a past gives next: so a ledger is made longer.
    """
    messages = messages or History().messages()
    left, under_way = events, None
    while left or under_way:
        batch = list(islice(messages, min(BATCH, left)))
        left -= len(batch)
        if under_way is not None:
            await under_way
        under_way = asyncio.create_task(bus.append_batch(batch)) if len(batch) > 1 else None


def _answer(org: Org, granted: int) -> Answer:
    evidence = tuple(
        Evidence(
            dimension=dimension,
            used=used,
            reserved=0,
            requested=granted * used,
            projected=(granted + 1) * used,
            quota=100 * used,
            limit=110 * used,
        )
        for dimension, used in (("vcpu", 2), ("memory_mib", 512))
    )
    return Answer(
        request=org.cause,
        request_seq=org.through,
        pool="web",
        outcome="admitted",
        code="Granted",
        asked=granted,
        granted=granted,
        evidence=evidence,
        retry_at=None,
    )


def _wanted(org: str, turn: int, now: dt.datetime) -> Fact:
    sample = Sample(
        query='histogram_quantile(0.99, rate(latency_seconds_bucket{pool="web"}[1m]))',
        value=0.31,
        above=0.25,
        observed_at=now,
    )
    return ScaleRequested(
        org=org,
        pool="web",
        publisher="signal",
        key=f"trigger-{turn}",
        origin="trigger",
        add=2,
        want=None,
        up_to=False,
        received_at=now,
        sample=sample,
    )


def _unwanted(org: str, turn: int, now: dt.datetime) -> Fact:
    return QuiesceRequested(
        org=org,
        pool="web",
        publisher="shop",
        key=f"less-{turn}",
        origin="program",
        count=2,
        received_at=now,
        sample=None,
    )


def _wake(vm: str, id_: str, request: str, now: dt.datetime) -> Order:
    return WakeOrdered(
        id=id_,
        vm=vm,
        pool="web",
        host=HOST,
        size=SMALL,
        request=request,
        purpose="serve",
        begin_by=now + dt.timedelta(seconds=60),
        ready_seconds=20,
    )


def _resumed(org: str, vm: str, id_: str, now: dt.datetime) -> Fact:
    return VmResumed(
        depth="paused",
        refreshed=None,
        org=org,
        vm=vm,
        host=HOST,
        reservation=id_,
        started_at=now,
        resumed_at=now,
        attempts=1,
    )


def _ready(org: str, vm: str, id_: str, now: dt.datetime) -> Fact:
    return VmReady(
        org=org,
        vm=vm,
        reservation=id_,
        boot_id="6d1a7a3e-6b5c-4a4e-9a33-0c8f6f0a9a11",
        rebooted=False,
        clock_offset_ms=3,
        probe_started_at=now,
        answered_at=now,
        probes=1,
    )


def _announced(org: str, vm: str, id_: str, now: dt.datetime) -> Fact:
    return VmAnnounced(
        org=org,
        vm=vm,
        pool="web",
        reservation=id_,
        order=id_,
        backend=f"be_{org}_web",
        address="127.0.0.1:20001",
        announced_at=now,
    )


def _drained(org: str, vm: str, id_: str, drain: str, now: dt.datetime) -> Fact:
    return VmDrained(org=org, vm=vm, reservation=id_, drain=drain, sessions_cut=0, drained_at=now)


def _quiesced(org: str, vm: str, id_: str, now: dt.datetime) -> Fact:
    return VmQuiesced(org=org, vm=vm, host=HOST, reservation=id_, cause="ordered", quiesced_at=now)
