"""Nobody but both key holders changes limits: not by showing what they signed long ago either."""

import datetime as dt

from msgspec.structs import replace

from events.contract import ContractSubmitted, ContractVoided
from events.gate import Answer
from events.key import KeyRevoked
from schemas.capacity import Capacity
from schemas.contract.document import Signed
from schemas.contract.terms import fingerprint
from schemas.names import PLATFORM
from tests import papers
from tests.given import NOW, ORG, Past

DAY = dt.timedelta(days=1)


def submit(past: Past, document: Signed) -> Answer:
    past.happened(
        ContractSubmitted(
            org=ORG,
            publisher="operator",
            key=str(past.seq),
            document=document,
            fingerprint=fingerprint(document.text),
            received_at=past.now,
        )
    )
    return past.round().answers[-1]


def test_a_contract_that_an_addendum_cut_short_never_comes_back_however_many_followed_it() -> None:
    past = Past().keys().pool("web").host()
    large = papers.terms(
        ORG, id="acme-large", quota=Capacity(vcpu=1000, memory_mib=1 << 20), valid_until=NOW + 900 * DAY
    )
    cut = papers.addendum(large, NOW + 31 * DAY, quota=Capacity(vcpu=10), valid_until=NOW + 40 * DAY)
    shown = papers.signed(large)
    assert submit(past, shown).code == "ContractAccepted"
    assert submit(past, papers.signed(cut)).code == "ContractAccepted"
    past.now = NOW + 31 * DAY
    past.round()
    past.now = NOW + 41 * DAY
    small = replace(
        papers.terms(ORG, vcpu=5), id="acme-small", valid_from=past.now, valid_until=past.now + 10 * DAY
    )
    assert submit(past, papers.signed(small, past.now)).code == "ContractAccepted"
    past.now += 11 * DAY
    answer = submit(past, shown)
    assert (answer.outcome, answer.code) == ("refused", "ContractOutdated")
    assert past.usage.contracts[ORG].quota.vcpu == 5


def test_an_addendum_whose_acceptance_crossed_the_revocation_of_the_providers_key_is_voided() -> None:
    past = Past().keys().pool("web").host()
    contract = papers.terms(ORG, valid_until=NOW + 365 * DAY)
    assert submit(past, papers.signed(contract)).code == "ContractAccepted"
    larger = papers.addendum(contract, NOW + 31 * DAY, quota=Capacity(vcpu=1000))
    document = papers.signed(larger)
    past.happened(
        ContractSubmitted(
            org=ORG,
            publisher="operator",
            key="larger",
            document=document,
            fingerprint=fingerprint(document.text),
            received_at=past.now,
        )
    )
    decided_before = past.decide()
    assert decided_before is not None
    # The provider's keys stand under another fence than the org's documents, so the two can cross.
    key = papers.public_key(PLATFORM)
    past.happened(KeyRevoked(org=PLATFORM, public_key=key, actor="ann", reason="stolen", revoked_at=past.now))
    past.stored(decided_before)
    assert list(past.state.contracts.ripe(past.now)) == [ORG]
    decision = past.decide()
    assert decision is not None
    assert [type(fact) for fact in decision.facts] == [ContractVoided]
    past.stored(decision)
    past.now = NOW + 31 * DAY
    assert past.decide() is None
    assert past.usage.contracts[ORG] == contract
