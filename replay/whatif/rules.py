"""What is set otherwise: numbers of contracts and pools, put into the very facts that the gate's folds take in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from events.contract import ContractTookEffect
from events.fact import Fact
from events.pool import PoolDefined
from schemas.capacity import Capacity, Dimension
from schemas.contract.document import Signed, terms
from schemas.contract.terms import Allowance, Contract, canonical
from schemas.pool import Pool
from services.gate.state import State


class WhatIfError(Exception):
    """What was asked cannot be answered from this ledger; the sentence says why."""

    code = "WhatIfUnanswerable"


@dataclass(frozen=True, slots=True)
class ContractSet:
    """One org's contract says this instead, whichever is in force."""

    org: str
    allowance_bp: Allowance | None = None
    quota: Mapping[Dimension, int] = field(default_factory=dict[Dimension, int])


@dataclass(frozen=True, slots=True)
class PoolSet:
    """One pool, or with `org` None that pool of every org, is defined so instead: fields of `Pool` by name."""

    org: str | None
    pool: str
    fields: Mapping[str, Any]

    def holds_for(self, org: str, pool: str) -> bool:
        """Whether it is about this pool."""
        return self.pool == pool and self.org in {None, org}


@dataclass(slots=True)
class Known:
    """Orgs that have a contract, and pools, as far as somebody has read."""

    orgs: set[str] = field(default_factory=set[str])
    pools: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    @classmethod
    def by(cls, state: State) -> Self:
        """Those that a state knows."""
        return cls(set(state.usage.contracts), set(state.fleet.pools))

    def take(self, fact: Fact) -> None:
        """The fact is taken into account."""
        match fact:
            case ContractTookEffect(org=org):
                self.orgs.add(org)
            case PoolDefined(org=org, pool=pool):
                self.pools.add((org, pool))
            case _:
                pass


@dataclass(frozen=True, slots=True)
class Rules:
    """All that is set otherwise. With nothing set, the ledger's own rules."""

    contracts: tuple[ContractSet, ...] = ()
    pools: tuple[PoolSet, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.contracts or self.pools)

    def of_contract(self, contract: Contract) -> Contract:
        """The terms with what is set for the org, and for its pools where the contract has numbers of its own for them."""
        for one in self.contracts:
            if one.org == contract.org:
                quota = Capacity(*(one.quota.get(name, amount) for name, amount in contract.quota.items()))
                allowance = contract.allowance_bp if one.allowance_bp is None else one.allowance_bp
                contract = msgspec.structs.replace(contract, quota=quota, allowance_bp=allowance)
        overrides = dict(contract.pools)
        for pool, override in contract.pools.items():
            for one in self.pools:
                if one.holds_for(contract.org, pool):
                    signed = {
                        name: value for name, value in one.fields.items() if getattr(override, name, None)
                    }
                    overrides[pool] = msgspec.structs.replace(overrides[pool], **signed)
        return msgspec.structs.replace(contract, pools=overrides)

    def of_pool(self, pool: Pool) -> Pool:
        """The definition with what is set for it; `WhatIfError` where its two bounds would cross."""
        for one in self.pools:
            if one.holds_for(pool.org, pool.name):
                pool = msgspec.structs.replace(pool, **one.fields)
        if pool.min_vms > pool.max_vms:
            raise WhatIfError(
                f"Pool {pool.org}/{pool.name} would have at least {pool.min_vms} and at most {pool.max_vms} VMs: set "
                "both bounds, or others."
            )
        return pool

    def of_fact(self, fact: Fact) -> Fact:
        """The fact as it would have been; most are as they are.

        A document keeps its fingerprint and signatures, so that whatever builds on it still does: nobody signed the
        numbers that are set here, and nobody asks for a signature once a document is in force.
        """
        match fact:
            case ContractTookEffect(document=document):
                text = canonical(self.of_contract(terms(document)))
                changed = Signed(text, document.signatures)
                return fact if text == document.text else msgspec.structs.replace(fact, document=changed)
            case PoolDefined(definition=definition):
                return msgspec.structs.replace(fact, definition=self.of_pool(definition))
            case _:
                return fact

    def differing(self, state: State) -> Iterator[Fact]:
        """The facts that bring these rules into a state that was folded by the ledger's own."""
        for org, contract in state.usage.contracts.items():
            document = state.contracts.in_force(org)
            changed = self.of_contract(contract)
            if document is not None and changed != contract:
                yield ContractTookEffect(
                    org=org,
                    document=Signed(canonical(changed), document.signed.signatures),
                    fingerprint=document.fingerprint,
                    took_effect_at=document.effective_at,
                )
        for (org, name), pool in state.fleet.pools.items():
            changed_pool = self.of_pool(pool)
            if changed_pool != pool:
                yield PoolDefined(org=org, pool=name, definition=changed_pool)

    def unknown(self, known: "Known") -> Iterator[str]:
        """What is set for something that the ledger does not know, one sentence each."""
        for one in self.contracts:
            if one.org not in known.orgs:
                yield f"Org {one.org} had no contract in force up to here."
        for one in self.pools:
            if not any(one.holds_for(*key) for key in known.pools):
                whose = f"Org {one.org} has" if one.org else "No org has"
                yield f"{whose} {'no ' if one.org else 'a '}pool {one.pool} up to here."
