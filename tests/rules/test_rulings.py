"""Documents, keys and freezes: what the gate makes a rule of, under the fence of the org, and what it does not."""

import datetime as dt
from typing import Any

import pytest
from msgspec.structs import replace

from events.contract import ContractAccepted, ContractSubmitted, ContractTookEffect
from events.fact import Fact
from events.freeze import FreezeRequested, ScalingFrozen, ScalingThawed, ThawRequested
from events.gate import Answer
from events.key import KeyRegistered, KeyRegisterRequested, KeyRevoked, KeyRevokeRequested
from schemas.capacity import Capacity
from schemas.contract import signing
from schemas.contract.document import Signed
from schemas.contract.terms import NOTICE, Contract, canonical, fingerprint
from schemas.names import PLATFORM
from tests import papers
from tests.given import NOW, ORG, Past

YEAR = NOW + dt.timedelta(days=365)


def setting() -> Past:
    return Past().keys().pool("web").host()


def terms(**changes: Any) -> Contract:
    return papers.terms(ORG, 10, 1 << 20, **({"valid_until": YEAR} | changes))


def submit(past: Past, document: Signed | Contract, **changes: Any) -> tuple[Answer, tuple[Fact, ...]]:
    """It is handed in, and the gate answers; the answer, and the facts that are in the ledger with it."""
    signed = document if isinstance(document, Signed) else papers.signed(document, past.now)
    submitted = ContractSubmitted(
        org=ORG,
        publisher="operator",
        key=str(past.seq),
        document=signed,
        fingerprint=fingerprint(signed.text),
        received_at=past.now,
    )
    return ruled(past, replace(submitted, **changes))


def ruled(past: Past, wish: Fact) -> tuple[Answer, tuple[Fact, ...]]:
    past.happened(wish)
    decision = past.decide()
    assert decision is not None
    decided = past.stored(decision)
    (answer,) = decided.answers
    assert answer.request_seq == decided.through
    assert (answer.asked, answer.granted, decided.orders, answer.retry_at) == (0, 0, (), None)
    assert (answer.outcome == "admitted") == bool(decision.facts)
    return answer, decision.facts


def said(answer: Answer) -> tuple[str, str]:
    return answer.outcome, answer.code


# --------------------------------------------------------------------------------------------------------- contracts


