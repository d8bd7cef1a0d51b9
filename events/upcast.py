"""How a fact of an earlier version is said in the next one."""

import msgspec

from events import v1, v2, v3, v4
from events.contract import ContractTookEffect
from events.fact import Fact
from events.gate import BootOrdered, GateDecided, StopOrdered, WakeOrdered
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


def pool_defined_v2(fact: Fact) -> v3.PoolDefined:
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
    return v3.PoolDefined(org=fact.org, pool=fact.pool, definition=msgspec.convert(members, v3.Pool))


def pool_defined_v3(fact: Fact) -> v4.PoolDefined:
    """Every pool's VMs came and went with its demand."""
    assert isinstance(fact, v3.PoolDefined), fact
    members = msgspec.structs.asdict(fact.definition)
    return v4.PoolDefined(org=fact.org, pool=fact.pool, definition=v4.Pool(**members))


def pool_defined_v4(fact: Fact) -> PoolDefined:
    """VMs ran wherever their host had room, with one disk at most."""
    assert isinstance(fact, v4.PoolDefined), fact
    members = msgspec.structs.asdict(fact.definition)
    return PoolDefined(org=fact.org, pool=fact.pool, definition=Pool(**members))


def pool_observed_v1(fact: Fact) -> PoolObserved:
    """Before pools had a demand of their own, it was their only trigger's."""
    assert isinstance(fact, v1.PoolObserved), fact
    members = msgspec.structs.asdict(fact)
    told = members.pop("reading")
    members["readings"] = () if told is None else (Reading(source="trigger", **msgspec.structs.asdict(told)),)
    return PoolObserved(**members, demand=None if told is None else told.demand)


def gate_decided_v1(fact: Fact) -> v2.GateDecided:
    """Nothing was saved to disk then: the same orders among more."""
    assert isinstance(fact, v1.GateDecided), fact
    return v2.GateDecided(**msgspec.structs.asdict(fact))


def gate_decided_v2(fact: Fact) -> v3.GateDecided:
    """No VM was kept for its own sake: whoever was stopped did not answer, and had no time for it."""
    assert isinstance(fact, v2.GateDecided), fact
    members = msgspec.structs.asdict(fact)
    members["orders"] = tuple(_order_v2(order) for order in fact.orders)
    return v3.GateDecided(**members)


def gate_decided_v3(fact: Fact) -> GateDecided:
    """No disk was copied or erased: the same orders among more."""
    assert isinstance(fact, v3.GateDecided), fact
    return GateDecided(**msgspec.structs.asdict(fact))


def _order_v2(order: v2.Order) -> v3.Order:
    match order:
        case v1.WakeOrdered():
            return WakeOrdered(**msgspec.structs.asdict(order))
        case v1.BootOrdered():
            return BootOrdered(**msgspec.structs.asdict(order))
        case v1.StopOrdered():
            return StopOrdered(**msgspec.structs.asdict(order), grace_seconds=0)
        case _:
            return order


def vm_resumed_v1(fact: Fact) -> VmResumed:
    """Every sleep was in RAM, and nothing was done to the guest after it."""
    assert isinstance(fact, v1.VmResumed), fact
    return VmResumed(**msgspec.structs.asdict(fact), depth="paused", refreshed=None)


def vm_wake_failed_v1(fact: Fact) -> VmWakeFailed:
    """Nothing slept on disk: the same states among more."""
    assert isinstance(fact, v1.VmWakeFailed), fact
    return VmWakeFailed(**msgspec.structs.asdict(fact))
