"""Pools whose VMs fail to wake: what the tests of replacements and of breakers share."""

from typing import Any

from events.breaker import BreakerOpened
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.vm import VmAnnounceFailed
from tests.given import Past


def setting(vcpu: int = 40, **pool: Any) -> Past:
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


def starts(decided: GateDecided) -> list[tuple[type, str, str]]:
    """What is to wake or boot, and where."""
    found = [one for one in decided.orders if isinstance(one, WakeOrdered | BootOrdered)]
    return [(type(one), one.vm, one.host) for one in found]


def opened(past: Past) -> list[BreakerOpened]:
    """What the gate says of breakers that open; it is in the ledger."""
    decision = past.decide()
    if decision is None:
        return []
    past.stored(decision)
    assert not (decision.facts and (decision.decided.orders or decision.decided.answers))
    return [fact for fact in decision.facts if isinstance(fact, BreakerOpened)]


def fail(past: Past, times: int, code: str = "wake-refused") -> None:
    """So many wakes in a row fail, each asked for by itself and replaced by none."""
    for _ in range(times):
        past.scale(add=1)
        (order,) = past.answer()[1]
        past.wake_failed(order.vm, code)
        past.later(60)


def untaken(past: Past, vm: str, code: str = "balancer-unreachable") -> None:
    """The balancer did not take the VM, which serves nobody."""
    known = past.fleet.vms[past.org, vm]
    assert known.order is not None
    past.happened(
        VmAnnounceFailed(
            org=past.org,
            vm=vm,
            reservation=past.reservation(vm),
            order=known.order,
            code=code,
            text="no answer",
            observed_at=past.now,
        )
    )
