"""The life of a volume, whatever it lies on: what a driver promises, with a directory of qcow2 files and with Ceph RBD.

Made, grown, snapshotted, copied, put into the trash, purged. What the sleep of a VM needs besides is in `port`. Whoever asks
makes the calls on one volume one after another; the drivers do not order them. Every call ends in bounded time or raises
`StorageError`, and what it asked may land later then; so each says what a repetition does.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from schemas.names import is_name
from schemas.volume import Source
from services.storage.errors import StorageError

QUICK_SECONDS: Final = 45.0
"""For calls whose time does not grow with the volume."""

COPY_SECONDS: Final = 3600.0
"""For calls that read or write all of a volume: 340 GiB at 100 MB/s."""


class ShrinkError(StorageError):
    """A volume never gets smaller: neither libvirt, QEMU nor Ceph refuses it, and what lay at its end would be gone."""

    code = "ShrinkNotSupported"


class InUseError(StorageError):
    """A domain has the volume open, and the call needs it closed, or needs to be told which domain it is."""

    code = "VolumeInUse"


class MissingError(StorageError):
    """There is no such volume, snapshot or copy."""

    code = "NoSuchVolume"


class OtherVolumeError(StorageError):
    """Something else has the volume's name."""

    code = "OtherVolume"


class OtherOrgError(StorageError):
    """The two volumes are not of one org."""

    code = "OtherOrg"


class PinnedError(StorageError):
    """The volume has a layer above it, of the VM's last sleep: it is given up (`join`) before the call."""

    code = "VolumePinned"


class TooEarlyError(StorageError):
    """What is in the trash stays there until its time."""

    code = "TooEarly"


class HasClonesError(StorageError):
    """Other volumes lie over this one's snapshots; `clones` are those whose names could be read."""

    code = "HasClones"

    def __init__(self, text: str, clones: "tuple[Volume, ...]" = ()) -> None:
        super().__init__(text)
        self.clones = clones


class LeftError(StorageError):
    """What was to be gone is still there, though everything was done that makes it go."""

    code = "StillThere"


class UnfitNameError(StorageError):
    """The name of a volume or snapshot has something in it that a file, a pool or a command would read otherwise."""

    code = "UnfitName"


class DamagedCopyError(StorageError):
    """A copy is not what was exported: its digest differs."""

    code = "CopyDamaged"


def must_be_name(name: str) -> None:
    """Raise `UnfitNameError` unless it is 1 to 40 of `a-z`, `0-9` and inner dashes."""
    if not is_name(name):
        raise UnfitNameError(
            f"{name!r} is no name for a volume or snapshot: take 1 to 40 of a-z, 0-9 and inner dashes.",
            final=True,
        )


@dataclass(frozen=True, slots=True)
class Volume:
    """What a volume is called: its org's name and its own, mostly its VM's."""

    org: str
    name: str

    def __post_init__(self) -> None:
        for name in (self.org, self.name):
            must_be_name(name)

    def __str__(self) -> str:
        return f"{self.org}/{self.name}"


def must_not_shrink(volume: Volume, there_bytes: int, size_bytes: int) -> None:
    """Raise `ShrinkError` where the size asked for is below the one that is there."""
    if size_bytes < there_bytes:
        raise ShrinkError(
            f"Volume {volume} has {there_bytes} bytes and was asked to have {size_bytes}; a volume never shrinks. Nothing was "
            "changed: ask for more, or copy what is in it to a new volume.",
            final=True,
        )


def must_share_org(volume: Volume, to: Volume) -> None:
    """Raise `OtherOrgError` where a copy would leave its org."""
    if volume.org != to.org:
        raise OtherOrgError(
            f"{volume} was to be copied to {to}; a volume's contents stay in its org. Nothing was made.",
            final=True,
        )


def missing(volume: Volume) -> MissingError:
    """There is no such volume."""
    return MissingError(f"There is no volume {volume}.", final=True)


def without(volume: Volume, name: str) -> MissingError:
    """The volume has no such snapshot, if it is there itself."""
    return MissingError(f"There is no volume {volume} with a snapshot {name}.", final=True)


def stranger(volume: Volume, place: str) -> OtherVolumeError:
    """The name is taken by what no order of ours made."""
    return OtherVolumeError(
        f"{place} is there already, and nobody made it for {volume}: move it away, or take another name. It was left as it is.",
        final=True,
    )


