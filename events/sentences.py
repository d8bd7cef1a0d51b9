"""What an answer says to a person: who would reach what, the limit, whose it is, and what was done."""

from typing import Final

from events.gate import Answer, ContractRef, Evidence
from schemas.capacity import UNITS
from schemas.codes import MEANING

_DONE: Final = {
    "admitted": "",
    "partial": " {granted} of {asked} VMs were granted.",
    "refused": " Nothing was started.",
    "unchanged": " Nothing was changed.",
}


def percent(basis_points: int) -> str:
    """Basis points as a percentage without needless zeros: 1000 is `10 %`."""
    return f"{basis_points / 100:g} %"


def binding(answer: Answer) -> Evidence | None:
    """The dimension that is furthest past its limit, relative to the limit; None when all fit."""
    over = [line for line in answer.evidence if line.projected > line.limit]
    return max(over, key=lambda line: line.projected / max(1, line.limit), default=None)


def sentence(org: str, answer: Answer, contract: ContractRef | None) -> str:
    """One answer in one or two sentences with its numbers."""
    done = _DONE[answer.outcome].format(granted=answer.granted, asked=answer.asked)
    pool = f"Pool {org}/{answer.pool}"
    line = binding(answer)
    if answer.code == "CapExceeded" and line is not None and contract is not None:
        unit = UNITS[line.dimension]
        return (
            f"{pool} would take {org} to {line.projected} {unit} ({line.used} in use, {line.reserved} reserved, "
            f"{line.requested} requested); the signed cap is {line.limit} (quota {line.quota} + "
            f"{percent(contract.allowance_bp)}, contract {contract.id} version {contract.version}).{done}"
        )
    if answer.code == "Granted":
        return f"{pool}: {answer.granted} of {answer.asked} VMs granted."
    return f"{pool}: {MEANING[answer.code]}{done}"
