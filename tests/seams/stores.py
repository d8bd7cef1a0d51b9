"""Both drivers of volumes on real parts: a libvirtd of our own with a directory, and a Ceph of three zones."""

import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import libvirt

from events.clock import SystemClock
from lab.ceph import Ceph
from lab.hypervisor import Hypervisor
from schemas.house import HostPlace
from schemas.volume import Source, disk_xml
from services.storage.ceph.cluster import Cluster
from services.storage.ceph.rbd import Rbd, pool_of
from services.storage.ceph.tenants import Tenants
from services.storage.files.directory import Directory
from services.storage.volumes import Store, Volume

MIB = 1 << 20
SECONDS = 30
ORG = "acme"
OTHER = "beta"
QUOTA_BYTES = 4 << 30
TEMPLATE = "tiny"
TEMPLATE_MIB = 16
BYTES = 65536
"""How much one letter fills."""

DOMAIN = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{disk}</devices></domain>
"""


@dataclass
class Bench:
    """One driver, with its own way of looking into a volume beside it."""

    kind: str
    store: Store
    again: Callable[[], Store]
    """Another life of the driver, which knows nothing."""
    machine: Hypervisor
    directory: Path
    conf: Path
    numbers: Any = field(default_factory=count)

    def volume(self, org: str = ORG) -> Volume:
        """A name that nobody has."""
        return Volume(org, f"{self.kind}-{next(self.numbers)}")

    def file(self) -> Path:
        """Where a copy can go."""
        return self.directory / "copies" / f"{self.kind}-{next(self.numbers)}.qcow2"

    def write(self, volume: Volume, letter: str, at: int = 0) -> None:
        """The volume has the letter there, over and over, as a guest would have left it."""
        self._io(volume, f"write -P {ord(letter)} {at} {BYTES}")

    def reads(self, volume: Volume, letter: str, at: int = 0) -> bool:
        """Whether the volume has the letter there; NUL for nothing."""
        return "verification failed" not in self._io(volume, f"read -P {ord(letter)} {at} {BYTES}")

    @contextmanager
    def asleep(self, source: Source, name: str = "sleeper") -> Generator[libvirt.virDomain]:
        """A domain of that name has the volume open, and never runs."""
        with libvirt.open(self.machine.uri) as connection:
            described = DOMAIN.format(name=name, disk=disk_xml(source, "vda"))
            domain = connection.createXML(described, libvirt.VIR_DOMAIN_START_PAUSED)
            try:
                yield domain
            finally:
                domain.destroy()

    def _io(self, volume: Volume, command: str) -> str:
        where, form = str(self.machine.volumes / f"{volume.org}.{volume.name}.qcow2"), "qcow2"
        if self.kind == "rbd":
            where, form = f"rbd:{pool_of(volume.org)}/{volume.name}:id=admin:conf={self.conf}", "raw"
        argv = ["qemu-io", "-f", form, "-c", command, where]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
        said = done.stdout + done.stderr
        assert "ops" in said or "verification failed" in said, said
        return said


@asynccontextmanager
async def benches(ceph: Ceph) -> AsyncGenerator[dict[str, Bench]]:
    """A bench for each driver; both serve the domains of one host."""
    with TemporaryDirectory(prefix="vs-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o711)
        templates = directory / "templates"
        write_template(templates / TEMPLATE)
        machine = Hypervisor(directory / "h")
        await machine.start()
        place = HostPlace("h1", machine.uri, "tcg", 1024, 20000, volumes=str(machine.volumes))
        tenants = Tenants(Cluster(ceph.conf))
        stores: list[Store] = []

        def files() -> Store:
            stores.append(Directory(place, templates, SystemClock()))
            return stores[-1]

        def images() -> Store:
            stores.append(Rbd(place, templates, Cluster(ceph.conf)))
            return stores[-1]

        try:
            for org in (ORG, OTHER):
                await tenants.enrol(org, QUOTA_BYTES)
            yield {
                "qcow2": Bench("qcow2", files(), files, machine, directory, ceph.conf),
                "rbd": Bench("rbd", images(), images, machine, directory, ceph.conf),
            }
        finally:
            for store in stores:
                await store.close()
            await tenants.close()
            await machine.destroy_domains()
            await machine.stop()


def write_template(directory: Path) -> None:
    """The template's disk begins with a T."""
    directory.mkdir(parents=True)
    disk = directory / "disk.qcow2"
    for command in (
        ["qemu-img", "create", "-q", "-f", "qcow2", str(disk), f"{TEMPLATE_MIB}M"],
        ["qemu-io", "-f", "qcow2", "-c", f"write -P {ord('T')} 0 {BYTES}", str(disk)],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    disk.chmod(0o444)
    for path in (directory, directory.parent):
        path.chmod(0o755)
