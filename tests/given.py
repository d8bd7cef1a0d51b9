"""A past to decide on: facts become events as if they had been read from a ledger, and every fold has them.

past = Past().contract(vcpu=10).pool("web").host().asleep("web", 4)
decided = past.when(past.scale("web", add=2))
"""

import datetime as dt
from typing import Any

from msgspec.structs import replace

from events.envelope import Recorded
from events.freeze import ScalingFrozen
from events.gate import Answer, GateDecided, Order
from events.host import HostCordoned, HostFenced, HostRegistered
from events.key import KeyRegistered
from events.pool import PoolDefined
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import Sample, ScaleRequested
from events.stock import StockRequested
from schemas.capacity import Size
from schemas.names import PLATFORM
from schemas.pool import Pool
from services.gate.decide import decide
from services.gate.draft import Decision
from tests import papers
from tests.lives import ORG, Lives
from tests.papers import NOW

__all__ = ["NOW", "ORG", "SMALL", "Past"]

SMALL = Size(name="small", vcpu=2, memory_mib=512)


class Past(Lives):
    """A ledger that grows by the call, with what may stand in it, what may be asked, and what the gate says then."""

    # ------------------------------------------------------------------------------------------------- the setting

    def contract(self, vcpu: int = 10, memory_mib: int = 1 << 20, **terms: Any) -> "Past":
        """This contract took effect."""
        self.happened(papers.took_effect(papers.terms(self.org, vcpu, memory_mib, **terms), self.now))
        return self

    def keys(self) -> "Past":
        """Both sides have registered their keys."""
        for org in (PLATFORM, self.org):
            fact = KeyRegistered(
                org=org, public_key=papers.public_key(org), former=None, registered_at=self.now
            )
            self.happened(fact)
        return self

    def pool(self, name: str = "web", size: Size = SMALL, **terms: Any) -> "Past":
        """This pool is defined so."""
        pool = Pool(org=self.org, name=name, size=size, template="tiny", **terms)
        self.happened(PoolDefined(org=self.org, pool=name, definition=pool))
        return self

    def host(self, name: str = "h1", memory_mib: int = 1 << 16) -> "Past":
        """This host has registered."""
        self.happened(
            HostRegistered(
                org="platform",
                host=name,
                uri="test:///default",
                libvirt_version=9_000_000,
                substrate="test",
                vcpu=16,
                memory_mib=memory_mib,
                observed_at=self.now,
            )
        )
        return self

    def cordoned(self, host: str = "h1") -> "Past":
        """Nothing starts on the host."""
        self.happened(
            HostCordoned(org=PLATFORM, host=host, actor="ops", reason="because", cordoned_at=self.now)
        )
        return self

    def frozen(self, pool: str | None = None, seconds: float = 60) -> "Past":
        """The pool, or every pool of the org, stands still."""
        until = self.now + dt.timedelta(seconds=seconds)
        who: dict[str, Any] = {"org": self.org, "pool": pool, "actor": "ops", "reason": "because"}
        self.happened(ScalingFrozen(**who, frozen_at=self.now, until=until))
        return self

    def fenced(self, host: str = "h1") -> "Past":
        """The host is declared dead."""
        self.happened(HostFenced(org=PLATFORM, host=host, actor="ops", reason="because", fenced_at=self.now))
        return self

    # ---------------------------------------------------------------------------------------------------- requests

    def scale(
        self, pool: str = "web", add: int | None = None, want: int | None = None, **terms: Any
    ) -> Recorded:
        """Somebody wants more."""
        key = str(terms.pop("key", self.seq + 1))
        return self.happened(
            replace(
                ScaleRequested(
                    org=self.org,
                    pool=pool,
                    publisher="shop",
                    key=key,
                    origin="program",
                    add=add,
                    want=want,
                    up_to=False,
                    received_at=self.now,
                    sample=None,
                ),
                **terms,
            )
        )

    def trigger(self, pool: str = "web", add: int = 1) -> Recorded:
        """A threshold was passed."""
        return self.scale(pool, add=add, sample=self.measured(), origin="trigger")

    def quiesce(self, pool: str = "web", count: int = 1, **terms: Any) -> Recorded:
        """Somebody wants fewer."""
        return self.happened(
            replace(
                QuiesceRequested(
                    org=self.org,
                    pool=pool,
                    publisher="shop",
                    key=str(self.seq + 1),
                    origin="program",
                    count=count,
                    received_at=self.now,
                    sample=None,
                ),
                **terms,
            )
        )

    def measured(self, seconds_old: float = 0.0) -> Sample:
        """What a trigger saw so many seconds ago."""
        observed_at = self.now - dt.timedelta(seconds=seconds_old)
        return Sample(query="up", value=2.0, above=1.0, observed_at=observed_at)

    def stock(self, pool: str = "web", vms: int = 1) -> Recorded:
        """Somebody wants sleepers."""
        return self.happened(
            StockRequested(
                org=self.org,
                pool=pool,
                publisher="shop",
                key=str(self.seq + 1),
                vms=vms,
                received_at=self.now,
            )
        )

    def save(self, pool: str = "web", paused: int = 0, **terms: Any) -> Recorded:
        """Somebody wants sleepers to be on disk."""
        return self.happened(
            replace(
                SaveRequested(
                    org=self.org,
                    pool=pool,
                    publisher="shop",
                    key=str(self.seq + 1),
                    origin="program",
                    paused=paused,
                    received_at=self.now,
                ),
                **terms,
            )
        )

    # -------------------------------------------------------------------------------------------------------- then

    def decide(self) -> Decision | None:
        """What the gate would say now."""
        return decide(self.org, self.state, now=self.now, gate="g1", state_seq=self.seq)

    def round(self) -> GateDecided:
        """What the gate says now; it is in the ledger, with the facts that belong to it."""
        decision = self.decide()
        assert decision is not None, "the gate has nothing to say"
        return self.stored(decision)

    def stored(self, decision: Decision) -> GateDecided:
        """The decision is in the ledger, behind the facts that belong to it."""
        for fact in decision.facts:
            self.happened(fact)
        self.happened(decision.decided)
        return decision.decided

    def answer(self) -> tuple[Answer, tuple[Order, ...]]:
        """The gate's answer to the one request that waits, and its orders; they are in the ledger."""
        decided = self.round()
        (answer,) = decided.answers
        return answer, decided.orders

    def later(self, seconds: float) -> None:
        """Time goes by."""
        self.now += dt.timedelta(seconds=seconds)
