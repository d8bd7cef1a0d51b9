"""Every ledger that a world can reach, each prefix kept once, with the folds that have read it.

A fold is a function of the ledger alone, so that a gate at sequence S is the prefix that ends there: folds are made
once for each prefix, from those of the prefix before. What is stored, and what is refused as stale, the store of the
in-memory bus says; what is appended has been an event in its envelope, and is read back from its bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from dataclasses import replace as replace_truth
from typing import Final

from msgspec.structs import replace

from events.bus.port import Outgoing, StaleError
from events.bus.store import Store
from events.envelope import Addressed, Recorded, address, read
from events.fact import Fact
from events.gate import GateDecided
from events.ids import derive
from events.registry import NEWEST
from services.gate.decide import decide
from services.gate.draft import Decision
from services.gate.state import State as GateState
from tests.given import NOW
from tests.model.fork import fork
from tests.model.truth import Broken, Truth
from tests.model.worlds import World

MOST_EVENTS: Final = 60
"""Three times what the longest ledger of these worlds holds: one that goes on growing is a fault."""

_NOW_NS: Final = int(NOW.timestamp()) * 1_000_000_000

Key = tuple[str, int, int]
"""What is appended: ("asked", request, 0), ("told", place, way), ("again", outcome, 0), ("decided", draft, 0)."""


def decision_of(org: str, state: GateState, seq: int) -> Decision | None:
    """The gate's own rules, asked after a prefix; None when there is nothing to say."""
    return decide(org, state, now=NOW, gate="gate", state_seq=seq)


@dataclass(slots=True)
class Page:
    """A prefix of a ledger: its number, what folds and truth say after it, and what follows it."""

    number: int
    before: int | None
    line: Recorded | None
    store: Store
    folds: GateState
    truth: Truth
    broken: tuple[Broken, ...] = ()
    drafts: tuple[int | None, ...] = ()
    """What a gate that has read up to here would append, for each org."""
    since: tuple[tuple[int, ...], ...] = ()
    """For each org the pages from its last decision up to this one: what a gate may have read whose append counts."""
    next: dict[Key, int] = field(default_factory=dict[Key, int])
    stale: dict[int, bool] = field(default_factory=dict[int, bool])
    endings: tuple[int, ...] = ()
    """For each open order in how many ways it can end."""

    @property
    def seq(self) -> int:
        """The last sequence of the prefix."""
        return self.store.last


