"""Every interleaving of a world's steps: each state is seen once, and the ways through them are counted exactly.

Steps lead forward only, so that the states are a graph without circles: the ways from a state to an end are the sum
over the states that one step leads to, which is how billions of interleavings are counted without being walked.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from tests.model.book import Book
from tests.model.truth import Broken, Law
from tests.model.worlds import World

_TELL_EVERY: Final = 100_000  # states
_MOST_STEPS: Final = 10_000
"""Far more than any way through these worlds is long; a walk that goes deeper is a fault."""


class Stage(Protocol):
    """A world between two steps."""

    @property
    def page(self) -> int:
        """The ledger."""
        ...

    def __hash__(self) -> int: ...


S = TypeVar("S", bound=Stage)


class Steps(Protocol[S]):
    """What can happen next. With each state comes the number of steps, alike but for names, that lead to it."""

    book: Book

    def first(self) -> S:
        """Before anything happened."""
        ...

    def forward(self, state: S) -> Iterator[tuple[S, int]]:
        """What happens sooner or later, unless something else does first."""
        ...

    def mishaps(self, state: S) -> Iterator[tuple[S, int]]:
        """What may go wrong, or never happen."""
        ...


@dataclass(slots=True)
class Found:
    """What an exploration came to."""

    name: str
    mishaps: str
    """Crashes, appends without an answer, and late outcomes that the world has."""
    endings: str
    """How its starts may end."""
    states: int = 0
    transitions: int = 0
    interleavings: int = 0
    ledgers: int = 0
    """Different ledgers that stand at the end of some way."""
    longest: int = 0
    """Events in the longest of them, with those of the past."""
    seconds: float = 0.0
    broken: dict[Law, tuple[Broken, int]] = field(default_factory=dict[Law, tuple[Broken, int]])
    """The first time that each law was broken, and the page."""


def _nothing_yet(world: World) -> Found:
    return Found(world.name, f"{world.crashes} {world.unanswered} {world.late}", " ".join(world.endings))


class _EnoughError(Exception):
    """What was looked for has been found."""


class Explorer(Generic[S]):
    """Walks through one world. `until` names the law to look for; without it, the first broken one ends the walk."""

    def __init__(
        self, steps: Steps[S], *, until: Law | None = None, progress: Callable[[Found], None] = lambda _: None
    ) -> None:
        self._steps = steps
        self._book = steps.book
        self._until: Law | None = until
        self._progress = progress
        self._ways: dict[S, int] = {}
        self._ends: set[int] = set()
        self._began = 0.0
        self.found = _nothing_yet(steps.book.world)

    def run(self) -> Found:
        """Every state was seen, or one in which the law does not hold."""
        self._began = time.perf_counter()
        deep = sys.getrecursionlimit()
        sys.setrecursionlimit(max(deep, _MOST_STEPS))
        # What is kept here is kept to the end and is no circle: looking for some would cost a third of the time.
        collects = gc.isenabled()
        gc.disable()
        try:
            self.found.interleavings = self._visit(self._steps.first())
        except _EnoughError:
            pass  # `found.broken` says what it was
        finally:
            sys.setrecursionlimit(deep)
            if collects:
                gc.enable()
        return self._tally()

    def ledgers(self) -> set[int]:
        """Every ledger that stood in some state."""
        return {state.page for state in self._ways}

    def _tally(self) -> Found:
        found = self.found
        found.states, found.ledgers = len(self._ways), len(self._ends)
        found.longest = max((self._book.pages[page].seq for page in self._ends), default=0)
        found.seconds = time.perf_counter() - self._began
        return found

    def _visit(self, state: S) -> int:
        """How many ways lead from here to an end."""
        self._judge(self._book.pages[state.page].broken, state.page)
        ways = steps = 0
        for after, alike in self._steps.forward(state):
            known = self._ways.get(after)
            ways += alike * (known if known is not None else self._visit(after))
            steps += alike
        if not steps:
            self._all_answered(state.page)
        for after, alike in self._steps.mishaps(state):
            known = self._ways.get(after)
            ways += alike * (known if known is not None else self._visit(after))
            steps += alike
        if not steps:
            self._ends.add(state.page)
            ways = 1
        self.found.transitions += steps
        self._ways[state] = ways
        if len(self._ways) % _TELL_EVERY == 0:
            self._progress(self._tally())
        return ways

    def _judge(self, broken: tuple[Broken, ...], page: int) -> None:
        for one in broken:
            self.found.broken.setdefault(one.law, (one, page))
            if self._until in {None, one.law}:
                raise _EnoughError

    def _all_answered(self, page: int) -> None:
        """Nobody has anything to do: then there is nothing to do."""
        after, asked = self._book.pages[page], len(self._book.world.requests)
        answered = len(after.truth.answered)
        if answered != asked:
            sentence = f"{answered} of {asked} requests have an answer at #{after.seq}, and all is quiet"
            self._judge((Broken("once", sentence),), page)
