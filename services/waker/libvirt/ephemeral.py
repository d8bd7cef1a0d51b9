"""The second disk of a VM, on its host, which is empty at each boot and is there as long as the domain is not off.

The waker makes and removes it, and not storage: it lives and ends with the domain, as the image of one that is saved does, no
order asks for it, and nobody else may be between its making and the boot. It is made right before each start from off, under the
same lane as the start, so that whatever a crash, a fence or a former life left in it is gone by then. A wake from disk goes on
with the disk that it slept with.

The trap: a guest that restarts itself keeps the data, since its domain runs on.
"""

from collections.abc import Iterable
from html import escape
from typing import Final

import libvirt

from schemas.house import HostPlace
from schemas.volume import POOL
from services.waker.libvirt.layers import listed_pool
from services.waker.port import Domain, HypervisorError, Unknown, owner

TARGET: Final = "vdz"
"""Behind every other disk of a template, whatever those are, so that theirs keep their names."""

SERIAL: Final = "ephemeral"
"""By which a guest finds it: /dev/disk/by-id/virtio-ephemeral. Its name in /dev follows from how many others there are."""


_SUFFIX: Final = ".ephemeral.qcow2"


class NoDirectoryError(HypervisorError):
    """The host has no directory for disks, and the VM is to have one there."""

    code = "NoVolumes"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Host {host} has no directory for disks, and VMs of this pool have an ephemeral disk there: name it with `virtscale host "
            "add --volumes`, or define the pool without. Nothing was started.",
            final=True,
        )


def path(place: HostPlace, org: str, vm: str) -> str:
    """The file of a VM's ephemeral disk on that host; `NoDirectoryError` where it has no place for any."""
    if not place.volumes:
        raise NoDirectoryError(place.name)
    return f"{place.volumes}/{_file(org, vm)}"


def _file(org: str, vm: str) -> str:
    return f"{org}.{vm}{_SUFFIX}"


def attach(xml: str, file: str) -> str:
    """The domain's XML with the disk as its last one; no snapshot of the VM's disk has it in it."""
    head, end, rest = xml.rpartition("</devices>")
    disk = (
        f"  <disk type='file' device='disk' snapshot='no'><driver name='qemu' type='qcow2' discard='unmap'/>"
        f"<source file='{escape(file)}'/><target dev='{TARGET}' bus='virtio'/><serial>{SERIAL}</serial></disk>\n  "
    )
    return f"{head}{disk}{end}{rest}"


def renew(connection: libvirt.virConnect, place: HostPlace, vm: tuple[str, str], size_bytes: int) -> None:
    """The VM's disk is there, empty, owned as libvirt's guests need it, and takes no room yet. For a domain that is off, alone.

    Safe to repeat.
    """
    remove(connection, vm)
    pool = listed_pool(connection) or _pool(connection, place.volumes)
    pool.createXML(
        f"<volume><name>{_file(*vm)}</name><capacity unit='bytes'>{size_bytes}</capacity>"
        "<target><format type='qcow2'/><compat>1.1</compat></target></volume>"
    )


def remove(connection: libvirt.virConnect, vm: tuple[str, str]) -> None:
    """The VM, by its org and name, has no such disk, and its room is free. Safe to repeat."""
    pool = listed_pool(connection)
    if pool is None:
        return
    try:
        pool.storageVolLookupByName(_file(*vm)).delete()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise


def sweep(connection: libvirt.virConnect, domains: Iterable[Domain | Unknown]) -> None:
    """The host has no ephemeral disks but of VMs that are not off: what a host that went down left, or a guest that ended by itself.

    The trap is a domain whose mark cannot be read: it sleeps or runs with its disk too, and its name says whose it is. Where not even
    that does, nothing is removed. Safe to repeat.
    """
    pool = listed_pool(connection)
    awake = [one for one in domains if one.state != "off"]
    kept = [(one.org, one.vm) if isinstance(one, Domain) else owner(one.name) for one in awake]
    if None in kept:
        return
    files = {_file(*vm) for vm in kept if vm is not None}
    for one in pool.listAllVolumes() if pool is not None else ():
        if one.name().endswith(_SUFFIX) and one.name() not in files:
            one.delete()


def _pool(connection: libvirt.virConnect, directory: str) -> libvirt.virStoragePool:
    """The host's directory of disks as storage has it too; where all disks are in a cluster nobody made it yet."""
    described = (
        f"<pool type='dir'><name>{POOL}</name><target><path>{escape(directory)}</path></target></pool>"
    )
    pool = connection.storagePoolDefineXML(described)
    pool.build()
    pool.setAutostart(1)
    pool.create()
    return pool
