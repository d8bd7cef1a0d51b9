"""What any script would do with libvirt, qemu-img and Ceph's own binding, for bench/lifecycle.py: each call timed by itself.

Domains, files and images are copies of those that the workers made, under names of their own and without our mark, so that the
workers take no notice of them.
"""

import asyncio
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import libvirt
import libvirt_qemu

from lab.hypervisor import own
from lab.ports import LOOPBACK, free_ports
from schemas.volume import volume_name
from services.storage.ceph.rbd import TEMPLATES, pool_of
from services.storage.ceph.speaker import PYTHON

ORG = "acme"
_PROBE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Guest:
    """A bare domain and its disk."""

    name: str
    disk: str
    """A file, or the image's name in the org's pool."""
    xml: str
    port: int


def timed(call: Callable[[], object]) -> float:
    """Milliseconds that a blocking call took."""
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def qemu_img(*words: str) -> None:
    """As a person would write it."""
    subprocess.run(("qemu-img", *words), check=True, stdout=subprocess.DEVNULL)


def fill(domain: libvirt.virDomain, mib: int) -> None:
    """The disk of the domain that runs has so much data."""
    for words in (f"write -P 97 0 {mib}M", "flush"):
        libvirt_qemu.qemuMonitorCommand(domain, f'qemu-io -d virtio-disk0/virtio-backend "{words}"', 1)


