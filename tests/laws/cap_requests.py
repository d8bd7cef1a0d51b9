"""What is asked in the world of the cap, and how gates decide it: half of the state machine of `test_gate_laws.py`."""

import datetime as dt
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from events.contract import ContractSubmitted
from events.envelope import Recorded
from events.fact import Fact
from events.freeze import FreezeRequested, ThawRequested
from events.gate import BootOrdered, WakeOrdered
from events.host import HostChangeRequested, HostFenced
from events.key import KeyRegisterRequested, KeyRevokeRequested
from events.quiesce import QuiesceRequested
from events.ruling import Ruling
from events.scale import Sample
from schemas.capacity import Capacity
from schemas.contract.terms import NOTICE, fingerprint
from schemas.names import PLATFORM
from services.gate.draft import Decision
from tests import papers
from tests.given import Past
from tests.laws import cap_world as world
from tests.laws.cap_world import HOSTS, ORGS, POOLS, SIZES, Domain, Key, Truth

POOL = st.sampled_from(
    [(org, pool) for org, pools in POOLS.items() for pool in pools] * 3 + [("acme", "nosuch")]
)
ORG = st.sampled_from(ORGS)
ORIGIN = st.sampled_from(["person", "program", "trigger", "forecast"])
TIMES = st.sampled_from([1, 4, 5, 30, 90, 600, 86_400, 15 * 86_400, 30 * 86_400])
KEYS = 2


