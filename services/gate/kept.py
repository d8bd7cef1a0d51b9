"""What all answers about one kept VM begin with: whether there is such a VM, and whether the org may have so much more."""

from events.gate import Evidence
from projections.directory.fold import Kept
from schemas.capacity import Capacity
from schemas.codes import Code
from schemas.contract.terms import Contract
from schemas.pool import Pool
from services.gate.draft import Draft, fits
from services.gate.growing import authority


def found(draft: Draft, vm: str, pool: str) -> tuple[Kept, Pool] | None:
    """The VM that a request names, with its pool; None where there is none of that name in that pool."""
    kept, definition = draft.state.directory.get(draft.org, vm), draft.pool(pool)
    if kept is None or definition is None or kept.pool != pool:
        return None
    return kept, definition


def held(draft: Draft, kept: Kept) -> Code | None:
    """Why nothing is done to the VM but what goes on with it already; None where something may be."""
    deletion = draft.state.deletions.of(draft.org, kept.name)
    if deletion is not None and deletion.stops:
        return "BeingDeleted"
    if kept.awaits is not None or (draft.org, kept.name) in draft.state.copies.restoring:
        return "CopyUnderWay"
    return None


def asked(draft: Draft, more: Capacity) -> tuple[Code, tuple[Evidence, ...]]:
    """Whether the org may have so much more, and the numbers that say so."""
    contract = authority(draft)
    if not isinstance(contract, Contract):
        return contract, ()
    evidence = draft.evidence(contract, more)
    return ("Granted" if fits(evidence) else "CapExceeded"), evidence


def is_taken(draft: Draft, vm: str) -> bool:
    """Whether the name is another VM's, or was and is not free yet, or is one that a pool which scales may give away."""
    pool, _, number = vm.rpartition("-")
    scales = draft.fleet.pools.get((draft.org, pool))
    counted = scales is not None and scales.kind == "scaled" and number.isdecimal()
    known = (draft.org, vm) in draft.fleet.vms or draft.state.leases.holds_name(draft.org, vm)
    return counted or known
