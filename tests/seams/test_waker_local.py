"""What a VM has on its host alone: a place on one NUMA node, and a disk that is empty at each boot; with a real libvirtd and QEMU."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt
import libvirt_qemu
import msgspec
import pytest
import pytest_asyncio

from lab import accelerator, guest, hypervisor
from schemas.capacity import Size
from schemas.house import HostPlace
from services.waker.libvirt.hypervisor import Libvirt
from services.waker.libvirt.marks import NAMESPACE
from services.waker.libvirt.numa import Node, nodes
from services.waker.port import Definition, HypervisorError, Unknown, domain_name
from tests.support import eventually, free_port

in_one_loop = pytest.mark.asyncio(loop_scope="module")

NAME = domain_name("acme", "db")
MIB = 1 << 20
KINDS = {"kvm": "kvm", "tcg": "qemu"}
UNREADABLE = "<vm>of a newer release</vm>"
SIZE = Size("vs.tiny", 1, 32)
PLAIN = Definition("acme", "apps", "db", SIZE, "bare", most_vcpu=2)
XML = """\
<domain type='{type}'><name>{{name}}</name><uuid>{{uuid}}</uuid><memory unit='MiB'>{{memory_mib}}</memory>
  <vcpu current='{{vcpu}}'>{{most_vcpu}}</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
  <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{base}'/>
  <target dev='vda' bus='virtio'/></disk></devices></domain>
"""


@dataclass
class World:
    """A host and its waker's driver; its guests have no operating system, and are looked at from outside."""

    machine: hypervisor.Hypervisor
    place: HostPlace
    templates: Path
    waker: Libvirt
    connection: libvirt.virConnect

    @property
    def file(self) -> Path:
        return self.machine.volumes / "acme.db.ephemeral.qcow2"

    @property
    def domain(self) -> libvirt.virDomain:
        return self.connection.lookupByName(NAME)

    def pid(self) -> int:
        return int((self.machine.directory / f"run/libvirt/qemu/run/{NAME}.pid").read_text())

    def monitor(self, words: str) -> str:
        return libvirt_qemu.qemuMonitorCommand(self.domain, words, 1)

    def write(self) -> None:
        """The disk that is empty at each boot has some data, written by QEMU as its guest would have it written."""
        alias = self.described().findall("devices/disk/alias")[-1].get("name")
        for words in ("write -P 97 1M 64k", "flush"):
            self.monitor(f'qemu-io -d {alias}/virtio-backend "{words}"')
        assert self.written()

    def written(self) -> bool:
        """Whether anything is on the disk, as its file has it."""
        said = subprocess.run(
            ("qemu-img", "map", "-U", "--output=json", str(self.file)), check=True, capture_output=True
        ).stdout
        return any(one["data"] for one in msgspec.json.decode(said))

    def described(self) -> ET.Element:
        return ET.fromstring(self.domain.XMLDesc())

    def node(self) -> Node:
        return nodes(self.connection.getCapabilities())[0]

    async def off(self) -> bool:
        return await self.waker.state(NAME) == "off"


def spoil(domain: libvirt.virDomain) -> None:
    """Nobody can read the running domain's mark."""
    places = libvirt.VIR_DOMAIN_AFFECT_LIVE | (
        libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else 0
    )
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, UNREADABLE, "vs", NAMESPACE, places)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    machine = hypervisor.Hypervisor(directory)
    try:
        verdict = await accelerator.probe(await guest.build(guest.cache_directory()))
        await machine.start()
        templates = directory / "templates"
        (templates / "bare").mkdir(parents=True)
        base = machine.volumes / "acme.db.qcow2"
        subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", str(base), "8M"), check=True)
        hypervisor.own(base)
        kind = KINDS[verdict.accelerator]
        (templates / "bare" / "domain.xml").write_text(XML.format(type=kind, base=base))
        place = HostPlace(
            "h1", machine.uri, verdict.accelerator, 1024, free_port(), volumes=str(machine.volumes)
        )
        waker = Libvirt(place, templates)
        await waker.connect()
        with libvirt.open(machine.uri) as connection:
            yield World(machine, place, templates, waker, connection)
        await waker.close()
        await machine.destroy_domains()
    finally:
        await machine.stop()
        shutil.rmtree(directory)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _off_again(world: World) -> AsyncIterator[None]:
    yield
    for name in (NAME, domain_name("acme", "other")):
        await world.waker.stop(name)


# --------------------------------------------------------------------------------------------------------------- NUMA


@in_one_loop
async def test_a_pinned_vm_has_its_memory_and_all_its_vcpu_on_one_node(world: World) -> None:
    await world.waker.define(replace(PLAIN, pinned=True))
    await world.waker.start(NAME)
    node = world.node()
    assert world.domain.numaParameters() == {"numa_mode": 0, "numa_nodeset": str(node.number)}
    cpus = {number for number, allowed in enumerate(world.domain.vcpuPinInfo()[0]) if allowed}
    assert cpus == set(node.cpus)
    assert set(os.sched_getaffinity(world.pid())) == set(node.cpus)
    maps = Path(f"/proc/{world.pid()}/numa_maps").read_text()
    assert f" bind:{node.number} " in maps


