"""In small worlds nothing is left to chance: every interleaving is walked through, and each law holds in all of them."""

from dataclasses import fields, replace

import pytest
from msgspec import structs

from services.gate.state import State
from tests.given import ORG
from tests.model.book import Book, decision_of
from tests.model.explore import Explorer
from tests.model.literal import LiteralSteps
from tests.model.steps import SmallSteps
from tests.model.told import row, story
from tests.model.worlds import QUICK, World, one_fits, scale

TWO = World("two want one, one fits", one_fits, (scale("a"), scale("b")), 1, late=0)


@pytest.mark.parametrize("world", QUICK, ids=lambda world: world.name)
def test_no_interleaving_breaks_a_law(world: World) -> None:
    book = Book(world)
    found = Explorer(SmallSteps(book)).run()
    print("  ".join(row(found)))
    told = [f"{one.sentence}\n{story(book, page)}" for one, page in found.broken.values()]
    assert not told, told[0]
    assert found.interleavings > 10_000


def test_steps_taken_one_by_one_reach_the_same_ledgers_and_no_other() -> None:
    book = Book(TWO)
    coarse, fine = Explorer(SmallSteps(book)), Explorer(LiteralSteps(book))
    seldom, often = coarse.run(), fine.run()
    assert not seldom.broken
    assert not often.broken
    assert fine.ledgers() == coarse.ledgers()
    assert often.states > seldom.states
    assert often.interleavings > seldom.interleavings


def test_a_gate_that_reads_all_again_knows_and_decides_what_it_did_before() -> None:
    book = Book(TWO)
    Explorer(SmallSteps(book)).run()
    for page in book.pages:
        anew = State()
        for line in book.ledger(page.number):
            anew.apply(line)
        for fold in fields(State):
            assert vars(getattr(anew, fold.name)) == vars(getattr(page.folds, fold.name)), fold.name
        decision = decision_of(ORG, anew, page.seq)
        (draft,) = page.drafts
        known = book.drafts[draft] if draft is not None else None
        assert (decision is None) == (known is None)
        if decision is not None and known is not None:
            assert (decision.facts, decision.decided.answers) == (known.facts, known.decided.answers)
            assert decision.decided.orders == known.decided.orders


def test_requests_that_ask_the_same_are_counted_as_if_they_were_told_apart() -> None:
    alike = Explorer(SmallSteps(Book(TWO))).run()
    other = structs.replace(TWO.requests[1], publisher="desk")  # the rules do not ask who it is
    apart = Explorer(SmallSteps(Book(replace(TWO, requests=(TWO.requests[0], other))))).run()
    assert alike.interleavings == apart.interleavings
    assert alike.states < apart.states
