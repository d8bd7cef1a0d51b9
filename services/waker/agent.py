"""The QEMU guest agent of one domain: its clock set, its entropy refreshed; every call here blocks.

A guest that slept wakes with the clock of the moment when it fell asleep, and with the state of its random generator from
then. Without KVM the whole took 30 to 40 ms: 1.5 ms for each word with the agent, 25 ms for the clock, since the agent starts
`hwclock` for it (docs/performance.md).
"""

import base64
import json
import os
import time
from collections.abc import Callable
from typing import Any, Final, cast

import libvirt
import libvirt_qemu

from events.clock import SystemClock
from services.waker.port import ENTROPY_BYTES, REFRESH_SECONDS

_ANSWER_SECONDS: Final = 1
"""How long one answer of the agent is waited for; libvirt counts in whole seconds."""

_AGAIN_SECONDS: Final = 0.02
_POOL: Final = "/dev/urandom"
_AWAY: Final = libvirt.VIR_ERR_AGENT_UNRESPONSIVE


def refresh(domain: libvirt.virDomain) -> int:
    """The guest's clock is this machine's, and its kernel has fresh randomness; so many bytes.

    After a restore the agent may be away for some 100 ms, so it is asked again until `REFRESH_SECONDS` are over; then
    `libvirtError` says why not. The trap: the clock is read as late as can be, and set in one call.
    """
    set_time = cast("Callable[[dict[str, int]], int]", domain.setTime)  # its annotation is wrong
    ends_at = time.monotonic() + REFRESH_SECONDS
    while True:
        try:
            domain.agentSetResponseTimeout(_ANSWER_SECONDS)
            written = _write(domain, os.urandom(ENTROPY_BYTES))
            now = SystemClock().now()
            set_time({"seconds": int(now.timestamp()), "nseconds": now.microsecond * 1000})
        except libvirt.libvirtError as error:
            if error.get_error_code() != _AWAY or time.monotonic() + _ANSWER_SECONDS > ends_at:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return written


def _write(domain: libvirt.virDomain, fresh: bytes) -> int:
    """So many bytes of it are mixed into the guest's pool: whatever is written to its device is."""
    handle = _ask(domain, "guest-file-open", path=_POOL, mode="w")
    try:
        answer = _ask(
            domain, "guest-file-write", **{"handle": handle, "buf-b64": base64.b64encode(fresh).decode()}
        )
    finally:
        _ask(domain, "guest-file-close", handle=handle)
    return int(answer["count"])


def _ask(domain: libvirt.virDomain, command: str, **arguments: object) -> Any:
    """The agent's answer to one command."""
    asked = json.dumps({"execute": command, "arguments": arguments})
    answer: str = libvirt_qemu.qemuAgentCommand(domain, asked, _ANSWER_SECONDS, 0)
    return json.loads(answer)["return"]
