"""A past as the ledger it would be: the bytes that the bus would hold, read as any replay reads them."""

import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from events.bus.port import Stored
from events.envelope import Recorded, address
from events.freeze import ScalingFrozen
from events.gate import GateDecided
from events.host import HostCordoned
from events.ids import derive
from events.mail import MailAccepted
from events.registry import NEWEST
from events.vm import VmDrained
from replay.why.event import Why, why
from schemas.pool import Trigger
from tests.given import ORG, Past
from tests.papers import NOW

GROUP = 7
TRIGGER = Trigger(query="up", above=1.0, samples=3, add=4)


def setting(vcpu: int = 10, **pool: Any) -> Past:
    """A pool of two vCPU a VM, and a contract whose cap is quota + 10 %."""
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


def stored_at(recorded: Recorded) -> int:
    """When the bus stored it: at its writer's time, and each a microsecond after the one before."""
    return int(recorded.time.timestamp()) * 10**9 + recorded.time.microsecond * 1000 + recorded.seq * 1000


def stored(recorded: Recorded) -> Stored:
    """The event as the bus holds it."""
    row = NEWEST[type(recorded.fact)]
    writer = f"{row.writer}-{getattr(recorded.fact, 'host', '')}" if row.per_host else row.writer
    event = address(
        recorded.fact,
        writer=writer,
        id=recorded.id,
        time=recorded.time,
        cause=recorded.cause,
        correlation=recorded.correlation,
    )
    return Stored(recorded.seq, stored_at(recorded), event.subject, event.id, event.payload)


class Kept:
    """A ledger that is read in groups of a few."""

    def __init__(self, messages: Sequence[Stored], group: int = GROUP) -> None:
        self._messages = messages
        self._group = group

    @classmethod
    def of(cls, past: Past) -> "Kept":
        return cls([stored(recorded) for recorded in past.lines])

    async def last(self) -> int:
        return len(self._messages)

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        for begin in range(first - 1, last, self._group):
            yield list(self._messages[begin : min(last, begin + self._group)])


async def explained(past: Past, text: str) -> Why:
    """Why, as the past has it."""
    return await why(Kept.of(past), text)


def drained(past: Past, vm: str) -> None:
    """The VM gets no more work."""
    known = past.fleet.vms[ORG, vm]
    assert known.order is not None
    past.happened(
        VmDrained(
            org=ORG,
            vm=vm,
            reservation=past.reservation(vm),
            drain=known.order,
            sessions_cut=0,
            drained_at=past.now,
        )
    )


def mailed(past: Past, *requests: str) -> MailAccepted:
    """The relay took a mail about these refusals."""
    fact = MailAccepted(
        org=ORG,
        person="acme-owner",
        message_id=f"<{requests[0]}@virtscale.acme>",
        requests=requests,
        attempts=1,
        refused_at=past.now,
        accepted_at=past.now + dt.timedelta(milliseconds=800),
    )
    past.happened(fact, derive("mail", *requests))
    return fact


def order_of(decided: GateDecided, vm: str) -> str:
    """The order that this VM was given in a round."""
    return next(order.id for order in decided.orders if order.vm == vm)


def frozen(past: Past) -> None:
    """Every pool of the org stands still for an hour."""
    until = past.now + dt.timedelta(hours=1)
    past.happened(
        ScalingFrozen(org=ORG, pool=None, actor="ops", reason="a move", frozen_at=past.now, until=until)
    )


def cordoned(past: Past) -> None:
    """Nothing starts on the only host."""
    past.happened(HostCordoned(org="platform", host="h1", actor="ops", reason="repair", cordoned_at=past.now))


def expired(past: Past) -> None:
    """The contract's last day is over."""
    past.now = NOW + dt.timedelta(hours=12)
