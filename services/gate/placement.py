"""Where VMs go: a pure rule over what hosts carry. An idle host draws least, so VMs gather and hosts empty.

`fill` wakes and starts where most is awake already; `spread` where least is, so that one host's death takes as few as may be.
Whoever leaves, leaves the host that is to be emptied: one that is cordoned, else the one with the fewest awake.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heapreplace
from typing import TypeVar

from schemas.pool import Placement

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Load:
    """What one host carries: VMs awake, and memory in MiB that it still lends. A paused guest holds its own, a saved one none."""

    host: str
    ready: bool
    awake: int
    free_mib: int
    last: bool = False
    """Only when no other host will do: VMs failed there."""
    silent: bool = False
    """Starts there go by unanswered: nothing is sent there that could be elsewhere, which would hang as well and count."""


def to_wake(policy: Placement, loads: Iterable[Load]) -> list[Load]:
    """Hosts whose sleepers may be woken, the best first."""
    ready = [load for load in loads if load.ready and not load.silent]
    if policy == "fill":
        return sorted(ready, key=lambda load: (load.last, -load.awake, load.host))
    return sorted(ready, key=lambda load: (load.last, load.awake, load.host))


def to_empty(loads: Iterable[Load]) -> list[str]:
    """Hosts in the order in which their VMs should leave."""
    return [load.host for load in sorted(loads, key=lambda one: (one.ready, one.awake, one.host))]


def level(lines: Sequence[tuple[int, Iterator[T]]]) -> Iterator[T]:
    """Each from the line that stands lowest, which then stands one higher; until all are at their end."""
    heights = [(height, place) for place, (height, _) in enumerate(lines)]
    heapify(heights)
    while heights:
        height, place = heights[0]
        for one in lines[place][1]:
            heapreplace(heights, (height + 1, place))
            yield one
            break
        else:
            heappop(heights)


class Room:
    """Hosts that still lend memory, while orders are planned; what is taken here counts for the next one."""

    def __init__(self, loads: Iterable[Load]) -> None:
        self._loads = {load.host: load for load in loads}

    def wake(self, host: str) -> None:
        """A guest of the host wakes: it holds its memory already, and the host idles no more."""
        self._loads[host] = replace(self._loads[host], awake=self._loads[host].awake + 1)

    def take_on(self, host: str, memory_mib: int) -> bool:
        """Whether this very host had room, which is then taken."""
        load = self._loads.get(host)
        if load is None or load.free_mib < memory_mib:
            return False
        self._loads[host] = replace(load, free_mib=load.free_mib - memory_mib, awake=load.awake + 1)
        return True

    def take(self, policy: Placement, memory_mib: int) -> str | None:
        """The best host that had room, which is then taken; None when there is none.

        To fill: one that is awake already, and of those the one with the least room left.
        """
        fitting = [load for load in self._loads.values() if load.free_mib >= memory_mib and not load.silent]
        if not fitting:
            return None
        if policy == "fill":
            best = min(fitting, key=lambda load: (load.last, load.awake == 0, load.free_mib, load.host))
        else:
            best = min(fitting, key=lambda load: (load.last, load.awake, -load.free_mib, load.host))
        self.take_on(best.host, memory_mib)
        return best.host
