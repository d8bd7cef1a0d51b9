"""The same worlds, every step taken apart: each event is read by itself, each answer arrives or is lost.

What `services/gate/worker.py` does between two awaits is one step here: after an answer it reads up to what was
stored; after one that says nothing, up to what the bus says is the end; after a crash it reads all again, from the
first event, and decides nothing before it has come to what was the end when it began.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.model.book import Book
from tests.model.steps import Outside

REST: Final = 0  # nothing under way
SENT: Final = 1  # an append is on its way to the bus; `about` is the draft
STORED: Final = 2  # the bus stored it, its answer is on its way; `about` is the sequence
REFUSED: Final = 3  # the bus refused it, its answer is on its way
BEHIND: Final = 4  # reads up to the sequence `about` before it decides anything


class Gate(NamedTuple):
    """One gate: the last page it read, what it is doing, and about what."""

    read: int
    doing: int = REST
    about: int = 0


class State(NamedTuple):
    """A world between two steps."""

    page: int
    gates: tuple[Gate, Gate]
    adrift: tuple[int, ...]
    unasked: tuple[int, ...]
    crashes: int
    unanswered: int
    late: int


class LiteralSteps:
    """The steps of a world as they are taken, over a book that may be shared with `SmallSteps`."""

    def __init__(self, book: Book) -> None:
        assert len(book.world.orgs) == 1, "one org, so that a gate has one append under way"
        self.book = book
        self._outside = Outside(book)

    def first(self) -> State:
        """Nothing was asked; both gates have read the past."""
        world, gate = self.book.world, Gate(self.book.root)
        unasked = tuple(range(len(world.requests)))
        return State(self.book.root, (gate, gate), (), unasked, world.crashes, world.unanswered, world.late)

    def forward(self, state: State) -> Iterator[tuple[State, int]]:
        """A request, an outcome; a gate reads one event, decides, reaches the bus, or hears from it."""
        for page, alike, rest in self._outside.requests(state.page, state.unasked):
            yield state._replace(page=page, unasked=rest), alike
        for page in self._outside.outcomes(state.page):
            yield state._replace(page=page), 1
        for gate, other in (state.gates, state.gates[::-1]):
            if gate.read != state.page:
                read = self._next(gate.read, state.page)
                yield self._with(state, gate._replace(read=read), other), 1
            draft = self.book.pages[gate.read].drafts[0]
            match gate.doing:
                case 0 if draft is not None:
                    yield self._with(state, Gate(gate.read, SENT, draft), other), 1
                case 1:
                    yield self._landed(state, gate, other), 1
                case 2:
                    yield self._with(state, Gate(gate.read, BEHIND, gate.about), other), 1
                case 3:
                    yield self._with(state, self._catches_up(state, gate), other), 1
                case _:
                    pass

    def mishaps(self, state: State) -> Iterator[tuple[State, int]]:
        """A gate dies at any time or hears that nobody knows, a lost append lands, an outcome is told again."""
        for gate, other in (state.gates, state.gates[::-1]):
            adrift = tuple(sorted({*state.adrift, gate.about})) if gate.doing == SENT else state.adrift
            if state.crashes:
                anew = self._catches_up(state, Gate(self.book.root))
                crashed = state._replace(adrift=adrift, crashes=state.crashes - 1)
                yield self._with(crashed, anew, other), 1
            if state.unanswered and gate.doing in {SENT, STORED, REFUSED}:
                lost = state._replace(adrift=adrift, unanswered=state.unanswered - 1)
                yield self._with(lost, self._catches_up(state, gate), other), 1
        for sent in state.adrift:
            page = self.book.decided(state.page, sent)
            rest = tuple(one for one in state.adrift if one != sent)
            yield state._replace(page=state.page if page is None else page, adrift=rest), 1
        if state.late:
            for page in self._outside.echoes(state.page):
                yield state._replace(page=page, late=state.late - 1), 1

    def _landed(self, state: State, gate: Gate, other: Gate) -> State:
        page = self.book.decided(state.page, gate.about)
        if page is None:
            return self._with(state, Gate(gate.read, REFUSED), other)
        stored = Gate(gate.read, STORED, self.book.pages[page].seq)
        return self._with(state._replace(page=page), stored, other)

    def _catches_up(self, state: State, gate: Gate) -> Gate:
        return Gate(gate.read, BEHIND, self.book.pages[state.page].seq)

    def _with(self, state: State, gate: Gate, other: Gate) -> State:
        """The gate is so; whoever has read far enough is at rest. The gates have no names, so the lesser is first."""
        if gate.doing == BEHIND and self.book.pages[gate.read].seq >= gate.about:
            gate = Gate(gate.read)
        return state._replace(gates=(gate, other) if gate <= other else (other, gate))

    def _next(self, read: int, page: int) -> int:
        """The page after the one that was read, on the way to `page`."""
        while True:
            before = self.book.pages[page].before
            assert before is not None, "a gate reads what is stored"
            if before == read:
                return page
            page = before
