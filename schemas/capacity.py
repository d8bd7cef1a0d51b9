"""Capacity is four integers, and a percentage of it always rounds down."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec

from schemas.names import Count, Word
from schemas.struct import Value

BasisPoints = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
"""Hundredths of a percent: 1,000 is 10 %."""

Dimension = Literal["vcpu", "memory_mib", "block_bytes", "object_bytes"]

DIMENSIONS: Final[tuple[Dimension, ...]] = ("vcpu", "memory_mib", "block_bytes", "object_bytes")
"""Every dimension a contract names, in the order they are reported."""

ENFORCED: Final[tuple[Dimension, ...]] = ("vcpu", "memory_mib")
"""The dimensions of compute, which the gate checks with every VM that is to be awake."""

STORED: Final[tuple[Dimension, ...]] = ("block_bytes",)
"""The dimension that the gate checks where somebody asks for storage: it counts while it exists, awake or not."""

UNITS: Final[dict[Dimension, str]] = {
    "vcpu": "vCPU",
    "memory_mib": "MiB RAM",
    "block_bytes": "bytes of block storage",
    "object_bytes": "bytes of object storage",
}


class Capacity(Value, frozen=True):
    """An amount of all four dimensions: vCPU, RAM in MiB, block and object storage in bytes."""

    vcpu: Count = 0
    memory_mib: Count = 0
    block_bytes: Count = 0
    object_bytes: Count = 0

    def __add__(self, other: "Capacity") -> "Capacity":
        return Capacity(
            self.vcpu + other.vcpu,
            self.memory_mib + other.memory_mib,
            self.block_bytes + other.block_bytes,
            self.object_bytes + other.object_bytes,
        )

    def __sub__(self, other: "Capacity") -> "Capacity":
        """What is left; the caller must know that `other` is part of it: a negative amount does not exist."""
        left = Capacity(
            self.vcpu - other.vcpu,
            self.memory_mib - other.memory_mib,
            self.block_bytes - other.block_bytes,
            self.object_bytes - other.object_bytes,
        )
        assert min(left.vcpu, left.memory_mib, left.block_bytes, left.object_bytes) >= 0, (self, other)
        return left

    def __mul__(self, times: int) -> "Capacity":
        return Capacity(
            self.vcpu * times, self.memory_mib * times, self.block_bytes * times, self.object_bytes * times
        )

    def of(self, dimension: Dimension) -> int:
        """The amount in one dimension."""
        return int(getattr(self, dimension))

    def items(self) -> Iterator[tuple[Dimension, int]]:
        """Each dimension with its amount, in the order of `DIMENSIONS`."""
        return ((dimension, self.of(dimension)) for dimension in DIMENSIONS)


NOTHING: Final = Capacity()


class Size(Value, frozen=True):
    """What one VM of a pool takes while it is awake."""

    name: Word
    vcpu: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    memory_mib: Annotated[int, msgspec.Meta(ge=32, le=2**24)]

    @property
    def compute(self) -> Capacity:
        """The capacity that counts against the envelope while the VM is awake."""
        return Capacity(vcpu=self.vcpu, memory_mib=self.memory_mib)

    def larger(self, other: "Size") -> "Size":
        """Of both the larger in each dimension: what counts while one becomes the other."""
        return Size(self.name, max(self.vcpu, other.vcpu), max(self.memory_mib, other.memory_mib))


def envelope(quota: Capacity, allowance_bp: int) -> Capacity:
    """Quota times (1 + allowance), rounded down in every dimension: 105 of 100 vCPU at 5 %, never up."""
    return Capacity(*(amount + amount * allowance_bp // 10_000 for _, amount in quota.items()))


__all__ = [
    "DIMENSIONS",
    "ENFORCED",
    "NOTHING",
    "STORED",
    "UNITS",
    "BasisPoints",
    "Capacity",
    "Dimension",
    "Size",
    "envelope",
]