class Requests(RuleBasedStateMachine):
    """Requests of every kind to two orgs and the platform, and gates that decide at once, late, or in vain."""

    def __init__(self) -> None:
        super().__init__()
        self.past: Past = world.setting()
        self.truth = Truth()
        for line in self.past.lines:
            self.truth.host(line.fact)
        self.proofs: list[Recorded] = []
        self.drafts: list[Decision] = []
        self.stored: list[Decision] = []
        self.signers = {name: name for name in (PLATFORM, *ORGS)}
        self.generation = 0
        self.asked: dict[int, str] = {}
        self.wanted: dict[int, int] = {}
        self.granted: dict[str, int] = {}

    @initialize(vms=st.integers(0, 5))
    def somebody_has_some(self, vms: int) -> None:
        """Most stories begin with VMs, so that they soon have something to lose."""
        for org in ORGS:
            self.past.org = org
            if vms:
                self.asked[self.past.scale(POOLS[org][0], want=vms, up_to=True).seq] = org
                self.a_gate_decides(org)

    def ask(self, fact: Fact) -> None:
        self.asked[self.past.happened(fact).seq] = fact.org

    # ------------------------------------------------------------------------------------------------------- scaling

    @rule(at=POOL, add=st.integers(1, 9), up_to=st.booleans(), origin=ORIGIN, old=TIMES)
    def somebody_wants_more(self, at: Key, add: int, origin: Any, old: int, *, up_to: bool) -> None:
        self.past.org, pool = at
        seconds = dt.timedelta(seconds=min(old, 600))
        sample = Sample(query="up", value=2.0, above=1.0, observed_at=self.past.now - seconds)
        terms: dict[str, Any] = {
            "origin": origin,
            "up_to": up_to,
            "sample": sample if origin == "trigger" else None,
        }
        self.asked[self.past.scale(pool, add=add, **terms).seq] = self.past.org
        self.wanted[self.past.seq] = add

    @rule(at=POOL, want=st.integers(0, 9), up_to=st.booleans())
    def somebody_wants_as_many(self, at: Key, want: int, *, up_to: bool) -> None:
        self.past.org, pool = at
        self.asked[self.past.scale(pool, want=want, up_to=up_to).seq] = self.past.org

    @rule(at=POOL, count=st.integers(1, 5), origin=ORIGIN)
    def somebody_wants_fewer(self, at: Key, count: int, origin: Any) -> None:
        org, pool = at
        self.ask(
            QuiesceRequested(
                org=org,
                pool=pool,
                publisher="shop",
                key=str(self.past.seq),
                origin=origin,
                count=count,
                received_at=self.past.now,
                sample=None,
            )
        )

    @rule(at=POOL, vms=st.integers(1, 6))
    def somebody_wants_stock(self, at: Key, vms: int) -> None:
        self.past.org, pool = at
        self.asked[self.past.stock(pool, vms).seq] = self.past.org

    @rule(at=POOL, paused=st.integers(0, 2), origin=ORIGIN)
    def somebody_wants_ram(self, at: Key, paused: int, origin: Any) -> None:
        self.past.org, pool = at
        self.asked[self.past.save(pool, paused, origin=origin).seq] = self.past.org

    @rule(
        at=POOL,
        size=st.sampled_from(SIZES),
        policy=st.sampled_from(["fill", "spread"]),
        forecast=st.sampled_from(["only", "on"]),
    )
    def a_pool_is_redefined(self, at: Key, size: Any, policy: Any, forecast: Any) -> None:
        self.past.org, pool = at
        if pool != "nosuch":
            self.past.pool(pool, size, max_vms=7, cooldown_seconds=5, placement=policy, forecast=forecast)

    @rule(at=POOL, found=st.booleans())
    def a_signal_is_lost_or_found(self, at: Key, *, found: bool) -> None:
        self.past.org, pool = at
        if found:
            self.past.found(pool)
        else:
            self.past.lost(pool)

    # -------------------------------------------------------------------------------------------------------- papers

    @rule(
        org=ORG,
        vcpu=st.integers(0, 20),
        bp=st.sampled_from([500, 1000, 2000]),
        days=st.sampled_from([0, 1, None]),
    )
    def an_addendum_raises_or_lowers(self, org: str, vcpu: int, bp: Any, days: int | None) -> None:
        """With `days` None its day comes right away, so that it is often seen at work."""
        newest = self.past.state.contracts.standing(org).newest
        assert newest is not None
        day = max(self.past.now + NOTICE, newest.effective_at) + dt.timedelta(days=days or 0)
        before = newest.contract
        terms: dict[str, Any] = {"allowance_bp": bp, "valid_until": day + dt.timedelta(days=60)}
        self.submit(org, papers.addendum(before, day, quota=replace(before.quota, vcpu=vcpu), **terms))
        if days is None:
            self.a_gate_decides(org)
            self.past.now = max(self.past.now, day)

    @rule(org=ORG, vcpu=st.integers(0, 20))
    def a_new_contract_is_signed(self, org: str, vcpu: int) -> None:
        now = self.past.now
        until = now + dt.timedelta(days=40)
        quota = Capacity(vcpu=vcpu, memory_mib=4096)
        terms = papers.terms(org, 0, 0, id=f"{org}-{self.past.seq}", valid_from=now, valid_until=until)
        self.submit(org, replace(terms, quota=quota))

    def submit(self, org: str, contract: Any) -> None:
        document = papers.signed(
            contract, self.past.now, provider=self.signers[PLATFORM], org=self.signers[org]
        )
        self.ask(
            ContractSubmitted(
                org=org,
                publisher="operator",
                key=str(self.past.seq),
                document=document,
                fingerprint=fingerprint(document.text),
                received_at=self.past.now,
            )
        )

    @precondition(lambda self: self.generation < KEYS)
    @rule(org=st.sampled_from((PLATFORM, *ORGS)))
    def a_key_is_revoked_and_another_registered(self, org: str) -> None:
        said: dict[str, Any] = {"org": org, "publisher": "operator", "received_at": self.past.now}
        self.ask(
            KeyRevokeRequested(
                **said,
                key=f"r{self.past.seq}",
                public_key=papers.public_key(self.signers[org]),
                actor="ops",
                reason="lost",
            )
        )
        self.generation += 1
        self.signers[org] = f"{org}-{self.generation}"
        new = papers.public_key(self.signers[org])
        self.ask(
            KeyRegisterRequested(
                **said, key=f"k{self.past.seq}", public_key=new, former=None, endorsement=None
            )
        )

    # ------------------------------------------------------------------------------------------------------- freezes

    @rule(at=POOL, whole=st.booleans(), seconds=st.sampled_from([1, 30, 600]), thaw=st.booleans())
    def somebody_freezes_or_thaws(self, at: Key, whole: bool, seconds: int, thaw: bool) -> None:  # noqa: FBT001
        said: dict[str, Any] = {
            "org": at[0],
            "pool": None if whole else at[1],
            "publisher": "operator",
            "key": str(self.past.seq),
        }
        said |= {"actor": "ops", "reason": "audit", "received_at": self.past.now}
        self.ask(ThawRequested(**said) if thaw else FreezeRequested(**said, seconds=seconds))

    # --------------------------------------------------------------------------------------------------------- hosts

    @rule(
        host=st.sampled_from(tuple(HOSTS)),
        change=st.sampled_from(["drain", "admit", "admit", "fence", "remove"]),
    )
    def somebody_changes_a_host(self, host: str, change: Any) -> None:
        self.ask(
            HostChangeRequested(
                org=PLATFORM,
                host=host,
                change=change,
                publisher="operator",
                key=str(self.past.seq),
                actor="ops",
                reason="because",
                received_at=self.past.now,
            )
        )

    @rule(host=st.sampled_from(tuple(HOSTS)))
    def a_waker_starts_again(self, host: str) -> None:
        self.past.host(host, HOSTS[host])
        self.truth.host(self.past.lines[-1].fact)

    # ------------------------------------------------------------------------------------------------------ deciding

    @rule(org=st.sampled_from((PLATFORM, *ORGS)))
    def a_gate_decides(self, org: str) -> None:
        decision = world.decided(self.past, org)
        if decision is not None:
            self.append(decision)

    @rule(org=st.sampled_from((PLATFORM, *ORGS)))
    def a_gate_decides_and_is_slow(self, org: str) -> None:
        """What it decided is on its way, and the ledger goes on meanwhile."""
        decision = world.decided(self.past, org)
        if decision is not None:
            world.check_growth(self.past, self.truth, org, decision)
            self.drafts.append(decision)

    @precondition(lambda self: self.drafts)
    @rule(data=st.data(), twice=st.booleans())
    def a_slow_decision_arrives(self, data: st.DataObject, *, twice: bool) -> None:
        decision = self.drafts.pop(data.draw(st.integers(0, len(self.drafts) - 1), label="draft"))
        if decision.decided.follows == self.past.docket.fence_seq(decision.decided.org):
            self.append(decision, slow=True)
            if twice:  # the bus would refuse it; whoever reads refuses it once more
                before = world.contents(self.past.state)
                self.past.happened(decision.decided)
                assert world.contents(self.past.state) == before

    def append(self, decision: Decision, *, slow: bool = False) -> None:
        decided, past = decision.decided, self.past
        org = decided.org
        if not slow:
            world.check_growth(past, self.truth, org, decision)
            waiting = [one for one in past.docket.pending(org) if one.seq <= decided.through]
            assert [one.request_seq for one in decided.answers] == [one.seq for one in waiting]
            if decision.facts:
                assert len([one for one in waiting if isinstance(one.wish, Ruling)]) == len(waiting) <= 1
        for answer in decided.answers:
            wanted = self.wanted.get(answer.request_seq)
            assert wanted in {None, answer.asked}, "an answer says how many were asked for"
            assert 0 <= answer.granted <= answer.asked
            self.granted[answer.request] = answer.granted
        assert not (decision.facts and decided.orders), "orders by the old rules beside a change of them"
        before = self.truth.admitted(org)
        past.stored(decision)
        self.stored.append(decision)
        for fact in decision.facts:
            self.truth.host(fact)
        for order in decided.orders:
            if isinstance(order, WakeOrdered | BootOrdered) and self.truth.hosts[order.host] in {
                "ready",
                "cordoned",
            }:
                assert (org, order.vm) not in self.truth.running, "a VM that runs is ordered awake"
                self.truth.running[org, order.vm] = Domain(order.host, order.size, order.id)
                self.truth.ghosts.pop((org, order.vm), None)
        after = self.truth.admitted(org)
        if after != before and org in ORGS and not any(isinstance(one, HostFenced) for one in decision.facts):
            assert world.within(after, past.usage.contracts[org].limit), (
                "a decision grew the org past its cap"
            )
