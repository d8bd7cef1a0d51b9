"""VM templates on disk: one directory each, with a `domain.xml` that is filled in for every VM."""

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from schemas.template import DISK, DOMAIN, SEED
from schemas.volume import ClusterSource, disk_xml
from services.waker.port import HypervisorError

_ELEMENT: Final = re.compile(rf"<disk\b(?:(?!</disk>).)*?{re.escape(DISK)}.*?</disk>", re.DOTALL)
"""The template's own `<disk>` for a VM's disk."""


class TemplateMissingError(HypervisorError):
    """There is no such template, or it cannot be filled in; trying again cannot help."""

    code = "TemplateMissing"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


def fill(
    directory: Path,
    template: str,
    values: Mapping[str, object],
    metadata: str,
    disk: str | ClusterSource | None = None,
    *,
    seed: str | None = None,
) -> str:
    """The domain's XML: the placeholders `{name}`, `{uuid}`, `{vcpu}`, `{most_vcpu}`, `{memory_mib}`,
    `{address}`, `{port}`
    have their values; `{disk}` and `{seed}`, where the template has them, are the files of the VM's disk and of its seed disk.
    A disk in Ceph stands in place of the template's `<disk>` with the file.

    `metadata` becomes the domain's metadata element. The trap: the text is for `str.format`, so a brace that
    is meant for libvirt is written twice.
    """
    path = directory / template / DOMAIN
    try:
        text = path.read_text()
    except OSError as error:
        raise TemplateMissingError(
            f"Template {template} cannot be read at {path} ({error.strerror}); put a {DOMAIN} there. Nothing was started."
        ) from error
    if disk is None and DISK in text:
        raise TemplateMissingError(
            f"{path} has the placeholder {DISK}, and this VM has no disk that is known to be whole; one is made when a boot of a "
            "new VM is ordered. Nothing was started."
        )
    if seed is None and SEED in text:
        raise TemplateMissingError(
            f"{path} has the placeholder {SEED}, and this VM has no seed disk: nobody said who it is. Nothing was started."
        )
    if isinstance(disk, ClusterSource):
        text, disk = _in_cluster(text, disk, path) if DISK in text else text, None
    try:
        filled = text.format_map({**values, "disk": escape(disk or ""), "seed": escape(seed or "")})
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise TemplateMissingError(
            f"{path} has a placeholder that nobody fills ({error}); known are {', '.join(values)}. Nothing was started."
        ) from error
    head, name_end, rest = filled.partition("</name>")
    if not name_end or "<metadata" in filled:
        raise TemplateMissingError(
            f"{path} must have a <name> and no <metadata> of its own. Nothing was started."
        )
    return f"{head}{name_end}\n  <metadata>{metadata}</metadata>{rest}"


def _in_cluster(text: str, source: ClusterSource, path: Path) -> str:
    """The template's text with the image in place of the disk's file.

    All else that the template says of the disk stays: which device it is and on which bus, its place in the boot order, its limits,
    and how the driver caches and discards.
    """
    found = _ELEMENT.search(text)
    try:
        disk = ET.fromstring(found[0] if found is not None else "")  # noqa: S314 - the operator's own template
    except ET.ParseError as error:
        raise TemplateMissingError(
            f"{path} has the placeholder {DISK} in no <disk> element that can be read ({error}), and the disk of this VM is in Ceph. "
            "Nothing was started."
        ) from error
    target, driver, file = disk.find("target"), disk.find("driver"), disk.find("source")
    image = ET.fromstring(disk_xml(source, "" if target is None else target.get("dev", "")))  # noqa: S314 - made right here
    disk.set("type", image.get("type", ""))
    if driver is not None:
        driver.set("type", "raw")
    if file is not None:
        disk.remove(file)
    disk.extend(
        [one for one in image if one.tag in {"auth", "source"} or (one.tag == "driver" and driver is None)]
    )
    made = ET.tostring(disk, encoding="unicode")
    return text.replace(found[0] if found is not None else "", made)
