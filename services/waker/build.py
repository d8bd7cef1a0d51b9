"""How domains are built: with how many vCPU, how much memory and which disks; as they run, as they are defined, and as we laid them out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from schemas.capacity import Size

Disks = tuple[tuple[str, str | None], ...]
"""What each disk is called in the guest, and its file; None for one in a cluster, or a drive without a medium."""

_KIB_IN_MIB: Final = 1024
_LAYER: Final = re.compile(r"\.s[0-9]{1,16}(?=\.qcow2\Z)")
_MARKED: Final = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a domain takes. `most_mib` is more than `memory_mib` where its guest gave memory back, or was asked to."""

    vcpu: int
    memory_mib: int
    most_mib: int

    def is_of(self, size: Size, vcpu: int) -> bool:
        """Whether it is what the size says, or that with so many vCPU."""
        return self.vcpu in {size.vcpu, vcpu} and self.memory_mib == self.most_mib == size.memory_mib

    def size(self, ordered: Size) -> Size:
        """The size that it has: of memory what it may take where that is more than was ordered, else what it takes."""
        memory_mib = max(self.memory_mib, self.most_mib if self.most_mib > ordered.memory_mib else 0)
        return Size(f"custom-{self.vcpu}x{memory_mib}", self.vcpu, memory_mib)

    def __str__(self) -> str:
        most = f" of {self.most_mib}" if self.most_mib != self.memory_mib else ""
        return f"{self.vcpu} vCPU, {self.memory_mib}{most} MiB"


@dataclass(frozen=True, slots=True)
class Build:
    """One domain, as its hypervisor has it."""

    live: Shape | None
    """As it runs, or sleeps in RAM; None while it does neither."""
    stored: Shape
    """As it would start."""
    disks: Disks
    """Those that it has, or would start with."""
    laid: Disks | None = None
    """Those that it was defined with; None in one of before that was written down."""


def shape_of(stats: Mapping[str, object]) -> Shape | None:
    """What libvirt's statistics say; None where they do not, of a domain whose QEMU is busy or of another driver than QEMU's."""
    vcpu, kib, most_kib = (stats.get(name) for name in ("vcpu.current", "balloon.current", "balloon.maximum"))
    if not (isinstance(vcpu, int) and isinstance(kib, int) and isinstance(most_kib, int)):
        return None
    return Shape(vcpu, _mib(kib), _mib(most_kib))


def disks_of(stats: Mapping[str, object]) -> Disks | None:
    """The disks of the same; None where it says nothing of them."""
    count = stats.get("block.count")
    if not isinstance(count, int):
        return None
    return tuple(
        (str(stats.get(f"block.{one}.name", "")), _text(stats.get(f"block.{one}.path")))
        for one in range(count)
    )


def stored_in(xml: str) -> Shape | None:
    """What libvirt's description of a domain says; it has all memory in KiB."""
    described = ET.fromstring(xml)  # noqa: S314 - libvirt's own words
    vcpu, memory = described.find("vcpu"), described.findtext("memory")
    if vcpu is None or vcpu.text is None or memory is None:
        return None
    current = described.findtext("currentMemory") or memory
    return Shape(int(vcpu.get("current") or vcpu.text), _mib(int(current)), _mib(int(memory)))


def disks_in(xml: str) -> Disks:
    """The disks of a description that libvirt is about to be given."""
    described = ET.fromstring(_MARKED.sub("", xml))  # noqa: S314 - an operator's template, filled in by us
    found: list[tuple[str, str | None]] = []
    for disk in described.iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        file = source.get("file") if source is not None else None
        found.append((target.get("dev", "") if target is not None else "", file))
    return tuple(found)


def other_disks(build: Build) -> tuple[str, str] | None:
    """What disks the domain shall have and has, where that is not the same. A pin lays a layer over a file, and is none's business.

    The trap: a disk in a cluster has a name in libvirt's statistics that looks like a file's; only a file is compared by name.
    """
    if build.laid is None:
        return None
    laid, found = dict(build.laid), dict(build.disks)
    same = laid.keys() == found.keys() and all(
        file is None
        or not file.startswith("/")
        or found[name] is None
        or _volume(found[name] or "") == _volume(file)
        for name, file in laid.items()
    )
    return None if same else (_told(build.laid), _told(build.disks))


def _volume(file: str) -> str:
    """The file of the volume, whether a layer over it is written or not."""
    return _LAYER.sub("", file)


def _told(disks: Disks) -> str:
    return ", ".join(name if file is None else f"{name} {file}" for name, file in disks) or "no disks"


def _mib(kib: int) -> int:
    return -(-kib // _KIB_IN_MIB)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
