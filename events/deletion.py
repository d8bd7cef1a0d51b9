"""The deletion of a kept VM, in five stages, each of which the deleter says is due, the gate lets begin, and others carry out.

`deletion` is the id of one deletion, from being scheduled to its last stage. All instants were fixed when it was scheduled.
"""

import datetime as dt
from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from events.place import Place
from schemas.deletion import Schedule, Stage
from schemas.names import Count, Id, Name, Text, Word
from schemas.request import Key, Reason

Attempt = Annotated[int, msgspec.Meta(ge=1, le=2**53)]

SilenceId = Annotated[str, msgspec.Meta(max_length=100)]
"""As the Alertmanager calls it."""


class DeletionRequested(Fact, frozen=True):
    """The VM shall be deleted on this local day of its pool's zone."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    day: dt.date
    policy: Word | None
    """The policy by its version; None for the one of the day."""
    reason: Reason
    received_at: Moment


class DeletionCancelRequested(Fact, frozen=True):
    """The VM shall not be deleted after all, and be as it was."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    start: bool
    """Whether one that ran until it was stopped for its deletion is started again."""
    reason: Reason
    received_at: Moment


class DeletionScheduled(Fact, frozen=True):
    """The VM will be deleted at these instants, which nobody computes anew; appended under the fence."""

    vm: Name
    pool: Name
    deletion: Id
    schedule: Schedule
    actor: Name
    reason: Reason
    scheduled_at: Moment


class DeletionDue(Fact, frozen=True):
    """The instant of the stage has come, and the stage before it is complete: the gate says whether it begins."""

    vm: Name
    pool: Name
    deletion: Id
    stage: Stage
    attempt: Attempt
    due_at: Moment


class DeletionBegun(Fact, frozen=True):
    """The stage has begun, and can no longer be overtaken by somebody who cancels; appended under the fence."""

    vm: Name
    pool: Name
    deletion: Id
    stage: Stage
    ran: bool
    """Whether the VM ran until now, so that whoever cancels has it started again."""
    begun_at: Moment


class DeletionCompleted(Fact, frozen=True):
    """All that belongs to the stage is done; the next may begin when its instant comes."""

    vm: Name
    pool: Name
    deletion: Id
    stage: Stage
    completed_at: Moment


class DeletionCancelled(Fact, frozen=True):
    """The VM is not deleted, and is as it was; appended under the fence."""

    vm: Name
    pool: Name
    deletion: Id
    actor: Name
    reason: Reason
    cancelled_at: Moment


class SilenceSet(Fact, frozen=True):
    """Alerts of the VM are silenced from `starts_at` on."""

    vm: Name
    deletion: Id
    silence: SilenceId
    starts_at: Moment
    ends_at: Moment
    set_at: Moment


class SilenceEnded(Fact, frozen=True):
    """Alerts of the VM sound again."""

    vm: Name
    deletion: Id
    silence: SilenceId
    ended_at: Moment


class SilenceFailed(Fact, frozen=True):
    """Alerts of the VM could not be silenced, or not be let sound again; it is tried further, and the deletion goes on."""

    vm: Name
    deletion: Id
    code: Word
    text: Text
    observed_at: Moment


class VmUndefined(Fact, frozen=True):
    """The domain is gone from its host, and so is its address, which another may have."""

    vm: Name
    host: Name
    order: Id
    undefined_at: Moment


class VolumeErased(Fact, frozen=True):
    """The VM's disk is gone from the active storage, with its snapshots and with what it was told at its first boot."""

    vm: Name
    host: Name | None
    """None where it never had one."""
    order: Id
    volume: Place | None
    """None for a VM that never had a disk."""
    snapshots: Count
    erased_at: Moment


class BackupsErased(Fact, frozen=True):
    """No backup of the VM is left."""

    vm: Name
    host: Name | None
    """None where it never had one."""
    order: Id
    backups: Count
    erased_at: Moment


class EraseFailed(Fact, frozen=True):
    """What was to be erased is still there, for this reason; it is tried further until it is gone."""

    vm: Name
    host: Name | None
    """None where it never had one."""
    order: Id
    code: Word
    text: Text
    observed_at: Moment
