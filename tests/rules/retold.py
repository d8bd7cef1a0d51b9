"""A past whose events were stored when they happened, to be told again by other rules."""

import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from msgspec.structs import replace

from events.bus.port import Stored
from events.envelope import Recorded, address
from events.vm import VmDrained
from replay.metering import ns_of
from replay.whatif.asking import WhatIf, retold
from replay.whatif.rules import Rules
from tests.given import Past

HOUR = dt.timedelta(hours=1)


class Told(Past):
    """The window begins where `begin` is called; before it lies the setting."""

    first = 1

    def begin(self) -> "Told":
        self.later(60)
        self.first = self.seq + 1
        return self

    def stored_lines(self) -> list[Recorded]:
        return [replace(line, stored_ns=ns_of(line.time) + line.seq) for line in self.lines]

    def again(self, rules: Rules | None = None) -> WhatIf:
        return retold(self.stored_lines(), rules or Rules(), self.first)

    def served(self, vm: str, seconds: float = 0) -> None:
        """The VM serves after so many seconds."""
        self.later(seconds)
        self.ready(vm)
        self.announced(vm)

    def drained(self, vm: str) -> None:
        """The VM's sessions ended."""
        drain = self.fleet.vms[self.org, vm].order
        assert drain is not None
        self.happened(
            VmDrained(
                org=self.org,
                vm=vm,
                reservation=self.reservation(vm),
                drain=drain,
                sessions_cut=0,
                drained_at=self.now,
            )
        )

    def answered_steps(self) -> list[str]:
        """The gate orders next steps; the VMs that it gave them."""
        return [order.vm for order in self.round().orders]

    def answered(self, asked: Recorded) -> list[str]:
        """The gate answers the request; the VMs that it gave orders."""
        assert asked.seq == self.seq
        return [order.vm for order in self.round().orders]


class Lines:
    """A source that holds these events and nothing else."""

    def __init__(self, lines: Sequence[Recorded]) -> None:
        self.stored = [
            Stored(line.seq, line.stored_ns, written.subject, written.id, written.payload)
            for line in lines
            for written in [_written(line)]
        ]

    async def last(self) -> int:
        return len(self.stored)

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        for at in range(first - 1, last, 100):
            yield self.stored[at : min(at + 100, last)]


def _written(line: Recorded) -> Any:
    writer = f"waker-{getattr(line.fact, 'host', '')}" if line.writer == "waker" else line.writer
    return address(
        line.fact, writer=writer, id=line.id, time=line.time, cause=line.cause, correlation=line.correlation
    )