def in_use(volume: Volume, what: str, domain: str | None) -> InUseError:
    """It is open, and `domain` is the one that was named as having it."""
    who = "somebody has it open" if domain is None else f"it is open, but not by {domain}"
    return InUseError(f"Volume {volume} cannot be {what}: {who}. Nothing was changed.")


@dataclass(frozen=True, slots=True)
class Seen:
    """A volume as it is right now."""

    place: str
    """A file, or pool/image."""
    size_bytes: int
    parent: str | None
    """What it lies over, by the driver's own name; None for one that stands alone."""
    in_use: bool
    """Somebody has it open for writing, asleep or not."""


def over_another(volume: Volume, seen: Seen) -> OtherVolumeError:
    """The name is a volume's that lies over something else than it was to."""
    return OtherVolumeError(
        f"There is a volume {volume} already, over {seen.parent}. Take another name.", final=True
    )


def closed(volume: Volume, seen: Seen, what: str) -> Seen:
    """The same volume; `InUseError` where somebody has it open, which the cluster has left as it is then."""
    if seen.in_use:
        raise in_use(volume, what, None)
    return seen


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A volume's contents at a moment, as after a power cut."""

    name: str
    taken_at: dt.datetime
    place: str
    """Where the volume is, as `Seen` says it."""
    size_bytes: int
    """Of the volume then, which may have grown since."""


@dataclass(frozen=True, slots=True)
class Trashed:
    """A volume in the trash. Its name may be given to another volume meanwhile; `key` is its own for ever."""

    key: str
    volume: Volume
    until: dt.datetime
    """Before that it is not purged: by the driver's own clock, to the second."""


@dataclass(frozen=True, slots=True)
class Copy:
    """An exported volume: a qcow2 file that stands alone, which either driver makes and either takes."""

    file: Path
    size_bytes: int
    """Of the disk in it."""
    file_bytes: int
    sha256: str
    """Of the file, in hex."""


@dataclass(frozen=True, slots=True)
class Former:
    """A domain of somebody else's on the store's host, whose only disk becomes a volume."""

    order: str
    """By which it is adopted: a repetition knows its own work by it."""
    domain: str
    uuid: str
    file: str
    """Its disk, on the store's host."""
    most_bytes: int
    """More than this the disk may not have: so much was asked for."""


