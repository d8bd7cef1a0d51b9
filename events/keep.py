"""VMs that are kept for their own sake: asked for by name, made, started, changed and protected one by one."""

from typing import Annotated, Literal

import msgspec

from events.fact import Fact, Moment
from schemas.capacity import Size
from schemas.image import Kind, Readiness
from schemas.intake import Key, Reason
from schemas.names import Count, Name
from schemas.struct import Value

Change = Literal["start", "stop", "reboot", "protect", "unprotect"]
"""What may be done to a VM that is there."""

When = Literal["now", "window"]
"""At once, by somebody who may do that; or announced, in the next maintenance window that fits."""

Commitment = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")]
"""SHA-256 of a salt and what the vault keeps, as 64 hexadecimal digits."""


class SeedRef(Value, frozen=True):
    """What a VM is told at its first boot: it may hold secrets, so it lies in the vault, and this commits to it."""

    name: Name
    commitment: Commitment


class VmCreateRequested(Fact, frozen=True):
    """The pool shall have a VM of this name, kept until somebody deletes it."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    size: Size
    image: Name
    """The template that it is made from."""
    kind: Kind
    readiness: Readiness
    disk_bytes: Count
    """0 where the template has no disk."""
    seed: SeedRef | None
    start: bool
    protected: bool
    received_at: Moment


class VmChangeRequested(Fact, frozen=True):
    """The VM shall be started, stopped, rebooted, protected from deletion, or protected no more."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    change: Change
    when: When
    reason: Reason
    received_at: Moment


class VmResizeRequested(Fact, frozen=True):
    """The VM shall have another size, or a larger disk, or both; one that runs has its size from its next boot on."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    size: Size | None
    disk_bytes: Count | None
    plug: bool
    """More vCPU shall be plugged in while it runs."""
    when: When
    received_at: Moment


class VmCreated(Fact, frozen=True):
    """The name is the VM's, and its disk counts, from here on; appended together with a decision, under the fence."""

    vm: Name
    pool: Name
    size: Size
    image: Name
    kind: Kind
    readiness: Readiness
    disk_bytes: Count
    seed: SeedRef | None
    protected: bool
    actor: Name
    created_at: Moment


class VmResized(Fact, frozen=True):
    """The VM has this size at its next boot; one that runs with another is to be rebooted. Appended under the fence."""

    vm: Name
    pool: Name
    size: Size
    actor: Name
    resized_at: Moment


class VmProtected(Fact, frozen=True):
    """Nobody deletes the VM until its protection is lifted; appended under the fence."""

    vm: Name
    pool: Name
    actor: Name
    reason: Reason
    protected_at: Moment


class VmUnprotected(Fact, frozen=True):
    """The VM may be deleted again; appended under the fence."""

    vm: Name
    pool: Name
    actor: Name
    reason: Reason
    unprotected_at: Moment
