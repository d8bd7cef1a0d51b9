"""What goes side by side into the ledger and what waits for its turn, in virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from events.bus.faults import SMOOTH, NoFaults, Passage
from events.bus.flights import FEW, MOST_TOGETHER
from events.bus.port import Outgoing
from events.scale import ScaleRequested
from schemas.intake import Receipt, Rejection
from services.signal.worker import Signal
from tests.rules.desk import CONTRACT, Desk, play, pool
from tests.rules.test_signal_worker import decode, intake
from tests.simulation.clock import pause

SLOW_SECONDS = 1.0


@dataclass
class Slow(NoFaults):
    """What `signal` appends about these pools is answered a second later."""

    pools: frozenset[str]
    sizes: list[int] = field(default_factory=list[int])

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        if name != "signal" or not messages[0].subject.endswith(".scale.requested"):
            return SMOOTH
        self.sizes.append(len(messages))
        slow = any(message.subject.split(".")[4] in self.pools for message in messages)
        return Passage(ack_seconds=SLOW_SECONDS) if slow else SMOOTH


async def scale(signal: Signal, where: str, key: str) -> tuple[Receipt | Rejection, float]:
    payload = msgspec.json.encode({"pool": where, "key": key, "add": 1})
    answer = decode(await signal.answer("in.acme.shop.scale", payload))
    return answer, asyncio.get_running_loop().time()


def test_a_pool_whose_append_is_slow_keeps_no_other_pool_waiting() -> None:
    async def scene() -> None:
        desk = Desk(faults=Slow(frozenset({"web"})))
        desk.contract(CONTRACT, pool("web"), pool("db"))
        async with intake(desk) as signal:
            began = asyncio.get_running_loop().time()
            (_, slow_at), (_, quick_at) = await asyncio.gather(
                scale(signal, "web", "1"), scale(signal, "db", "2")
            )
            assert quick_at - began < SLOW_SECONDS / 2 < slow_at - began

    play(scene)


def test_a_key_that_comes_twice_at_once_for_two_pools_asks_once_without_the_help_of_the_bus() -> None:
    async def scene() -> None:
        desk = Desk(dedup_seconds=0, faults=Slow(frozenset({"web"})))
        desk.contract(CONTRACT, pool("web"), pool("db"))
        async with intake(desk) as signal:
            wishes = [("web", "k"), ("db", "k"), ("web", "k"), ("db", "other")]
            answers = await asyncio.gather(*(scale(signal, *wish) for wish in wishes))
        first, reused, again, other = (one for one, _ in answers)
        assert isinstance(reused, Rejection)
        assert reused.code == "KeyReused"
        assert isinstance(first, Receipt)
        assert again == msgspec.structs.replace(first, repeated=True)
        assert isinstance(other, Receipt)
        assert len(desk.facts(ScaleRequested)) == 2

    play(scene)


def test_what_comes_while_a_pool_waits_goes_together_and_in_the_order_it_came() -> None:
    async def scene() -> None:
        road = Slow(frozenset({"web"}))
        desk = Desk(faults=road)
        desk.contract()
        async with intake(desk) as signal:
            asked = [asyncio.create_task(scale(signal, "web", "first"))]
            await pause(SLOW_SECONDS / 2)
            more = MOST_TOGETHER + FEW
            asked += [asyncio.create_task(scale(signal, "web", f"k{number}")) for number in range(more)]
            answers = [one for one, _ in await asyncio.gather(*asked)]
        assert road.sizes == [1, MOST_TOGETHER, *[1] * FEW]
        seqs = [one.seq for one in answers if isinstance(one, Receipt)]
        assert len(seqs) == more + 1
        assert seqs == sorted(seqs)

    play(scene)
