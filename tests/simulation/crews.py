"""Which workers live in which program."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from services.waker.worker import Waker
from tests.simulation.chance import Chance
from tests.simulation.clock import pause

ADDED_AGAIN_SECONDS: Final = 3.0
"""A host that was removed is added again after so long."""


def spread(workers: Sequence[str], crews: int, chance: Chance) -> list[list[str]]:
    """The workers in so many crews at most, by lot; the two gates are never in one."""
    placed: list[list[str]] = [[] for _ in range(crews)]
    first = 0
    for worker in workers:
        place = chance.rng.randrange(crews)
        if worker == "gate-1":
            first = place
        elif worker == "gate-2" and place == first:
            place = (first + chance.rng.randrange(1, crews)) % crews
        placed[place].append(worker)
    return [crew for crew in placed if crew]


def again_and_again(make: Callable[[], Waker]) -> Awaitable[None]:
    """A waker ends when its host is removed; by and by somebody adds the host again.

    The first one is made at once, because its folds must be there before the reading begins.
    """
    first = make()

    async def work() -> None:
        waker = first
        while True:
            await waker.work()
            await pause(ADDED_AGAIN_SECONDS)
            waker = make()

    return work()


async def endless(working: Awaitable[None]) -> None:
    """The work is done for ever."""
    await working
    raise AssertionError("the worker has nothing more to do")
