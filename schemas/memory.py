"""What a managed guest's memory goes to before its work begins, and what is there when memory runs short.

The figures are observed maxima of a small machine, from the platform's page on virtual machines. They do not peak together, so
their sum is more than the 3 GiB that are asked for, and with all options it is even more than the page's own headings add up to
(3,568 against 3,424 MiB). So nothing here says that the sum must fit: it is shown, beside the floor, with a verdict.
"""

import math
from typing import Final, Literal

from schemas.capacity import Size
from schemas.image import MANAGED_FLOOR_MIB, Kind
from schemas.names import Count
from schemas.sizes import FAMILIES, family_of
from schemas.struct import Value

SWAPPINESS: Final = 1
"""vm.swappiness of managed guests: nothing is written to swap before memory is really short."""

WORK_MIB: Final = 512
"""The load of work that a guest with the least memory is expected to carry besides."""

LEAST_SWAP_MIB: Final = 1024
LEAST_TMP_GIB: Final = 5

MANAGEMENT_MIB: Final = 1126
"""1.1 GiB: building the system and collecting its garbage, one at a time."""
TELEGRAF_MIB: Final = 256
SENSU_MIB: Final = 256
ALLOY_MIB: Final = 256
FILEBEAT_MIB: Final = 100
"""Each of one or two."""
JOURNAL_MIB: Final = 100
FAIL2BAN_MIB: Final = 100
USERLAND_MIB: Final = 100
CACHE_MIB: Final = 1024

_KERNEL_HUNDREDTHS_MIB: Final = 8860
_KERNEL_PERCENT: Final = 2

Group = Literal["kernel", "management", "telemetry", "userland", "cache"]

Filebeats = Literal[1, 2]

Verdict = Literal["below-floor", "peaks-exceed", "peaks-fit"]
"""Refused; enough as long as not everything peaks at once; enough even then."""


class Part(Value, frozen=True):
    """One of those that take memory, and how much it takes at its highest."""

    group: Group
    name: str
    memory_mib: Count


class Breakdown(Value, frozen=True):
    """Where a guest's memory goes, what is left when everything peaks at once, and what follows."""

    memory_mib: Count
    image: Kind
    parts: tuple[Part, ...]
    floor_mib: Count
    """0 for an image that has none."""
    sum_mib: Count
    """All parts at their highest."""
    left_mib: int
    """For the work when all parts are at their highest; negative where they do not fit."""
    swap_mib: Count
    swappiness: Count
    verdict: Verdict
    sentence: str


def explain(memory_mib: int, image: Kind, *, alloy: bool = False, filebeats: Filebeats = 1) -> Breakdown:
    """Where the memory of such a guest goes.

    Management and telemetry are the platform's own, so that a guest which it does not manage has neither, and no floor: of that
    one no more is known than its kernel, a plain userland and the cache that any system wants.
    """
    managed = image == "nixos-managed"
    parts = (
        Part("kernel", "kernel structures", kernel_mib(memory_mib)),
        *(_managed_parts(alloy=alloy, filebeats=filebeats) if managed else ()),
        Part("userland", "Linux userland", USERLAND_MIB),
        Part("cache", "buffers and VFS cache", CACHE_MIB),
    )
    floor, whole = MANAGED_FLOOR_MIB if managed else 0, sum(part.memory_mib for part in parts)
    verdict: Verdict = (
        "below-floor" if memory_mib < floor else "peaks-exceed" if memory_mib < whole else "peaks-fit"
    )
    return Breakdown(
        memory_mib=memory_mib,
        image=image,
        parts=parts,
        floor_mib=floor,
        sum_mib=whole,
        left_mib=memory_mib - whole,
        swap_mib=swap_mib(memory_mib),
        swappiness=SWAPPINESS,
        verdict=verdict,
        sentence=_sentence(verdict, memory_mib, whole, image),
    )


