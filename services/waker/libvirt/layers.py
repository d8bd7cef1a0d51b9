"""Which files a domain that is defined anew has: the one it writes to, and the one that tells it who it is."""

import time
from typing import Final

import libvirt

from schemas.volume import POOL, seed_name, sleep_of


def newest(connection: libvirt.virConnect, volume: str | None) -> str | None:
    """The file that the VM wrote to last: what storage laid over its volume to pin it, else the volume itself; None without one.

    What the ledger says is not enough: storage may have died between the pin and the telling.
    """
    if volume is None:
        return None
    pool = listed_pool(connection)
    if pool is None:
        return volume
    files = [volume, *(one.path() for one in pool.listAllVolumes())]
    return max(files, key=lambda file: sleep_of(file, volume) or 0)


def seed_of(connection: libvirt.virConnect, org: str, vm: str) -> str | None:
    """The VM's seed disk, as storage laid it on the host; None where it did not."""
    pool = listed_pool(connection)
    if pool is None:
        return None
    try:
        return pool.storageVolLookupByName(seed_name(org, vm)).path()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None


def listed_pool(connection: libvirt.virConnect) -> libvirt.virStoragePool | None:
    """The host's directory of disks, which knows the files that lie there now; None where there is none yet."""
    try:
        pool = connection.storagePoolLookupByName(POOL)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        return None
    if not pool.isActive():
        pool.create()
    _refresh(pool)
    return pool


MOST_TRIES: Final = 40
PAUSE_SECONDS: Final = 0.025


def _refresh(pool: libvirt.virStoragePool) -> None:
    """The pool knows the files there are. While a volume is being made libvirt refuses that, which takes some ten milliseconds."""
    for _ in range(MOST_TRIES):
        try:
            pool.refresh()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return
    pool.refresh()
