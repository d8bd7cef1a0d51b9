"""How a contract changes: in a chain, on notice, and never by taking away what is awake."""

from msgspec.structs import replace

from schemas.capacity import Capacity
from schemas.contract.terms import NOTICE
from tests import papers
from tests.papers import NOW
from tests.rules.contract_desk import DAY, SECOND, YEAR, File, accepted, long_terms, refused


def test_raising_and_lowering_take_effect_on_their_day_and_not_a_second_sooner() -> None:
    file = File()
    contract = long_terms(vcpu=100)
    file.hand_in(contract)
    lowered = papers.addendum(contract, NOW + NOTICE, quota=Capacity(vcpu=40, memory_mib=1 << 20))
    raised = papers.addendum(lowered, NOW + NOTICE + DAY, quota=Capacity(vcpu=400, memory_mib=1 << 20))
    accepted(file.hand_in(lowered))
    accepted(file.hand_in(raised))
    for at, vcpu in (
        (NOW + NOTICE - SECOND, 100),
        (NOW + NOTICE, 40),
        (NOW + NOTICE + DAY - SECOND, 40),
        (NOW + NOTICE + DAY, 400),
    ):
        file.pass_time(at)
        assert file.vcpu == vcpu, at


def test_notice_that_is_one_second_too_short_is_refused() -> None:
    file = File()
    contract = long_terms()
    file.hand_in(contract)
    assert refused(file.hand_in(papers.addendum(contract, NOW + NOTICE - SECOND))) == "NoticeTooShort"
    assert accepted(file.hand_in(papers.addendum(contract, NOW + NOTICE))) == "ContractAccepted"


def test_of_two_addenda_to_the_same_document_the_second_is_refused_until_it_builds_on_the_first() -> None:
    file = File()
    contract = long_terms(vcpu=10)
    file.hand_in(contract)
    first = papers.addendum(contract, NOW + NOTICE, quota=Capacity(vcpu=20, memory_mib=1 << 20))
    second = papers.addendum(contract, NOW + NOTICE + DAY, quota=Capacity(vcpu=30, memory_mib=1 << 20))
    accepted(file.hand_in(first))
    assert refused(file.hand_in(second)) == "AddendumOutdated"
    rebuilt = papers.addendum(first, NOW + NOTICE + DAY, quota=Capacity(vcpu=30, memory_mib=1 << 20))
    accepted(file.hand_in(rebuilt))
    file.pass_time(NOW + NOTICE + DAY)
    assert file.vcpu == 30


def test_an_addendum_may_not_overtake_the_one_that_it_builds_on() -> None:
    file = File()
    contract = long_terms()
    file.hand_in(contract)
    first = papers.addendum(contract, NOW + NOTICE + 10 * DAY)
    accepted(file.hand_in(first))
    assert refused(file.hand_in(papers.addendum(first, NOW + NOTICE + 9 * DAY))) == "AddendumOutdated"
    assert accepted(file.hand_in(papers.addendum(first, NOW + NOTICE + 10 * DAY))) == "ContractAccepted"


def test_an_addendum_keeps_the_id_and_counts_the_version_on() -> None:
    file = File()
    contract = long_terms()
    file.hand_in(contract)
    good = papers.addendum(contract, NOW + NOTICE)
    for wrong in (replace(good, id="acme-other"), replace(good, version=3)):
        assert refused(file.hand_in(wrong)) == "AddendumOutdated"


def test_an_addendum_to_nothing_is_refused() -> None:
    assert refused(File().hand_in(papers.addendum(long_terms(), NOW + NOTICE))) == "ContractMissing"


def test_an_addendum_after_the_end_of_what_it_amends_is_refused() -> None:
    file = File()
    contract = papers.terms(valid_from=NOW - DAY, valid_until=NOW + 40 * DAY)
    file.hand_in(contract)
    late = papers.addendum(contract, NOW + 40 * DAY + SECOND, valid_until=NOW + YEAR)
    assert refused(file.hand_in(late)) == "ContractExpired"


def test_a_renewal_is_an_addendum_that_ends_later_and_leaves_no_gap() -> None:
    file = File()
    contract = papers.terms(vcpu=10, valid_from=NOW - DAY, valid_until=NOW + 40 * DAY)
    file.hand_in(contract)
    accepted(file.hand_in(papers.addendum(contract, NOW + 40 * DAY, valid_until=NOW + YEAR)))
    file.past.pool().host().asleep("web", 3)
    for at in (NOW + 40 * DAY - SECOND, NOW + 40 * DAY, NOW + 41 * DAY):
        file.pass_time(at)
        file.past.scale(add=1)
        assert file.past.round().answers[-1].code == "Granted", at


def test_an_addendum_below_present_use_is_accepted_with_its_numbers_and_takes_nothing_away() -> None:
    file = File()
    contract = long_terms(vcpu=10)
    file.hand_in(contract)
    file.past.pool().host().serving("web", 4).asleep("web", 1)  # 8 vCPU
    lowered = papers.addendum(contract, NOW + NOTICE, quota=Capacity(vcpu=4, memory_mib=1 << 20))
    answer = file.hand_in(lowered)
    assert accepted(answer) == "AcceptedBelowUse"
    vcpu = answer.evidence[0]
    assert (vcpu.used, vcpu.requested, vcpu.projected, vcpu.limit) == (8, 0, 8, 4)
    file.pass_time(NOW + NOTICE)
    assert file.vcpu == 4
    assert len(file.past.fleet.members("acme", "web", "serving")) == 4, "nothing was stopped"
    file.past.scale(add=1)
    grown = file.past.round()
    assert (grown.answers[-1].code, grown.orders) == ("CapExceeded", ())
