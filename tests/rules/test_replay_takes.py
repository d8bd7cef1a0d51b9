"""A fold is given nothing but what it says it takes; so it must say all that changes it."""

import copy
import importlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import projections
from events.awaited import Awaited
from events.bus.ledger import Dispatch
from events.envelope import Recorded, read
from events.fact import Fact
from events.registry import NEWEST
from projections.keeper import TABLES

LINES = Path(__file__).parents[1] / "logs"
FOLDS = sorted(
    {
        thing
        for path in Path(projections.__path__[0]).glob("*/*.py")
        for thing in vars(importlib.import_module(f"projections.{path.parent.name}.{path.stem}")).values()
        if isinstance(thing, type) and "TAKES" in vars(thing)
    },
    key=lambda kind: kind.__name__,
)


@cache
def golden() -> dict[type[Fact], Recorded]:
    """One event of every type there is."""
    found = (
        read(place, 1_763_802_000_000_000_000, path.read_bytes().rstrip(b"\n"))
        for place, path in enumerate(sorted(LINES.glob("v*/*.json")), 1)
    )
    return {type(one.fact): one for one in found}


def test_the_folds_of_the_views_say_what_they_take() -> None:
    assert {table.fold for table in TABLES} <= set(FOLDS)
    assert set(golden()) == set(NEWEST)


@pytest.mark.parametrize("kind", FOLDS)
def test_what_a_fold_does_not_take_does_not_change_it(kind: Any) -> None:
    fold = kind()
    for recorded in golden().values():
        fold.apply(recorded)
    for fact, recorded in golden().items():
        if fact not in kind.TAKES:
            before = copy.deepcopy(vars(fold))
            fold.apply(recorded)
            assert vars(fold) == before, f"{kind.__name__} is changed by {fact.__name__}"


@pytest.mark.parametrize("kind", FOLDS)
def test_a_fold_takes_every_event_that_its_module_names(kind: Any) -> None:
    package = kind.__module__.rpartition(".")[0]
    parts, left = set[str](), {kind.__module__}
    while left:
        parts |= left
        own = [vars(importlib.import_module(part)).values() for part in left]
        types = {thing.__module__ for things in own for thing in things if isinstance(thing, type)}
        left = {part for part in types if part.startswith((f"{package}.", Awaited.__module__))} - parts
    named = {
        thing
        for part in parts
        for thing in vars(importlib.import_module(part)).values()
        if isinstance(thing, type) and thing in NEWEST
    }
    assert named == kind.TAKES


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_what_a_table_does_not_take_changes_none_of_its_rows(table: Any) -> None:
    assert table.takes is not None
    for fact, recorded in golden().items():
        if fact not in table.takes:
            assert fact not in table.fold.TAKES or list(table.touched(recorded)) == []


def test_an_event_goes_to_those_who_take_it_in_their_order() -> None:
    told: list[tuple[str, int]] = []

    class All:
        def apply(self, recorded: Recorded) -> None:
            told.append(("all", recorded.seq))

    class One:
        TAKES = frozenset({type(next(iter(golden().values())).fact)})

        def apply(self, recorded: Recorded) -> None:
            told.append(("one", recorded.seq))

    dispatch = Dispatch([One(), All()])
    first, second, *_ = golden().values()
    dispatch.take(first)
    dispatch.take(second)
    assert told == [("one", first.seq), ("all", first.seq), ("all", second.seq)]
