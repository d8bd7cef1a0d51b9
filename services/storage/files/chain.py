"""The files of a domain's disk, as libvirt describes them."""

from xml.etree import ElementTree as ET


def disk_with(described: str, volume: str) -> ET.Element | None:
    """The domain's disk whose chain of files has the volume in it."""
    domain = ET.fromstring(described)  # noqa: S314 - libvirt's own words
    return next((disk for disk in domain.iterfind("devices/disk") if volume in files_of(disk)), None)


def files_of(disk: ET.Element) -> list[str]:
    """The files of a disk, the one that is written to first."""
    files: list[str] = []
    layer: ET.Element | None = disk
    while layer is not None:
        source = layer.find("source")
        if source is not None:
            files.append(source.get("file", ""))
        layer = layer.find("backingStore")
    return files


def target_of(disk: ET.Element) -> str:
    """What the guest's disk is called in the description."""
    target = disk.find("target")
    return target.get("dev", "") if target is not None else ""
