"""What the kernel of this machine counts of its own idleness: C-states of its CPUs, and energy by RAPL.

Both are absent on many machines, virtual ones above all, and energy is for root alone: what cannot be read is left out. The
numbers are the machine's: two hypervisors on one machine report the same.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ROOT: Final = Path("/sys")
_LOCAL: Final = frozenset({"qemu", "qemu+unix"})


def is_here(uri: str) -> bool:
    """Whether the hypervisor of a libvirt URI runs on this machine; libvirt's test driver runs on none."""
    parts = urlsplit(uri)
    return parts.scheme in _LOCAL and not parts.hostname


@dataclass(frozen=True, slots=True)
class Counters:
    """Microseconds by idle state, all CPUs together, and microjoules by zone, with the number at which a zone begins anew."""

    idle_us: Mapping[str, int] = field(default_factory=dict[str, int])
    energy_uj: Mapping[str, int] = field(default_factory=dict[str, int])
    wraps_uj: Mapping[str, int] = field(default_factory=dict[str, int])


async def counters() -> Counters:
    """The counters of this machine, read in a thread."""
    return await asyncio.to_thread(read)


def read(root: Path = ROOT) -> Counters:
    """The counters as they are; blocks for some 10 us per CPU and state."""
    idle: Counter[str] = Counter()
    for state in root.glob("devices/system/cpu/cpu[0-9]*/cpuidle/state[0-9]*"):
        name, spent = _text(state / "name"), _number(state / "time")
        if name and spent is not None:
            idle[_word(name)] += spent
    energy, wraps = dict[str, int](), dict[str, int]()
    for zone in sorted((root / "class/powercap").glob("intel-rapl*:*")):
        name, drawn = _text(zone / "name"), _number(zone / "energy_uj")
        if name and drawn is not None:
            # Zones of several packages bear one name: only the directory's numbers tell them apart.
            own = _word(f"{name}-{zone.name.partition(':')[2].replace(':', '-')}")
            energy[own] = drawn
            wraps[own] = _number(zone / "max_energy_range_uj") or 0
    return Counters(dict(idle), energy, wraps)


class Meter:
    """What was counted since it was set going, sample by sample: an energy counter begins anew within the hour."""

    def __init__(self, first: Counters) -> None:
        self._last = first
        self.idle_us: dict[str, int] = dict.fromkeys(first.idle_us, 0)
        self.energy_uj: dict[str, int] = dict.fromkeys(first.energy_uj, 0)

    def sample(self, now: Counters) -> None:
        """The meter now includes what was counted since the last sample; what is not there any more counts no further."""
        for state in self.idle_us:
            self.idle_us[state] += max(0, now.idle_us.get(state, 0) - self._last.idle_us.get(state, 0))
        for zone in self.energy_uj:
            before, after = self._last.energy_uj.get(zone), now.energy_uj.get(zone)
            if before is not None and after is not None:
                drawn = after - before if after >= before else after - before + now.wraps_uj.get(zone, 0)
                self.energy_uj[zone] += max(0, drawn)
        self._last = now


def _word(text: str) -> str:
    """The name as a word of an event: `POLL`, `C1E`, `package-0-0`."""
    word = "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "-" for one in text)[:64]
    return word if word[:1].isalpha() else f"x{word}"[:64]


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:  # not there, or not for us
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isdecimal() else None
