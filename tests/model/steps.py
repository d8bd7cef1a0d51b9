"""The steps of a small world, taken no finer than they can make a difference.

A gate's reading is one step with the decision that it leads to, since nobody sees it read: it decides on any
prefix from the last decision on. Drafts on an earlier one are left out, for the bus refuses them, now and for ever. An
answer that arrives, is lost or says "stale" is one with what the gate does next. And the two gates have no names, since
none of the rules asks for one. `tests.model.literal` takes all of these apart, in smaller worlds.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from tests.model.book import Book

AT_REST: Final = -1


Sent = tuple[int, ...]
"""For each org the draft that a gate has sent and has no answer to, or `AT_REST`."""


class Outside:
    """What gates have no part in: requests are published, orders have their outcomes, and outcomes an echo."""

    def __init__(self, book: Book) -> None:
        self._book = book
        facts = [replace(request, key="same") for request in book.world.requests]
        self._kinds = [facts.index(fact) for fact in facts]
        """For each request the first that asks the same."""

    def requests(self, page: int, unasked: Sequence[int]) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Page, request and rest; of those that ask the same the first stands for each, and is as many steps."""
        seen: set[int] = set()
        for request in unasked:
            kind = self._kinds[request]
            if kind not in seen:
                seen.add(kind)
                alike = sum(self._kinds[other] == kind for other in unasked)
                rest = tuple(other for other in unasked if other != request)
                yield self._book.asked(page, request), alike, rest

    def outcomes(self, page: int) -> Iterator[int]:
        """The page after each way in which an open order can end."""
        for order, endings in enumerate(self._book.pages[page].endings):
            for ending in range(endings):
                yield self._book.told(page, order, ending)

    def echoes(self, page: int) -> Iterator[int]:
        """The page after each outcome that is told a second time."""
        for outcome in range(len(self._book.pages[page].truth.told)):
            yield self._book.again(page, outcome)


class State(NamedTuple):
    """A world between two steps; small, so that millions of them can be told apart."""

    page: int
    gates: tuple[Sent, Sent]
    """What each gate has sent, org by org; in order, for they have no names."""
    adrift: tuple[int, ...]
    """Appends that nobody waits for any more, and that may still land."""
    unasked: tuple[int, ...]
    crashes: int
    unanswered: int
    late: int


class SmallSteps:
    """Two gates, requests, outcomes, and what may go wrong."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._outside = Outside(book)

    def first(self) -> State:
        """Nothing was asked, and the gates are at rest."""
        world = self.book.world
        unasked = tuple(range(len(world.requests)))
        at_rest = (AT_REST,) * len(world.orgs)
        return State(
            self.book.root, (at_rest, at_rest), (), unasked, world.crashes, world.unanswered, world.late
        )

    def forward(self, state: State) -> Iterator[tuple[State, int]]:
        """A request is published, an order ends, a gate decides and sends, what it sent reaches the bus."""
        for page, alike, rest in self._outside.requests(state.page, state.unasked):
            yield state._replace(page=page, unasked=rest), alike
        for page in self._outside.outcomes(state.page):
            yield state._replace(page=page), 1
        for gate, other in (state.gates, state.gates[::-1]):
            for org, sent in enumerate(gate):
                if sent == AT_REST:
                    for draft in self._drafts(state.page, org):
                        yield state._replace(gates=_pair(_with(gate, org, draft), other)), 1
                else:
                    yield self._landed(state, sent, (_with(gate, org, AT_REST), other), state.adrift), 1

    def mishaps(self, state: State) -> Iterator[tuple[State, int]]:
        """A gate dies or hears that nobody knows, a lost append lands, an outcome is told again."""
        for gate, other in (state.gates, state.gates[::-1]):
            under_way = [sent for sent in gate if sent != AT_REST]
            if state.crashes and under_way:
                adrift = tuple(sorted({*state.adrift, *under_way}))
                dead = state._replace(adrift=adrift, crashes=state.crashes - 1)
                yield dead._replace(gates=_pair((AT_REST,) * len(gate), other)), 1
            for org, sent in enumerate(gate):
                if state.unanswered and sent != AT_REST:
                    adrift = tuple(sorted({*state.adrift, sent}))
                    lost = state._replace(adrift=adrift, unanswered=state.unanswered - 1)
                    yield lost._replace(gates=_pair(_with(gate, org, AT_REST), other)), 1
        for sent in state.adrift:
            rest = tuple(one for one in state.adrift if one != sent)
            yield self._landed(state, sent, state.gates, rest), 1
        if state.late:
            for page in self._outside.echoes(state.page):
                yield state._replace(page=page, late=state.late - 1), 1

    def _drafts(self, page: int, org: int) -> Iterator[int]:
        """What a gate may come to send, for each prefix that it may have read."""
        pages = self.book.pages
        for read in pages[page].since[org]:
            draft = pages[read].drafts[org]
            if draft is not None and not self.book.is_stale(page, draft):
                yield draft

    def _landed(self, state: State, draft: int, gates: tuple[Sent, Sent], adrift: tuple[int, ...]) -> State:
        """The append is in the ledger; whatever else was sent and is stale from now on has had that answer."""
        page = self.book.decided(state.page, draft)
        assert page is not None, "what is stale is not under way"
        is_stale = self.book.is_stale
        one, other = (
            tuple(AT_REST if sent == AT_REST or is_stale(page, sent) else sent for sent in gate)
            for gate in gates
        )
        rest = tuple(sent for sent in adrift if not is_stale(page, sent))
        return state._replace(page=page, gates=_pair(one, other), adrift=rest)


def _with(gate: Sent, org: int, draft: int) -> Sent:
    return (*gate[:org], draft, *gate[org + 1 :])


def _pair(one: Sent, other: Sent) -> tuple[Sent, Sent]:
    return (one, other) if one <= other else (other, one)
