"""The gate's word: one event per round, with what it saw, what it answered and what it orders.

Orders stand inside the decision and are events in their own right: `wake.ordered`, `boot.ordered`, `drain.ordered` and so on are
the tags of their union.
"""

from typing import Annotated, Literal

import msgspec

from events.fact import Fact, Moment
from events.place import Place
from schemas.capacity import Size
from schemas.codes import Outcome
from schemas.copy import CopyKind, DropCause
from schemas.names import Count, Id, Name, Word
from schemas.struct import Value

MOST_ANSWERS = 64
"""Answers in one round; with 48 KB of orders the bound of a decision (design, protocol 4)."""

MOST_BYTES = 48_000
"""A decision's data stays below this, so that its leaf in the audit tree stays below 65,535 bytes."""


class Evidence(Value, frozen=True):
    """One line of arithmetic: used + reserved + requested = projected, against a limit.

    `dimension` is one of the contract's (`vcpu`, `memory_mib`), then with its quota; or `pool_vms` or
    `host_memory_mib`, limits that are nobody's contract.
    """

    dimension: Word
    used: Count
    """Awake, proven by an outcome."""
    reserved: Count
    """Ordered awake and not yet proven."""
    requested: Count
    projected: Count
    quota: Count | None
    limit: Count


class Answer(Value, frozen=True):
    """What became of one request, with the numbers that decided it.

    `pool` is None for what concerns a whole org. `retry_at` is set where time alone can change the answer.
    """

    request: Id
    request_seq: Count
    pool: Name | None
    outcome: Outcome
    code: Word
    asked: Count
    """VMs that the request wanted to move."""
    granted: Count
    evidence: Annotated[tuple[Evidence, ...], msgspec.Meta(max_length=16)]
    retry_at: Moment | None


class ContractRef(Value, frozen=True):
    """Which contract, in which version, and how far above quota it lets the org grow."""

    id: Name
    version: Count
    allowance_bp: Count


Erased = Literal["disk", "backups"]
"""What a stage of a deletion removes: the VM itself with its disk and snapshots, or its backups."""

Purpose = Literal["serve", "stock", "keep"]
"""Why a VM is awake: to serve its pool's demand, only to be prepared and put to sleep, or because it is kept for its own sake."""


class WakeOrdered(Value, frozen=True, tag_field="order", tag="wake.ordered"):
    """Resume a VM that sleeps. The order's id is the reservation that its outcome must name."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    size: Size
    request: Id
    purpose: Purpose
    begin_by: Moment
    ready_seconds: Count


class BootOrdered(Value, frozen=True, tag_field="order", tag="boot.ordered"):
    """Start a VM that is off, defining it from the template when it does not exist."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    size: Size
    template: Name
    request: Id
    purpose: Purpose
    begin_by: Moment
    ready_seconds: Count


class DrainOrdered(Value, frozen=True, tag_field="order", tag="drain.ordered"):
    """Send the VM no new work and wait until its sessions end, at most `drain_seconds`."""

    id: Id
    vm: Name
    pool: Name
    reservation: Id
    request: Id
    drain_seconds: Count


class DrainCancelled(Value, frozen=True, tag_field="order", tag="drain.cancelled"):
    """Demand came back first: the VM serves again. `drain` is the order that no longer holds."""

    id: Id
    vm: Name
    pool: Name
    reservation: Id
    drain: Id
    request: Id


class SuspendOrdered(Value, frozen=True, tag_field="order", tag="suspend.ordered"):
    """Put the VM to sleep; `vm.quiesced` with this reservation releases its capacity."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    reservation: Id
    request: Id | None


class StopOrdered(Value, frozen=True, tag_field="order", tag="stop.ordered"):
    """Switch the VM off; only `vm.stopped` proves that it no longer runs.

    Its guest is asked to shut down and has `grace_seconds` for it, before its power is cut; 0 for one that does not answer anyway.
    """

    id: Id
    vm: Name
    pool: Name
    host: Name
    reservation: Id
    request: Id | None
    grace_seconds: Count


class RebootOrdered(Value, frozen=True, tag_field="order", tag="reboot.ordered"):
    """Stop the VM that runs, and start it anew, with `size`. The order's id is the reservation from here on.

    Until its outcome the larger of the two sizes counts, in each dimension.
    """

    id: Id
    vm: Name
    pool: Name
    host: Name
    size: Size
    template: Name
    former: Id
    """The reservation that it ran under."""
    request: Id
    begin_by: Moment
    ready_seconds: Count
    grace_seconds: Count
    """How long its guest has to shut down by itself."""


class PlugOrdered(Value, frozen=True, tag_field="order", tag="plug.ordered"):
    """Give the VM more vCPU while it runs; the larger size counts from the order on."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    size: Size
    reservation: Id
    request: Id


