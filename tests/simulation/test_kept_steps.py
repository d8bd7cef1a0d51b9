"""Every story of a kept VM ends as if nothing had been, wherever one of its calls is cut off, doubled or left without an answer."""

import random
from collections.abc import Iterator
from itertools import product
from typing import Final

import pytest

from services.signal import worker as signal
from services.storage.copies.restoring import Restoring
from services.storage.volumes import Volume
from services.waker import keeping as waker_keeping
from tests.simulation.disks import DiskLink
from tests.simulation.steps import FATES, Fate, Script
from tests.simulation.stories import STORIES
from tests.simulation.telling import Told, tell, unlike

SAMPLE: Final = 4
"""Disturbances of each story that are tried each time; all of them are where time is no matter."""


def disturbances(name: str, seed: int) -> tuple[Told, list[tuple[int, Fate]]]:
    """The story undisturbed, and all that can be done to its calls."""
    undisturbed = tell(STORIES[name], Script(), seed)
    assert undisturbed.faults == (), undisturbed.faults
    return undisturbed, list(product(range(len(undisturbed.calls)), FATES))


def trouble(name: str, undisturbed: Told, number: int, fate: Fate, seed: int) -> Iterator[str]:
    """What is wrong where this is done to that call."""
    told = tell(STORIES[name], Script(number, fate), seed)
    where = f"{name!r}, seed {seed}: {undisturbed.calls[number]} (call {number}) {fate}"
    if not told.struck:
        yield f"{where} never came."
    for fault in (*told.faults, *unlike(told, undisturbed)):
        yield f"{where}: {fault}"


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_the_same_whatever_is_done_to_one_call(name: str) -> None:
    undisturbed, all_of_them = disturbances(name, 0)
    drawn = random.Random(name).sample(all_of_them, min(SAMPLE, len(all_of_them)))
    assert [line for one in drawn for line in trouble(name, undisturbed, *one, 0)] == []


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_the_same_whatever_is_done_to_any_call(name: str, seed: int) -> None:
    undisturbed, all_of_them = disturbances(name, seed)
    assert [line for one in all_of_them for line in trouble(name, undisturbed, *one, seed)] == []


def test_the_calls_are_found_by_counting() -> None:
    undisturbed, _ = disturbances("create", 0)
    assert [str(call) for call in undisturbed.calls] == [
        "signal: Connection.append",
        "gate-1: Connection.append_batch",
        "storage: ShelfLink.claim",
        "storage: ShelfLink.create",
        "storage: Connection.append",
        "waker-h1: Link.define",
        "waker-h1: Connection.append",
        "waker-h1: Link.start",
        "waker-h1: Connection.append",
        "prober: Connection.append",
    ]


# ------------------------------------------------------------------------------------------------------ it can fail


def all_trouble(name: str) -> Iterator[str]:
    """All that is wrong with a story, of itself or where it is disturbed."""
    undisturbed = tell(STORIES[name], Script())
    yield from undisturbed.faults
    for one in product(range(len(undisturbed.calls)), FATES):
        yield from trouble(name, undisturbed, *one, 0)


def test_a_waker_that_does_not_know_for_which_order_a_domain_runs_reboots_it_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brought_down = waker_keeping.Keeping.brought_down

    async def forgets(self: waker_keeping.Keeping, vm: object, order: object) -> bool:
        hypervisor = self._hypervisor
        life = hypervisor.life

        async def nameless(name: str) -> object:
            found = await life(name)
            return found and type(found)("", found.size)

        monkeypatch.setattr(hypervisor, "life", nameless, raising=False)
        return await brought_down(self, vm, order)  # type: ignore[arg-type]

    monkeypatch.setattr(waker_keeping.Keeping, "brought_down", forgets)
    assert any("domains" in line for line in all_trouble("reboot"))


def test_a_request_that_is_refused_for_what_it_did_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "OVERTAKEN", frozenset[str]())
    with pytest.raises(AssertionError, match="CopyExists"):
        list(all_trouble("snapshot"))


def test_a_disk_that_is_called_erased_and_is_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def spares(self: DiskLink, org: str, vm: str) -> None:
        del self, org, vm

    monkeypatch.setattr(DiskLink, "clear", spares)
    assert any("is left on h1" in line for line in all_trouble("hard"))


def test_a_restore_that_is_told_and_not_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = tell(STORIES["restore"], Script())

    async def lies(self: Restoring, org: str, order: object) -> None:
        store = self._stores.of((org, "db"), "h1", "apps")
        seen = await store.look(Volume(org, "db"))
        await self._outcomes.restored(org, order, seen)  # type: ignore[arg-type]

    monkeypatch.setattr(Restoring, "restore", lies)
    told = tell(STORIES["restore"], Script())
    assert any("volumes" in line for line in unlike(told, undisturbed))
