"""Rounds end, and stay small: whatever is asked and however things are called."""

import asyncio

import pytest
from msgspec.structs import replace

from events.bus.flights import FEW
from events.bus.pen import Pen
from events.bus.port import Ack
from events.envelope import Addressed, address
from events.gate import MOST_BYTES
from events.pool import PoolDefined
from events.vm import VmFoundAwake
from schemas.capacity import Size
from schemas.pool import Pool
from services.gate.decide import define
from services.gate.rounds import Rounds
from tests.given import NOW, ORG, SMALL, Past
from tests.rules.desk import Desk, play
from tests.rules.test_gate_rounds import append

LONG = "p" * 32
LARGE = Size(name="s" * 64, vcpu=1024, memory_mib=2**24)


def test_a_pool_that_two_files_define_is_defined_once_and_no_more_is_said() -> None:
    past = Past()
    pool = Pool(org=ORG, name="web", size=SMALL, template="tiny")
    pools = [replace(pool, max_vms=7), pool]
    decision = define(ORG, pools, past.state, NOW, "g1", past.seq)
    assert decision is not None
    past.stored(decision)
    assert define(ORG, pools, past.state, NOW, "g1", past.seq) is None
    assert past.fleet.pools[ORG, "web"].max_vms == 7


@pytest.mark.parametrize("first", [40, 45, 47, 64])
def test_with_the_longest_names_there_may_be_a_decision_stays_within_its_bound(first: int) -> None:
    org, host = "o" * 40, "h" * 40
    past = Past(org).contract(vcpu=10**9, memory_mib=2**45).host(host, memory_mib=2**50)
    pool = Pool(org=org, name=LONG, size=LARGE, template="t" * 40, boot_seconds=86_400)
    past.happened(PoolDefined(org=org, pool=LONG, definition=pool))
    past.now = NOW.replace(microsecond=123_456)
    past.happened(
        VmFoundAwake(
            org=org,
            vm=f"{LONG}-123456",
            pool=LONG,
            host=host,
            size=LARGE,
            reservation="0" * 32,
            observed_at=past.now,
        )
    )
    past.round()
    past.quiesced(f"{LONG}-123456")
    asked = [past.scale(LONG, add=first), past.scale(LONG, add=64), past.scale(LONG, want=500, up_to=True)]
    answered: list[int] = []
    while answered[-1:] != [asked[-1].seq]:
        decision = past.decide()
        assert decision is not None
        event = address(
            decision.decided,
            writer="gate",
            id="0" * 32,
            time=past.now,
            cause="0" * 32,
            correlation="0" * 32,
        )
        assert len(event.payload) < MOST_BYTES
        answered += [answer.request_seq for answer in past.stored(decision).answers]
    assert answered == [one.seq for one in asked]


class Broken(Pen):
    """What it appends meets a fault that is none of the bus's."""

    async def append(self, event: Addressed, *, expect: int | None = None) -> Ack:
        raise RuntimeError(event.subject, expect)

    async def append_batch(self, events: list[tuple[Addressed, int | None]]) -> Ack:
        raise RuntimeError(len(events))


@pytest.mark.parametrize("orgs", [["a"], [f"o-{number}" for number in range(FEW + 1)]])
def test_a_fault_that_nobody_foresaw_ends_the_gate_and_leaves_no_org_waiting_for_ever(
    orgs: list[str],
) -> None:
    async def scene() -> None:
        desk = Desk()
        pen = Broken(desk.worker_bus("gate"), "gate", desk.clock)
        async with asyncio.timeout(10):
            heard = await append(Rounds(pen), pen, orgs)
        assert [type(one) for one in heard] == [RuntimeError] * len(orgs)

    play(scene)
