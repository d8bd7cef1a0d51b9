"""The life of a VM as a table: in which state which event leads where.

What is not in the table changes nothing: a late, repeated or foreign event finds no row. Some events hold from any
state. A wake or boot order begins a new life, whatever came in between: the gate gave it under the fence, so it
counts. `vm.found-awake` begins one that nobody ordered. And three end a life, because they are proof that the domain does
not run: `vm.quiesced`, `vm.stopped` and `vm.wake-failed`.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

State = Literal[
    "booting",
    "waking",
    "warm",
    "serving",
    "running",
    "draining",
    "drained",
    "suspending",
    "quiesced",
    "saving",
    "saved",
    "stopping",
    "stopped",
    "unready",
    "unannounced",
    "stray",
]

EVERY: Final[frozenset[State]] = frozenset(get_args(State))
"""All states there are."""

IN_MEMORY: Final[frozenset[State]] = frozenset({"quiesced", "saving"})
"""States of a VM that sleeps in its host's RAM."""

SLEEPING: Final[frozenset[State]] = IN_MEMORY | frozenset[State]({"saved"})
"""States of a VM that sleeps, in RAM or on disk, and goes on where it was when it wakes."""

ASLEEP: Final[frozenset[State]] = SLEEPING | frozenset[State]({"stopped"})
"""States in which a VM counts no compute."""

UP: Final[frozenset[State]] = frozenset({"running", "unready"})
"""States of a VM that is kept for its own sake and runs; it can be told to stop or to start anew."""

STAYING: Final[frozenset[State]] = frozenset({"booting", "waking", "warm", "serving"})
"""States of a VM that is there for its pool's demand, or soon will be."""

INDEXED: Final[frozenset[State]] = frozenset({"quiesced", "saved", "serving"})
"""States whose VMs are also known by host: those that may be woken, and those that may be drained."""

UNDER_ORDER: Final[frozenset[State]] = frozenset(
    {"booting", "waking", "warm", "draining", "suspending", "saving", "stopping"}
)
"""States that an order put the VM into and that a worker's outcome ends."""

NEXT: Final[Mapping[tuple[State, str], State]] = {
    # orders of the gate
    ("serving", "drain.ordered"): "draining",
    ("draining", "drain.cancelled"): "warm",
    ("drained", "drain.cancelled"): "warm",
    ("drained", "suspend.ordered"): "suspending",
    ("warm", "suspend.ordered"): "suspending",  # prepared stock, on its way to sleep
    ("unannounced", "suspend.ordered"): "suspending",
    ("stray", "suspend.ordered"): "suspending",
    ("quiesced", "save.ordered"): "saving",
    ("unready", "stop.ordered"): "stopping",
    ("running", "stop.ordered"): "stopping",
    ("booting", "stop.ordered"): "stopping",  # its owner does not wait for its answer
    # outcomes
    ("waking", "vm.ready"): "warm",
    ("booting", "vm.ready"): "warm",
    ("waking", "vm.unready"): "unready",
    ("booting", "vm.unready"): "unready",
    ("booting", "vm.kept-ready"): "running",
    ("booting", "vm.reboot-failed"): "running",
    ("waking", "vm.kept-ready"): "running",
    ("booting", "vm.unprobed"): "running",
    ("waking", "vm.unprobed"): "running",
    ("warm", "vm.announced"): "serving",
    ("warm", "vm.announce-failed"): "unannounced",
    ("draining", "vm.drained"): "drained",
    ("saving", "vm.saved"): "saved",
    ("saving", "vm.save-failed"): "quiesced",
    ("saved", "vm.save-failed"): "quiesced",  # somebody read its memory back
}
