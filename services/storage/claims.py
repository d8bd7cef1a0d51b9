"""Whose a former domain's disk is besides: ours, another domain's, or what another disk lies over. Nothing is changed; it blocks.

A file that is renamed is gone for whoever else has it. That one runs may be seen by its locks, that one is off by nothing but its
description: so every description of the host is read, and the chain below each disk that it names.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from xml.etree import ElementTree as ET

import libvirt

from schemas.foreign import Obstacle
from schemas.house import House
from schemas.template import BASE
from services.storage import qemu_img

Ours = Callable[[], tuple[Path, ...]]
"""The directories whose files are ours, as the house knows them by now."""

_JSON: Final = "json:"
_FILE: Final = "file:"
_LONGEST_CHAIN: Final = 256
"""Files that a disk lies over; QEMU itself opens no more than some hundred."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a file, or a file that lies over it."""

    uuid: str
    """The domain's; empty for a template."""
    name: str
    """As a sentence calls it."""


Claims = Mapping[object, tuple[Holder, ...]]
"""Who has each file, by what it is and by its path: where its directory is not mounted here only the path is known."""


def directories(house: House) -> tuple[Path, ...]:
    """Every directory of the house that has disks: those of its hosts, its templates, its backups."""
    named = (house.templates, house.backups, *(place.volumes for place in house.hosts))
    return tuple(Path(one) for one in named if one)


def claims(connection: libvirt.virConnect, ours: Iterable[Path]) -> Claims:
    """Every file that a domain of the host or a template in `ours` has, or lies over. A connection that may only read will do."""
    found: dict[object, tuple[Holder, ...]] = {}

    def add(holder: Holder, file: Path) -> None:
        for below in _chain(file):
            for key in _keys(below):
                found[key] = (*(one for one in found.get(key, ()) if one != holder), holder)

    for domain in connection.listAllDomains():
        try:
            holder = Holder(domain.UUIDString(), f"domain {domain.name()}")
            for file in _files(connection, domain):
                add(holder, file)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # gone since it was listed
                raise
    for directory in ours:
        for base in directory.glob(f"*/{BASE}"):
            add(Holder("", f"template {base.parent.name}"), base)
    return found


def against(file: Path, uuid: str, held: Claims, ours: Iterable[Path]) -> Iterator[Obstacle]:
    """Why this file, which is the disk of the domain with that uuid, is not the domain's alone."""
    if file.is_symlink():
        text = f"its disk {file} is a link to {file.readlink()}: name the file itself in its description"
        yield Obstacle("DiskLinked", text)
    elif file.is_file() and (names := file.stat().st_nlink) > 1:
        text = f"its disk {file} has {names} names (hard links): leave it the one in its description"
        yield Obstacle("DiskLinked", text)
    real = Path(os.path.realpath(file))
    for directory in ours:
        if real.is_relative_to(os.path.realpath(directory)):
            text = (
                f"its disk {file} lies among our own files in {directory}: move it elsewhere if it is its own"
            )
            yield Obstacle("DiskOurs", text)
            break
    names_of_others = sorted(
        {one.name for key in _keys(file) for one in held.get(key, ()) if one.uuid != uuid}
    )
    if names_of_others:
        yield Obstacle(
            "DiskShared",
            f"its disk {file} is used by {names_of_others[0]} as well, or lies below a disk of it: give each a copy of its own",
        )


def _keys(file: Path) -> Iterator[object]:
    yield os.path.realpath(file)
    try:
        found = file.stat()
    except OSError:  # not mounted here, or gone: its path is all that is known
        return
    yield (found.st_dev, found.st_ino)


def _files(connection: libvirt.virConnect, domain: libvirt.virDomain) -> Iterator[Path]:
    """What its description names for its next start and, where it runs, what it has open."""
    for flags in {libvirt.VIR_DOMAIN_XML_INACTIVE, 0}:
        described = ET.fromstring(domain.XMLDesc(flags))  # noqa: S314 - libvirt's own words
        for source in (one for disk in described.iterfind("devices/disk") for one in disk.iter("source")):
            place = source.get("file") or source.get("dev") or _in_pool(connection, source)
            if place:
                yield Path(place)


def _in_pool(connection: libvirt.virConnect, source: ET.Element) -> str | None:
    """Where the file of a volume is that is named by its pool. libvirt itself need not know it: a pool may be off."""
    pool, volume = source.get("pool"), source.get("volume")
    if not pool or not volume:
        return None
    try:
        described = ET.fromstring(connection.storagePoolLookupByName(pool).XMLDesc())  # noqa: S314 - libvirt's
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        return None
    where = described.findtext("target/path")
    return f"{where}/{volume}" if where else None


def _chain(file: Path) -> Iterator[Path]:
    """The file and all that it lies over, as far as that can be read here."""
    waiting, seen = [file], set[Path]()
    while waiting and len(seen) < _LONGEST_CHAIN:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        yield one
        try:
            head = qemu_img.head(one) if one.is_file() else None
        except (OSError, UnicodeDecodeError):  # who cannot read it lies over nothing that he could start with
            continue
        if head is not None and head.parent:
            waiting += [one.parent / named for named in _named(head.parent)]


def _named(parent: str) -> Iterator[str]:
    """The files that a qcow2 file's word for the one below means: a path, or QEMU's description of it in JSON."""
    if not parent.startswith(_JSON):
        yield parent.removeprefix(_FILE)
        return
    try:
        waiting: list[Any] = [json.loads(parent.removeprefix(_JSON))]
    except json.JSONDecodeError:
        return
    while waiting:
        for key, value in cast("dict[str, Any]", waiting.pop()).items():
            if isinstance(value, dict):
                waiting.append(value)
            elif isinstance(value, str) and key.rpartition(".")[2] == "filename":
                yield value.removeprefix(_FILE)
