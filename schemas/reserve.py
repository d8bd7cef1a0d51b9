"""The warm reserve: VMs of a pool that stay awake on top of what its forecast needs, so that a miss lands on them."""

from schemas.capacity import ENFORCED
from schemas.contract.terms import Contract
from schemas.pool import Pool


def reserve_vms(contract: Contract, pool: Pool, pools: int) -> int:
    """How many VMs the pool's warm reserve is, in whole VMs; 0 where its forecast is not `on`.

    The contract's `warm_reserve_bp` of the quota, divided evenly among the `pools` pools of the org whose forecast is `on`,
    this one among them, and rounded down to whole VMs of this pool in the dimension that gives fewest. At least 1, since a
    reserve of none takes no miss; never more than the pool's own maximum. It is a floor inside the envelope, not on top of it.
    """
    if pool.forecast != "on":
        return 0
    share = min(
        contract.quota.of(dimension)
        * contract.warm_reserve_bp
        // (10_000 * max(1, pools) * pool.size.compute.of(dimension))
        for dimension in ENFORCED
    )
    return min(max(1, share), pool.max_vms)


def floor_vms(contract: Contract | None, pool: Pool, pools: int) -> int:
    """Below how many VMs nobody may bring the pool: its own minimum, or its warm reserve where that is more.

    Without a contract there is no reserve.
    """
    reserve = 0 if contract is None else reserve_vms(contract, pool, pools)
    return max(pool.min_vms, reserve)
