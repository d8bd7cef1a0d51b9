"""One org's month, folded from the ledger: sums of whole numbers times whole nanoseconds, so that nothing is rounded.

Between two events all that is summed stands still, so each event first accounts for the time since the one before.
"""

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field

from events.envelope import Recorded
from events.fences import Fences
from events.gate import GateDecided
from events.save import SaveRequested
from events.sentences import sentence
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from replay.metering import moment_of, ns_of
from replay.statement.month import Month, StatementError
from replay.statement.trips import Trips
from schemas.capacity import NOTHING, Capacity
from schemas.contract.terms import Contract
from schemas.names import PLATFORM
from services.gate.state import Scaling


@dataclass(frozen=True, slots=True)
class Refusal:
    """One request that was refused, with the sentence that whoever asked was told."""

    request: str
    seq: int
    decided_seq: int
    decided_at: dt.datetime
    pool: str | None
    code: str
    asked: int
    sentence: str


@dataclass(slots=True)
class Paper:
    """One document and the nanoseconds of the month in which it was in force and valid."""

    contract: Contract
    covered_ns: int = 0


@dataclass(slots=True)
class Minimum:
    """A pool with a minimum: nanoseconds that it was defined so, and those with at least so many VMs serving."""

    defined_ns: int = 0
    kept_ns: int = 0


@dataclass(slots=True)
class Sums:
    """All that is integrated over the month; amounts times nanoseconds."""

    vm_ns: int = 0
    vcpu_ns: int = 0
    memory_mib_ns: int = 0
    over_ns: int = 0
    """Time above quota in either dimension."""
    over_vcpu_ns: int = 0
    over_memory_mib_ns: int = 0
    uncovered_vcpu_ns: int = 0
    """Use while no contract was in force and valid."""
    committed_vcpu_ns: int = 0
    committed_memory_mib_ns: int = 0
    most_vcpu: int = 0
    most_memory_mib: int = 0


