"""What an outsider may ask about single VMs that are kept for their own sake, and about who may do what with them."""

import datetime as dt
from typing import Annotated, Literal

import msgspec

from schemas.capacity import Size
from schemas.copy import CopyKind
from schemas.moment import Moment
from schemas.names import Count, Id, Name, Word
from schemas.pool import PoolName
from schemas.request import Key, Reason, SeedRef
from schemas.struct import Value

VmChange = Literal["start", "stop", "reboot", "protect", "unprotect"]
"""What may be done to a VM that is there."""

When = Literal["now", "window"]
"""At once, by somebody who may do that; or announced, in the next maintenance window that fits."""


class CreateVm(Value, frozen=True):
    """`in.<org>.<publisher>.create`: the pool, which keeps VMs, shall have one of this name.

    What it is told at its first boot was put into the vault before, under `seed`.
    """

    pool: PoolName
    vm: Name
    key: Key
    actor: Name
    size: Size | None = None
    """The pool's where nothing is said."""
    image: Name | None = None
    """The pool's template where nothing is said."""
    disk_bytes: Count | None = None
    seed: SeedRef | None = None
    start: bool = True
    protected: bool = False
    wait: bool = False


class ChangeVm(Value, frozen=True):
    """`in.<org>.<publisher>.change`: the VM is started, stopped, rebooted, protected, or protected no more."""

    vm: Name
    key: Key
    actor: Name
    change: VmChange
    reason: Reason
    when: When = "now"
    wait: bool = False


class ResizeVm(Value, frozen=True):
    """`in.<org>.<publisher>.resize`: the VM has another size from its next boot on, or a larger disk at once, or both."""

    vm: Name
    key: Key
    actor: Name
    size: Size | None = None
    disk_bytes: Count | None = None
    plug: bool = False
    """More vCPU shall be plugged in while it runs."""
    when: When = "window"
    wait: bool = False


MaintenanceChange = Literal["postpone", "cancel"]
"""What may be done to work that is planned: do it later, or not at all."""


class ChangeMaintenance(Value, frozen=True):
    """`in.<org>.operator.maintenance`: work that is planned for the VM is done later, or not at all. The steward answers it."""

    vm: Name
    maintenance: Id
    key: Key
    actor: Name
    change: MaintenanceChange
    reason: Reason
    until: Moment | None = None
    """Not before this instant; the next window where nothing is said."""


MaintenanceWork = Literal["reboot", "cold-reboot", "other"]
"""Work that people ask for: the guest is interrupted, or they do it themselves while it runs."""


class AskMaintenance(Value, frozen=True):
    """`in.<org>.operator.maintain`: somebody's own work on the VM has a place in its calendar, and contacts know of it."""

    vm: Name
    key: Key
    actor: Name
    work: MaintenanceWork
    reason: Reason
    estimate_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] | None = None


class CopyVm(Value, frozen=True):
    """`in.<org>.<publisher>.copy`: the VM's disk is copied, beside it as a snapshot, or elsewhere as a backup."""

    vm: Name
    key: Key
    actor: Name
    kind: CopyKind
    reason: Reason
    copy: Name | None = None
    """What it is called; a name is made of the key where nothing is said."""
    wait: bool = False


class DropCopy(Value, frozen=True):
    """`in.<org>.<publisher>.drop`: a copy of the VM's disk is removed."""

    vm: Name
    copy: Name
    key: Key
    actor: Name
    reason: Reason
    wait: bool = False


class RestoreVm(Value, frozen=True):
    """`in.<org>.<publisher>.restore`: the VM's disk is as the copy is; or a new VM `into` is made with such a disk."""

    vm: Name
    copy: Name
    key: Key
    actor: Name
    reason: Reason
    into: Name | None = None
    wait: bool = False


class DeleteVm(Value, frozen=True):
    """`in.<org>.<publisher>.delete`: the VM is deleted on that day, the earliest that can be where nothing is said."""

    vm: Name
    key: Key
    actor: Name
    reason: Reason
    day: dt.date | None = None
    policy: Word | None = None
    """The policy of deletion by its version; the one of the day where nothing is said."""
    wait: bool = False


class UndeleteVm(Value, frozen=True):
    """`in.<org>.<publisher>.undelete`: the VM is not deleted after all."""

    vm: Name
    key: Key
    actor: Name
    reason: Reason
    start: bool = True
    """Whether one that ran until it was stopped for its deletion is started again."""
    wait: bool = False


class AdoptVm(Value, frozen=True):
    """`in.<org>.operator.adopt`: a domain that is off on the host is the pool's VM of this name from here on, with its disk."""

    pool: PoolName
    vm: Name
    key: Key
    actor: Name
    reason: Reason
    host: Name
    domain: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    uuid: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    size: Size
    disk: Annotated[str, msgspec.Meta(max_length=500)]
    disk_bytes: Count
    image: Name | None = None
    wait: bool = False


Permission = Literal["sudo-srv"]
"""What a publisher may do besides asking: have a VM rebooted at once, outside its windows."""


class Permit(Value, frozen=True):
    """`in.<org>.operator.permit`: a publisher of the org has a permission, or has it no more."""

    holder: Name
    permission: Permission
    change: Literal["grant", "revoke"]
    key: Key
    actor: Name
    reason: Reason
    wait: bool = False
