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
    told = fact.reading
    readings = ()
    if told is not None:
        readings = (msgspec.convert(msgspec.to_builtins(told) | {"source": "trigger"}, Reading),)
    return PoolObserved(
        org=fact.org,
        pool=fact.pool,
        window_from=fact.window_from,
        window_until=fact.window_until,
        looked_from=fact.looked_from,
        looked_until=fact.looked_until,
        looks=fact.looks,
        readings=readings,
        demand=None if told is None else told.demand,
        vms=fact.vms,
        state_seq=fact.state_seq,
    )


def gate_decided_v1(fact: Fact) -> GateDecided:
    """Nothing was saved to disk then: the same orders among more."""
    assert isinstance(fact, v1.GateDecided), fact
    return GateDecided(
        org=fact.org,
        gate=fact.gate,
        through=fact.through,
        follows=fact.follows,
        state_seq=fact.state_seq,
        now=fact.now,
        contract=fact.contract,
        rules=fact.rules,
        answers=fact.answers,
        orders=fact.orders,
    )


def vm_resumed_v1(fact: Fact) -> VmResumed:
    """Every sleep was in RAM, and nothing was done to the guest after it."""
    assert isinstance(fact, v1.VmResumed), fact
    return VmResumed(
        org=fact.org,
        vm=fact.vm,
        host=fact.host,
        reservation=fact.reservation,
        depth="paused",
        started_at=fact.started_at,
        resumed_at=fact.resumed_at,
        refreshed=None,
        attempts=fact.attempts,
    )


def vm_wake_failed_v1(fact: Fact) -> VmWakeFailed:
    """Nothing slept on disk: the same states among more."""
    assert isinstance(fact, v1.VmWakeFailed), fact
    return VmWakeFailed(
        org=fact.org,
        vm=fact.vm,
        host=fact.host,
        reservation=fact.reservation,
        code=fact.code,
        text=fact.text,
        found=fact.found,
        observed_at=fact.observed_at,
    )