def test_a_contract_that_both_sides_signed_is_in_force_at_once() -> None:
    past = setting()
    answer, facts = submit(past, terms())
    signed = papers.signed(terms(), past.now)
    name = fingerprint(canonical(terms()))
    assert said(answer) == ("admitted", "ContractAccepted")
    assert facts == (
        ContractAccepted(
            org=ORG,
            document=signed,
            fingerprint=name,
            contract="acme-2026",
            version=1,
            accepted_at=NOW,
            effective_at=NOW,
        ),
        ContractTookEffect(org=ORG, document=signed, fingerprint=name, took_effect_at=NOW),
    )
    assert [(line.dimension, line.used, line.requested, line.limit) for line in answer.evidence] == [
        ("vcpu", 0, 0, 11),
        ("memory_mib", 0, 0, (1 << 20) * 11 // 10),
    ]
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"
    assert past.state.contracts.to_come(ORG) == ()


def test_the_fingerprint_that_counts_is_of_the_document_and_not_what_was_said_beside_it() -> None:
    past = setting()
    _, facts = submit(past, terms(), fingerprint="0" * 64)
    assert {getattr(fact, "fingerprint", "") for fact in facts} == {fingerprint(canonical(terms()))}
    assert said(submit(past, terms())[0]) == ("unchanged", "AlreadyInForce")


def test_an_addendum_waits_for_its_day() -> None:
    past = setting()
    submit(past, terms())
    day = past.now + NOTICE
    addendum = papers.addendum(terms(), day, quota=Capacity(vcpu=2, memory_mib=1024))
    answer, facts = submit(past, addendum)
    assert said(answer) == ("admitted", "ContractAccepted")
    (accepted,) = facts
    assert isinstance(accepted, ContractAccepted)
    assert (accepted.effective_at, accepted.accepted_at, accepted.version) == (day, past.now, 2)
    assert past.usage.contracts[ORG] == terms()
    past.now = day
    past.round()
    assert past.usage.contracts[ORG] == addendum


def test_a_document_below_use_is_accepted_and_says_so() -> None:
    past = setting()
    submit(past, terms())
    past.serving("web", 4)
    past.waking("web", 1)
    addendum = papers.addendum(terms(), past.now + NOTICE, quota=Capacity(vcpu=2, memory_mib=1 << 20))
    answer, _ = submit(past, addendum)
    assert said(answer) == ("admitted", "AcceptedBelowUse")
    vcpu = answer.evidence[0]
    assert (vcpu.used, vcpu.reserved, vcpu.requested, vcpu.projected, vcpu.limit) == (8, 2, 0, 10, 2)


def test_a_document_of_exactly_what_is_in_use_is_no_less_than_that() -> None:
    past = setting()
    submit(past, terms())
    past.serving("web", 5)
    addendum = papers.addendum(
        terms(), past.now + NOTICE, quota=Capacity(vcpu=10, memory_mib=2560), allowance_bp=500
    )
    assert submit(past, addendum)[0].code == "ContractAccepted"


def _altered() -> Signed:
    signed = papers.signed(terms())
    return Signed(canonical(terms(allowance_bp=2000)), signed.signatures)


def _revoked(past: Past, org: str) -> None:
    past.happened(
        KeyRevoked(
            org=org, public_key=papers.public_key(org), actor="ops", reason="lost", revoked_at=past.now
        )
    )


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (Signed(canonical(terms()), ()), "ContractUnsigned"),
        (Signed(canonical(terms()), papers.signed(terms()).signatures[:1]), "ContractUnsigned"),
        (_altered(), "SignatureInvalid"),
        (papers.signed(terms(), org="platform"), "SignatureInvalid"),
        (papers.signed(terms(), org="mallory"), "KeyUnknown"),
        (papers.signed(terms(), NOW + dt.timedelta(minutes=6)), "SignatureInvalid"),
        (papers.signed(papers.terms("other", 10)), "ContractOfAnother"),
        (papers.signed(terms(valid_until=NOW)), "ContractExpired"),
        (papers.signed(terms(valid_from=NOW + dt.timedelta(seconds=1))), "ContractNotYetValid"),
        (papers.signed(papers.addendum(terms(), NOW + NOTICE)), "ContractMissing"),
        (Signed("not a contract", ()), "ContractUnreadable"),
        (Signed(canonical(terms()) + " ", ()), "ContractUnreadable"),
    ],
)
def test_a_document_that_is_not_in_order_changes_nothing(document: Signed, code: str) -> None:
    past = setting()
    answer, _ = submit(past, document)
    assert said(answer) == ("refused", code)
    assert answer.evidence == ()
    assert past.usage.contracts == {}
    assert past.state.contracts.to_come(ORG) == ()


@pytest.mark.parametrize("org", [PLATFORM, ORG])
def test_a_document_signed_by_a_revoked_key_changes_nothing(org: str) -> None:
    past = setting()
    _revoked(past, org)
    assert said(submit(past, terms())[0]) == ("refused", "KeyRevoked")


def test_a_document_signed_by_a_key_that_was_replaced_changes_nothing() -> None:
    past = setting()
    past.happened(
        KeyRegistered(
            org=ORG,
            public_key=papers.public_key("new"),
            former=papers.public_key(ORG),
            registered_at=past.now,
        )
    )
    assert said(submit(past, terms())[0]) == ("refused", "KeyReplaced")
    assert said(submit(past, papers.signed(terms(), org="new"))[0]) == ("admitted", "ContractAccepted")


