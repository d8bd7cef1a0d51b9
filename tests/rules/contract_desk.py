"""An org's file at the gate: documents are handed in, time passes, keys come and go."""

import datetime as dt
from typing import Any

from events.contract import ContractSubmitted
from events.gate import Answer
from events.key import KeyRevoked
from schemas.contract.document import Signed
from schemas.contract.terms import Contract, fingerprint
from tests import papers
from tests.given import Past
from tests.papers import NOW

SECOND = dt.timedelta(seconds=1)
DAY = dt.timedelta(days=1)
YEAR = dt.timedelta(days=365)


def long_terms(**changes: Any) -> Contract:
    """Terms for two years, so that notice runs out within them."""
    return papers.terms(valid_from=NOW - DAY, valid_until=NOW + 2 * YEAR, **changes)


class File:
    """An org's file at the gate: documents are handed in, time passes, keys come and go."""

    def __init__(self) -> None:
        self.past = Past().keys()

    def hand_in(self, contract: Contract, **by: str) -> Answer:
        return self.hand_in_signed(papers.signed(contract, self.past.now, **by))

    def hand_in_signed(self, document: Signed) -> Answer:
        past = self.past
        past.happened(
            ContractSubmitted(
                org=past.org,
                publisher="operator",
                key=str(past.seq + 1),
                document=document,
                fingerprint=fingerprint(document.text),
                received_at=past.now,
            )
        )
        return past.round().answers[-1]

    def pass_time(self, until: dt.datetime) -> None:
        """It is that late, and the gate has looked."""
        self.past.now = until
        decision = self.past.decide()
        while decision is not None:
            self.past.stored(decision)
            decision = self.past.decide()

    def revoke(self, org: str, name: str = "") -> None:
        self.past.happened(
            KeyRevoked(
                org=org,
                public_key=papers.public_key(name or org),
                actor="root",
                reason="lost",
                revoked_at=self.past.now,
            )
        )

    @property
    def vcpu(self) -> int:
        """The quota in force."""
        contract = self.past.usage.contracts.get(self.past.org)
        assert contract is not None
        return contract.quota.vcpu


def refused(answer: Answer) -> str:
    assert answer.outcome == "refused", answer
    return answer.code


def accepted(answer: Answer) -> str:
    assert answer.outcome == "admitted", answer
    return answer.code
