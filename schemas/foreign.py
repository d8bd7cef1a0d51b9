"""A domain that somebody else made, as its description says, and why it cannot become a VM of ours as it is.

Of such a domain its name, its size and its one disk are taken over; whatever else it has is its new template's from then on. So what
a guest could miss (a second disk, a card of the host's, firmware that keeps keys) is an obstacle, and is said before anything is
touched.
"""

from typing import Final
from xml.etree import ElementTree as ET

from schemas.capacity import Size
from schemas.sizes import own
from schemas.struct import Value

FORMS: Final = frozenset({"qcow2", "raw"})
"""What a disk's file may be."""

_KIB: Final = 1024
_MOST_FILES: Final = 3
"""Files that a sentence names."""


class Obstacle(Value, frozen=True):
    """One reason why the domain stays what it is; the text goes on where a sentence began with its name."""

    code: str
    text: str


class ForeignDisk(Value, frozen=True):
    """One disk of the domain."""

    place: str
    """Its file; for one that is no file what libvirt calls it, or nothing."""
    kind: str
    """libvirt's: `file`, `block`, `network`, `volume`, and others."""
    form: str


class Foreign(Value, frozen=True):
    """The domain as it is defined, for its next start."""

    name: str
    uuid: str
    vcpu: int
    memory_mib: int
    disks: tuple[ForeignDisk, ...]
    media: tuple[str, ...]
    """What lies in its drives for media."""
    hostdevs: int
    tpm: bool
    uefi: bool

    @property
    def size(self) -> Size:
        """Its vCPU and memory; raises `SizeError` where no size has so much."""
        return own(self.vcpu, self.memory_mib)


def read(described: str) -> Foreign:
    """The domain of libvirt's description; memory in whole MiB, rounded up."""
    domain = ET.fromstring(described)  # noqa: S314 - libvirt's own words
    vcpu = domain.find("vcpu")
    memory_kib = int(domain.findtext("memory") or 0)
    os = domain.find("os")
    loader = domain.find("os/loader")
    devices = domain.findall("devices/disk")
    return Foreign(
        name=domain.findtext("name") or "",
        uuid=domain.findtext("uuid") or "",
        vcpu=int((vcpu.get("current") or vcpu.text or 1) if vcpu is not None else 1),
        memory_mib=-(-memory_kib // _KIB),
        disks=tuple(_disk(one) for one in devices if one.get("device", "disk") in {"disk", "lun"}),
        media=tuple(
            _place(one) for one in devices if one.get("device") in {"cdrom", "floppy"} and _place(one)
        ),
        hostdevs=len(domain.findall("devices/hostdev")),
        tpm=domain.find("devices/tpm") is not None,
        uefi=(os is not None and os.get("firmware") == "efi")
        or (loader is not None and loader.get("type") == "pflash"),
    )


def obstacles(foreign: Foreign) -> tuple[Obstacle, ...]:
    """Every reason in its description why it cannot become a VM of ours; what its disk's file says is looked at elsewhere."""
    found: list[Obstacle] = []
    if len(foreign.disks) != 1:
        count = len(foreign.disks) or "no"
        found.append(
            Obstacle(
                "DisksMany",
                f"it has {count} disks, and a VM has one: copy what is on the others to the first",
            )
        )
    for disk in foreign.disks:
        if disk.kind != "file":
            found.append(
                Obstacle(
                    "DiskNotFile", f"its disk is a {disk.kind} ({disk.place or 'unnamed'}): copy it to a file"
                )
            )
        elif disk.form not in FORMS:
            found.append(
                Obstacle(
                    "DiskForm", f"its disk is {disk.form or 'of no stated form'}: convert it to qcow2 or raw"
                )
            )
    if foreign.media:
        named = ", ".join(foreign.media[:_MOST_FILES])
        found.append(Obstacle("MediumInDrive", f"{named} lies in a drive of it: eject it"))
    if foreign.hostdevs:
        found.append(
            Obstacle(
                "HostDevices", f"{foreign.hostdevs} devices of its host are passed through to it: detach them"
            )
        )
    if foreign.tpm:
        found.append(
            Obstacle("HasTpm", "it has a TPM, whose keys would be gone: move them first, and remove it")
        )
    return tuple(found)


def _disk(element: ET.Element) -> ForeignDisk:
    driver = element.find("driver")
    form = driver.get("type", "raw") if driver is not None else "raw"
    return ForeignDisk(_place(element), element.get("type", ""), form)


def _place(element: ET.Element) -> str:
    source = element.find("source")
    if source is None:
        return ""
    return next((source.get(name, "") for name in ("file", "dev", "name", "volume") if source.get(name)), "")