def test_a_contract_in_force_is_changed_by_an_addendum_only() -> None:
    past = setting()
    submit(past, terms())
    assert said(submit(past, terms())[0]) == ("unchanged", "AlreadyInForce")
    assert said(submit(past, terms(quota=Capacity(vcpu=99)))[0]) == ("refused", "ContractInForce")
    assert past.usage.contracts[ORG] == terms()


def test_a_new_contract_follows_one_that_has_ended_under_a_new_name() -> None:
    past = setting()
    submit(past, terms(valid_until=NOW + dt.timedelta(days=1)))
    past.now = NOW + dt.timedelta(days=1)
    again = terms(quota=Capacity(vcpu=7))
    assert said(submit(past, again)[0]) == ("refused", "ContractOutdated")
    assert said(submit(past, replace(again, id="acme-2027"))[0]) == ("admitted", "ContractAccepted")
    assert past.usage.contracts[ORG].id == "acme-2027"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"effective_from": NOW + NOTICE - dt.timedelta(seconds=1)}, "NoticeTooShort"),
        ({"effective_from": YEAR + dt.timedelta(days=1)}, "ContractExpired"),
        ({"version": 3}, "AddendumOutdated"),
        ({"id": "another"}, "AddendumOutdated"),
    ],
)
def test_an_addendum_that_does_not_fit_changes_nothing(changes: dict[str, Any], code: str) -> None:
    past = setting()
    submit(past, terms())
    day = changes.get("effective_from", NOW + NOTICE)
    others = {name: value for name, value in changes.items() if name != "effective_from"}
    addendum = papers.addendum(terms(), day, valid_until=YEAR + dt.timedelta(days=30))
    assert said(submit(past, replace(addendum, **others))[0]) == ("refused", code)


def test_of_two_addenda_to_the_same_document_the_second_is_outdated() -> None:
    past = setting()
    submit(past, terms())
    first = papers.addendum(terms(), NOW + NOTICE, quota=Capacity(vcpu=4))
    second = papers.addendum(terms(), NOW + NOTICE, quota=Capacity(vcpu=8))
    assert said(submit(past, first)[0]) == ("admitted", "ContractAccepted")
    assert said(submit(past, first)[0]) == ("unchanged", "AlreadyInForce")
    assert said(submit(past, second)[0]) == ("refused", "AddendumOutdated")
    upon = papers.addendum(first, NOW + NOTICE, quota=Capacity(vcpu=8))
    assert said(submit(past, upon)[0]) == ("admitted", "ContractAccepted")
    early = papers.addendum(upon, NOW + NOTICE - dt.timedelta(seconds=1))
    past.now = NOW - dt.timedelta(seconds=1)
    assert said(submit(past, papers.signed(early, past.now))[0]) == ("refused", "AddendumOutdated")


# -------------------------------------------------------------------------------------------------------------- keys


def register(past: Past, name: str, former: str | None = None, by: str | None = None) -> tuple[str, str]:
    """A key is to take the place of a former one, endorsed by the holder of `by`."""
    public, replaced = papers.public_key(name), papers.public_key(former) if former else None
    endorsement = None
    if by is not None:
        text = signing.succession(ORG, replaced or "", public)
        endorsement = papers.signing_key(by).sign(text).signature.hex()
    answer, facts = ruled(
        past,
        KeyRegisterRequested(
            org=ORG,
            publisher="operator",
            key=str(past.seq),
            public_key=public,
            former=replaced,
            endorsement=endorsement,
            received_at=past.now,
        ),
    )
    if facts:
        assert facts == (KeyRegistered(org=ORG, public_key=public, former=replaced, registered_at=past.now),)
    return said(answer)


def revoke(past: Past, name: str) -> tuple[str, str]:
    public = papers.public_key(name)
    answer, facts = ruled(
        past,
        KeyRevokeRequested(
            org=ORG,
            publisher="operator",
            key=str(past.seq),
            public_key=public,
            actor="ops",
            reason="lost",
            received_at=past.now,
        ),
    )
    if facts:
        assert facts == (
            KeyRevoked(org=ORG, public_key=public, actor="ops", reason="lost", revoked_at=past.now),
        )
    return said(answer)


