"""What is left of a VM's disk where disks lie, and that nothing is: removed, and then looked for.

The driver's own words (trash, purge) remove a volume that is whole. A deletion wants more: layers, drafts and seeds whose volume is
gone already, and what somebody put into the trash before.
"""

import shutil
from pathlib import Path
from typing import Final

import libvirt

from schemas.volume import is_of
from services.storage import qemu_img
from services.storage.errors import StorageError
from services.storage.files.trash import TRASH
from services.storage.link import refresh
from services.storage.volumes import (
    HasClonesError,
    InUseError,
    LeftError,
    Store,
    TooEarlyError,
    Trashed,
    Volume,
)

_MOST_ROUNDS: Final = 4
"""Each removes what it finds; a second finds what came out of the trash, a third what came meanwhile."""


async def emptied(store: Store, volume: Volume) -> int:
    """Nothing of the volume is left in the store, nor in its trash; how many snapshots went with it, as far as they were seen.

    What lies over its snapshots is detached first, and keeps its contents. Safe to repeat: what a former life put into the trash is
    purged from there. `InUseError` while somebody has it open, `MissingError` where the org has no place in the cluster.
    """
    snapshots = 0
    await store.sweep(volume)
    for _ in range(_MOST_ROUNDS):
        if await store.look(volume) is not None:
            snapshots += len(await store.snapshots(volume))
            await store.trash(volume, 0)
        left = [one for one in await store.trashed(volume.org) if one.volume == volume]
        if not left:
            await store.sweep(volume)  # its claim, which went with nothing else
            return snapshots
        for one in left:
            await _purged(store, one)
    raise LeftError(f"Volume {volume} is still there after it was purged {_MOST_ROUNDS} times.")


async def _purged(store: Store, trashed: Trashed) -> None:
    """It is gone, or where it was kept in the trash for longer it is out of it again, to be purged in the next round."""
    try:
        await store.purge(trashed)
    except TooEarlyError:
        # Who put it there with a time meant its VM to live; who deletes the VM does not.
        await store.recover(trashed)
    except HasClonesError as error:
        for clone in error.clones:
            await store.detach(clone)
        await store.purge(trashed)


def clear(pool: libvirt.virStoragePool, directory: Path, org: str, vm: str) -> None:
    """No file with the VM's name is left among a host's disks, nor in their trash.

    Files go through libvirt, since the host may be another machine. The trap: libvirt does not look into the trash, nor does it see what
    its user may not read, as notes of ours are. That is removed where the host's directory is mounted. Blocks.
    """
    refresh(pool)
    mine = [one for one in pool.listAllVolumes() if is_of(one.name(), org, vm)]
    for file in (*(Path(one.path()) for one in mine), *_of(directory, org, vm)):
        _must_be_closed(file)
    for one in mine:
        one.delete()
    for path in _of(directory, org, vm):
        path.unlink(missing_ok=True)
    trash = directory / TRASH
    for path in _of(trash, org, vm):
        shutil.rmtree(path)
    refresh(pool)
    left = [one.path() for one in pool.listAllVolumes() if is_of(one.name(), org, vm)]
    left += [str(path) for path in (*_of(directory, org, vm), *_of(trash, org, vm))]
    if left:
        raise LeftError(f"{', '.join(left)} is still there after it was removed.")


def _of(directory: Path, org: str, vm: str) -> list[Path]:
    return [path for path in directory.iterdir() if is_of(path.name, org, vm)] if directory.is_dir() else []


def _must_be_closed(file: Path) -> None:
    try:
        written = file.is_file() and qemu_img.written(file)
    except OSError as error:
        raise StorageError(f"{file} cannot be looked at: {error.strerror}. Nothing was removed.") from error
    if written:
        raise InUseError(f"{file} cannot be removed: somebody has it open. Nothing was removed.")
