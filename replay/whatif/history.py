"""One course of things, as it was or as it would have been: what the gate decides by, and what was awake for how long."""

import copy
from dataclasses import dataclass

from events.envelope import Recorded
from projections.fleet.fold import Fleet, Vm
from projections.fleet.life import UNDER_ORDER
from projections.usage.fold import Usage
from replay.metering import Meter
from services.gate.state import State


@dataclass(slots=True)
class Course:
    """The gate's state and the meter beside it."""

    state: State
    meter: Meter

    @property
    def fleet(self) -> Fleet:
        """Pools, VMs and hosts."""
        return self.state.fleet

    @property
    def usage(self) -> Usage:
        """What counts."""
        return self.state.usage

    def apply(self, recorded: Recorded, at_ns: int) -> None:
        """The course includes the event, which came at this instant."""
        self.state.apply(recorded)
        self.meter.note(self.state.usage, recorded, at_ns)

    def copied(self) -> "Course":
        """The same, which goes its own way from here on."""
        return copy.deepcopy(self)


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
