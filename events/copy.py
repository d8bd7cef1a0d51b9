"""Copies of kept VMs' disks: snapshots, which stay beside the disk, and backups, which lie elsewhere and outlive it.

A copy has a name of its own among the copies of its VM. What it holds is the disk as after a power cut.
"""

import datetime as dt
from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from events.place import Place
from schemas.copy import CopyKind, DropCause
from schemas.names import Count, Id, Name, Text, Word
from schemas.request import Key, Reason

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")]
"""SHA-256 of a backup's file."""


class CopyRequested(Fact, frozen=True):
    """The VM's disk shall be copied as it is now."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    kind: CopyKind
    copy: Name
    reason: Reason
    received_at: Moment


class CopyDue(Fact, frozen=True):
    """The VM's pool wants a backup of each night, and there is none of this one yet."""

    vm: Name
    pool: Name
    copy: Name
    night: dt.date
    """The local day, in the zone of the pool's window, on which that window begins."""
    attempt: Count
    due_at: Moment


class CopyDropRequested(Fact, frozen=True):
    """The copy shall be gone."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    copy: Name
    reason: Reason
    received_at: Moment


class RestoreRequested(Fact, frozen=True):
    """The VM's disk shall be as the copy is; or a new VM, `into`, shall have such a disk."""

    vm: Name
    """Whose copy it is."""
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    copy: Name
    into: Name | None
    reason: Reason
    received_at: Moment


class CopyMade(Fact, frozen=True):
    """The copy is whole, and counts `size_bytes` from here on."""

    vm: Name
    host: Name
    copy: Name
    kind: CopyKind
    order: Id
    place: Place
    """The file of a backup; of a snapshot the volume that has it."""
    disk_bytes: Count
    """Of the disk in it."""
    size_bytes: Count
    """What it counts: a backup its file, a snapshot the whole disk, which it may come to need."""
    sha256: Digest | None
    """Of a backup's file."""
    taken_at: Moment
    made_at: Moment


class CopyFailed(Fact, frozen=True):
    """There is no such copy, and none is coming: the order has ended."""

    vm: Name
    host: Name
    copy: Name
    kind: CopyKind
    order: Id
    code: Word
    text: Text
    observed_at: Moment


class CopyDropped(Fact, frozen=True):
    """The copy is gone, and what it took is free."""

    vm: Name
    host: Name
    copy: Name
    kind: CopyKind
    order: Id
    cause: DropCause
    dropped_at: Moment


class CopyRestored(Fact, frozen=True):
    """The VM's disk is as the copy was: its own, or that of a VM which was made for it."""

    vm: Name
    """Whose disk it is by now."""
    host: Name
    of: Name
    """Whose copy it is."""
    copy: Name
    order: Id
    volume: Place
    template: Name
    size_bytes: Count
    restored_at: Moment


class CopyRestoreFailed(Fact, frozen=True):
    """The order has ended. The VM's disk is as it was; a VM that was made for it has none."""

    vm: Name
    host: Name
    of: Name
    copy: Name
    order: Id
    code: Word
    text: Text
    observed_at: Moment
