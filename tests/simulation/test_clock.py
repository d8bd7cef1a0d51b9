import asyncio
import time

import pytest

from tests.simulation.clock import DeadlockError, SpinError, VirtualLoop, pause


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop()


def test_a_virtual_day_passes_at_once(loop: VirtualLoop) -> None:
    started = time.monotonic()
    loop.run_until_complete(_wait(86_400.0))
    assert loop.time() == pytest.approx(86_400.0)
    assert time.monotonic() - started < 5
    loop.end()


def test_timers_go_off_in_the_order_of_their_times(loop: VirtualLoop) -> None:
    seen: list[float] = []

    async def note(seconds: float) -> None:
        await pause(seconds)
        seen.append(seconds)

    async def all_of_them() -> None:
        await asyncio.gather(*(note(seconds) for seconds in (3.0, 1.0, 2.0)))

    loop.run_until_complete(all_of_them())
    assert seen == [1.0, 2.0, 3.0]
    loop.end()


def test_a_timeout_ends_at_its_virtual_second(loop: VirtualLoop) -> None:
    async def give_up() -> float:
        try:
            async with asyncio.timeout(5):
                await pause(100)
        except TimeoutError:
            return asyncio.get_running_loop().time()
        return -1.0

    assert loop.run_until_complete(give_up()) == pytest.approx(5.0)
    loop.end()


def test_a_world_in_which_nothing_can_happen_any_more_says_so(loop: VirtualLoop) -> None:
    with pytest.raises(DeadlockError, match="everybody waits"):
        loop.run_until_complete(_wait_for_ever())
    loop.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_never_waits_is_found(loop: VirtualLoop) -> None:
    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again)
    with pytest.raises(SpinError, match="without ever waiting"):
        loop.run_until_complete(_wait(1.0))
    loop.close()


async def _wait(seconds: float) -> None:
    await pause(seconds)


async def _wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()
