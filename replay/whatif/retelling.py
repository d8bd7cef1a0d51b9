"""The ledger told once more by other rules: each recorded round is decided again where its gate decided it.

The rules of the gate are imported, never copied: `services/gate/decide.py` decides, with the recorded clock, gate and
place. As long as the answers are the recorded ones there is one course of things, to the byte; from the first difference
on there are two, *then* as it was recorded and *now* as it would have been. Requests, hosts and what came of itself are the
same in both; a recorded outcome holds in the new course where the same order was given to the same VM, and any other
outcome is modelled (`outcomes.py`).
"""

from collections import Counter, deque
from heapq import heappop, heappush

import msgspec

from events.envelope import Recorded
from events.fact import Fact
from events.gate import GateDecided
from events.host import HostFenced, HostRemoved
from events.ids import derive
from events.quiesce import QuiesceRequested
from events.registry import NEWEST
from events.scale import ScaleRequested
from projections.fleet.fold import Vm
from replay.metering import moment_of
from replay.whatif.answers import Answers, Unlike, is_wish
from replay.whatif.causes import Asked, Causes
from replay.whatif.history import Course, awaits_outcome, follows
from replay.whatif.outcomes import holding, modelled
from replay.whatif.rules import Rules
from replay.whatif.survey import Round, Survey, is_ruled, trip_of
from services.gate.decide import RULES, decide
from services.gate.draft import Decision
from services.gate.state import State

_GATE = "what-if"
"""Who gives the rounds that no gate gave."""

_Key = tuple[str, str]


