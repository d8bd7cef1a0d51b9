"""What the other course would have cost: hours of VMs and vCPU then and now, and EUR at the contract's own rate.

No contract names a price for one more hour. What is shown is what its own price comes to for an hour of one vCPU of its
quota, an hour being one of 730 in a month; where the price or the quota is zero there is no such rate, and none is shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from replay.metering import Spent, hours
from replay.whatif.asking import WhatIf
from schemas.contract.terms import Contract

MONTH_HOURS: Final = 730
"""A twelfth of 8,760, the hours of a common year."""


@dataclass(frozen=True, slots=True)
class PoolCost:
    """One pool's hours in both courses; `eur_more` is None where the contract gives no rate."""

    org: str
    pool: str
    vm_hours_then: Fraction
    vm_hours_now: Fraction
    vcpu_hours_then: Fraction
    vcpu_hours_now: Fraction
    eur_more: Fraction | None


def rate(contract: Contract | None) -> Fraction | None:
    """EUR for an hour of one vCPU of the quota."""
    if contract is None or not contract.price_eur_cents_month or not contract.quota.vcpu:
        return None
    return Fraction(contract.price_eur_cents_month, 100 * contract.quota.vcpu * MONTH_HOURS)


def costs(told: WhatIf) -> Iterator[PoolCost]:
    """Every pool that had anything awake in either course."""
    for org, pool in sorted({*told.then, *told.now}):
        then, now = told.then.get((org, pool), _NOTHING), told.now.get((org, pool), _NOTHING)
        more, euros = hours(now.vcpu_ns - then.vcpu_ns), rate(told.contracts.get(org))
        yield PoolCost(
            org,
            pool,
            hours(then.vm_ns),
            hours(now.vm_ns),
            hours(then.vcpu_ns),
            hours(now.vcpu_ns),
            None if euros is None else more * euros,
        )


_NOTHING: Final = Spent(0)
