"""The rules of the announcer: what a VM's state in the ledger means for the load balancer.

Pure. A VM that is on its way up stands ready in maintenance, so that announcing it is one call; one that sleeps
keeps its place in maintenance, which makes its next wake as quick; only what serves gets new work.
"""

import datetime as dt
from typing import Final, Literal

from projections.fleet.fold import Vm
from services.announcer.port import Server
from services.announcer.state import Drain

Aim = Literal["prepare", "announce", "serve", "drain", "rest"]
"""In place and in maintenance; sent work, and said so; sent work; sent no new work; sent nothing."""

Step = Literal["add", "ready", "maint"]

ANNOUNCE_SECONDS: Final = 20.0
"""How long a load balancer may be away before the order is given up as `balancer-unreachable`."""

MOST_REFUSALS: Final = 3
"""How often a load balancer may say no before the order is given up as `balancer-refused`."""


def aim(vm: Vm) -> Aim:
    """What the load balancer should do for the VM."""
    match vm.state:
        case "booting" | "waking":
            return "prepare" if vm.purpose == "serve" and vm.address else "rest"
        case "warm":
            return "announce" if vm.purpose == "serve" and vm.address else "rest"
        case "serving":
            return "serve" if vm.address else "rest"
        case "draining":
            return "drain"
        case "drained" | "suspending" | "quiesced" | "saving" | "saved" | "stopping" | "stopped":
            return "rest"
        case "running" | "unready" | "unannounced" | "stray":
            return "rest"


def repair(wanted: Aim, address: str | None, found: Server | None) -> Step | None:
    """The next step from what the load balancer has towards what it should have; None when that is the same.

    Announcing and draining are more than a state and have their own way.
    """
    if wanted in {"announce", "drain"}:
        return None
    if wanted == "rest":
        return "maint" if found is not None and found.state != "maint" else None
    if found is None or found.address != address:
        return "add"
    state = "ready" if wanted == "serve" else "maint"
    return state if found.state != state else None


def drain_seconds_left(drain: Drain, now: dt.datetime) -> float:
    """How long the sessions may still last: an announcer that starts again does not start the time again."""
    left = drain.seconds - (now - drain.ordered_at).total_seconds()
    return max(0.0, min(float(drain.seconds), left))
