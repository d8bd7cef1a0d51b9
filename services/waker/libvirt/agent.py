"""The QEMU guest agent of one domain: its clock set, its entropy refreshed; every call here blocks.

A guest that slept wakes with the clock of the moment when it fell asleep, and with the state of its random generator from
then. Without KVM the whole took 30 to 40 ms: 1.5 ms for each word with the agent, 25 ms for the clock, since the agent starts
`hwclock` for it (docs/performance.md).
"""

import base64
import json
import math
import os
import time
from collections.abc import Callable
from typing import Annotated, Final, Generic, TypeVar, cast

import libvirt
import libvirt_qemu
import msgspec

from events.clock import SystemClock
from services.waker.port import ENTROPY_BYTES, REFRESH_SECONDS, HypervisorError

_AGAIN_SECONDS: Final = 0.02
_MOST_OFF_MS: Final = 250
"""Half of what a woken guest's clock may be off: the other half is the probe's way to it and back."""

_POOL: Final = "/dev/urandom"
_COUNTERS: Final = "/proc/vmstat"
_KILLS: Final = "oom_kill"
_MOST_DIGITS: Final = 12
_MOST_READ_BYTES: Final = 16_384
"""The counters of a kernel take some 4 KiB."""

ASK_SECONDS: Final = 2.0
"""How long an agent has for an answer that nobody waits for; it takes some 5 ms without KVM."""

_AWAY: Final = libvirt.VIR_ERR_AGENT_UNRESPONSIVE

Said = TypeVar("Said")
_Handle = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Written = Annotated[int, msgspec.Meta(ge=0, le=ENTROPY_BYTES)]


class _Answer(msgspec.Struct, Generic[Said], frozen=True):
    """What the agent answered; it is a program of the tenant, and may say anything."""

    said: Said = msgspec.field(name="return")


class _Count(msgspec.Struct, frozen=True):
    """How many bytes were written: not more than it was given."""

    count: _Written


class _Read(msgspec.Struct, frozen=True):
    """What was read of a file, in base64."""

    text: Annotated[str, msgspec.Meta(max_length=2 * _MOST_READ_BYTES)] = msgspec.field(name="buf-b64")


def kills(domain: libvirt.virDomain) -> int:
    """How many processes the guest's kernel killed since its boot for want of memory, by its own count.

    `libvirtError` where there is no agent, `HypervisorError` where it does not say: what a tenant's program answers is not believed
    beyond a number.
    """
    text = _file(domain, _COUNTERS, time.monotonic() + ASK_SECONDS)
    for line in text.splitlines():
        name, _, count = line.partition(" ")
        if name == _KILLS and count.isdecimal() and len(count) <= _MOST_DIGITS:
            return int(count)
    raise HypervisorError(
        f"The kernel in {domain.name()} counts no processes that it killed for want of memory."
    )


def _file(domain: libvirt.virDomain, path: str, ends_at: float) -> str:
    """The beginning of a file of the guest's."""
    domain.agentSetResponseTimeout(_left(ends_at))
    handle = _ask(domain, ends_at, _Answer[_Handle], "guest-file-open", path=path, mode="r")
    try:
        asked = {"handle": handle, "count": _MOST_READ_BYTES}
        read = _ask(domain, ends_at, _Answer[_Read], "guest-file-read", **asked)
        return base64.b64decode(read.text, validate=True).decode("ascii", "replace")
    except ValueError as error:
        raise HypervisorError(
            f"The agent in {domain.name()} gave no proper answer about {path}: {error}."
        ) from error
    finally:
        _ask(domain, ends_at, _Answer[object], "guest-file-close", handle=handle)


def refresh(domain: libvirt.virDomain) -> int:
    """The guest's clock is this machine's, and its kernel has fresh randomness; so many bytes.

    After a restore the agent may be away for some 100 ms, and a busy host lets it wait before it reads its mail: it is asked
    again until `REFRESH_SECONDS` are over. Then `libvirtError` says why not, or `HypervisorError` how far the clock is off:
    what was set is read back, since a clock that was right when it was sent is late when it is set. It says as well what was no
    proper answer: that is not asked again.
    """
    ends_at = time.monotonic() + REFRESH_SECONDS
    while True:
        try:
            domain.agentSetResponseTimeout(_left(ends_at))
            written = _write(domain, os.urandom(ENTROPY_BYTES), ends_at)
            off_ms = _set_clock(domain, ends_at)
        except libvirt.libvirtError as error:
            if error.get_error_code() != _AWAY or time.monotonic() > ends_at:
                raise
            time.sleep(_AGAIN_SECONDS)
            continue
        if abs(off_ms) <= _MOST_OFF_MS:
            return written
        if time.monotonic() > ends_at:
            raise HypervisorError(f"The clock of {domain.name()} was set, and is {off_ms} ms off.")


def _set_clock(domain: libvirt.virDomain, ends_at: float) -> int:
    """The guest's clock is set; how many ms it is ahead of ours now, or behind."""
    set_time = cast("Callable[[dict[str, int]], int]", domain.setTime)  # its annotation is wrong
    now = SystemClock().now()
    set_time({"seconds": int(now.timestamp()), "nseconds": now.microsecond * 1000})
    asked = SystemClock().now()
    guest_ns = _ask(domain, ends_at, _Answer[_Nanoseconds], "guest-get-time")
    middle = asked + (SystemClock().now() - asked) / 2
    return round(guest_ns / 1e6 - middle.timestamp() * 1e3)


def _write(domain: libvirt.virDomain, fresh: bytes, ends_at: float) -> int:
    """So many bytes of it are mixed into the guest's pool: whatever is written to its device is."""
    handle = _ask(domain, ends_at, _Answer[_Handle], "guest-file-open", path=_POOL, mode="w")
    try:
        text = base64.b64encode(fresh).decode()
        file = {"handle": handle, "buf-b64": text}
        return _ask(domain, ends_at, _Answer[_Count], "guest-file-write", **file).count
    finally:
        _ask(domain, ends_at, _Answer[object], "guest-file-close", handle=handle)


def _left(ends_at: float) -> int:
    """How long the agent may take for its next answer; libvirt counts in whole seconds."""
    return max(1, math.ceil(ends_at - time.monotonic()))


def _ask(
    domain: libvirt.virDomain, ends_at: float, kind: type[_Answer[Said]], command: str, **arguments: object
) -> Said:
    """The agent's answer to one command; `HypervisorError` where it is none, or says what cannot be.

    What is left until `ends_at` is counted anew each time, so that one that is slow with every word is given up all the same.
    """
    asked = json.dumps({"execute": command, "arguments": arguments})
    try:
        answer: str = libvirt_qemu.qemuAgentCommand(domain, asked, _left(ends_at), 0)
        return msgspec.json.decode(answer, type=kind).said
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise HypervisorError(
            f"The agent in {domain.name()} gave no proper answer to {command}: {error}."
        ) from error
