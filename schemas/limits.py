"""What VMs a kept pool may have: limits as dated profiles, and why a size, a disk or an image is not within them.

`managed` is the profile of guests that the platform keeps in order, and of every pool that names no other: the strictest is
what nobody has to be warned of. `platform` is for pools that take the sizes of `schemas.sizes` whole, up to 64 vCPU and 256 GiB.
`lab` is for the tiny guests of a house on one machine. Each has rows with dates; a row is never changed, a newer one follows it.

"10 TiB and more" of disk is read so: 10 TiB through the API; more is the operators' to give, up to 16 TiB, where ext4 with block
numbers of 32 bits ends and a filesystem would have to be made anew instead of grown.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from schemas.capacity import Size
from schemas.dated import at
from schemas.image import MANAGED_FLOOR_MIB, Kind
from schemas.moment import Moment
from schemas.names import Count, Word
from schemas.objection import Objection
from schemas.struct import Value

ProfileName = Literal["managed", "platform", "lab"]

Door = Literal["api", "operator"]
"""Through which a request comes: the API, which is everybody's, or an operator of the platform, whom one can ask for more."""

_GIB: Final = 1024
"""In MiB."""
_GIB_BYTES: Final = 2**30
_TIB_BYTES: Final = 2**40


class Profile(Value, frozen=True):
    """What one VM may have, from an instant on, until a later row of the same name begins. All bounds are inclusive."""

    name: ProfileName
    version: Word
    valid_from: Moment
    most_vcpu: Count
    least_memory_mib: Count
    most_memory_mib: Count
    api_memory_mib: Count
    """The most that is given through the API."""
    managed_floor_mib: Count
    """Below it no managed guest is ordered; 0 before there was such a floor."""
    least_disk_bytes: Count
    most_disk_bytes: Count
    api_disk_bytes: Count
    images: tuple[Kind, ...]
    least_vcpu: Count = 1

    @property
    def whose(self) -> str:
        """Whose limit it is, for the end of a sentence."""
        return f"limit of the profile {self.name}, {self.version}, in force since {self.valid_from:%Y-%m-%d}"


def _since(year: int, month: int, day: int) -> dt.datetime:
    return dt.datetime(year, month, day, tzinfo=dt.UTC)


_FIRST: Final = Profile(
    name="managed",
    version="limits-2023-02",
    valid_from=_since(2023, 2, 9),
    most_vcpu=12,
    least_memory_mib=1 * _GIB,
    most_memory_mib=128 * _GIB,
    api_memory_mib=64 * _GIB,
    managed_floor_mib=0,
    least_disk_bytes=30 * _GIB_BYTES,
    most_disk_bytes=16 * _TIB_BYTES,
    api_disk_bytes=10 * _TIB_BYTES,
    images=("nixos-managed",),
)
_WITH_CLOUD_INIT: Final = msgspec.structs.replace(
    _FIRST,
    version="limits-2025-09",
    valid_from=_since(2025, 9, 29),
    images=("nixos-managed", "cloud-init"),
)
_WITH_FLOOR: Final = msgspec.structs.replace(
    _WITH_CLOUD_INIT,
    version="limits-2026-05",
    valid_from=_since(2026, 5, 6),
    managed_floor_mib=MANAGED_FLOOR_MIB,
)
MANAGED: Final = (_FIRST, _WITH_CLOUD_INIT, _WITH_FLOOR)
"""From the platform's page on virtual machines and the dates of its changes: 12 vCPU since 2023-02-09, guests by cloud-init
since 2025-09-29, the floor since 2026-05-06."""

PLATFORM: Final = tuple(
    msgspec.structs.replace(
        row, name="platform", most_vcpu=64, most_memory_mib=256 * _GIB, api_memory_mib=256 * _GIB
    )
    for row in MANAGED
)
"""The same with the bounds of `vs.4xl`, through either door; every size of both families is within them."""

LAB: Final = (
    msgspec.structs.replace(
        _FIRST,
        name="lab",
        most_vcpu=64,
        least_memory_mib=32,
        most_memory_mib=256 * _GIB,
        api_memory_mib=256 * _GIB,
        managed_floor_mib=MANAGED_FLOOR_MIB,
        least_disk_bytes=2**20,
        images=("lab", "nixos-managed", "cloud-init"),
    ),
)
"""Guests of tens of MiB, which only show that they live; what is no guest of the lab needs its memory here too."""

PROFILES: Final[Mapping[ProfileName, tuple[Profile, ...]]] = {
    "managed": MANAGED,
    "platform": PLATFORM,
    "lab": LAB,
}


def profile(name: ProfileName, now: dt.datetime) -> Profile:
    """The row of the profile that holds at an instant; `PolicyError` before the oldest."""
    return at(PROFILES[name], now)


def check(
    size: Size,
    disk_bytes: int | None,
    image: str,
    limits: Profile,
    door: Door,
    *,
    present_disk_bytes: int | None = None,
) -> Objection | None:
    """The first reason why a VM may not be so; None when it may.

    `disk_bytes` is None for a VM without a disk. `present_disk_bytes` is given where a VM is there already: its disk never
    shrinks, and one that stays as it is is not judged anew, so that a later and stricter policy does not bar other changes.
    """
    return (
        _image(image, limits)
        or _vcpu(size, limits)
        or _memory(size, image, limits, door)
        or check_disk(disk_bytes, limits, door, present_disk_bytes)
    )


