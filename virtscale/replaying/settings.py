"""What `--set` says: numbers of a contract or a pool that shall be others in a what-if."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from replay.whatif.rules import ContractSet, PoolSet, Rules
from schemas.capacity import ENFORCED, NOTHING, Dimension
from schemas.contract.terms import MOST_QUOTA, Allowance
from schemas.names import is_name
from virtscale.amounts import WORDS, basis_points, quota, seconds
from virtscale.invocation import UsageError

_FORM: Final = re.compile(
    r"(?P<whose>[a-z0-9-]+(?:/[a-z0-9-]+)?)\.(?P<what>[a-z_.]+)=(?P<value>.+)", re.ASCII
)
_SECONDS: Final = {"cooldown": "cooldown_seconds", "horizon": "horizon_seconds"}
_BOUNDS: Final = {"max_vms": 1, "min_vms": 0}
_MOST_VMS: Final = 100_000
_MOST_SECONDS: Final = 86_400
_PLACEMENTS: Final = ("fill", "spread")
_ALLOWANCES: Final = (500, 1000, 2000)

EXAMPLES: Final = "acme.allowance=20%, acme.quota.vcpu=128, web.cooldown=30s, acme/web.max_vms=20"


def rules(words: tuple[str, ...]) -> Rules:
    """The rules that the words say; of two words about one number the later holds."""
    contracts: list[ContractSet] = []
    pools: list[PoolSet] = []
    for word in words:
        found = _FORM.fullmatch(word)
        if found is None:
            raise UsageError(f"{word!a:.80} sets nothing: write NAME.WHAT=VALUE, as {EXAMPLES}.")
        whose, what, value = found["whose"], found["what"], found["value"]
        if not all(is_name(part) for part in whose.split("/")):
            raise UsageError(f"{whose!a:.90} names neither an org nor a pool: write acme, web, or acme/web.")
        if what == "allowance" or what.startswith("quota."):
            if "/" in whose:
                raise UsageError(
                    f"{word!a:.80}: quota and allowance are an org's, so write {whose.split('/')[0]}.{what}."
                )
            contracts.append(_contract(whose, what, value))
        else:
            org, _, pool = whose.rpartition("/")
            pools.append(PoolSet(org or None, pool, _pool(word, what, value)))
    return Rules(tuple(contracts), tuple(pools))


def _contract(org: str, what: str, value: str) -> ContractSet:
    if what == "allowance":
        return ContractSet(org, allowance_bp=_allowance(value))
    name = what.removeprefix("quota.")
    amounts = quota([f"{name}={value}"], NOTHING)
    dimension: Dimension = WORDS[name]
    if dimension not in ENFORCED:
        raise UsageError(f"quota.{name} is signed for and decides no answer: set quota.vcpu or quota.memory.")
    if amounts.of(dimension) > MOST_QUOTA:
        raise UsageError(f"{value} is more than any contract may say: {MOST_QUOTA}.")
    return ContractSet(org, quota={dimension: amounts.of(dimension)})


def _allowance(value: str) -> Allowance:
    try:
        percent = Decimal(value.removesuffix("%").strip())
    except InvalidOperation:
        percent = Decimal("NaN")
    found = basis_points(percent, "allowance")
    if found not in _ALLOWANCES:
        raise UsageError(
            f"An allowance is 5, 10 or 20 %, not {value!a:.20}: no contract could be signed for it."
        )
    return found


def _pool(word: str, what: str, value: str) -> dict[str, Any]:
    if what in _SECONDS:
        found = seconds(value)
        if found > _MOST_SECONDS:
            raise UsageError(f"{word!a:.80}: a pool's {what} lasts at most {_MOST_SECONDS} s.")
        return {_SECONDS[what]: found}
    if what in _BOUNDS:
        if not (value.isascii() and value.isdecimal() and _BOUNDS[what] <= int(value) <= _MOST_VMS):
            raise UsageError(f"{word!a:.80} has no number of VMs: write {_BOUNDS[what]} to {_MOST_VMS}.")
        return {what: int(value)}
    if what == "placement":
        if value not in _PLACEMENTS:
            raise UsageError(
                f"{word!a:.80}: a pool's VMs fill hosts or spread over them: write fill or spread."
            )
        return {what: value}
    raise UsageError(
        f"{word!a:.80}: {what!a:.40} decides no answer of the gate. What does: allowance and quota of an org; cooldown, "
        "horizon, min_vms, max_vms and placement of a pool."
    )