@dataclass(slots=True)
class Accounts:
    """A fold over the whole ledger up to the month's end; what lies before its beginning only says how things stood."""

    org: str
    month: Month
    sums: Sums = field(default_factory=Sums)
    papers: dict[str, Paper] = field(default_factory=dict[str, Paper])
    minima: dict[str, Minimum] = field(default_factory=dict[str, Minimum])
    trips: Trips = field(default_factory=Trips)
    outcomes: Counter[str] = field(default_factory=Counter[str])
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    seq: int = 0
    at_ns: int = 0
    until_ns: int = 0
    """Up to where time is accounted for."""
    _asked: set[int] = field(default_factory=set[int])
    """Places of requests for more or fewer VMs that have no answer yet. Freezes of one pool are answered by its name too."""
    _usage: Usage = field(default_factory=Usage)
    _fleet: Fleet = field(default_factory=Fleet)
    _contracts: Contracts = field(default_factory=Contracts)
    _fences: Fences = field(default_factory=Fences)

    def apply(self, recorded: Recorded) -> None:
        """The accounts now include the event; whatever is stored at the month's end or later changes nothing."""
        self.seq = recorded.seq
        self.at_ns = max(self.at_ns, recorded.stored_ns)
        fact = recorded.fact
        if fact.org not in {self.org, PLATFORM} or self.at_ns >= self.month.end_ns:
            return
        self._account(self.at_ns)
        if self.at_ns >= self.month.begin_ns:
            self.trips.begin(self.month.begin_ns)
        for one in (self._usage, self._fleet, self._contracts):
            one.apply(recorded)
        if isinstance(fact, GateDecided):
            if fact.org == self.org and self._fences.pass_on(recorded, fact):
                self._decided(recorded, fact)
        else:
            self.trips.take(recorded, self.at_ns)
            if isinstance(fact, Scaling) and not isinstance(fact, SaveRequested):
                self._asked.add(recorded.seq)
        self._look()

    def close(self, at_ns: int) -> None:
        """Nothing has happened up to this instant but what was read; the month ends there, if not before."""
        if self.org not in self._usage.contracts and not self.sums.vm_ns and not self._has_pools():
            raise StatementError(
                f"The ledger knows neither a contract nor a pool of {self.org} up to #{self.seq}: there is nothing to state."
            )
        at_ns = min(max(at_ns, self.at_ns), self.month.end_ns)
        self._account(at_ns)
        self.trips.begin(self.month.begin_ns)
        self.trips.close(at_ns)

    @property
    def complete(self) -> bool:
        """Whether the whole month is accounted for."""
        return self.until_ns >= self.month.end_ns

    def _has_pools(self) -> bool:
        return any(org == self.org for org, _ in self._fleet.pools)

    def _decided(self, recorded: Recorded, decided: GateDecided) -> None:
        self.trips.order(decided, self.at_ns)
        answers = [one for one in decided.answers if one.request_seq in self._asked]
        self._asked.difference_update(one.request_seq for one in answers)
        if self.at_ns < self.month.begin_ns:
            return
        for answer in answers:
            self.outcomes[answer.outcome] += 1
            if answer.outcome == "refused":
                self.refusals.append(
                    Refusal(
                        answer.request,
                        answer.request_seq,
                        recorded.seq,
                        moment_of(self.at_ns),
                        answer.pool,
                        answer.code,
                        answer.asked,
                        sentence(self.org, answer, decided.contract),
                    )
                )

    # --------------------------------------------------------------------------------------------------------- time

    def _now(self) -> Capacity:
        return self._usage.used(self.org) + self._usage.reserved(self.org)

    def _look(self) -> None:
        """The month's highest use."""
        if self.at_ns >= self.month.begin_ns:
            now = self._now()
            self.sums.most_vcpu = max(self.sums.most_vcpu, now.vcpu)
            self.sums.most_memory_mib = max(self.sums.most_memory_mib, now.memory_mib)

    def _account(self, to_ns: int) -> None:
        """What stood since the last event stood up to this instant; only time within the month counts."""
        begin = max(self.until_ns, self.month.begin_ns)
        self.until_ns = max(self.until_ns, to_ns)
        passed = min(to_ns, self.month.end_ns) - begin
        if passed <= 0:
            return
        if begin == self.month.begin_ns:
            now = self._now()
            self.sums.most_vcpu = max(self.sums.most_vcpu, now.vcpu)
            self.sums.most_memory_mib = max(self.sums.most_memory_mib, now.memory_mib)
        self._use(passed, self._cover(begin, begin + passed))
        for (org, name), pool in self._fleet.pools.items():
            if org == self.org and pool.min_vms:
                minimum = self.minima.setdefault(name, Minimum())
                minimum.defined_ns += passed
                if len(self._fleet.members(org, name, "serving")) >= pool.min_vms:
                    minimum.kept_ns += passed

    def _use(self, passed: int, covered: int) -> None:
        sums, used = self.sums, self._now()
        contract = self._usage.contracts.get(self.org)
        quota = contract.quota if contract is not None else NOTHING
        # Only this org's events are folded, so that all holdings are its own.
        sums.vm_ns += len(self._usage.holdings) * passed
        sums.vcpu_ns += used.vcpu * passed
        sums.memory_mib_ns += used.memory_mib * passed
        vcpu, memory_mib = max(0, used.vcpu - quota.vcpu), max(0, used.memory_mib - quota.memory_mib)
        sums.over_ns += covered if vcpu or memory_mib else 0
        sums.over_vcpu_ns += vcpu * covered
        sums.over_memory_mib_ns += memory_mib * covered
        sums.uncovered_vcpu_ns += used.vcpu * (passed - covered)
        sums.committed_vcpu_ns += quota.vcpu * covered
        sums.committed_memory_mib_ns += quota.memory_mib * covered

    def _cover(self, begin_ns: int, end_ns: int) -> int:
        """How much of the time the document in force was valid, which is put to its account."""
        document = self._contracts.in_force(self.org)
        if document is None:
            return 0
        contract = document.contract
        covered = min(end_ns, ns_of(contract.valid_until)) - max(begin_ns, ns_of(contract.valid_from))
        if covered <= 0:
            return 0
        self.papers.setdefault(document.fingerprint, Paper(contract)).covered_ns += covered
        return covered
