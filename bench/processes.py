"""CPU time of the processes that take part, as the kernel counts it; in ticks of 10 ms, so over seconds only."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_USER: Final = 11
"""Where user time stands behind the program's name in /proc/PID/stat; system time follows."""

HERE: Final = "here"
"""The bench's own process: all requesters, and the reader that sees the decisions."""


class Clock:
    """Seconds of CPU by party since the last lap."""

    def __init__(self, parties: dict[str, Sequence[int]]) -> None:
        self._parties = {**parties, HERE: [os.getpid()]}
        self._last = self._read()

    def restart(self) -> None:
        """The next lap begins now."""
        self._last = self._read()

    def lap(self, count: int) -> dict[str, float]:
        """Microseconds that each party took for one of `count` things since the last lap; the next begins now."""
        last, self._last = self._last, self._read()
        return {name: (seconds - last[name]) / max(1, count) * 1e6 for name, seconds in self._last.items()}

    def _read(self) -> dict[str, float]:
        return {name: sum(map(_seconds, pids)) for name, pids in self._parties.items()}


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_USER + 1])) / _TICKS