def check_disk(
    disk_bytes: int | None, limits: Profile, door: Door, present_disk_bytes: int | None = None
) -> Objection | None:
    """The same for the disk alone, as where only the disk is to grow."""
    if present_disk_bytes is not None and (disk_bytes is None or disk_bytes < present_disk_bytes):
        wanted = "be taken away" if disk_bytes is None else f"become {amount(disk_bytes)}"
        return Objection(
            "DiskShrinks",
            f"The disk has {amount(present_disk_bytes)} and was to {wanted}: a disk only grows, which no filesystem would survive "
            "otherwise. For a much smaller one provision a new VM and move the data there; it is best to start small and to grow.",
        )
    if disk_bytes is None or disk_bytes == present_disk_bytes:
        return None
    if disk_bytes < limits.least_disk_bytes:
        return Objection(
            "DiskTooSmall",
            f"A disk of {amount(disk_bytes)} was asked for; the least is {amount(limits.least_disk_bytes)} ({limits.whose}). Ask for "
            f"{amount(limits.least_disk_bytes)}.",
        )
    if disk_bytes > limits.most_disk_bytes:
        return Objection(
            "DiskTooLarge",
            f"A disk of {amount(disk_bytes)} was asked for; the most is {amount(limits.most_disk_bytes)} ({limits.whose}). Keep so "
            "much in object storage, or spread it over several VMs.",
        )
    if door == "api" and disk_bytes > limits.api_disk_bytes:
        return Objection(
            "DiskNeedsOperator",
            f"A disk of {amount(disk_bytes)} was asked for; through the API the most is {amount(limits.api_disk_bytes)} "
            f"({limits.whose}). Keep so much in object storage, or ask the operators, who can give up to "
            f"{amount(limits.most_disk_bytes)}.",
        )
    return None


def amount(count_bytes: int) -> str:
    """Bytes for people, exactly: in the largest unit of which they are a whole number, so that no two amounts look alike."""
    units = ((2**40, "TiB"), (_GIB_BYTES, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
    scale, unit = next(
        ((scale, unit) for scale, unit in units if count_bytes and count_bytes % scale == 0), (1, "bytes")
    )
    return f"{count_bytes // scale} {unit}"


def _image(image: str, limits: Profile) -> Objection | None:
    if image in limits.images:
        return None
    return Objection(
        "ImageUnknown",
        f"There is no image of the kind {image!a:.40} ({limits.whose}): choose {' or '.join(limits.images)}.",
    )


def _vcpu(size: Size, limits: Profile) -> Objection | None:
    if size.vcpu < limits.least_vcpu:
        return Objection(
            "VcpuTooFew",
            f"{size.name} has {size.vcpu} vCPU; the least is {limits.least_vcpu} ({limits.whose}). Choose a larger size.",
        )
    if size.vcpu > limits.most_vcpu:
        return Objection(
            "VcpuTooMany",
            f"{size.name} has {size.vcpu} vCPU; the most is {limits.most_vcpu} ({limits.whose}). Choose a smaller size and more VMs, "
            "or ask the operators for another profile.",
        )
    return None


def _memory(size: Size, image: str, limits: Profile, door: Door) -> Objection | None:
    asked, of = f"{size.name} has {_mib(size.memory_mib)} of memory", size.memory_mib
    if of < limits.least_memory_mib:
        return Objection(
            "MemoryTooSmall",
            f"{asked}; the least is {_mib(limits.least_memory_mib)} ({limits.whose}). Choose a larger size.",
        )
    if of > limits.most_memory_mib:
        return Objection(
            "MemoryTooLarge",
            f"{asked}; the most is {_mib(limits.most_memory_mib)} ({limits.whose}). Choose a smaller size and more VMs, or ask the "
            "operators for another profile.",
        )
    if door == "api" and of > limits.api_memory_mib:
        return Objection(
            "MemoryNeedsOperator",
            f"{asked}; through the API the most is {_mib(limits.api_memory_mib)} ({limits.whose}). Ask the operators, who can give "
            f"up to {_mib(limits.most_memory_mib)}.",
        )
    if image == "nixos-managed" and of < limits.managed_floor_mib:
        return Objection(
            "MemoryBelowFloor",
            f"{asked}; a managed guest has at least {_mib(limits.managed_floor_mib)}, of which its own services can take nearly all "
            f"({limits.whose}). Choose a larger size, or an image by cloud-init, which you manage yourself.",
        )
    return None


def _mib(count_mib: int) -> str:
    return amount(count_mib * 2**20) if count_mib else "0 MiB"


__all__ = [
    "LAB",
    "MANAGED",
    "PLATFORM",
    "PROFILES",
    "Door",
    "Profile",
    "ProfileName",
    "amount",
    "check",
    "check_disk",
    "profile",
]