class Retelling:
    """Both courses, fed with the ledger's events behind the place that the state was folded to, in order."""

    def __init__(
        self, state: State, survey: Survey, rules: Rules, seq: int, asked: Asked | None = None
    ) -> None:
        self.state = state
        self.now = Course.of(state, survey.first_ns)
        self.then: Course | None = None
        self.answers = Answers()
        self.rounds = 0
        self.same = 0
        """Rounds that were decided again to the recorded bytes."""
        self.unlike: Unlike | None = None
        """The first that was not."""
        self.foreign: Counter[str] = Counter()
        """Rounds that were decided by another version of the rules than this one, by version."""
        self.models: Counter[tuple[str, str]] = Counter()
        """Modelled outcomes: what for, and where the duration comes from."""
        self.modelled: set[str] = set()
        """Requests that an outcome was modelled for."""
        self.at_ns = 0
        self.seq = seq
        self._survey, self._rules = survey, rules
        self._coming = deque(survey.by_state_seq())
        self._by_seq = {one.seq: one for one in self._coming}
        self._remade: dict[int, Decision | None] = {}
        self._under_way: dict[str, deque[int]] = {}
        self._batch: list[Recorded] = []
        self._due: list[tuple[int, int, _Key, str | None, str]] = []
        self._drawn = 0
        self._ordered_ns: dict[_Key, int] = {}
        """When a VM was last given an order in the new course."""
        self._awaited: set[tuple[_Key, str | None, str]] = set()
        self._waiting: set[str] = set()
        orgs = {*state.usage.contracts, *(one.org for one in survey.rounds)}
        self._last = {org: state.docket.fence_seq(org) for org in orgs}
        """Each org's last recorded round, which the next one follows."""
        self._causes = Causes(Asked() if asked is None else asked)
        if rules:
            self._part()
            for fact in list(rules.differing(state)):
                self._tell(fact)

    # --------------------------------------------------------------------------------------------------- the reading

    def take(self, recorded: Recorded) -> None:
        """Both courses include the event."""
        self._remake(recorded.seq - 1)
        at_ns = max(self.at_ns, recorded.stored_ns)
        self.pass_time(at_ns)
        self.at_ns, self.seq = at_ns, recorded.seq
        fact = recorded.fact
        if isinstance(fact, GateDecided):
            self._decided(recorded, fact)
        elif is_ruled(recorded):
            self._ruled(recorded)
        elif is_wish(recorded):
            self._asked(recorded)
        else:
            self._happened(recorded)
        self._settle()

    def end(self) -> None:
        """The window is over: outcomes that were due by now have come, and all is metered."""
        self.pass_time(self._survey.last_ns)
        self.at_ns = max(self.at_ns, self._survey.last_ns)
        for course in (self.now, self.then):
            if course is not None:
                course.meter.advance(self.at_ns)

    def _remake(self, seq: int) -> None:
        """Every round whose gate had folded no further than this has been decided again."""
        while self._coming and self._coming[0].state_seq <= seq:
            one = self._coming.popleft()
            self._remade[one.seq] = decide(
                one.org, self.state, now=one.now, gate=one.gate, state_seq=one.state_seq
            )
            self._under_way.setdefault(one.org, deque()).append(one.seq)

    # ------------------------------------------------------------------------------------------------------- rounds

    def _ruled(self, recorded: Recorded) -> None:
        """A fact that stands in one batch with the round behind it: it holds where that round says it again."""
        under_way = self._under_way.get(recorded.fact.org)
        if not under_way:
            self._both(recorded)
            return
        again = self._remade[under_way[0]]
        place = len(self._batch)
        self._batch.append(recorded)
        if again is not None and again.facts[place : place + 1] == (recorded.fact,):
            self._both(recorded)
        else:
            self._part().apply(recorded, self.at_ns)
            self._look_everywhere()

    def _decided(self, recorded: Recorded, fact: GateDecided) -> None:
        one, is_next = self._by_seq.get(recorded.seq), fact.follows == self._last.get(fact.org, 0)
        if is_next:
            self._last[fact.org] = recorded.seq
        if one is None:
            if is_next:
                self._kept(recorded, fact)
            return
        again, told = self._remade.pop(recorded.seq), self._batch
        self._batch = []
        self._end_of_way(one)
        if not is_next:  # a copy, which no fold takes
            return
        self.rounds += 1
        if one.rules != RULES:
            self.foreign[one.rules] += 1
        if again is not None and _is_told(again, told, fact):
            self.same += 1
            self.answers.both(fact)
            self._both(recorded)
            self._ordered(fact)
            self._look(fact)
            return
        if self.unlike is None:
            self.unlike = Unlike(recorded, tuple(line.fact for line in told), again)
        self._part().apply(recorded, self.at_ns)
        self.answers.then(fact)
        if again is not None:
            held = [line.fact for line in told]
            for place, new in enumerate(again.facts):
                if held[place : place + 1] != [new]:
                    self._tell(new)
            self._store(again.decided)
        self._look(fact, *([again.decided] if again else []))
        while again is not None and self._is_behind(one):
            again = decide(one.org, self.state, now=one.now, gate=one.gate, state_seq=recorded.seq)
            if again is not None:
                self._say(again)

    def _kept(self, recorded: Recorded, fact: GateDecided) -> None:
        """A round from before the window, or one that defines pools: it stands, behind whatever stands before it now."""
        if self.then is None:
            self.now.apply(recorded, self.at_ns)
            self._ordered(fact)
            return
        self.then.apply(recorded, self.at_ns)
        follows = self.state.docket.fence_seq(fact.org)
        changed = msgspec.structs.replace(recorded, fact=msgspec.structs.replace(fact, follows=follows))
        self.now.apply(changed, self.at_ns)
        self._ordered(fact)
        self._look(fact)

    def _end_of_way(self, one: Round) -> None:
        under_way = self._under_way[one.org]
        under_way.remove(one.seq)
        if not under_way:
            del self._under_way[one.org]

    def _is_behind(self, one: Round) -> bool:
        """Whether a request is unanswered that the recorded round had answered."""
        first = next(self.state.docket.pending(one.org), None)
        return first is not None and first.seq <= one.through

    def _say(self, decision: Decision) -> None:
        """A round that no gate gave is part of the new course."""
        for fact in decision.facts:
            self._tell(fact)
        self._store(decision.decided)
        self._look(decision.decided)

    def _store(self, decided: GateDecided) -> None:
        self.answers.now(decided)
        self._tell(decided)
        self._ordered(decided)

    def _ordered(self, decided: GateDecided) -> None:
        for order in decided.orders:
            self._ordered_ns[decided.org, order.vm] = self.at_ns

    def _settle(self) -> None:
        """The gate orders the next steps of VMs that came to need one in the new course alone."""
        for org in list(self._waiting):
            if not self._is_near(org):
                self._waiting.discard(org)
                self._step_on(org)

    def _is_near(self, org: str) -> bool:
        """Whether a recorded round comes that sees to the org: one is under way, or somebody waits for one then as well."""
        return (
            org in self._under_way
            or next(self.state.docket.pending(org), None) is not None
            or any(self._follows((org, vm.name)) for vm in self.now.fleet.attention(org))
        )

    def _step_on(self, org: str) -> None:
        """The next steps of the org's VMs are ordered, at the time that it is."""
        while next(self.now.fleet.attention(org), None) is not None:
            again = decide(org, self.state, now=moment_of(self.at_ns), gate=_GATE, state_seq=self.seq)
            if again is None:
                return
            self._say(again)

    # ----------------------------------------------------------------------------------------------------- requests

    def _asked(self, recorded: Recorded) -> None:
        fact = recorded.fact
        if self.then is not None:
            self.then.apply(recorded, self.at_ns)
            if isinstance(fact, ScaleRequested | QuiesceRequested):
                why = self._causes.why_lost(self.then, self.now, recorded, fact, self.at_ns)
                if why is not None:
                    self.answers.lost(recorded, fact.org, fact.pool, why)
                    return
        self.now.apply(recorded, self.at_ns)

    # ----------------------------------------------------------------------------------------------------- outcomes

    def _happened(self, recorded: Recorded) -> None:
        vm = getattr(recorded.fact, "vm", None)
        if self.then is None or not isinstance(vm, str):
            self._both(recorded)
            return
        key = (recorded.fact.org, vm)
        then, now = self.then.fleet.vms.get(key), self.now.fleet.vms.get(key)
        fact = holding(recorded.fact, now, same=follows(then, now))
        self.then.apply(recorded, self.at_ns)
        if fact is not None:
            self.now.apply(msgspec.structs.replace(recorded, fact=fact), self.at_ns)
        self._check(key)

    def _both(self, recorded: Recorded) -> None:
        """The event is part of both courses."""
        if self.then is not None:
            self.then.apply(recorded, self.at_ns)
            fact = self._rules.of_fact(recorded.fact)
            self.now.apply(msgspec.structs.replace(recorded, fact=fact), self.at_ns)
            if isinstance(recorded.fact, HostFenced | HostRemoved):
                self._look_everywhere()
        else:
            self.now.apply(recorded, self.at_ns)

    def _tell(self, fact: Fact, cause: str | None = None) -> None:
        """The fact is part of the new course alone."""
        changed, row = self._rules.of_fact(fact), NEWEST[type(fact)]
        id_ = derive("what-if", self.seq, row.tag, cause or "")
        self.now.apply(
            Recorded(
                seq=self.seq,
                stored_ns=self.at_ns,
                id=id_,
                writer=_GATE,
                time=moment_of(self.at_ns),
                cause=cause,
                correlation=id_,
                type=row.tag,
                fact=changed,
            ),
            self.at_ns,
        )
        if isinstance(fact, HostFenced | HostRemoved):
            self._look_everywhere()

    def _part(self) -> Course:
        """The recorded course, which goes its own way from the first difference on."""
        if self.then is None:
            self.then = self.now.copied()
        return self.then

    def _follows(self, key: _Key) -> bool:
        then = self._part()
        return follows(then.fleet.vms.get(key), self.now.fleet.vms.get(key))

    def _look(self, *rounds: GateDecided) -> None:
        """VMs that any of the rounds gave an order are looked at."""
        if self.then is not None:
            for one in rounds:
                for order in one.orders:
                    self._check((one.org, order.vm))

    def _look_everywhere(self) -> None:
        """All VMs are looked at, since a host changed; that is seldom."""
        for key in list(self.now.fleet.vms):
            self._check(key)

    def _check(self, key: _Key) -> None:
        """Where the VM goes another way than the recorded one, somebody sees to it that it goes on."""
        assert self.then is not None
        vm, then = self.now.fleet.vms.get(key), self.then.fleet.vms.get(key)
        for one in (vm, then):
            if one is not None:
                self._causes.compare(self.then, self.now, (one.org, one.pool), self.at_ns)
        if vm is None or follows(then, vm):
            return
        if awaits_outcome(vm):
            self._await(key, vm)
        elif key[1] in {one.name for one in self.now.fleet.attention(key[0])}:
            self._waiting.add(key[0])

    # --------------------------------------------------------------------------------------------------- modelling

    def _await(self, key: _Key, vm: Vm) -> None:
        """The outcome of the VM's order comes in its time, unless the recorded one comes first."""
        mark = (key, vm.order, vm.state)
        if mark in self._awaited:
            return
        self._awaited.add(mark)
        lasting = self._survey.lasting(vm, self.now.agreed(vm.org, vm.pool))
        due_ns = self._ordered_ns.get(key, self.at_ns) + lasting.ns
        self._drawn += 1
        heappush(self._due, (max(self.at_ns, due_ns), self._drawn, *mark))

    def pass_time(self, until_ns: int) -> None:
        """Time goes by, and with it comes what was due."""
        while self._due and self._due[0][0] <= until_ns:
            at_ns, _, key, order, state = heappop(self._due)
            self._awaited.discard((key, order, state))
            self.at_ns = max(self.at_ns, at_ns)
            vm = self.now.fleet.vms.get(key)
            if vm is not None and (vm.order, vm.state) == (order, state) and not self._follows(key):
                self._model(key, vm)
                self._settle()

    def _model(self, key: _Key, vm: Vm) -> None:
        lasting = self._survey.lasting(vm, self.now.agreed(vm.org, vm.pool))
        self.models[trip_of(vm), lasting.basis] += 1
        if vm.request is not None:
            self.modelled.add(vm.request)
        for fact in modelled(vm, moment_of(self.at_ns)):
            self._tell(fact, vm.order)
        self._check(key)


def _is_told(again: Decision, told: list[Recorded], fact: GateDecided) -> bool:
    """Whether the round is the recorded one to the byte, and so are the facts that stand with it."""
    facts = [msgspec.json.encode(one) for one in again.facts]
    return facts == [msgspec.json.encode(line.fact) for line in told] and msgspec.json.encode(
        again.decided
    ) == msgspec.json.encode(fact)
