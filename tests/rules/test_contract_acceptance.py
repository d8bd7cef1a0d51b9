"""When a document becomes the authority over an org, and when it does not: keys, order, notice, validity."""

import datetime as dt

import pytest
from msgspec.structs import replace
from nacl.signing import SigningKey

from events.key import KeyRegistered
from schemas.capacity import Capacity
from schemas.contract import signing
from schemas.contract.acceptance import CLOCKS_APART, Keys, Objection, Standing, objection
from schemas.contract.document import Signed
from schemas.contract.terms import NOTICE, Contract, canonical
from schemas.names import PLATFORM
from tests import papers
from tests.given import Past
from tests.papers import NOW
from tests.rules.contract_desk import DAY, SECOND, YEAR, File, accepted, long_terms, refused


def at_the_door(contract: Contract, standing: Standing, now: dt.datetime = NOW) -> Objection | None:
    return objection(papers.signed(contract, now), contract, standing, now)


# ------------------------------------------------------------------------------------------------------- contracts


def test_a_contract_that_both_sides_signed_is_in_force_with_its_acceptance() -> None:
    file = File()
    assert accepted(file.hand_in(long_terms(vcpu=100))) == "ContractAccepted"
    assert file.vcpu == 100


def test_the_same_document_handed_in_again_changes_nothing() -> None:
    file = File()
    contract = long_terms()
    file.hand_in(contract)
    answer = file.hand_in(contract)
    assert (answer.outcome, answer.code) == ("unchanged", "AlreadyInForce")


def test_a_contract_beside_one_in_force_is_refused() -> None:
    file = File()
    file.hand_in(long_terms(vcpu=10))
    assert refused(file.hand_in(long_terms(vcpu=1000, id="acme-other"))) == "ContractInForce"
    assert file.vcpu == 10


def test_a_contract_that_ended_is_followed_by_one_with_a_new_id_and_not_by_its_own() -> None:
    file = File()
    file.hand_in(papers.terms())
    file.pass_time(NOW + DAY)
    again = papers.terms(valid_from=NOW + DAY, valid_until=NOW + YEAR, vcpu=20)
    assert refused(file.hand_in(again)) == "ContractOutdated"
    assert accepted(file.hand_in(replace(again, id="acme-2027"))) == "ContractAccepted"
    assert file.vcpu == 20


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (NOW - 12 * 3600 * SECOND - SECOND, "ContractNotYetValid"),
        (NOW - 12 * 3600 * SECOND, None),
        (NOW + 12 * 3600 * SECOND - SECOND, None),
        (NOW + 12 * 3600 * SECOND, "ContractExpired"),
        (NOW + YEAR, "ContractExpired"),
    ],
)
def test_a_contract_is_valid_from_its_first_instant_to_just_before_its_last(
    now: dt.datetime, code: str | None
) -> None:
    keys = Standing(
        "acme", Keys(current=papers.public_key(PLATFORM)), Keys(current=papers.public_key("acme"))
    )
    found = at_the_door(papers.terms(), keys, now)
    assert (None if found is None else found.code) == code


def test_growth_ends_at_the_very_instant_at_which_the_contract_does() -> None:
    for at, outcome in (
        (NOW + 12 * 3600 * SECOND - SECOND, "admitted"),
        (NOW + 12 * 3600 * SECOND, "refused"),
    ):
        past = Past().keys().contract().pool().host().asleep("web", 1)
        past.now = at
        past.scale(add=1)
        [answer] = past.round().answers
        assert answer.outcome == outcome
        assert answer.code == ("Granted" if outcome == "admitted" else "ContractExpired")


def test_a_document_of_another_org_is_refused() -> None:
    assert refused(File().hand_in(long_terms(org="globex"), org="acme")) == "ContractOfAnother"


def test_what_nobody_signed_before_there_were_signatures_does_not_bar_a_signed_contract() -> None:
    file = File()
    unsigned = papers.took_effect(long_terms(vcpu=10))
    file.past.happened(replace(unsigned, document=Signed(unsigned.document.text, ())))
    assert accepted(file.hand_in(long_terms(vcpu=30))) == "ContractAccepted"
    assert file.vcpu == 30


# ------------------------------------------------------------------------------------------------------ signatures


def test_a_document_without_or_with_half_its_signatures_is_refused() -> None:
    contract = long_terms()
    whole = papers.signed(contract)
    for kept in ((), whole.signatures[:1], whole.signatures[1:]):
        assert refused(File().hand_in_signed(Signed(whole.text, kept))) == "ContractUnsigned"


def test_a_document_altered_by_one_digit_is_refused() -> None:
    whole = papers.signed(long_terms(vcpu=100))
    altered = canonical(long_terms(vcpu=900))
    assert len(altered) == len(whole.text)
    assert refused(File().hand_in_signed(Signed(altered, whole.signatures))) == "SignatureInvalid"


def test_one_sides_signature_is_never_taken_for_the_others() -> None:
    whole = papers.signed(long_terms())
    provider, org = whole.signatures
    swapped = (
        replace(provider, key=org.key, value=org.value),
        replace(org, key=provider.key, value=provider.value),
    )
    assert refused(File().hand_in_signed(Signed(whole.text, swapped))) == "SignatureInvalid"


