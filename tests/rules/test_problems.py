"""A refusal as HTTP says it: status, code and the numbers that decided, the same as in the ledger."""

import datetime as dt
from typing import get_args

import pytest
from msgspec.structs import replace

from events.gate import Answer, ContractRef, Evidence, GateDecided
from events.problems import problem
from events.sentences import sentence
from schemas.codes import FORMER, MEANING, Code, Outcome
from schemas.problem import STATUS, Problem
from tests.given import NOW, ORG, Past

REF = ContractRef("acme-2026", 1, 1000)
REQUEST = "a" * 32
LINES = (Evidence("vcpu", 90, 6, 16, 112, 100, 110), Evidence("memory_mib", 1, 2, 3, 6, 7, 8))
STATUSES = {
    **dict.fromkeys(("ContractUnsigned", "SignatureInvalid", "KeyUnknown", "KeyReplaced", "KeyRevoked"), 403),
    **dict.fromkeys(("PoolUnknown", "HostUnknown"), 404),
    **dict.fromkeys(("AddendumOutdated", "ContractInForce", "ContractOutdated", "KeyNotCurrent"), 409),
    **dict.fromkeys(("HostFenced", "HostInUse"), 409),
    **dict.fromkeys(("ContractOfAnother", "ContractUnreadable", "NoticeTooShort"), 422),
    **dict.fromkeys(("SizeUnknown", "VcpuTooFew", "VcpuTooMany", "MemoryTooSmall", "MemoryTooLarge"), 422),
    **dict.fromkeys(("MemoryNeedsOperator", "MemoryBelowFloor", "DiskTooSmall", "DiskTooLarge"), 422),
    **dict.fromkeys(("DiskNeedsOperator", "DiskShrinks", "ImageUnknown", "ZoneUnknown"), 422),
    **dict.fromkeys(("PolicyUnknown", "DeletionTooSoon", "DeletionTooFar"), 422),
    **dict.fromkeys(("WindowUnreadable", "WindowEmpty", "WindowTooShort", "DateInPast", "DateTooFar"), 422),
    **dict.fromkeys(("PoolScales", "PoolKeeps", "NameTaken", "VmOff", "VmBusy", "HostGone"), 409),
    **dict.fromkeys(("NoDisk", "CopyExists", "CopyUnderWay", "CopiesFull", "CopiesNotKept"), 409),
    **dict.fromkeys(("VmRuns", "VmSleeps", "Protected", "BeingDeleted", "DeletionStands"), 409),
    **dict.fromkeys(("DeletionFinal", "DeletionOver", "DeletionEarly"), 409),
    **dict.fromkeys(("CopyUnknown", "DeletionUnknown", "VmUnknown"), 404),
    "BackupNeedsName": 422,
    "NameReserved": 409,
    "SudoSrvMissing": 403,
    **dict.fromkeys(("MaintenanceBegun", "MaintenanceOver", "NoticeOfDeletion"), 409),
}


def an_answer(code: Code = "CapExceeded", outcome: Outcome = "refused") -> Answer:
    return Answer(REQUEST, 7, "web", outcome, code, 8, 0, LINES, retry_at=None)


def said(answer: Answer, contract: ContractRef | None = REF, now: dt.datetime = NOW) -> Problem:
    found = problem(ORG, answer, contract, now)
    assert found is not None
    return found


def test_a_refusal_past_the_cap_is_429_with_its_numbers() -> None:
    found = said(an_answer())
    assert (found.status, found.code, found.type) == (429, "CapExceeded", "urn:virtscale:problem:CapExceeded")
    assert found.title == "The org would be past its signed cap."
    assert found.detail == sentence(ORG, an_answer(), REF)
    assert "112 vCPU" in found.detail
    assert found.instance == f"urn:virtscale:request:{REQUEST}"
    assert (found.request, found.org, found.pool, found.asked, found.granted) == (REQUEST, ORG, "web", 8, 0)
    assert (found.contract, found.contract_version, found.allowance_bp) == ("acme-2026", 1, 1000)
    assert [
        (one.dimension, one.used, one.reserved, one.requested, one.projected, one.quota, one.limit)
        for one in found.lines
    ] == [("vcpu", 90, 6, 16, 112, 100, 110), ("memory_mib", 1, 2, 3, 6, 7, 8)]
    assert (found.decided_at, found.retry_after_seconds) == (NOW, None)


@pytest.mark.parametrize("outcome", ["admitted", "unchanged"])
def test_where_nothing_was_refused_there_is_no_problem(outcome: Outcome) -> None:
    assert problem(ORG, an_answer(outcome=outcome), REF, NOW) is None


def test_what_was_granted_in_part_is_a_problem_for_the_rest() -> None:
    found = said(replace(an_answer(outcome="partial"), granted=3))
    assert (found.asked, found.granted) == (8, 3)


@pytest.mark.parametrize("code", get_args(Code))
def test_every_code_has_a_meaning_and_a_status(code: Code) -> None:
    found = said(an_answer(code))
    assert found.title == MEANING[code]
    assert found.status == STATUSES.get(code, 429)
    assert found.detail


def test_no_meaning_and_no_status_is_left_of_a_code_that_is_gone() -> None:
    assert set(MEANING) == set(get_args(Code))
    assert set(STATUS) <= {*get_args(Code), *FORMER}


@pytest.mark.parametrize("code", FORMER)
def test_a_code_that_no_rule_gives_any_more_is_explained_where_a_ledger_has_it(code: str) -> None:
    assert code not in get_args(Code)
    found = said(replace(an_answer(), code=code, evidence=()))
    assert (found.title, found.status) == (FORMER[code], 409)
    assert FORMER[code] in found.detail


@pytest.mark.parametrize(
    ("seconds", "expected"), [(89.000_001, 90), (90.0, 90), (0.5, 1), (0.0, 0), (-3.0, 0)]
)
def test_retry_after_is_whole_seconds_rounded_up_and_never_negative(seconds: float, expected: int) -> None:
    answer = replace(an_answer("Cooldown"), retry_at=NOW + dt.timedelta(seconds=seconds))
    assert said(answer).retry_after_seconds == expected


def test_a_freeze_of_days_says_on_which_day_it_ends() -> None:
    answer = replace(an_answer("Frozen"), retry_at=dt.datetime(2026, 11, 25, 8, 33, tzinfo=dt.UTC))
    assert "It may be asked again from 2026-11-25 08:33:00 UTC on." in said(answer).detail


def test_without_a_contract_there_are_no_numbers_of_one() -> None:
    found = said(replace(an_answer("ContractMissing"), evidence=()), contract=None)
    assert (found.contract, found.contract_version, found.allowance_bp, found.lines) == (None, None, None, ())


def test_the_gates_own_refusal_becomes_its_problem() -> None:
    past = Past().contract(vcpu=10).pool("web").host().serving("web", 5)
    past.scale(add=1)
    decided: GateDecided = past.round()
    found = said(decided.answers[0], decided.contract, decided.now)
    assert (found.status, found.lines[0].projected, found.lines[0].limit) == (429, 12, 11)
