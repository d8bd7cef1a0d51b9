"""Domains that somebody else made: what their descriptions say, and why some of them stay what they are."""

import pytest

from schemas.foreign import obstacles, read

DISK = "<disk type='file' device='disk'><driver name='qemu' type='{form}'/><source file='{file}'/></disk>"
ONE = DISK.format(form="qcow2", file="/images/db.qcow2")


def described(
    devices: str = ONE, *, memory_kib: int = 98_304, vcpu: str = "<vcpu>2</vcpu>", os: str = ""
) -> str:
    return (
        f"<domain type='kvm'><name>old-db</name><uuid>u</uuid><memory unit='KiB'>{memory_kib}</memory>"
        f"<currentMemory unit='KiB'>1024</currentMemory>{vcpu}<os {os}><type>hvm</type></os>"
        f"<devices>{devices}</devices></domain>"
    )


def codes(devices: str) -> list[str]:
    return [one.code for one in obstacles(read(described(devices)))]


def test_a_domain_with_one_disk_of_a_file_can_be_adopted() -> None:
    found = read(described())
    assert (found.name, found.uuid, found.vcpu, found.memory_mib) == ("old-db", "u", 2, 96)
    assert [(one.place, one.kind, one.form) for one in found.disks] == [("/images/db.qcow2", "file", "qcow2")]
    assert obstacles(found) == ()
    assert found.size.name == "custom-2x96"


def test_memory_is_what_it_may_have_in_whole_mib_and_vcpu_what_it_has() -> None:
    found = read(described(memory_kib=98_305, vcpu="<vcpu current='1'>4</vcpu>"))
    assert (found.memory_mib, found.vcpu) == (97, 1)


@pytest.mark.parametrize("form", ["qcow2", "raw"])
def test_a_disk_that_states_no_form_is_raw_as_libvirt_takes_it(form: str) -> None:
    assert codes(DISK.format(form=form, file="/a")) == []
    assert (
        read(described("<disk type='file' device='disk'><source file='/a'/></disk>")).disks[0].form == "raw"
    )


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ("", ["DisksMany"]),
        (ONE * 2, ["DisksMany"]),
        (DISK.format(form="vmdk", file="/a"), ["DiskForm"]),
        ("<disk type='block' device='disk'><source dev='/dev/vg/db'/></disk>", ["DiskNotFile"]),
        ("<disk type='network' device='disk'><source protocol='rbd' name='p/i'/></disk>", ["DiskNotFile"]),
        (ONE + "<disk type='file' device='cdrom'><target dev='sda'/></disk>", []),
        (ONE + "<disk type='file' device='cdrom'><source file='/a.iso'/></disk>", ["MediumInDrive"]),
        (ONE + "<hostdev mode='subsystem' type='pci'/>", ["HostDevices"]),
        (ONE + "<tpm model='tpm-crb'/>", ["HasTpm"]),
        (ONE * 2 + "<hostdev mode='subsystem' type='pci'/><tpm/>", ["DisksMany", "HostDevices", "HasTpm"]),
    ],
)
def test_what_a_guest_would_miss_is_an_obstacle(devices: str, found: list[str]) -> None:
    assert codes(devices) == found


@pytest.mark.parametrize(("os", "uefi"), [("", False), ("firmware='efi'", True), ("firmware='bios'", False)])
def test_how_it_boots_is_known(os: str, *, uefi: bool) -> None:
    assert read(described(os=os)).uefi is uefi
