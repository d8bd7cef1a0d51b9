"""Domains that somebody made by hand, with a disk somewhere, for tests of their adoption."""

import subprocess
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import libvirt

SECONDS = 30
BYTES = 65536
DOMAIN = """\
<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>96</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{disks}</devices></domain>
"""
DISK = """\
<disk type='file' device='disk'><driver name='qemu' type='{form}'/><source file='{file}'/>
<target dev='vd{letter}' bus='virtio'/></disk>
"""


@dataclass(frozen=True)
class Foreigner:
    """A domain of somebody else's, off, with its disk."""

    uri: str
    name: str
    uuid: str
    file: Path

    @property
    def is_defined(self) -> bool:
        with libvirt.open(self.uri) as connection:
            return self.name in [one.name() for one in connection.listAllDomains()]

    def has_disk_of_pool(self, file: Path) -> None:
        """Its disk is that file from its next start on, by the name of its directory's pool; the pool is off."""
        disk = f"<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='{self.name}' volume='{file.name}'/>"
        pool = f"<pool type='dir'><name>{self.name}</name><target><path>{file.parent}</path></target></pool>"
        with libvirt.open(self.uri) as connection:
            connection.storagePoolDefineXML(pool)
            disks = f"{disk}<target dev='vda' bus='virtio'/></disk>"
            connection.defineXML(DOMAIN.format(name=self.name, uuid=self.uuid, disks=disks))

    def start(self) -> None:
        """It is there, paused at its first instruction, with its disk open."""
        with libvirt.open(self.uri) as connection:
            connection.lookupByName(self.name).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)

    def sleep(self) -> None:
        """It is off, with its memory on disk."""
        with libvirt.open(self.uri) as connection:
            connection.lookupByName(self.name).managedSave(0)

    def end(self) -> None:
        """It is off."""
        with libvirt.open(self.uri) as connection:
            connection.lookupByName(self.name).destroy()

    def forget(self) -> None:
        """It is not defined any more, whatever it was."""
        with libvirt.open(self.uri) as connection:
            for domain in connection.listAllDomains():
                if domain.name() == self.name:
                    if domain.isActive():
                        domain.destroy()
                    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)


def make_disk(
    file: Path, form: str, letter: str, size: str = "32M", *, base: Path | str | None = None
) -> None:
    """A disk that has the letter at its beginning, readable by the guests' user."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o755)
    below = ("-b", str(base), "-F", "qcow2") if base is not None else ()
    for command in (
        ["qemu-img", "create", "-q", "-f", form, *below, str(file), size],
        ["qemu-io", "-f", form, "-c", f"write -P {ord(letter)} 0 {BYTES}", str(file)],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    file.chmod(0o666)


@contextmanager
def reader_of(file: Path) -> Generator[None]:
    """A QEMU that libvirt knows nothing of has the disk open to read it."""
    command = ["qemu-io", "-r", "-f", "qcow2", str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.read(1)  # its prompt: the disk is open
        try:
            yield
        finally:
            reader.kill()


def foreigner(uri: str, name: str, files: list[Path], form: str) -> Foreigner:
    """The domain is defined with these disks."""
    own = str(uuid.uuid4())
    disks = "".join(
        DISK.format(form=form, file=file, letter=letter) for file, letter in zip(files, "abc", strict=False)
    )
    with libvirt.open(uri) as connection:
        connection.defineXML(DOMAIN.format(name=name, uuid=own, disks=disks))
    return Foreigner(uri, name, own, files[0])