class Book:
    """All prefixes and drafts of one world. Pages and drafts are known by their numbers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pages: list[Page] = []
        self.drafts: list[Decision] = []
        self._known: dict[tuple[tuple[Fact, ...], GateDecided], int] = {}
        folds, store, truth = world.protocol.state(), Store(dedup_seconds=0), Truth()
        for line in world.past().lines:
            event = _event(line.fact, line.id)
            stored = store.append(_outgoing(event), _NOW_NS)
            recorded = _read(store, stored.seq)
            folds.apply(recorded)
            if isinstance(recorded.fact, GateDecided):
                truth, broken = truth.decided(recorded.fact, recorded.seq)
                assert not broken, broken
            else:
                truth = truth.told_first(recorded.fact).ruled(recorded.fact)
        truth = replace_truth(truth, open=(), told=())
        self.root = self._page(None, store, folds, truth, []).number

    # ------------------------------------------------------------------------------------------------- what follows

    def asked(self, page: int, request: int) -> int:
        """The request of that number is in the ledger."""
        fact = self.world.requests[request]
        return self._append(page, ("asked", request, 0), (fact,), derive("request", request))

    def told(self, page: int, place: int, way: int) -> int:
        """The order that is open in this place went on in this way."""
        opened = self.pages[page].truth.open[place]
        facts = opened.ways(self.world.endings)[way]
        told = derive("told", opened.order.id, way, len(facts))
        if self.world.bit_by_bit:
            return self._append(page, ("told", place, way), facts[:1], told, rest=facts[1:])
        return self._append(page, ("told", place, way), facts, told)

    def again(self, page: int, outcome: int) -> int:
        """The outcome is told a second time."""
        fact = self.pages[page].truth.told[outcome]
        return self._append(page, ("again", outcome, 0), (fact,), derive("again", outcome, page))

    def decided(self, page: int, draft: int) -> int | None:
        """The draft is in the ledger; None when the bus refuses it as stale."""
        return None if self.is_stale(page, draft) else self._append_draft(page, draft)

    def is_stale(self, page: int, draft: int) -> bool:
        """Whether the bus refuses the draft here. It will then refuse it for ever: a fence's sequence only grows."""
        known = self.pages[page].stale.get(draft)
        if known is None:
            known = self._send(fork(self.pages[page].store), draft)
            self.pages[page].stale[draft] = known
        return known

    # ------------------------------------------------------------------------------------------------------ inside

    def _send(self, store: Store, number: int) -> bool:
        """The draft was sent to the store; True when it was refused as stale."""
        draft = self.drafts[number]
        expect = self.world.protocol.expects(draft.decided)
        cause = derive("draft", number)
        fence = _outgoing(_event(draft.decided, cause), expect)
        try:
            if draft.facts:
                facts = [_outgoing(_event(one, derive(cause, at))) for at, one in enumerate(draft.facts)]
                store.append_batch([*facts, fence], _NOW_NS)
            else:
                store.append(fence, _NOW_NS)
        except StaleError:
            return True
        return False

    def _append_draft(self, page: int, number: int) -> int:
        key: Key = ("decided", number, 0)
        former = self.pages[page]
        known = former.next.get(key)
        if known is not None:
            return known
        store, folds = fork(former.store), _fork(former.folds)
        refused = self._send(store, number)
        assert not refused, "what the store takes in one copy it takes in the other"
        truth, broken = former.truth, list[Broken]()
        for seq in range(former.seq + 1, store.last + 1):
            line = _read(store, seq)
            folds.apply(line)
            if isinstance(line.fact, GateDecided):
                truth, more = truth.decided(line.fact, seq)
                broken += more
            else:
                truth = truth.ruled(line.fact)
        after = self._page(page, store, folds, truth, broken)
        decided = self.drafts[number].decided
        after.since = tuple(
            (after.number,) if org == decided.org else (*since, after.number)
            for org, since in zip(self.world.orgs, former.since, strict=True)
        )
        former.next[key] = after.number
        return after.number

    def _append(
        self, page: int, key: Key, facts: Sequence[Fact], id: str, rest: tuple[Fact, ...] = ()
    ) -> int:
        known = self.pages[page].next.get(key)
        if known is not None:
            return known
        first = page
        for at, fact in enumerate(facts):
            former = self.pages[page]
            store, folds = fork(former.store), _fork(former.folds)
            store.append(_outgoing(_event(fact, derive(id, at))), _NOW_NS)
            folds.apply(_read(store, store.last))
            truth = former.truth
            if key[0] == "told":
                truth = truth.told_first(fact)
                if at == len(facts) - 1:
                    truth = truth.went_on(key[1], rest)
            after = self._page(page, store, folds, truth, [])
            after.since = tuple((*since, after.number) for since in former.since)
            page = after.number
        self.pages[first].next[key] = page
        return page

    def _page(
        self, before: int | None, store: Store, folds: GateState, truth: Truth, broken: list[Broken]
    ) -> Page:
        seq = store.last
        broken += truth.past(self.world.vcpu, self.world.memory_mib, seq)
        counted = {
            (vm, one.reservation, one.size.vcpu, one.size.memory_mib)
            for (_, vm), one in folds.usage.holdings.items()
        }
        if counted != truth.holdings():
            broken.append(Broken("counted", f"usage counts {counted} at #{seq}, and {truth.holdings()} run"))
        if seq > MOST_EVENTS:
            broken.append(Broken("endless", f"the ledger goes on growing past #{seq}"))
        page = Page(len(self.pages), before, _read(store, seq), store, folds, truth, tuple(broken))
        page.since = tuple((page.number,) for _ in self.world.orgs)
        decisions = (decision_of(org, folds, seq) for org in self.world.orgs)
        page.drafts = tuple(self._number(one) if one is not None else None for one in decisions)
        page.endings = tuple(len(one.ways(self.world.endings)) for one in truth.open)
        self.pages.append(page)
        return page

    def _number(self, draft: Decision) -> int:
        """Drafts that differ in `state_seq` alone are one: no fold and no law of a world reads it."""
        key = (draft.facts, replace(draft.decided, state_seq=0))
        number = self._known.setdefault(key, len(self.drafts))
        if number == len(self.drafts):
            self.drafts.append(draft)
        return number

    def ledger(self, page: int) -> list[Recorded]:
        """The lines of the prefix, from the first."""
        return [_read(self.pages[page].store, seq) for seq in range(1, self.pages[page].seq + 1)]


def _fork(state: GateState) -> GateState:
    """The state is frozen and holds folds that are not."""
    return GateState(*(fork(getattr(state, one.name)) for one in fields(state)))


def _event(fact: Fact, id: str) -> Addressed:
    row = NEWEST[type(fact)]
    writer = f"{row.writer}-{getattr(fact, 'host', '')}" if row.per_host else row.writer
    return address(fact, writer=writer, id=id, time=NOW, cause=None, correlation=id)


def _outgoing(event: Addressed, expect: int | None = None) -> Outgoing:
    return Outgoing(event.subject, event.id, event.payload, expect)


def _read(store: Store, seq: int) -> Recorded:
    stored = store.messages[seq - 1]
    return read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