def test_one_key_does_not_sign_for_both_sides() -> None:
    file = File()
    file.past.happened(
        KeyRegistered(
            org="acme",
            public_key=papers.public_key(PLATFORM),
            former=papers.public_key("acme"),
            registered_at=NOW,
        )
    )
    assert refused(file.hand_in(long_terms(), org=PLATFORM)) == "SignatureInvalid"


def test_a_key_that_nobody_registered_signs_nothing() -> None:
    assert refused(File().hand_in(long_terms(), org="stranger")) == "KeyUnknown"
    assert refused(File().hand_in(long_terms(), provider="stranger")) == "KeyUnknown"
    file = File()
    file.past = Past()
    assert refused(file.hand_in(long_terms())) == "KeyUnknown"


def test_the_time_of_a_signature_is_signed_and_may_not_lie_ahead() -> None:
    contract = long_terms()
    whole = papers.signed(contract)
    later = tuple(replace(one, signed_at=one.signed_at + SECOND) for one in whole.signatures)
    assert refused(File().hand_in_signed(Signed(whole.text, later))) == "SignatureInvalid"
    ahead = papers.signed(contract, NOW + CLOCKS_APART)
    assert accepted(File().hand_in_signed(ahead)) == "ContractAccepted"
    too_far = papers.signed(contract, NOW + CLOCKS_APART + SECOND)
    assert refused(File().hand_in_signed(too_far)) == "SignatureInvalid"


# ------------------------------------------------------------------------------------------------------------ keys


def test_a_revoked_key_signs_nothing_any_more_and_what_it_signed_before_stays_in_force() -> None:
    file = File()
    file.revoke("acme")
    assert refused(file.hand_in(long_terms())) == "KeyRevoked"

    file = File()
    file.hand_in(long_terms(vcpu=10))
    file.revoke("acme")
    file.pass_time(NOW + DAY)
    assert file.vcpu == 10
    file.past.pool().host().asleep("web", 1)
    file.past.scale(add=1)
    assert file.past.round().answers[-1].code == "Granted"


def test_an_accepted_addendum_whose_key_is_revoked_before_its_day_never_takes_effect() -> None:
    file = File()
    contract = long_terms(vcpu=10)
    file.hand_in(contract)
    raised = papers.addendum(contract, NOW + NOTICE, quota=Capacity(vcpu=500, memory_mib=1 << 20))
    on_top = papers.addendum(raised, NOW + NOTICE + DAY, quota=Capacity(vcpu=600, memory_mib=1 << 20))
    accepted(file.hand_in(raised))
    accepted(file.hand_in(on_top))
    file.revoke("acme")
    file.pass_time(NOW + 2 * NOTICE)
    assert file.vcpu == 10
    assert file.past.state.contracts.to_come("acme") == ()
    # With a new key the same terms are signed anew, on what is in force.
    file.past.happened(
        KeyRegistered(
            org="acme", public_key=papers.public_key("acme-new"), former=None, registered_at=file.past.now
        )
    )
    anew = papers.addendum(contract, file.past.now + NOTICE, quota=Capacity(vcpu=500, memory_mib=1 << 20))
    accepted(file.hand_in(anew, org="acme-new"))
    file.pass_time(file.past.now + NOTICE)
    assert file.vcpu == 500


def test_a_key_revoked_after_an_addendum_took_effect_takes_nothing_back() -> None:
    file = File()
    contract = long_terms(vcpu=10)
    file.hand_in(contract)
    accepted(
        file.hand_in(papers.addendum(contract, NOW + NOTICE, quota=Capacity(vcpu=50, memory_mib=1 << 20)))
    )
    file.pass_time(NOW + NOTICE)
    file.revoke("acme")
    file.pass_time(NOW + NOTICE + DAY)
    assert file.vcpu == 50


def test_a_replaced_key_signs_nothing_new_and_its_addendum_still_takes_effect() -> None:
    file = File()
    contract = long_terms(vcpu=10)
    file.hand_in(contract)
    raised = papers.addendum(contract, NOW + NOTICE, quota=Capacity(vcpu=50, memory_mib=1 << 20))
    accepted(file.hand_in(raised))
    file.past.happened(
        KeyRegistered(
            org="acme",
            public_key=papers.public_key("acme-new"),
            former=papers.public_key("acme"),
            registered_at=NOW,
        )
    )
    again = papers.addendum(raised, NOW + NOTICE + DAY)
    assert refused(file.hand_in(again)) == "KeyReplaced"
    assert accepted(file.hand_in(again, org="acme-new")) == "ContractAccepted"
    file.pass_time(NOW + NOTICE)
    assert file.vcpu == 50


def test_a_succession_is_signed_by_the_key_that_is_succeeded_and_for_this_org_alone() -> None:
    former, successor = papers.signing_key("acme"), papers.public_key("acme-new")
    said = signing.succession("acme", papers.public_key("acme"), successor)
    value = former.sign(said).signature.hex()
    assert signing.verifies(papers.public_key("acme"), said, value)
    other = signing.succession("globex", papers.public_key("acme"), successor)
    assert not signing.verifies(papers.public_key("acme"), other, value)
    assert not signing.verifies(bytes(SigningKey.generate().verify_key).hex(), said, value)
