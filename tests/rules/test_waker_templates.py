"""A template is filled in for one VM, and one that lacks something is refused before anything is started."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from schemas.template import has_disk, has_seed
from schemas.volume import ClusterSource
from services.waker.libvirt.templates import TemplateMissingError, fill

TEXT = "<domain><name>{name}</name><d>{disk}</d><s>{seed}</s></domain>"


def _template(directory: Path, text: str) -> Path:
    (directory / "tiny").mkdir()
    (directory / "tiny" / "domain.xml").write_text(text)
    return directory


def test_disk_and_seed_disk_stand_where_the_template_wants_them_and_cannot_end_the_text(
    tmp_path: Path,
) -> None:
    filled = fill(_template(tmp_path, TEXT), "tiny", {"name": "a"}, "<m/>", "/d", seed="/s'<&")
    assert "<d>/d</d><s>/s&#x27;&lt;&amp;</s>" in filled
    assert "<metadata><m/></metadata>" in filled


def test_a_template_with_a_seed_disk_is_not_filled_in_for_a_vm_that_has_none(tmp_path: Path) -> None:
    with pytest.raises(TemplateMissingError, match=r"\{seed\}.*nobody said who it is\. Nothing was started"):
        fill(_template(tmp_path, TEXT), "tiny", {"name": "a"}, "", "/d")


def test_a_template_without_a_seed_disk_takes_none(tmp_path: Path) -> None:
    plain = _template(tmp_path, "<domain><name>{name}</name></domain>")
    assert "/s" not in fill(plain, "tiny", {"name": "a"}, "", None, seed="/s").replace("</", "")
    assert (has_seed(plain / "tiny"), has_disk(plain / "tiny"), has_seed(tmp_path)) == (False, False, False)


LIMITED = """<domain><name>{name}</name><devices>
<disk type='file' device='cdrom'><source file='/other.iso'/><target dev='sda' bus='sata'/></disk>
<disk type='file' device='disk'>
  <driver name='qemu' type='qcow2' discard='unmap' cache='none'/>
  <source file='{disk}'/>
  <target dev='vdc' bus='scsi'/>
  <boot order='1'/>
</disk>
<disk type='file' device='disk'><source file='{seed}'/><target dev='vdb' bus='virtio'/></disk></devices></domain>"""
IMAGE = ClusterSource("org-acme/db", ("10.0.0.1:3300", "[fe80::1]:3300"), "org-acme", "5d0f3d2a")


def test_a_disk_in_ceph_takes_the_place_of_the_file_and_is_the_same_device(tmp_path: Path) -> None:
    filled = fill(_template(tmp_path, LIMITED), "tiny", {"name": "a"}, "", IMAGE, seed="/s")
    first, disk, seed = ET.fromstring(filled.replace("<metadata></metadata>", "")).findall("devices/disk")
    assert [one.attrib["file"] for one in (*first.iter("source"), *seed.iter("source"))] == [
        "/other.iso",
        "/s",
    ]
    assert disk.attrib == {"type": "network", "device": "disk"}
    told = {one.tag: one.attrib for one in disk}
    assert told["driver"] == {"name": "qemu", "type": "raw", "discard": "unmap", "cache": "none"}
    assert (told["target"], told["boot"]) == ({"dev": "vdc", "bus": "scsi"}, {"order": "1"})
    assert told["source"] == {"protocol": "rbd", "name": "org-acme/db"}
    assert [one.attrib for one in disk.iter("host")] == [
        {"name": "10.0.0.1", "port": "3300"},
        {"name": "fe80::1", "port": "3300"},
    ]
    assert (told["auth"], [one.attrib for one in disk.iter("secret")]) == (
        {"username": "org-acme"},
        [{"type": "ceph", "uuid": "5d0f3d2a"}],
    )


def test_a_template_whose_disk_is_in_no_disk_element_takes_none_in_ceph(tmp_path: Path) -> None:
    with pytest.raises(TemplateMissingError, match=r"in no <disk> element.*Nothing was started"):
        fill(_template(tmp_path, TEXT), "tiny", {"name": "a"}, "", IMAGE, seed="/s")
