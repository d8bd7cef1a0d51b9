"""What a turn of the gate costs does not grow with orgs that have nothing to be done."""

import datetime as dt

from events.key import KeyRegistered, KeyRevoked
from projections.contracts.fold import Contracts
from schemas.contract.acceptance import Accepted
from schemas.names import PLATFORM
from tests import papers
from tests.given import NOW, Past

ORGS = 50


def test_after_the_providers_old_key_was_revoked_no_org_is_looked_at_whose_addendum_it_did_not_sign() -> None:
    past = Past().keys()
    for number in range(ORGS):
        contract = papers.terms(f"acme-{number}", valid_until=NOW + dt.timedelta(days=365))
        for fact in papers.past(contract, papers.addendum(contract, NOW + dt.timedelta(days=31)), NOW)[2:]:
            past.happened(fact)
    key = papers.public_key("next")
    former = papers.public_key(PLATFORM)
    past.happened(KeyRegistered(org=PLATFORM, public_key=key, former=former, registered_at=NOW))
    past.happened(KeyRevoked(org=PLATFORM, public_key=key, actor="ann", reason="lost", revoked_at=NOW))
    assert looked_at(past) == []
    past.happened(KeyRevoked(org=PLATFORM, public_key=former, actor="ann", reason="lost", revoked_at=NOW))
    assert len(looked_at(past)) == ORGS


def looked_at(past: Past) -> list[str]:
    """The orgs whose documents are asked for in one turn of the gate."""
    seen: list[str] = []

    class Watched(Contracts):
        def lost(self, org: str) -> tuple[Accepted, ...]:
            seen.append(org)
            return super().lost(org)

    contracts = Watched()
    for line in past.lines:
        contracts.apply(line)
    seen.clear()
    list(contracts.ripe(past.now))
    return seen


def test_addenda_of_one_day_are_ripe_together_and_each_that_took_effect_is_no_more() -> None:
    past, day = Past().keys(), NOW + dt.timedelta(days=31)
    orgs = [f"acme-{number}" for number in range(ORGS)]
    for org in orgs:
        contract = papers.terms(org, valid_until=NOW + dt.timedelta(days=365))
        later = papers.addendum(contract, day + dt.timedelta(days=orgs.index(org) % 2))
        for fact in papers.past(contract, later, NOW)[2:]:
            past.happened(fact)
    contracts = past.state.contracts
    assert list(contracts.ripe(day - dt.timedelta(seconds=1))) == []
    assert set(contracts.ripe(day)) == set(orgs[::2])
    assert set(contracts.ripe(day + dt.timedelta(days=1))) == set(orgs)
    for org in orgs[::2]:
        due = contracts.due(org, day)
        assert due is not None
        past.happened(papers.took_effect(due.contract, day))
        assert org not in set(contracts.ripe(day))
    assert list(contracts.ripe(day)) == []
    assert set(contracts.ripe(day + dt.timedelta(days=1))) == set(orgs[1::2])