async def answers(address: str) -> None:
    """The guest answered; a probe every 5 ms with a timeout of 250 ms, as a script would."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                line = await reader.readline()
                writer.close()
            if b" 200 " in line:
                return
        except (TimeoutError, OSError):
            pass
        await asyncio.sleep(0.005)


class Binding:
    """Ceph's own binding in a process of its own, with its connection open."""

    def __init__(self, conf: Path) -> None:
        program = Path(__file__).with_name("rbd_bare.py")
        self._argv = (PYTHON, "-I", str(program), str(conf), pool_of(ORG), TEMPLATES, "tiny", "origin")
        self._child: subprocess.Popen[str] | None = None

    def open(self) -> None:
        """Its process asks the cluster; the org's pool must be there by then."""
        self._child = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str, name: str, **of: object) -> float:
        """Milliseconds that the call took."""
        assert self._child is not None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps([what, {"name": name, **of}]) + "\n")
        self._child.stdin.flush()
        return float(self._child.stdout.readline())

    def close(self) -> None:
        """Its process is gone."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()


class Bare:
    """One host's libvirt, its directory of disks, and a cluster."""

    def __init__(self, uri: str, volumes: Path, base: Path, binding: Binding) -> None:
        self.connection = libvirt.open(uri)
        self._volumes = volumes
        # Storage would take them for files of VMs, and wonder whose.
        self._own = volumes.with_name("bare")
        self._own.mkdir()
        own(self._own)
        self._base = base
        self.binding = binding

    def like(self, domain: str, vm: str, name: str) -> Guest:
        """How a guest would be that is as the workers' one is, under this name."""
        xml = self.connection.lookupByName(domain).XMLDesc(
            libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        )
        disk, port = str(self._own / f"{name}.qcow2"), free_ports(1)[0]
        for pattern, instead in (
            (r"<metadata>.*?</metadata>", ""),
            (r"<name>[^<]*</name>", f"<name>{name}</name>"),
            (r"<uuid>[^<]*</uuid>", f"<uuid>{uuid.uuid4()}</uuid>"),
            (rf"hostfwd=tcp:{LOOPBACK}:\d+", f"hostfwd=tcp:{LOOPBACK}:{port}"),
            (re.escape(str(self._volumes / volume_name(ORG, vm))), disk),
            (rf"'{re.escape(pool_of(ORG))}/[^']*'", f"'{pool_of(ORG)}/{name}'"),
            (rf"/{re.escape(domain)}\.log", f"/{name}.log"),
        ):
            xml = re.sub(pattern, instead, xml, flags=re.DOTALL)
        return Guest(name, name if "type='network' device='disk'" in xml else disk, xml, port)

    def make(self, kind: str, guest: Guest, size: int) -> None:
        """The guest's disk is there, over the template's."""
        if kind == "rbd":
            self.binding.ask("create", guest.disk)
            self.binding.ask("grow", guest.disk, size=size)
            return
        qemu_img(
            *("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(self._base), guest.disk, str(size))
        )
        own(Path(guest.disk))

    async def boot(self, kind: str, guest: Guest, size: int) -> float:
        """The guest answers, from nothing."""
        began = time.perf_counter()
        await asyncio.to_thread(self.make, kind, guest, size)
        await asyncio.to_thread(lambda: self.connection.defineXML(guest.xml).create())
        await answers(f"{LOOPBACK}:{guest.port}")
        return 1000 * (time.perf_counter() - began)

    def domain(self, guest: Guest) -> libvirt.virDomain:
        """The guest's domain."""
        return self.connection.lookupByName(guest.name)

    def grow(self, guest: Guest, size: int) -> float:
        """The disk of the guest that runs is larger."""
        flag = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
        return timed(lambda: self.domain(guest).blockResize("vda", size, flag))

    def snapshot(self, kind: str, guest: Guest, name: str) -> float:
        """The disk of the guest that runs has a snapshot."""
        if kind == "rbd":
            return self.binding.ask("snapshot", guest.disk, **{"as": name})
        domain = self.domain(guest)

        def take() -> None:
            nodes = json.loads(
                libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "query-named-block-nodes"}', 0)
            )["return"]
            node = next(
                one["node-name"] for one in nodes if one["drv"] == "qcow2" and one["file"] == guest.disk
            )
            command = {
                "execute": "blockdev-snapshot-internal-sync",
                "arguments": {"device": node, "name": name},
            }
            said = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(command), 0))
            assert "return" in said, said

        return timed(take)

    def restore(self, kind: str, guest: Guest, name: str) -> float:
        """The disk of the guest that is off is as it was."""
        if kind == "rbd":
            return self.binding.ask("restore", guest.disk, **{"as": name})
        return timed(lambda: qemu_img("snapshot", "-a", name, guest.disk))

    def clone(self, kind: str, guest: Guest, name: str) -> float:
        """There is another disk with what the snapshot has, which stands alone and outlasts a power cut."""
        other = f"{guest.name}-{name}"
        if kind == "rbd":
            made = self.binding.ask("clone", guest.disk, to=other, **{"as": name})
            return made + self.binding.ask("flatten", other)
        file = f"{guest.disk}.{name}"
        words = (
            *("convert", "-O", "qcow2", "-U", "-l", f"snapshot.name={name}"),
            "-f",
            "qcow2",
            guest.disk,
            file,
        )

        def copy() -> None:
            qemu_img(*words)
            with Path(file).open("rb") as stream:
                os.fsync(stream.fileno())

        return timed(copy)

    def stop(self, guest: Guest) -> None:
        """The guest is off; its disk stays."""
        self.domain(guest).destroy()

    def suspend(self, guest: Guest) -> float:
        """The guest sleeps in memory."""
        return timed(self.domain(guest).suspend)

    def save(self, guest: Guest) -> float:
        """The guest, which sleeps in memory, sleeps on disk."""
        domain = self.domain(guest)
        return timed(lambda: domain.managedSave(libvirt.VIR_DOMAIN_SAVE_PAUSED))

    async def wake(self, guest: Guest) -> None:
        """The guest runs and answers, however it slept."""
        domain = self.domain(guest)

        def rise() -> None:
            if not domain.isActive():
                domain.create()
            if int(domain.state()[0]) == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()

        await asyncio.to_thread(rise)
        await answers(f"{LOOPBACK}:{guest.port}")

    def close(self) -> None:
        """Nobody is connected any more."""
        self.connection.close()
        self.binding.close()
