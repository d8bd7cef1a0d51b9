"""One course of things, as it was or as it would have been: what the gate decides by, and what was awake for how long."""

import copy
from collections.abc import Iterable
from dataclasses import fields
from itertools import chain

from events.bus.ledger import Dispatch
from events.envelope import Recorded
from events.fold import Fold
from projections.fleet.fold import Fleet, Vm
from projections.fleet.life import UNDER_ORDER
from projections.usage.fold import Usage
from replay.metering import Meter
from schemas.pool import Pool
from services.gate.state import State


class Course:
    """Pools, VMs and hosts, what counts, and the meter; with them whatever else the gate decides by, if it shall."""

    def __init__(self, fleet: Fleet, usage: Usage, meter: Meter, others: Iterable[Fold] = ()) -> None:
        self.fleet = fleet
        self.usage = usage
        self.meter = meter
        self._dispatch = Dispatch((fleet, usage, *others))

    @classmethod
    def of(cls, state: State, at_ns: int) -> "Course":
        """The course that the gate's whole state goes, metered from this instant on."""
        parts = [getattr(state, part.name) for part in fields(state)]
        others = [part for part in parts if part is not state.fleet and part is not state.usage]
        return cls(state.fleet, state.usage, Meter(state.usage, at_ns), others)

    def agreed(self, org: str, name: str) -> Pool | None:
        """The pool by its contract's own numbers for it, as the gate decides about it."""
        pool, contract = self.fleet.pools.get((org, name)), self.usage.contracts.get(org)
        return pool if pool is None or contract is None else contract.pool(pool)

    def apply(self, recorded: Recorded, at_ns: int) -> None:
        """The course includes the event, which came at this instant."""
        self._dispatch.take(recorded)
        self.meter.note(self.usage, recorded, at_ns)

    def copied(self) -> "Course":
        """The same, which goes its own way from here on, and by which nothing is decided."""
        fleet, usage = self.fleet, self.usage
        values = chain(
            fleet.vms.values(), fleet.pools.values(), fleet.hosts.values(), usage.holdings.values()
        )
        # What never changes is shared: told that it is copied already, the copying passes it by.
        shared: dict[int, object] = {id(one): one for one in chain(values, usage.contracts.values())}
        return Course(*copy.deepcopy((fleet, usage, self.meter), shared))


def follows(then: Vm | None, now: Vm | None) -> bool:
    """Whether what happened to the one would have happened to the other: the same life, order and host."""
    if then is None or now is None:
        return then is now
    return (then.state, then.reservation, then.order, then.host) == (
        now.state,
        now.reservation,
        now.order,
        now.host,
    )


def awaits_outcome(vm: Vm) -> bool:
    """Whether a worker has yet to say what came of the VM's order; prepared stock waits for the gate."""
    return vm.state in UNDER_ORDER and not (vm.state == "warm" and vm.purpose == "stock")