def relief(size: Size) -> str:
    """What whoever has a guest of this size can do when it ran out of memory: the next size, and swap meanwhile.

    Twice as much where its size is its own, or the largest of its family.
    """
    family = family_of(size)
    sizes = FAMILIES[family] if family is not None else ()
    larger = next((one for one in sizes if one.memory_mib > size.memory_mib), None)
    name = larger.name if larger is not None else f"{size.vcpu}x{2 * size.memory_mib}"
    memory_mib = larger.memory_mib if larger is not None else 2 * size.memory_mib
    return (
        f"Give it more memory: the next size is {name} with {memory_mib} MiB. Until then let it have {swap_mib(size.memory_mib)} MiB of "
        "swap, or run less in it."
    )


def kernel_mib(memory_mib: int) -> int:
    """MiB that the kernel keeps to itself and that no guest's MemTotal shows, rounded to the nearest.

    88.6 MiB and 2 % meet both figures that are stated: 150 MiB of 3 GiB, and "around 1.3 GiB" of 64 GiB (1,399 MiB).
    """
    return (_KERNEL_HUNDREDTHS_MIB + _KERNEL_PERCENT * memory_mib + 50) // 100


def swap_mib(memory_mib: int) -> int:
    """MiB of swap beside so much memory: 32 times the square root, rounded down, and never below 1,024.

    1,773 beside 3 GiB, 8,192 beside 64 GiB, 11,585 beside 128 GiB.
    """
    return max(LEAST_SWAP_MIB, math.isqrt(32 * 32 * memory_mib))


def tmp_gib(disk_bytes: int) -> int:
    """GiB for temporary files beside such a disk: the square root of its GiB, rounded down, and never below 5.

    5 beside 30 GiB, 101 beside 10 TiB.
    """
    return max(LEAST_TMP_GIB, math.isqrt(disk_bytes >> 30))


def _managed_parts(*, alloy: bool, filebeats: Filebeats) -> tuple[Part, ...]:
    return (
        Part("management", "system management", MANAGEMENT_MIB),
        Part("telemetry", "Telegraf", TELEGRAF_MIB),
        Part("telemetry", "Sensu", SENSU_MIB),
        *((Part("telemetry", "Alloy", ALLOY_MIB),) if alloy else ()),
        Part(
            "telemetry",
            "Filebeat" if filebeats == 1 else f"Filebeat, {filebeats} of them",
            FILEBEAT_MIB * filebeats,
        ),
        Part("telemetry", "systemd journal", JOURNAL_MIB),
        Part("telemetry", "Fail2ban", FAIL2BAN_MIB),
    )


def _sentence(verdict: Verdict, memory_mib: int, whole: int, image: Kind) -> str:
    if verdict == "below-floor":
        return (
            f"{memory_mib} MiB are below the {MANAGED_FLOOR_MIB} MiB that a managed guest needs: such a VM is refused. Take a larger "
            "size, or an image by cloud-init, which you manage yourself."
        )
    if verdict == "peaks-exceed" and image == "nixos-managed":
        return (
            f"{memory_mib} MiB are enough, although {whole - memory_mib} MiB would be lacking if everything peaked at once, which "
            f"it rarely does: work of about {WORK_MIB} MiB runs besides. Take more memory for more work."
        )
    if verdict == "peaks-exceed":
        why = (
            "a guest of the lab has hardly a userland and nothing to cache"
            if image == "lab"
            else "the guest is yours to manage, and its disks will be read more often"
        )
        return f"{memory_mib} MiB are {whole - memory_mib} MiB less than kernel, userland and a good cache take; nothing is refused: {why}."
    return f"{memory_mib} MiB are enough even if everything peaks at once: {memory_mib - whole} MiB are left for the work."


__all__ = [
    "SWAPPINESS",
    "WORK_MIB",
    "Breakdown",
    "Filebeats",
    "Group",
    "Part",
    "Verdict",
    "explain",
    "kernel_mib",
    "relief",
    "swap_mib",
    "tmp_gib",
]
