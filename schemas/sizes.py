"""The sizes of VMs: two families of seven, each twice the one before, and sizes of one's own as `2x8192`.

The general family has 4 GiB for each vCPU, `vs.s` 1/4 to `vs.4xl` 64/256; those two are the platform's own figures. The compute
family has 2 GiB for each vCPU; the platform names no sizes of it, so they are called `vc.s` to `vc.4xl` here. Which of them an
org may have is another question, which `schemas.limits` answers: a managed guest is limited to 12 vCPU, thus to `vs.xl`.
"""

import re
from types import MappingProxyType
from typing import Final, Literal

from schemas.capacity import Size

Family = Literal["general", "compute"]

GENERAL: Final = (
    Size("vs.s", 1, 4_096),
    Size("vs.m", 2, 8_192),
    Size("vs.l", 4, 16_384),
    Size("vs.xl", 8, 32_768),
    Size("vs.2xl", 16, 65_536),
    Size("vs.3xl", 32, 131_072),
    Size("vs.4xl", 64, 262_144),
)
"""4 GiB for each vCPU: what most work needs."""

COMPUTE: Final = (
    Size("vc.s", 1, 2_048),
    Size("vc.m", 2, 4_096),
    Size("vc.l", 4, 8_192),
    Size("vc.xl", 8, 16_384),
    Size("vc.2xl", 16, 32_768),
    Size("vc.3xl", 32, 65_536),
    Size("vc.4xl", 64, 131_072),
)
"""2 GiB for each vCPU. The trap: `vc.s` has less than the 3 GiB that a managed guest needs."""

FAMILIES: Final = MappingProxyType[Family, tuple[Size, ...]]({"general": GENERAL, "compute": COMPUTE})

NAMED: Final = MappingProxyType({size.name: size for sizes in FAMILIES.values() for size in sizes})
"""Every size that has a name of the platform's."""

MOST_VCPU: Final = 1024
LEAST_MEMORY_MIB: Final = 32
MOST_MEMORY_MIB: Final = 2**24
"""What a size can say at all, as `schemas.capacity.Size` is decoded."""

_OWN: Final = re.compile(r"(?:custom-)?(0|[1-9][0-9]{0,8})x(0|[1-9][0-9]{0,8})", re.ASCII)


class SizeError(ValueError):
    """What was written is no size of a VM; `code` is stable."""

    def __init__(self, text: str, code: str = "SizeUnknown") -> None:
        super().__init__(text)
        self.code = code


def read(text: str) -> Size:
    """The size of a name (`vs.m`), or one's own as vCPU and MiB (`2x8192`); `SizeError` for anything else.

    One's own is called `custom-2x8192`, which is read back as itself; a name of digits first could not stand in an event. It is
    never taken for the named size with the same numbers: whoever asked for numbers is told numbers.
    """
    size = NAMED.get(text)
    if size is not None:
        return size
    found = _OWN.fullmatch(text)
    if found is None:
        raise SizeError(
            f"{text!a:.60} is no size: choose {GENERAL[0].name} to {GENERAL[-1].name} or {COMPUTE[0].name} to "
            f"{COMPUTE[-1].name}, or write vCPU and MiB as 2x8192."
        )
    return own(int(found[1]), int(found[2]))


def own(vcpu: int, memory_mib: int) -> Size:
    """A size with these numbers; `SizeError` for numbers that no size can have, whoever asks."""
    asked = f"A size of {vcpu} vCPU and {memory_mib} MiB cannot be"
    if vcpu < 1:
        raise SizeError(f"{asked}: a VM has at least 1 vCPU. Write 1x{memory_mib}.", "VcpuTooFew")
    if vcpu > MOST_VCPU:
        raise SizeError(f"{asked}: no size has more than {MOST_VCPU} vCPU. Take more VMs.", "VcpuTooMany")
    if memory_mib < LEAST_MEMORY_MIB:
        raise SizeError(
            f"{asked}: no size has less than {LEAST_MEMORY_MIB} MiB. Memory is written in MiB: 2x8192 is 2 vCPU and 8 GiB.",
            "MemoryTooSmall",
        )
    if memory_mib > MOST_MEMORY_MIB:
        raise SizeError(
            f"{asked}: no size has more than {MOST_MEMORY_MIB} MiB. Memory is written in MiB: 2x8192 is 2 vCPU and 8 GiB.",
            "MemoryTooLarge",
        )
    return Size(f"custom-{vcpu}x{memory_mib}", vcpu, memory_mib)


def family_of(size: Size) -> Family | None:
    """The family in which the size stands; None for one's own, also where it has the numbers of one with a name."""
    return next((family for family, sizes in FAMILIES.items() if size in sizes), None)


__all__ = [
    "COMPUTE",
    "FAMILIES",
    "GENERAL",
    "LEAST_MEMORY_MIB",
    "MOST_MEMORY_MIB",
    "MOST_VCPU",
    "NAMED",
    "Family",
    "SizeError",
    "family_of",
    "own",
    "read",
]
