"""A host's libvirt: one connection, opened anew when it is gone, and what every driver asks of it."""

import json
import os
import threading
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, Final, TypeVar
from xml.etree import ElementTree as ET

import libvirt
import libvirt_qemu

from schemas.house import HostPlace
from schemas.volume import POOL
from services.storage.errors import StorageError
from services.storage.lane import Lane
from services.storage.metrics import CALL_SECONDS

T = TypeVar("T")

_POLL_SECONDS: Final = 0.02
_MOST_REFRESHES: Final = 50
_THERE_ALREADY: Final = frozenset({libvirt.VIR_ERR_STORAGE_VOL_EXIST, libvirt.VIR_ERR_OPERATION_INVALID})


class Link:
    """The connection to one host. All but `call` block, and are made in a lane."""

    def __init__(self, place: HostPlace) -> None:
        self.place = place
        self._connection: libvirt.virConnect | None = None
        self._connecting = threading.Lock()
        # A plain user's client would start a libvirtd of that user when ours is away, and wait for it in vain.
        os.environ.setdefault("LIBVIRT_AUTOSTART", "0")
        libvirt.registerErrorHandler(lambda _context, _error: None, None)

    def connected(self) -> libvirt.virConnect:
        """A connection that lives, or libvirt's error."""
        with self._connecting:
            connection = self._connection
            if connection is None or not connection.isAlive():
                self._connection = None
                self._connection = connection = libvirt.open(self.place.uri)
            return connection

    async def call(self, lane: Lane, what: str, call: Callable[[], T], seconds: float | None = None) -> T:
        """The answer of `call`, made in the lane; what libvirt refuses is a `StorageError`."""
        began = time.perf_counter()
        try:
            return await (lane.call(what, call) if seconds is None else lane.call(what, call, seconds))
        except libvirt.libvirtError as error:
            connection = self._connection
            raise StorageError(
                f"libvirt at {self.place.uri} refused to {what}: {error.get_error_message() or error}.",
                lost=connection is None or not connection.isAlive(),
            ) from error
        finally:
            CALL_SECONDS.labels(what).observe(time.perf_counter() - began)

    def pool(self) -> libvirt.virStoragePool:
        """The host's directory of disks as libvirt's pool, which is made where it is missing."""
        directory = self.place.volumes
        connection = self.connected()
        try:
            pool = connection.storagePoolLookupByName(POOL)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            described = f"<pool type='dir'><name>{POOL}</name><target><path>{escape(directory)}</path></target></pool>"
            # Kept by libvirt over its restarts: whoever defines a domain anew looks there for its newest layer.
            pool = connection.storagePoolDefineXML(described)
            pool.build()
            pool.setAutostart(1)
        where = ET.fromstring(pool.XMLDesc()).findtext("target/path")  # noqa: S314 - libvirt's own words
        if where != directory:
            raise StorageError(
                f"Host {self.place.name} has a storage pool {POOL} in {where}, and its disks are to lie in {directory}; "
                "remove the pool, or name its directory.",
                final=True,
            )
        if not pool.isActive():
            pool.create()
        return pool

    def make(self, name: str, size_bytes: int, base: Path | None) -> tuple[libvirt.virStorageVol, bool]:
        """The pool has a qcow2 volume of that name, owned as libvirt's driver runs its guests; and whether it was not there before.

        A new one lies over `base`, and is of qcow2's third version: libvirt's own choice, the second, can have snapshots or grow, but
        not both. Safe to repeat: one that is there stays as it is, whatever it lies over.
        """
        pool = self.pool()
        below = (
            f"<backingStore><path>{escape(str(base))}</path><format type='qcow2'/></backingStore>"
            if base is not None
            else ""
        )
        described = (
            f"<volume><name>{name}</name><capacity unit='bytes'>{size_bytes}</capacity>"
            f"<target><format type='qcow2'/><compat>1.1</compat></target>{below}</volume>"
        )
        for _ in range(2):
            try:
                return pool.createXML(described), True
            except libvirt.libvirtError as error:
                if error.get_error_code() not in _THERE_ALREADY:
                    raise
            # libvirt's list may have a volume whose file was moved away since, and miss one that was brought.
            refresh(pool)
            try:
                return pool.storageVolLookupByName(name), False
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                    raise
        raise StorageError(f"libvirt at {self.place.uri} neither makes the volume {name} nor has it.")

    def grow(self, domain: str, holds: Callable[[ET.Element], bool], size_bytes: int) -> bool:
        """The running domain's disk that `holds` picks has this size, and its guest was told; False where it does not run with it.

        QEMU grows what lies below as well, so that one call does both. Who asks has looked that it is no shrinking: QEMU does that
        too.
        """
        try:
            found = self.connected().lookupByName(domain)
            disk = next((one for one in _disks(found) if holds(one)), None)
            if disk is None or not found.isActive():
                return False
            target = disk.find("target")
            assert target is not None
            found.blockResize(target.get("dev", ""), size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return False
        return True

    def domain(self, name: str | None) -> libvirt.virDomain | None:
        """The domain of that name, running or not; None where there is none."""
        if name is None:
            return None
        try:
            return self.connected().lookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def monitor(self, domain: str, file: str, command: str, **arguments: str) -> bool:
        """QEMU did this to the qcow2 file that the running domain writes to; False where it does not run with it.

        libvirt has no call of its own for a snapshot inside a file without the guest's memory.
        """
        try:
            found = self.connected().lookupByName(domain)
            if not found.isActive():
                return False
            nodes = _asked(found, "query-named-block-nodes", flat=True)
            node = next(
                (one["node-name"] for one in nodes if one["drv"] == "qcow2" and one["file"] == file), None
            )
            if node is None:
                return False
            _asked(found, command, device=node, **arguments)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return False
        return True


def _asked(domain: libvirt.virDomain, command: str, **arguments: object) -> Any:
    """QEMU's own answer; StorageError where it refuses."""
    asked = json.dumps({"execute": command, "arguments": arguments})
    said = json.loads(libvirt_qemu.qemuMonitorCommand(domain, asked, 0))
    if "error" in said:
        raise StorageError(f"QEMU refused {command} of {domain.name()}: {said['error']['desc']}.")
    return said["return"]


def refresh(pool: libvirt.virStoragePool) -> None:
    """The pool knows the files there are. While a volume is being made libvirt refuses that, which takes some ten milliseconds."""
    for _ in range(_MOST_REFRESHES):
        try:
            pool.refresh()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return
    pool.refresh()


def _disks(domain: libvirt.virDomain) -> list[ET.Element]:
    described = ET.fromstring(domain.XMLDesc())  # noqa: S314 - libvirt's own words
    return described.findall("devices/disk")
