"""Rounds of many orgs on one bus in memory, in virtual time: what goes together, and what each hears of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from events.bus.faults import SMOOTH, NoFaults, Passage
from events.bus.flights import MOST_TOGETHER
from events.bus.pen import Pen
from events.bus.port import Ack, BusError, Outgoing, StaleError, UnansweredError
from events.envelope import Addressed
from events.gate import GateDecided
from events.ids import derive
from services.gate.rounds import Rounds
from tests.rules.desk import Desk, play


@dataclass
class Road(NoFaults):
    """Keeps how many messages each append had; what `fate` says happens to it."""

    sizes: list[int] = field(default_factory=list[int])
    fate: Passage = SMOOTH

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        if name != "gate":
            return SMOOTH
        self.sizes.append(len(messages))
        return self.fate


def a_round(pen: Pen, org: str, attempt: int = 0) -> Addressed:
    decided = GateDecided(
        org=org,
        gate="g1",
        through=0,
        follows=0,
        state_seq=0,
        now=pen._clock.now(),
        contract=None,
        rules="test",
        answers=(),
        orders=(),
    )
    name = derive("round", org, attempt)
    return pen.event(decided, id=name, cause=None, correlation=name)


async def append(
    rounds: Rounds, pen: Pen, orgs: Sequence[str], attempt: int = 0
) -> list[Ack | BaseException]:
    appends = (rounds.append(a_round(pen, org, attempt), expect=0) for org in orgs)
    return await asyncio.gather(*appends, return_exceptions=True)


def scene_with(road: Road, act: Callable[[Desk, Rounds, Pen], Awaitable[None]]) -> None:
    async def scene() -> None:
        desk = Desk(faults=road)
        pen = Pen(desk.worker_bus("gate"), "gate", desk.clock)
        await act(desk, Rounds(pen), pen)

    play(scene)


def test_few_rounds_go_side_by_side_and_many_together_one_fence_per_org() -> None:
    road = Road()

    async def act(desk: Desk, rounds: Rounds, pen: Pen) -> None:
        acks = await append(rounds, pen, ["a", "b", "c"])
        assert road.sizes == [1, 1, 1]
        more = [f"org-{number}" for number in range(MOST_TOGETHER + 8)]
        acks += await append(rounds, pen, more)
        assert road.sizes[3:] == [MOST_TOGETHER, 8]
        stored = {one.seq: one.subject.split(".")[1] for one in desk.stored()}
        assert [stored[ack.seq] for ack in acks if isinstance(ack, Ack)] == ["a", "b", "c", *more]

    scene_with(road, act)


def test_one_fence_that_moved_costs_no_other_org_its_round() -> None:
    road = Road()

    async def act(desk: Desk, rounds: Rounds, pen: Pen) -> None:
        names = [f"org-{number}" for number in range(10)]
        await append(rounds, pen, ["org-3"])
        answers = await append(rounds, pen, names, attempt=1)
        assert [type(one) for one in answers] == [StaleError if org == "org-3" else Ack for org in names]
        assert road.sizes == [1, 10, *[1] * 10]
        assert len(desk.stored()) == 10

    scene_with(road, act)


def test_when_nobody_knows_what_became_of_a_batch_every_round_of_it_hears_so() -> None:
    road = Road(fate=Passage("ack-lost"))

    async def act(desk: Desk, rounds: Rounds, pen: Pen) -> None:
        answers = await append(rounds, pen, [f"org-{number}" for number in range(10)])
        assert {type(one) for one in answers} == {UnansweredError}
        assert all(isinstance(one, BusError) for one in answers)

    scene_with(road, act)