def test_the_first_key_needs_nobodys_word() -> None:
    past = Past()
    assert register(past, "first") == ("admitted", "Done")
    assert register(past, "first") == ("unchanged", "AlreadyDone")
    assert past.state.contracts.keys(ORG).current == papers.public_key("first")


def test_a_key_takes_anothers_place_with_that_ones_word_only() -> None:
    past = Past()
    register(past, "first")
    assert register(past, "second") == ("refused", "KeyNotCurrent")
    assert register(past, "second", "third", by="third") == ("refused", "KeyNotCurrent")
    assert register(past, "second", "first") == ("refused", "SignatureInvalid")
    assert register(past, "second", "first", by="second") == ("refused", "SignatureInvalid")
    assert register(past, "second", "first", by="first") == ("admitted", "Done")
    assert register(past, "first", "second", by="second") == ("refused", "KeyReplaced")


def test_after_a_revocation_a_new_key_needs_nobodys_word_and_the_old_one_never_comes_back() -> None:
    past = Past()
    register(past, "first")
    assert revoke(past, "other") == ("refused", "KeyUnknown")
    assert revoke(past, "first") == ("admitted", "Done")
    assert revoke(past, "first") == ("unchanged", "AlreadyDone")
    assert past.state.contracts.keys(ORG).current is None
    assert register(past, "first") == ("refused", "KeyRevoked")
    assert register(past, "second", "first", by="first") == ("refused", "KeyNotCurrent")
    assert register(past, "second") == ("admitted", "Done")


def test_a_key_that_was_replaced_can_still_be_revoked_and_the_present_one_stays() -> None:
    past = Past()
    register(past, "first")
    register(past, "second", "first", by="first")
    assert revoke(past, "first") == ("admitted", "Done")
    assert past.state.contracts.keys(ORG).current == papers.public_key("second")


# ----------------------------------------------------------------------------------------------------------- freezes


def freeze(past: Past, pool: str | None, seconds: int = 60) -> tuple[Answer, tuple[Fact, ...]]:
    return ruled(
        past,
        FreezeRequested(
            org=ORG,
            pool=pool,
            publisher="operator",
            key=str(past.seq),
            actor="ops",
            reason="audit",
            seconds=seconds,
            received_at=past.now,
        ),
    )


def thaw(past: Past, pool: str | None) -> tuple[Answer, tuple[Fact, ...]]:
    return ruled(
        past,
        ThawRequested(
            org=ORG,
            pool=pool,
            publisher="operator",
            key=str(past.seq),
            actor="ops",
            reason="done",
            received_at=past.now,
        ),
    )


@pytest.mark.parametrize("pool", ["web", None])
def test_a_freeze_has_an_actor_a_reason_and_an_end(pool: str | None) -> None:
    past = setting()
    answer, facts = freeze(past, pool, 90)
    assert (said(answer), answer.pool) == (("admitted", "Done"), pool)
    until = past.now + dt.timedelta(seconds=90)
    assert facts == (
        ScalingFrozen(org=ORG, pool=pool, actor="ops", reason="audit", frozen_at=past.now, until=until),
    )
    answer, facts = thaw(past, pool)
    assert (said(answer), answer.pool) == (("admitted", "Done"), pool)
    assert facts == (ScalingThawed(org=ORG, pool=pool, actor="ops", reason="done", thawed_at=past.now),)
    assert said(thaw(past, pool)[0]) == ("unchanged", "NotFrozen")


def test_what_does_not_exist_is_not_frozen() -> None:
    answer, _ = freeze(setting(), "nosuch")
    assert (said(answer), answer.pool) == (("refused", "PoolUnknown"), "nosuch")


def test_a_thaw_is_of_exactly_what_was_frozen() -> None:
    past = setting()
    freeze(past, None)
    assert said(thaw(past, "web")[0]) == ("unchanged", "NotFrozen")
    past.later(60)
    assert said(thaw(past, None)[0]) == ("unchanged", "NotFrozen"), "it is over by itself"