@in_one_loop
async def test_vcpu_that_is_plugged_into_a_pinned_vm_is_on_its_node(world: World) -> None:
    await world.waker.define(replace(PLAIN, pinned=True))
    await world.waker.start(NAME)
    await world.waker.plug(NAME, 2)
    pins = world.domain.vcpuPinInfo()
    assert len(pins) == 2
    assert pins[0] == pins[1]


@in_one_loop
async def test_a_vm_that_is_not_pinned_is_wherever_there_is_room(world: World) -> None:
    await world.waker.define(PLAIN)
    assert world.described().find("numatune") is None
    assert world.described().find("vcpu[@cpuset]") is None


@in_one_loop
async def test_a_pinned_vm_that_fits_no_node_is_refused_with_what_is_left(world: World) -> None:
    memory_mib = world.node().memory_mib
    other = Definition("acme", "apps", "other", Size("vs.tiny", 1, 64), "bare", pinned=True)
    await world.waker.define(other)
    most = replace(PLAIN, pinned=True, size=Size("big", 1, memory_mib - 32))
    with pytest.raises(HypervisorError, match=f"node 0 has the most left, {memory_mib - 64} MiB") as refused:
        await world.waker.define(most)
    assert refused.value.code == "NodesFull"
    assert refused.value.final
    await world.waker.stop(domain_name("acme", "other"))
    await world.waker.define(most)


# --------------------------------------------------------------------------------------------------------- ephemeral


@in_one_loop
async def test_an_ephemeral_disk_is_there_from_the_boot_to_the_stop(world: World) -> None:
    await world.waker.define(replace(PLAIN, ephemeral_bytes=50 << 30))
    assert not world.file.exists()
    await world.waker.start(NAME)
    disk = world.described().findall("devices/disk")[-1]
    assert disk.findtext("serial") == "ephemeral"
    assert world.domain.blockInfo("vdz")[0] == 50 << 30
    assert world.file.stat().st_blocks * 512 < MIB
    await world.waker.stop(NAME)
    assert not world.file.exists()


@in_one_loop
async def test_an_ephemeral_disk_is_empty_at_each_boot(world: World) -> None:
    await world.waker.define(replace(PLAIN, ephemeral_bytes=8 * MIB))
    await world.waker.start(NAME)
    world.write()
    await world.waker.stop(NAME)
    await world.waker.start(NAME)
    assert not world.written()


@in_one_loop
async def test_what_a_killed_qemu_left_on_an_ephemeral_disk_is_gone_at_the_next_boot(world: World) -> None:
    await world.waker.define(replace(PLAIN, ephemeral_bytes=8 * MIB))
    await world.waker.start(NAME)
    world.write()
    os.kill(world.pid(), signal.SIGKILL)
    await eventually(world.off, 10)
    assert world.written()
    await world.waker.start(NAME)
    assert not world.written()


@in_one_loop
async def test_a_vm_that_wakes_from_disk_goes_on_with_the_ephemeral_disk_that_it_slept_with(
    world: World,
) -> None:
    await world.waker.define(replace(PLAIN, ephemeral_bytes=8 * MIB))
    await world.waker.start(NAME)
    world.write()
    await world.waker.suspend(NAME)
    await world.waker.save(NAME)
    await world.waker.start(NAME)
    assert world.written()
    await world.waker.suspend(NAME)
    await world.waker.save(NAME)
    await world.waker.stop(NAME)
    assert not world.file.exists()


@in_one_loop
async def test_what_lies_there_of_vms_that_are_off_is_gone_when_a_waker_comes(world: World) -> None:
    await world.waker.define(replace(PLAIN, ephemeral_bytes=8 * MIB))
    await world.waker.start(NAME)
    stale = world.machine.volumes / "acme.gone.ephemeral.qcow2"
    shutil.copyfile(world.file, stale)
    other = Libvirt(world.place, world.templates)
    await other.connect()
    await other.close()
    assert not stale.exists()
    assert world.file.exists()


@in_one_loop
async def test_what_sleeps_with_a_mark_that_nobody_can_read_keeps_its_ephemeral_disk(world: World) -> None:
    await world.waker.define(replace(PLAIN, ephemeral_bytes=8 * MIB))
    await world.waker.start(NAME)
    world.write()
    spoil(world.domain)
    world.domain.managedSave(0)
    other = Libvirt(world.place, world.templates)
    await other.connect()
    assert Unknown(NAME, "saved") in await other.domains()
    await other.close()
    world.domain.create()
    assert world.written()


@in_one_loop
async def test_nothing_is_removed_as_long_as_a_domain_runs_that_could_be_anybodys(world: World) -> None:
    stale = world.machine.volumes / "acme.gone.ephemeral.qcow2"
    subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", str(stale), "8M"), check=True)
    described = f"<domain type='{KINDS[world.place.substrate]}'><name>copied</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>"
    domain = world.connection.createXML(described, libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        spoil(domain)
        other = Libvirt(world.place, world.templates)
        await other.connect()
        await other.close()
        assert stale.exists()
    finally:
        domain.destroy()
    stale.unlink()


@in_one_loop
async def test_a_host_without_a_directory_for_disks_has_no_ephemeral_ones_either(world: World) -> None:
    bare = Libvirt(msgspec.structs.replace(world.place, volumes=""), world.templates)
    await bare.connect()
    with pytest.raises(HypervisorError, match="h1 has no directory for disks"):
        await bare.define(replace(PLAIN, ephemeral_bytes=8 * MIB))
    await bare.close()
