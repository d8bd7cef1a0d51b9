"""What an answer says to a person: who would reach what, the limit, whose it is, and what was done."""

from typing import Final

from events.gate import Answer, ContractRef, Evidence
from schemas.capacity import UNITS
from schemas.codes import meaning

_DONE: Final = {
    "admitted": "",
    "partial": " {granted} of {asked} VMs were granted.",
    "refused": " Nothing was started.",
    "unchanged": " Nothing was changed.",
}


_UNITS: Final[dict[str, str]] = {
    **UNITS,
    "pool_vms": "VMs of the pool",
    "host_memory_mib": "MiB of the hosts' memory",
    "pool_floor_vms": "VMs of the pool",
    "quiesce_per_minute": "VMs of the pool in a minute",
}


def unit(line: Evidence) -> str:
    """What a line of evidence counts, in words."""
    return _UNITS.get(line.dimension, line.dimension)


def percent(basis_points: int) -> str:
    """Basis points as a percentage without needless zeros: 1000 is `10 %`."""
    return f"{basis_points / 100:g} %"


def binding(answer: Answer) -> Evidence | None:
    """The line that is furthest past its limit, relative to the limit; None when all fit."""
    over = [line for line in answer.evidence if line.projected > line.limit]
    return max(over, key=lambda line: line.projected / max(1, line.limit), default=None)


def sentence(org: str, answer: Answer, contract: ContractRef | None) -> str:
    """One answer in one or two sentences with its numbers."""
    done = _DONE[answer.outcome].format(granted=answer.granted, asked=answer.asked)
    whose = f"Pool {org}/{answer.pool}" if answer.pool else f"Org {org}"
    if answer.code == "Granted":
        return f"{whose}: {answer.granted} of {answer.asked} VMs granted."
    line = binding(answer)
    if answer.code == "CapExceeded" and line is not None and contract is not None:
        return (
            f"{whose} would take {org} to {line.projected} {unit(line)} "
            f"({line.used} in use, {line.reserved} reserved, {line.requested} requested); the signed cap is "
            f"{line.limit} (quota {line.quota} + {percent(contract.allowance_bp)}, contract {contract.id} version "
            f"{contract.version}).{done}"
        )
    why = meaning(answer.code)
    if line is not None and line.dimension == "pool_floor_vms":
        why += f" {line.used} VMs are kept awake, {line.requested} were to sleep, and {line.limit} are there."
    elif line is not None:
        why += f" {line.used + line.reserved} {unit(line)} are taken, {line.requested} were asked for, the limit is {line.limit}."
    if answer.retry_at is not None:
        why += f" It may be asked again from {answer.retry_at:%Y-%m-%d %H:%M:%S} UTC on."
    return f"{whose}: {why}{done}"
