"""What libvirt says of a domain by itself, and the thread in which it says it."""

import functools
import os
import threading
from typing import Final

import libvirt

from services.waker.port import DomainState

_EVENTS: Final[dict[int, tuple[DomainState, str]]] = {
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: ("missing", "undefined"),
    libvirt.VIR_DOMAIN_EVENT_STARTED: ("running", "started"),
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: ("paused", "paused"),
    libvirt.VIR_DOMAIN_EVENT_RESUMED: ("running", "resumed"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED: ("off", "stopped"),
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: ("paused", "suspended-to-ram"),
    libvirt.VIR_DOMAIN_EVENT_CRASHED: ("off", "crashed"),
}
_RESTORED: Final = (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_RESTORED)
_STOPS: Final = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "failed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: "saved",
}


def meant(event: int, detail: int) -> tuple[DomainState, str] | None:
    """The state that an event of a domain's life leads to, and libvirt's word for why; None for one that changes none."""
    known = _EVENTS.get(event)
    if known is None:
        return None
    state, word = known
    if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
        word = _STOPS.get(detail, word)
    if word == "saved":
        return "saved", word
    if (event, detail) == _RESTORED:
        return "paused", word  # its memory was saved so; that it runs is the next event
    return state, word


@functools.cache
def event_loop() -> threading.Thread:
    """libvirt's event loop runs in a thread of its own: once per process, and before the first connection."""
    # A plain user's client would start a libvirtd of that user when ours is away, and wait for it in vain.
    os.environ.setdefault("LIBVIRT_AUTOSTART", "0")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_run_events, name="libvirt-events", daemon=True)
    thread.start()
    return thread


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
