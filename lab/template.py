"""A template directory: everything a waker needs to define a domain, and nothing of the lab's code."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.errors import LabError
from lab.guest import HTTP_PORT, GuestImage

Accelerator = Literal["kvm", "tcg"]

TB_CACHE_MIB = 32
# quiet: a talkative serial console costs boot time. nokaslr, notests, mitigations: half a second of a boot without
# KVM (measured 2.45 -> 1.95 s). panic=1: a crashed guest reboots at once, and its boot id tells.
COMMAND_LINE = "console=ttyS0 quiet nokaslr cryptomgr.notests mitigations=off panic=1 vs.name={name}"
QEMU_IMG_SECONDS = 30.0
# discard: what a guest frees does not stay in its file.
DISK = """\
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
"""
# What a customer's own image is told at its first boot. Read-only for the guest: it is laid by whoever ordered the VM.
SEED = """\
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{seed}'/>
      <target dev='vdb' bus='virtio'/>
      <readonly/>
    </disk>
"""
# One end of the serial line is a terminal that can be written to (`virtscale vm console`), and all that the guest says is
# kept in its log, whether anybody looks or not.
SERIAL = """\
    <serial type='pty'>
      <log file='{consoles}/{{name}}.log' append='off'/>
      <target port='0'/>
    </serial>
"""
CPU = {"kvm": "<cpu mode='host-passthrough'/>", "tcg": ""}
TYPE = {"kvm": "kvm", "tcg": "qemu"}
# Without a limit QEMU's translator takes a share of the host's RAM for every guest.
FEATURES = {
    "kvm": "<acpi/>",
    "tcg": f"<acpi/><tcg><tb-cache unit='MiB'>{TB_CACHE_MIB}</tb-cache></tcg>",
}


@dataclass(frozen=True)
class Template:
    """A written template: `domain_xml` is a text for `str.format` with name, uuid, vcpu, memory_mib, address and port.

    Where it has a disk, with `disk` too: a qcow2 file over the template's own. Where it has a seed disk, with `seed`.
    """

    directory: Path

    @property
    def domain_xml(self) -> Path:
        """The domain's description; everything but the placeholders is fixed in it."""
        return self.directory / "domain.xml"

    @property
    def disk(self) -> Path:
        """What the disk of every VM begins as, where VMs have one; nobody writes it."""
        return self.directory / "disk.qcow2"

    @property
    def image(self) -> Path:
        """What kind of image the template's is; there only where it is not a guest of the lab's own."""
        return self.directory / "image.toml"


def write(
    directory: Path,
    image: GuestImage,
    accelerator: Accelerator,
    consoles: Path,
    *,
    disk_mib: int | None = None,
    seeded: bool = False,
) -> Template:
    """`directory` holds vmlinuz, initrd.cpio.gz and domain.xml, readable by the guests' user.

    With `disk_mib` also disk.qcow2, an empty disk of that size; one that is there stays, since disks of VMs lie over it.
    With `seeded` the guests read a seed disk, as a customer's own image does, and image.toml says that they are such.

    The image is copied, so that the cache may lie where that user cannot go. `consoles` takes one log per guest
    and must be writable by that user. The trap: paths are fixed in the text, so write anew after a move.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    kernel, initrd = directory / "vmlinuz", directory / "initrd.cpio.gz"
    for source, target in ((image.kernel, kernel), (image.initrd, initrd)):
        draft = target.with_suffix(".draft")
        shutil.copyfile(source, draft)
        draft.chmod(0o644)
        draft.replace(target)
    template = Template(directory)
    if disk_mib is not None and not template.disk.exists():
        _make_disk(template.disk, disk_mib)
    if seeded:
        template.image.write_text('kind = "cloud-init"\n')
        template.image.chmod(0o644)
    disks = (DISK if disk_mib is not None else "") + (SEED if seeded else "")
    template.domain_xml.write_text(_domain(kernel, initrd, accelerator, consoles, disks))
    template.domain_xml.chmod(0o644)
    return template


def _make_disk(disk: Path, disk_mib: int) -> None:
    draft = disk.with_suffix(".draft")
    command = ("qemu-img", "create", "-q", "-f", "qcow2", str(draft), f"{disk_mib}M")
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=QEMU_IMG_SECONDS)
    except FileNotFoundError as error:
        raise LabError(
            "lab.qemu-utils-missing",
            "qemu-img is missing and guests have disks; run `apt-get install -y --no-install-recommends qemu-utils`.",
        ) from error
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or error
        raise LabError("lab.disk-unmade", f"The template's disk {disk} could not be made: {said}") from error
    draft.chmod(0o444)
    draft.replace(disk)


def _domain(kernel: Path, initrd: Path, accelerator: Accelerator, consoles: Path, disks: str) -> str:
    return f"""\
<domain type='{TYPE[accelerator]}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{{name}}</name>
  <uuid>{{uuid}}</uuid>
  <memory unit='MiB'>{{memory_mib}}</memory>
  <vcpu current='{{vcpu}}'>{{most_vcpu}}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>{COMMAND_LINE}</cmdline>
  </os>
  <features>{FEATURES[accelerator]}</features>
  {CPU[accelerator]}
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <pm><suspend-to-mem enabled='yes'/><suspend-to-disk enabled='no'/></pm>
  <devices>
{disks}{SERIAL.format(consoles=consoles)}    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-netdev'/>
    <qemu:arg value='user,id=n0,hostfwd=tcp:{{address}}:{{port}}-:{HTTP_PORT}'/>
    <qemu:arg value='-device'/>
    <qemu:arg value='virtio-net-pci,netdev=n0,addr=0x10,romfile='/>
  </qemu:commandline>
</domain>
"""
