"""VMs that are kept for their own sake: asked for by name, made, started, changed and protected one by one."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from events.place import Place
from schemas.capacity import Size
from schemas.image import Kind, Readiness
from schemas.names import Count, Id, Name, Text, Word
from schemas.request import Key, Reason, SeedRef
from schemas.vm_intake import VmChange, When

DomainName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
"""As libvirt calls it."""


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
    change: VmChange
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


class VmAdoptRequested(Fact, frozen=True):
    """A domain that somebody else made on the host, and that is off, shall be the pool's VM of this name, with its disk."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    host: Name
    domain: DomainName
    uuid: DomainName
    size: Size
    image: Name
    """The template by which it is defined from here on."""
    kind: Kind
    readiness: Readiness
    disk: Place
    disk_bytes: Count
    reason: Reason
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


class VmAdopted(Fact, frozen=True):
    """The domain that was there is ours: the former one is undefined, and its disk is the VM's."""

    vm: Name
    host: Name
    order: Id
    domain: DomainName
    adopted_at: Moment


class VmAdoptFailed(Fact, frozen=True):
    """The domain is as it was, and the VM's name is free again: the order has ended."""

    vm: Name
    host: Name
    order: Id
    code: Word
    text: Text
    observed_at: Moment