class Store(Protocol):
    """The volumes that the VMs of one host can have."""

    async def create(self, volume: Volume, size_bytes: int, template: str | None = None) -> Seen:
        """There is a volume of at least this size: over the template's disk, or empty. Takes no room until it is written.

        Safe to repeat: one that is there stays, and is grown if a former call got no further. `OtherVolumeError` where it lies
        over something else, `ShrinkError` where the template's disk is larger.
        """
        ...

    async def look(self, volume: Volume) -> Seen | None:
        """The volume as it is; None where there is none, trashed ones included. Changes nothing."""
        ...

    async def grow(self, volume: Volume, size_bytes: int, domain: str | None = None) -> int:
        """The volume has this size, in bytes, and the domain that has it open sees so at once.

        `ShrinkError` where it is larger: nothing was done. `InUseError` where somebody has it open and no running domain was
        named. Safe to repeat.
        """
        ...

    async def snapshot(self, volume: Volume, name: str, domain: str | None = None) -> Snapshot:
        """The volume's contents of some moment during the call are kept under this name.

        `domain` is the one that may have it open; what its guest has not written by then is not in it. Safe to repeat: a snapshot
        of that name stays as it is.
        """
        ...

    async def snapshots(self, volume: Volume) -> tuple[Snapshot, ...]:
        """What is kept, the oldest first; changes nothing."""
        ...

    async def restore(self, volume: Volume, name: str, size_bytes: int) -> Seen:
        """The volume is as it was at the snapshot, and has `size_bytes`, or as many as it had: a restore shrinks nothing either.

        The other snapshots stay. `InUseError` while somebody has it open. Safe to repeat until it is written again.
        """
        ...

    async def forget(self, volume: Volume, name: str, domain: str | None = None) -> None:
        """There is no such snapshot; what alone it kept is free. Safe to repeat."""
        ...

    async def clone(self, volume: Volume, name: str, to: Volume) -> Seen:
        """There is a volume with the snapshot's contents; the two change apart from here on.

        With qcow2 it is a whole copy. With Ceph it lies over the snapshot until `detach`. Safe to repeat: one that is there stays.
        """
        ...

    async def duplicate(self, volume: Volume, name: str, to: Volume, order: str) -> Seen:
        """There is a volume with the snapshot's contents that lies over nothing: `claim`, `clone` and `detach` in one call.

        `OtherVolumeError` where the name is not the order's: nothing was done. Safe to repeat: one that is there stays.
        """
        ...

    async def detach(self, volume: Volume) -> Seen:
        """The volume lies over nothing: neither a template nor another volume is needed for it. Safe to repeat.

        `InUseError` while somebody has it open, with qcow2.
        """
        ...

    async def release(self, volume: Volume) -> Seen:
        """Nobody who died with the volume open holds it any more: after a crash of a domain or its host, before it is started again.

        `InUseError` while somebody has it open, or died so shortly ago (with Ceph, 30 s) that he is believed to live. Safe to repeat.
        """
        ...

    async def trash(self, volume: Volume, guard_seconds: int) -> Trashed:
        """The volume is in the trash, whole with its snapshots, and nobody purges it for so long, by the machine's own clock.

        `InUseError` while somebody has it open: Ceph itself would not mind, and the VM would write on. Safe to repeat: one that is
        in the trash already is named as it lies there.
        """
        ...

    async def trashed(self, org: str) -> tuple[Trashed, ...]:
        """The org's trash, the one to be purged first at the head; changes nothing."""
        ...

    async def recover(self, trashed: Trashed) -> Seen:
        """The volume is back under its name, with its snapshots. `OtherVolumeError` where the name is given again. Safe to repeat."""
        ...

    async def purge(self, trashed: Trashed) -> None:
        """It is gone from the driver's storage, snapshots included. Safe to repeat; `TooEarlyError` before its time.

        `HasClonesError` where others lie over it: `detach` them first.
        """
        ...

    async def claim(self, volume: Volume, order: str) -> bool:
        """Whether what bears the name is the order's: it claimed it before, or there is none, and then it is from here on.

        It outlives who asked, so that nobody takes for his own, or removes, what was there before he began. Safe to repeat.
        """
        ...

    async def sweep(self, volume: Volume) -> None:
        """Nothing is left of a making of the volume that was cut short; one that is whole stays, and its claim with it. Safe to repeat."""
        ...

    async def discard(self, volume: Volume, order: str) -> None:
        """Nothing is left of a volume that was made by this order alone, nor of its claim, which goes last; another's stays.

        For a volume that nobody was told of: it goes at once, and not through the trash, so that whoever dies meanwhile leaves nothing
        there. `InUseError` while somebody has it open. Safe to repeat.
        """
        ...

    async def export(self, volume: Volume, name: str | None, file: Path) -> Copy:
        """The file holds the snapshot's contents; without a name, those of the volume, which nobody may be writing.

        A pinned volume is one that nobody writes. Safe to repeat, also when the snapshot is gone: a file that is there is whole, and
        named with its digest; a part of one never has that name.
        """
        ...

    async def load(self, copy: Copy, volume: Volume) -> Seen:
        """There is a volume with the copy's contents, over nothing. `DamagedCopyError` where the digest differs: nothing was done.

        Safe to repeat: one that is there stays as it is.
        """
        ...

    async def take(self, volume: Volume, former: Former) -> Seen:
        """The volume has what the former domain's disk had, over nothing, and that domain cannot start any more.

        `AdoptError` where it is not off, or not as it must be; then nothing was done, or `give_back` undoes it. Safe to repeat, also
        after a kill: it goes on where it was.
        """
        ...

    async def give_back(self, volume: Volume, former: Former) -> None:
        """The former disk lies where it lay, as it was, and there is no such volume. Of a volume that never ran alone.

        Safe to repeat; where nothing was taken by that order, nothing is done.
        """
        ...

    async def source(self, volume: Volume) -> Source:
        """What a domain of this host is given so that it has the volume; the host knows the secret for it, and it is released from
        whoever died with it. Safe to repeat.
        """
        ...

    async def close(self) -> None:
        """No child of ours is left; a later call starts one."""
        ...
