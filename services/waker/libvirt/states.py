"""How a domain is, from libvirt's numbers to the waker's words."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, cast

import libvirt

from services.waker.port import DomainState

# A domain of which libvirt has no state, or that is shutting down, has not stopped yet: unknown counts as awake.
STATES: Final[dict[int, DomainState]] = {
    libvirt.VIR_DOMAIN_NOSTATE: "running",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",
    libvirt.VIR_DOMAIN_SHUTOFF: "off",
    libvirt.VIR_DOMAIN_CRASHED: "off",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
}


def state_of(domain: libvirt.virDomain) -> DomainState:
    """The state; an image that was saved shows only while the domain is off."""
    state = STATES[number(domain)]
    return "saved" if state == "off" and domain.hasManagedSaveImage() else state


def number(domain: libvirt.virDomain) -> int:
    """libvirt's own number for the state."""
    return int(domain.state()[0])


def image_bytes(domain: libvirt.virDomain) -> int:
    """What libvirt wrote when it saved the domain; after a restart it does not know any more, and then it is the guest's whole memory."""
    flags = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
    job_stats = cast("Callable[[int], Mapping[str, object]]", domain.jobStats)  # its annotation is wrong
    stats: Mapping[str, object] = {}
    with suppress(libvirt.libvirtError):
        stats = job_stats(flags)
    written = stats.get("data_processed")
    return written if isinstance(written, int) else int(domain.maxMemory()) * 1024
