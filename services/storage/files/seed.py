"""The seed disk of a VM: a few kilobytes on its host that tell a customer's own image who it is and what to do.

It lies among the host's disks and is made through the host's libvirt as they are, since a host may be another machine. It has
what may be a secret in it, so nobody but the guests' user reads it, and it goes with the VM. Every call here blocks, and
belongs into a lane.
"""

from typing import Final

import libvirt

from schemas.seed import Seed, files
from schemas.volume import seed_name
from services.storage.files.iso import image

LABEL: Final = "cidata"
"""What cloud-init looks for among the labels of all disks."""

_MODE: Final = "0600"
_CHUNK_BYTES: Final = 64 * 1024
_MOST_BYTES: Final = 1024 * 1024
"""More than any seed disk has: what is larger is not read to its end, only replaced."""


def disk(seed: Seed) -> bytes:
    """The seed disk's bytes; the same seed gives the same. Raises `SeedError`."""
    return image(LABEL, files(seed))


def lay(pool: libvirt.virStoragePool, org: str, vm: str, seed: Seed) -> str:
    """The VM's seed disk is on its host, whole; the file's path there.

    Safe to repeat: one that is there with the same bytes stays, and one that differs, because the seed has changed or because
    whoever laid it died on the way, is laid anew. libvirt has no word for putting a finished file in the place of another, so
    whoever boots the VM does so after this has returned. A guest that runs with the former one goes on reading that.
    """
    wanted, name = disk(seed), seed_name(org, vm)
    volume = _found(pool, name)
    if volume is not None:
        if _read(volume) == wanted:
            return volume.path()
        volume.delete()
    volume = pool.createXML(
        f"<volume><name>{name}</name><capacity unit='bytes'>{len(wanted)}</capacity>"
        f"<target><format type='raw'/><permissions><mode>{_MODE}</mode></permissions></target></volume>"
    )
    _write(volume, wanted)
    return volume.path()


def _found(pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol | None:
    try:
        return pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None


def _write(volume: libvirt.virStorageVol, content: bytes) -> None:
    stream = volume.connect().newStream()
    volume.upload(stream, 0, len(content))
    try:
        sent = 0
        while sent < len(content):
            sent += stream.send(content[sent : sent + _CHUNK_BYTES])
        stream.finish()
    except libvirt.libvirtError:
        stream.abort()
        raise


def _read(volume: libvirt.virStorageVol) -> bytes:
    stream = volume.connect().newStream()
    volume.download(stream, 0, 0)
    content = bytearray()
    try:
        while len(content) < _MOST_BYTES and (chunk := stream.recv(_CHUNK_BYTES)):
            content += chunk
    finally:
        # Reading may have stopped before the end; whatever was read is judged by its bytes.
        stream.abort()
    return bytes(content)
