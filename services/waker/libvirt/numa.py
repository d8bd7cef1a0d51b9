"""The one node of its host on which a pinned VM has its memory and its vCPU.

What a node has is libvirt's word (its capabilities), what of it is taken are the pinned domains of ours that hold memory there or
are about to. VMs of pools that pin nothing are not counted: their memory is wherever the kernel put it. The node with the most
left is taken, so that VMs spread over the nodes.

The trap: memory of a pinned VM is strictly its node's. Were it let onto another when its own is full, it would be slow with nobody
knowing, which is what pinning is asked for to prevent. So a VM that fits no node is refused, also where its host has room in all.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

import libvirt

from services.waker.libvirt.marks import Mark
from services.waker.port import SAVE_SECONDS, Domain, HypervisorError, Unknown

_VCPU: Final = re.compile(r"<vcpu\b([^>]*)>[^<]*</vcpu>")
_SAID: Final = ("<numatune", "<vcpupin", "<emulatorpin")


class NodesFullError(HypervisorError):
    """No node of the host has room for the pinned VM; trying again at once cannot help."""

    code = "NodesFull"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


class UnpinnableError(HypervisorError):
    """The template says itself where its VMs are, or has no place to say it."""

    code = "TemplateMissing"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


@dataclass(frozen=True, slots=True)
class Node:
    """A NUMA node of a host: CPUs, and the memory beside them."""

    number: int
    cpus: tuple[int, ...]
    memory_mib: int


def nodes(capabilities: str) -> tuple[Node, ...]:
    """The nodes that have both CPUs and memory, from libvirt's description of the host; memory alone is no place for a VM."""
    root = ET.fromstring(capabilities)  # noqa: S314 - libvirt's own words
    found = (_node(cell) for cell in root.iterfind("host/topology/cells/cell"))
    return tuple(node for node in found if node.cpus and node.memory_mib > 0)


def _node(cell: ET.Element) -> Node:
    cpus = sorted(int(cpu.get("id", "0")) for cpu in cell.iterfind("cpus/cpu"))
    return Node(int(cell.get("id", "0")), tuple(cpus), int(cell.findtext("memory") or 0) // 1024)


def taken_mib(pinned: Iterable[Mark]) -> Counter[int]:
    """What is taken of each node by these domains; one that is not pinned takes nothing."""
    taken: Counter[int] = Counter()
    for mark in pinned:
        if mark.node is not None:
            taken[mark.node] += mark.size.memory_mib
    return taken


def choose(host: str, known: Iterable[Node], taken_mib: Mapping[int, int], memory_mib: int) -> Node:
    """The node with the most memory left, the lowest of several; `NodesFullError` where none has so much left."""
    left = {node: node.memory_mib - taken_mib.get(node.number, 0) for node in known}
    best = max(left, key=lambda node: (left[node], -node.number), default=None)
    if best is None or left[best] < memory_mib:
        most = (
            f"node {best.number} has the most left, {max(left[best], 0)} MiB" if best else "it tells of none"
        )
        raise NodesFullError(
            f"No NUMA node of host {host} has {memory_mib} MiB for a pinned VM: {most}. Nothing was started: stop a pinned VM there, "
            'choose a smaller size, or define the pool with numa = "free".'
        )
    return best


class Pinning:
    """Which node each pinned domain of one connection goes to."""

    def __init__(
        self, host: str, connection: libvirt.virConnect, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._host = host
        self._connection = connection
        self._seconds = seconds
        self._coming: dict[str, float] = {}
        """Domains that have a node and were not started yet, and until when they may be: they will hold memory of it."""

    def node(
        self, name: str, memory_mib: int, listed: Iterable[Domain | Unknown], marks: Mapping[str, Mark]
    ) -> Node:
        """Where the domain goes when it starts from off; what it holds now, awake, is free by then. `NodesFullError` where it fits none."""
        awake = {one.name for one in listed if one.state not in {"off", "missing"}}
        coming = {one for one, until in self._coming.items() if self._seconds() < until}
        others = [marks[one] for one in (awake | coming) - {name} if one in marks]
        known = nodes(self._connection.getCapabilities())
        return choose(self._host, known, taken_mib(others), memory_mib)

    def comes(self, name: str) -> None:
        """It holds its node's memory from here on: as long as a start may land, for an order that holds no more starts nothing."""
        self._coming[name] = self._seconds() + SAVE_SECONDS

    def came(self, name: str) -> None:
        """It was started, or will not be: libvirt's own list has it, or nobody needs to."""
        self._coming.pop(name, None)


def pin(xml: str, node: Node) -> str:
    """The domain's XML with memory strictly from the node, and with all its vCPU, plugged ones too, on CPUs of it alone."""
    found = _VCPU.search(xml)
    if found is None or "cpuset" in found[1] or any(word in xml for word in _SAID):
        raise UnpinnableError(
            "The pool pins its VMs to NUMA nodes, and its template says itself where they are, or has no <vcpu>: a template for that "
            "has <vcpu> without a cpuset, and neither <numatune> nor pins of its own. Nothing was started."
        )
    at = found.start(1)
    cpus = ",".join(map(str, node.cpus))
    memory = f"\n  <numatune><memory mode='strict' nodeset='{node.number}'/></numatune>"
    return f"{xml[:at]} cpuset='{cpus}'{xml[at : found.end()]}{memory}{xml[found.end() :]}"
