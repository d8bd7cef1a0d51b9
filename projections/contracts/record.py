"""Every document and every key there ever was, folded from the ledger: what a person is shown of them.

`fold.py` beside this holds what rules decide by, which is less: what has been replaced decides nothing any more.
"""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Final, Literal

from events.contract import ContractAccepted, ContractTookEffect, ContractVoided
from events.envelope import Recorded
from events.fact import Fact
from events.key import KeyRegistered, KeyRevoked
from schemas.contract.document import Signed, terms
from schemas.contract.terms import Contract

Stage = Literal["in-force", "to-come", "superseded", "voided"]
"""Where a document is in its life. Whether one in force has expired is for the reader's clock to say."""


@dataclass(frozen=True, slots=True)
class Paper:
    """One accepted document; `accepted_at` is None for those of the time before there were signatures."""

    org: str
    fingerprint: str
    signed: Signed
    contract: Contract
    stage: Stage
    effective_at: dt.datetime
    accepted_at: dt.datetime | None = None
    voided_at: dt.datetime | None = None
    code: str | None = None
    """Why it was voided."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One side's public key, from its registration to whatever ended it."""

    org: str
    key: str
    state: Literal["current", "replaced", "revoked"]
    registered_at: dt.datetime
    former: str | None
    ended_at: dt.datetime | None = None
    actor: str | None = None
    reason: str | None = None


class Record:
    """All papers by org and fingerprint, all keys by org and key."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {ContractAccepted, ContractTookEffect, ContractVoided, KeyRegistered, KeyRevoked}
    )

    def __init__(self) -> None:
        self.papers: dict[tuple[str, str], Paper] = {}
        self.keys: dict[tuple[str, str], SigningKey] = {}
        self._in_force: dict[str, str] = {}

    def apply(self, recorded: Recorded) -> None:
        """The record now includes the event."""
        match recorded.fact:
            case ContractAccepted() as fact:
                self.papers[fact.org, fact.fingerprint] = Paper(
                    fact.org,
                    fact.fingerprint,
                    fact.document,
                    terms(fact.document),
                    "to-come",
                    fact.effective_at,
                    fact.accepted_at,
                )
            case ContractTookEffect() as fact:
                self._take_effect(fact)
            case ContractVoided(org=org, fingerprint=name, code=code, voided_at=voided_at):
                paper = self.papers.get((org, name))
                if paper is not None and paper.stage == "to-come":
                    self.papers[org, name] = replace(paper, stage="voided", code=code, voided_at=voided_at)
            case KeyRegistered(org=org, public_key=key, former=former, registered_at=at):
                self.keys[org, key] = SigningKey(org, key, "current", at, former)
                known = self.keys.get((org, former)) if former is not None else None
                if known is not None and known.state == "current":
                    self.keys[org, known.key] = replace(known, state="replaced", ended_at=at)
            case KeyRevoked(org=org, public_key=key, actor=actor, reason=reason, revoked_at=at):
                known = self.keys.get((org, key))
                if known is not None:
                    self.keys[org, key] = replace(
                        known, state="revoked", ended_at=at, actor=actor, reason=reason
                    )
            case _:
                pass

    def _take_effect(self, fact: ContractTookEffect) -> None:
        former = self.papers.get((fact.org, self._in_force.get(fact.org, "")))
        if former is not None and former.fingerprint != fact.fingerprint:
            self.papers[fact.org, former.fingerprint] = replace(former, stage="superseded")
        accepted = self.papers.get((fact.org, fact.fingerprint))
        self.papers[fact.org, fact.fingerprint] = Paper(
            fact.org,
            fact.fingerprint,
            fact.document,
            terms(fact.document),
            "in-force",
            fact.took_effect_at,
            None if accepted is None else accepted.accepted_at,
        )
        self._in_force[fact.org] = fact.fingerprint
