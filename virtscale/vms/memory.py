"""`virtscale vm explain-memory`: where the memory of a VM, or of a size, goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import asdict

from schemas.capacity import Size
from schemas.image import Kind, image_of
from schemas.memory import Breakdown, Filebeats, explain
from schemas.sizes import LEAST_MEMORY_MIB, MOST_MEMORY_MIB, SizeError, read
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.invocation import UsageError, present_house
from virtscale.show import Format, say, show, write_json
from virtscale.vms.named import row_of

_VM: Final = """
SELECT named.org, named.vm, coalesce(vms.size, directory.size) AS size,
       coalesce(vms.memory_mib, directory.memory_mib) AS memory_mib, coalesce(directory.image, pools.template) AS template
FROM (SELECT org, vm FROM vms UNION SELECT org, vm FROM directory) AS named
LEFT JOIN vms ON vms.org = named.org AND vms.vm = named.vm
LEFT JOIN directory ON directory.org = named.org AND directory.vm = named.vm
LEFT JOIN pools ON pools.org = named.org AND pools.pool = coalesce(vms.pool, directory.pool)
WHERE named.vm = ? AND (? = '' OR named.org = ?) ORDER BY named.org
"""
"""As it runs, or as it shall be where it never did; a VM that is kept has an image of its own."""


@dataclass(frozen=True, slots=True)
class About:
    """A guest whose memory is explained: whose it is, where there is a VM, and of what size."""

    vm: str | None
    size: str | None
    memory_mib: int
    image: Kind


def asked(vm: str, size: str, memory_mib: int | None, image: Kind | None) -> About | None:
    """What the command names; None where there is no such VM, which has been said. `UsageError` for none or several."""
    if (vm != "") + (size != "") + (memory_mib is not None) != 1:
        raise UsageError(
            "Name one of these: a VM, as acme/web-1; a size, as --size vs.s; or an amount, as --memory-mib 4096."
        )
    if vm:
        return _of_vm(vm, image)
    if size:
        named = _size(size)
        return About(None, named.name, named.memory_mib, image or "nixos-managed")
    assert memory_mib is not None
    if not LEAST_MEMORY_MIB <= memory_mib <= MOST_MEMORY_MIB:
        raise UsageError(
            f"A VM has no {memory_mib} MiB of memory: write {LEAST_MEMORY_MIB} to {MOST_MEMORY_MIB}."
        )
    return About(None, None, memory_mib, image or "nixos-managed")


def show_memory(about: About | None, form: Format, *, alloy: bool, filebeats: Filebeats) -> int:
    """The parts, their sum, swap and verdict; the exit code."""
    if about is None:
        return EXIT_NOT_FOUND
    found = explain(about.memory_mib, about.image, alloy=alloy, filebeats=filebeats)
    if form == "json":
        write_json({"vm": about.vm, "size": about.size, **asdict(found)})
        return EXIT_DONE
    show(_rows(found), form)
    whose = ", ".join(part for part in (about.vm, about.size, found.image, found.verdict) if part)
    say(f"{whose}: {found.sentence}")
    return EXIT_DONE


def _rows(found: Breakdown) -> list[dict[str, object]]:
    lines = [
        *((part.group, part.name, part.memory_mib) for part in found.parts),
        ("all", "if everything peaks at once", found.sum_mib),
        ("guest", "memory", found.memory_mib),
        ("guest", "left for the work at the peak", found.left_mib),
        ("guest", "least memory", found.floor_mib or None),
        ("guest", f"swap, used at swappiness {found.swappiness}", found.swap_mib),
    ]
    return [{"for": group, "what": what, "MiB": amount} for group, what, amount in lines]


def _size(text: str) -> Size:
    try:
        return read(text)
    except SizeError as error:
        wrong = UsageError(str(error))
        wrong.code = error.code
        raise wrong from None


def _of_vm(target: str, image: Kind | None) -> About | None:
    row = row_of(target, _VM)
    if row is None:
        return None
    if image is None:
        image = image_of(Path(present_house().templates) / str(row["template"])).kind
    return About(f"{row['org']}/{row['vm']}", str(row["size"]), int(row["memory_mib"] or 0), image)
