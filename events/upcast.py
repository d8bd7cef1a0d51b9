"""How a fact of an earlier version is said in the next one."""

import msgspec

from events import v1, v2
from events.contract import ContractTookEffect
from events.fact import Fact
from events.gate import GateDecided
from events.pool import PoolDefined, PoolObserved, Reading
from events.vm import VmResumed, VmWakeFailed
from schemas.contract.document import Signed
from schemas.contract.terms import Contract, canonical
from schemas.pool import Pool


def contract_took_effect_v1(fact: Fact) -> ContractTookEffect:
    """The first contracts were files that nobody signed: the same terms as a document without signatures."""
    assert isinstance(fact, v1.ContractTookEffect), fact
    members = msgspec.to_builtins(fact.contract) | {"format": 2}
    # Version 1 amended by handing in a higher version; there is no document that it could name.
    text = canonical(msgspec.convert(members, Contract))
    return ContractTookEffect(
        org=fact.org,
        document=Signed(text, ()),
        fingerprint=fact.fingerprint,
        took_effect_at=fact.took_effect_at,
    )


def pool_defined_v1(fact: Fact) -> v2.PoolDefined:
    """Before pools said where their VMs go, all filled hosts."""
    assert isinstance(fact, v1.PoolDefined), fact
    members = msgspec.to_builtins(fact.definition)
    return v2.PoolDefined(org=fact.org, pool=fact.pool, definition=msgspec.convert(members, v2.Pool))


def pool_defined_v2(fact: Fact) -> PoolDefined:
    """Before pools were forecast, they had one trigger at most, and every sleep was in RAM with nothing done after it."""
    assert isinstance(fact, v2.PoolDefined), fact
    members = msgspec.to_builtins(fact.definition)
    trigger = members.pop("trigger")
    members |= {
        "triggers": [] if trigger is None else [trigger],
        "forecast": "off",
        "sleep": "paused",
        "refresh": "none",
    }
    return PoolDefined(org=fact.org, pool=fact.pool, definition=msgspec.convert(members, Pool))


def pool_observed_v1(fact: Fact) -> PoolObserved:
    """Before pools had a demand of their own, it was their only trigger's."""
    assert isinstance(fact, v1.PoolObserved), fact
    members = msgspec.structs.asdict(fact)
    told = members.pop("reading")
    members["readings"] = () if told is None else (Reading(source="trigger", **msgspec.structs.asdict(told)),)
    return PoolObserved(**members, demand=None if told is None else told.demand)


def gate_decided_v1(fact: Fact) -> GateDecided:
    """Nothing was saved to disk then: the same orders among more."""
    assert isinstance(fact, v1.GateDecided), fact
    return GateDecided(**msgspec.structs.asdict(fact))


def vm_resumed_v1(fact: Fact) -> VmResumed:
    """Every sleep was in RAM, and nothing was done to the guest after it."""
    assert isinstance(fact, v1.VmResumed), fact
    return VmResumed(**msgspec.structs.asdict(fact), depth="paused", refreshed=None)


def vm_wake_failed_v1(fact: Fact) -> VmWakeFailed:
    """Nothing slept on disk: the same states among more."""
    assert isinstance(fact, v1.VmWakeFailed), fact
    return VmWakeFailed(**msgspec.structs.asdict(fact))
