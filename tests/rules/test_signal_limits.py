"""What one publisher of the intake may ask, in virtual time, and that others do not feel it when it asks more."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from events.scale import ScaleRequested
from schemas.intake import Receipt, Rejection
from services.signal.worker import Signal
from tests.rules.desk import Desk, play
from tests.rules.test_signal_worker import decode, intake, letters
from tests.simulation.clock import pause


async def flood(signal: Signal, publisher: str, requests: int, **more: object) -> list[Receipt | Rejection]:
    bodies = ({"pool": "web", "key": f"k{number}", "add": 1} | more for number in range(requests))
    subject = f"in.acme.{publisher}.scale"
    return [
        decode(raw)
        for raw in await asyncio.gather(*(signal.answer(subject, msgspec.json.encode(one)) for one in bodies))
    ]


def codes_of(answers: Sequence[Receipt | Rejection]) -> Counter[str]:
    return Counter(one.code if isinstance(one, Rejection) else "taken" for one in answers)


def test_who_asks_too_often_is_told_so_and_nobody_else_is() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk) as signal:
            assert codes_of(await flood(signal, "shop", 1000)) == {"taken": 400, "TooManyRequests": 600}
            assert codes_of(await flood(signal, "till", 10)) == {"taken": 10}
            assert codes_of(await flood(signal, "operator", 500)) == {"taken": 500}
            assert letters(desk) == []
            await pause(1)
            (refused,) = {one.text for one in await flood(signal, "shop", 201) if isinstance(one, Rejection)}
            assert refused == (
                "acme/shop asks more than 200 times a second; ask again in 5 ms, with the same key. Nothing was stored."
            )

    play(scene)


def test_nonsense_counts_as_asking_so_that_dead_letters_are_no_way_around() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk) as signal:
            await asyncio.gather(*(signal.answer("in.acme.shop.explode", b"%d" % n) for n in range(1000)))
            assert len(letters(desk)) == 400

    play(scene)


def test_one_publisher_that_waits_for_everything_leaves_half_of_the_places() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk) as signal:
            waiting = [asyncio.create_task(flood(signal, "shop", 400, wait=True))]
            await pause(2)
            waiting.append(asyncio.create_task(flood(signal, "shop", 200, wait=True, key="same")))
            await pause(1)
            assert codes_of(await flood(signal, "till", 10)) == {"taken": 10}
            taken = codes_of([one for answers in await asyncio.gather(*waiting) for one in answers])
            assert taken == {"taken": 512, "TooManyRequests": 88}

    play(scene)


def test_a_publisher_with_many_keys_makes_nobody_else_forget_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.signal.state.MOST_REQUESTS", 10)

    async def scene() -> None:
        desk = Desk(dedup_seconds=0)
        desk.contract()
        async with intake(desk) as signal:
            await flood(signal, "till", 1)
            await flood(signal, "shop", 100)
            (again,) = await flood(signal, "till", 1)
            assert isinstance(again, Receipt)
            assert again.repeated
            assert len(desk.facts(ScaleRequested)) == 101
            (forgotten,) = await flood(signal, "shop", 1)
            assert isinstance(forgotten, Receipt)
            assert not forgotten.repeated, "its own keys are bounded"

    play(scene)
