"""Ephemeral disks: how large the second disk of a VM is that its pool gives one, by its vCPU. Dated data.

Such a disk is on the VM's host, is empty at each boot, and counts against no contract. A VM has one from as many vCPU on as the
platform's `vs.xl` and `vc.xl` have, 8, and twice the bytes with each size above. The numbers are this project's own: the
platform speaks of no such disk. A size of one's own has what the named one with as many vCPU or fewer has.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from schemas import dated
from schemas.capacity import Size

_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """How large ephemeral disks are from an instant on."""

    version: str
    valid_from: dt.datetime
    steps: tuple[tuple[int, int], ...]
    """From so many vCPU on, so many bytes; the fewest vCPU first."""

    def of(self, size: Size) -> int:
        """The bytes that a VM of this size has; 0 for one too small to have any."""
        return max((amount for vcpu, amount in self.steps if vcpu <= size.vcpu), default=0)


POLICIES: Final = (
    Ephemeral(
        "ephemeral-2026-11",
        dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
        ((8, 50 * _GIB), (16, 100 * _GIB), (32, 200 * _GIB), (64, 400 * _GIB)),
    ),
)
"""The oldest first; none is ever changed."""


def ephemeral_bytes(size: Size, now: dt.datetime) -> int:
    """What a VM of this size that boots now has as its ephemeral disk; 0 where it has none.

    Before the oldest policy nobody had one, so that a clock that is far behind boots a VM without, and refuses none.
    """
    return dated.at(POLICIES, now).of(size) if now >= POLICIES[0].valid_from else 0


__all__ = ["POLICIES", "Ephemeral", "ephemeral_bytes"]
