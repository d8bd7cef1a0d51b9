"""After a ledger was recovered nothing grows until every host was compared with it."""

import pytest

from events.host import (
    HostAdmitted,
    HostChangeRequested,
    HostCordoned,
    HostFenced,
    HostReconciled,
    HostRemoved,
)
from events.ledger import LedgerRecovered
from schemas.codes import MEANING
from schemas.intake import Change
from schemas.names import PLATFORM
from services.gate.decide import decide
from tests.given import NOW, Past


def recovered(past: Past, epoch: int = 1) -> int:
    """The ledger was recovered here; the place of the event."""
    past.happened(
        LedgerRecovered(
            org=PLATFORM,
            epoch=epoch,
            origin="ledger.example/house",
            size=past.seq,
            root="0" * 64,
            checkpoint="a note",
            lost_first=0,
            lost_last=0,
            actor="ann",
            reason="the disk died",
            recovered_at=NOW,
        )
    )
    return past.seq


def reconciled(past: Past, host: str, recovered_seq: int) -> None:
    past.happened(
        HostReconciled(
            org=PLATFORM, host=host, recovered_seq=recovered_seq, domains=0, awake=0, reconciled_at=NOW
        )
    )


def over(end: type[HostFenced] | type[HostRemoved], host: str = "h2") -> HostFenced | HostRemoved:
    """Somebody says that the host is dead, or gone."""
    who = {"org": PLATFORM, "host": host, "actor": "ann", "reason": "it burnt"}
    return HostFenced(**who, fenced_at=NOW) if end is HostFenced else HostRemoved(**who, removed_at=NOW)


def asked(past: Past, verb: Change, host: str = "h2") -> tuple[str, str]:
    """The gate's outcome and code when somebody asks for that change of the host."""
    past.happened(
        HostChangeRequested(
            org=PLATFORM,
            host=host,
            change=verb,
            publisher="operator",
            key=str(past.seq),
            actor="ann",
            reason="it burnt",
            received_at=past.now,
        )
    )
    decision = decide(PLATFORM, past.state, now=past.now, gate="g1", state_seq=past.seq)
    assert decision is not None
    (answer,) = past.stored(decision).answers
    return answer.outcome, answer.code


def setting() -> Past:
    return Past().contract(vcpu=20).pool("web").host().host("h2")


def test_nothing_grows_until_every_host_was_reconciled_and_then_it_does() -> None:
    past = setting().asleep("web", 2)
    began = recovered(past)
    past.scale(add=1)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "Reconciling", ())
    reconciled(past, "h1", began)
    past.stock(vms=9)
    assert past.answer()[0].code == "Reconciling"
    reconciled(past, "h2", began)
    past.scale(add=1)
    answer, orders = past.answer()
    assert (answer.code, len(orders)) == ("Granted", 1)


def test_a_pool_may_shrink_and_a_stray_is_put_to_sleep_while_hosts_are_not_reconciled() -> None:
    past = setting().serving("web", 2)
    recovered(past)
    past.quiesce(origin="person")
    assert past.answer()[0].code == "Granted"


def test_a_vm_on_its_way_out_does_not_come_back_while_hosts_are_not_reconciled() -> None:
    past = setting().serving("web", 2)
    began = recovered(past)
    past.quiesce(origin="person")
    past.round()
    past.scale(add=1)
    assert past.answer()[0].code == "Reconciling"
    reconciled(past, "h1", began)
    reconciled(past, "h2", began)
    past.scale(add=1)
    answer, (order,) = past.answer()
    assert (answer.code, type(order).__name__) == ("Granted", "DrainCancelled")


def test_a_host_that_is_cordoned_is_waited_for_too() -> None:
    past = setting()
    began = recovered(past)
    reconciled(past, "h1", began)
    past.happened(HostCordoned(org=PLATFORM, host="h2", actor="ann", reason="work", cordoned_at=NOW))
    past.scale(add=1)
    assert past.answer()[0].code == "Reconciling"


@pytest.mark.parametrize("end", [HostFenced, HostRemoved])
def test_a_host_that_is_dead_or_gone_is_not_waited_for(end: type[HostFenced] | type[HostRemoved]) -> None:
    past = setting()
    began = recovered(past)
    reconciled(past, "h1", began)
    past.happened(over(end))
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


@pytest.mark.parametrize("end", [HostFenced, HostRemoved])
def test_a_host_that_was_dead_or_gone_before_is_waited_for_until_it_is_said_once_more(
    end: type[HostFenced] | type[HostRemoved],
) -> None:
    past = setting()
    past.happened(over(end))
    began = recovered(past)  # and lost with it: that the host was admitted again, and what runs there
    reconciled(past, "h1", began)
    past.scale(add=1)
    assert past.answer()[0].code == "Reconciling"
    assert asked(past, "fence" if end is HostFenced else "remove") == ("admitted", "Done")
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"
    assert asked(past, "fence" if end is HostFenced else "remove") == ("unchanged", "AlreadyDone")


def test_a_host_that_was_dead_before_and_is_reconciled_is_waited_for_no_more() -> None:
    past = setting()
    past.happened(over(HostFenced))
    began = recovered(past)
    for host in ("h1", "h2"):
        reconciled(past, host, began)
    assert asked(past, "fence") == ("unchanged", "AlreadyDone")
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_a_host_that_is_admitted_again_after_it_was_fenced_is_waited_for() -> None:
    past = setting()
    began = recovered(past)
    reconciled(past, "h1", began)
    past.happened(over(HostFenced))
    past.happened(HostAdmitted(org=PLATFORM, host="h2", actor="ann", reason="mended", admitted_at=NOW))
    past.scale(add=1)
    assert past.answer()[0].code == "Reconciling"


def test_a_second_recovery_waits_for_every_host_anew() -> None:
    past = setting()
    first = recovered(past)
    for host in ("h1", "h2"):
        reconciled(past, host, first)
    second = recovered(past, epoch=2)
    past.scale(add=1)
    assert past.answer()[0].code == "Reconciling"
    for host in ("h1", "h2"):
        reconciled(past, host, second)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"
    assert (past.state.epochs.epoch, past.state.epochs.recovered_seq) == (2, second)


def test_a_host_that_comes_after_the_recovery_is_waited_for_as_well() -> None:
    past = setting()
    began = recovered(past)
    for host in ("h1", "h2"):
        reconciled(past, host, began)
    past.host("h3")
    past.scale(add=1)
    assert past.answer()[0].code == "Reconciling"
    reconciled(past, "h3", began)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_who_has_no_contract_is_told_that_first() -> None:
    past = Past().pool("web").host()
    recovered(past)
    past.scale(add=1)
    assert past.answer()[0].code == "ContractMissing"


def test_a_ledger_that_never_lost_anything_waits_for_no_host() -> None:
    past = setting()
    assert past.state.epochs.epoch == 0
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_the_refusal_says_what_to_do() -> None:
    assert "fence" in MEANING["Reconciling"]