class GrowOrdered(Value, frozen=True, tag_field="order", tag="grow.ordered"):
    """Make the VM's disk larger, at once and whether it runs or not; the larger one counts from the order on."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    volume: Place
    size_bytes: Count
    request: Id


class SaveOrdered(Value, frozen=True, tag_field="order", tag="save.ordered"):
    """Write a sleeping VM's RAM to disk, so that its host has it back. It has no reservation: `asleep_since` names the sleep."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    asleep_since: Count
    """The ledger sequence at which it fell asleep."""
    request: Id


class CopyOrdered(Value, frozen=True, tag_field="order", tag="copy.ordered"):
    """Make a snapshot or a backup of the VM's disk; it counts `size_bytes` from the order on."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    volume: Place
    copy: Name
    kind: CopyKind
    size_bytes: Count
    request: Id


class DropOrdered(Value, frozen=True, tag_field="order", tag="drop.ordered"):
    """Remove the copy; what it counts is free when it is gone."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    copy: Name
    kind: CopyKind
    place: Place
    cause: DropCause
    request: Id


class RestoreOrdered(Value, frozen=True, tag_field="order", tag="restore.ordered"):
    """Give the VM, which does not run, the contents of the copy: over its own disk, or as the disk that it does not have yet."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    of: Name
    """Whose copy it is: its own, or the VM's from which it is made."""
    copy: Name
    kind: CopyKind
    place: Place
    template: Name
    size_bytes: Count
    """The disk has at least so many."""
    request: Id


class EraseOrdered(Value, frozen=True, tag_field="order", tag="erase.ordered"):
    """Remove for good what is left of a VM that is deleted: its domain, its disk and its snapshots; or all its backups."""

    id: Id
    vm: Name
    pool: Name
    host: Name | None
    """None for a VM that never ran and has no disk."""
    what: Erased
    volume: Place | None
    deletion: Id
    request: Id


class AdoptOrdered(Value, frozen=True, tag_field="order", tag="adopt.ordered"):
    """Take a domain that is off and its disk over as the VM's; nothing of it is lost where that fails."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    domain: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    uuid: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    disk: Place
    size_bytes: Count
    template: Name
    request: Id


Order = (
    WakeOrdered
    | BootOrdered
    | RebootOrdered
    | DrainOrdered
    | DrainCancelled
    | SuspendOrdered
    | SaveOrdered
    | StopOrdered
    | PlugOrdered
    | GrowOrdered
    | CopyOrdered
    | DropOrdered
    | RestoreOrdered
    | EraseOrdered
    | AdoptOrdered
)

Rise = WakeOrdered | BootOrdered | RebootOrdered
"""An order that has a VM awake, whose id is the reservation that it counts under."""


class GateDecided(Fact, frozen=True):
    """One round of one gate for one org; the only event that raises usage.

    `through` is the sequence of the last request considered: every request at or below it is answered, for
    ever. `follows` is the sequence of the org's decision before this one, 0 for the first: the fence as the gate saw
    it, so that a chain of decisions can be checked without the bus. `state_seq` is what the gate had folded, `now` the clock it decided by, `rules` the version of the
    rules: with these, a replay reaches the same answers.
    """

    gate: Annotated[str, msgspec.Meta(max_length=100)]
    through: Count
    follows: Count
    state_seq: Count
    now: Moment
    contract: ContractRef | None
    rules: Annotated[str, msgspec.Meta(max_length=40)]
    answers: tuple[Answer, ...]
    orders: tuple[Order, ...]
