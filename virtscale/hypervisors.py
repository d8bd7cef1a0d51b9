"""The hypervisors of one installation: a private libvirtd for each of its hosts, all below one short directory."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import accelerator, guest, template
from lab.hypervisor import Hypervisor, own
from lab.part import OnChange

DISK_MIB = 64
"""The disk of a VM of the lab's template: enough for a test or a demonstration to write files into."""


class Hypervisors:
    """One libvirtd per host; each has its own directory, sockets and guests, and all share the VM templates."""

    def __init__(self, private: Path, hosts: Sequence[str], say: Callable[[str], None]) -> None:
        self._private = private
        self._say = say
        self._by_host = {host: private / host for host in hosts}
        self.running: dict[str, Hypervisor] = {}
        """Those that were started, by host."""

    def uri(self, host: str) -> str:
        """What libvirt clients connect to."""
        return Hypervisor(self._by_host[host]).uri

    def volumes(self, host: str) -> str:
        """Where the disks of a host's guests are made."""
        return str(Hypervisor(self._by_host[host]).volumes)

    async def start(self, templates: Path, on_change: OnChange) -> template.Accelerator:
        """A libvirtd of each host answers, and the template lies where they all find it; says on what guests run.

        Call `stop` in any case: what was started before something failed runs.
        """
        self._say("guest image: building it once, then it is kept")
        image = await guest.build(guest.cache_directory())
        verdict = await accelerator.probe(image)
        self._say(f"guests run on {verdict.accelerator}: {verdict.reason}")
        self._private.mkdir(parents=True, exist_ok=True)
        self._private.chmod(0o711)
        for host, directory in self._by_host.items():
            hypervisor = Hypervisor(directory, name=f"libvirtd-{host}", keep=True, on_change=on_change)
            self.running[host] = hypervisor
            await hypervisor.start()
            self._say(f"libvirt of our own for {host} at {hypervisor.uri}")
        consoles = self._private / "console"
        consoles.mkdir(exist_ok=True)
        template.write(templates / "tiny", image, verdict.accelerator, own(consoles), disk_mib=DISK_MIB)
        return verdict.accelerator

    async def stop(self) -> None:
        """Guests, libvirtds and the private directory are gone; the directory lies in memory where root runs us."""
        try:
            for hypervisor in self.running.values():
                await self._end(hypervisor)
        finally:
            await asyncio.to_thread(shutil.rmtree, self._private, ignore_errors=True)

    async def _end(self, hypervisor: Hypervisor) -> None:
        try:
            if hypervisor.part.running:
                gone = await hypervisor.destroy_domains()
                self._say(f"{hypervisor.part.plan.name}: {len(gone)} guests are gone")
        finally:
            await hypervisor.stop()
