"""Which file a domain that is defined anew writes to."""

import libvirt

from schemas.volume import POOL, sleep_of


def newest(connection: libvirt.virConnect, volume: str | None) -> str | None:
    """The file that the VM wrote to last: what storage laid over its volume to pin it, else the volume itself; None without one.

    What the ledger says is not enough: storage may have died between the pin and the telling.
    """
    if volume is None:
        return None
    try:
        pool = connection.storagePoolLookupByName(POOL)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        return volume
    if not pool.isActive():
        pool.create()
    pool.refresh()
    files = [volume, *(one.path() for one in pool.listAllVolumes())]
    return max(files, key=lambda file: sleep_of(file, volume) or 0)
