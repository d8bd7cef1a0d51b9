"""What legal input may never do: outgrow a decision, poison the ledger, or release what it does not name."""

import math

import msgspec
import pytest

from events.envelope import address
from events.gate import MOST_BYTES, GateDecided, WakeOrdered
from events.pool import PoolDefined
from events.registry import UnknownEventError
from events.vm import VmStopped, VmWakeFailed
from schemas.contract.document import ContractError
from schemas.contract.document import read as read_contract
from schemas.contract.terms import MOST_QUOTA
from schemas.pool import Pool, PoolError, Trigger
from schemas.pool import read as read_pool
from tests.given import ORG, SMALL, Past

MOST_MOVES = 64


def setting(vcpu: int = 1000) -> Past:
    return Past().contract(vcpu=vcpu).pool("web").host(memory_mib=1 << 20)


def test_however_many_vms_a_request_moves_a_decision_stays_small() -> None:
    past = setting().serving("web", 400)
    past.quiesce(count=400)
    decided = past.round()
    assert len(decided.orders) == MOST_MOVES
    assert (decided.answers[0].outcome, decided.answers[0].code) == ("partial", "BatchTooLarge")
    assert len(msgspec.json.encode(decided)) < MOST_BYTES
    past.scale(add=300, up_to=True)
    decided = past.round()
    assert len(decided.orders) == MOST_MOVES
    assert len(msgspec.json.encode(decided)) < MOST_BYTES


def test_vms_that_are_there_already_take_no_place_in_a_decision() -> None:
    past = setting().pool("api").asleep("api", 48).serving("web", 63).asleep("web", 1)
    past.scale(pool="api", add=48)
    past.scale(want=64)
    decided = past.round()
    assert [(answer.pool, answer.granted) for answer in decided.answers] == [("api", 48), ("web", 1)]
    assert len(msgspec.json.encode(decided)) < MOST_BYTES


def test_the_same_key_stored_again_reserves_anew() -> None:
    past = setting().asleep("web", 1)
    past.scale(add=1, key="again")
    first = past.round().orders[0]
    assert isinstance(first, WakeOrdered)
    failed = VmWakeFailed(
        org=ORG,
        vm=first.vm,
        host="h1",
        reservation=first.id,
        code="wake-refused",
        text="no",
        found="paused",
        observed_at=past.now,
    )
    past.happened(failed)
    past.later(60)  # nobody takes its place any more
    past.scale(add=1, key="again")
    second = past.round().orders[0]
    assert second.vm == first.vm
    assert second.id != first.id
    past.happened(failed)
    assert past.usage.reserved(ORG).vcpu == SMALL.vcpu, (
        "a late copy of the first failure released the second life"
    )


def test_a_late_copy_of_a_sleepers_end_does_not_end_a_later_sleep() -> None:
    past = setting().asleep("web", 1)
    known = past.fleet.vms[ORG, "web-1"]
    gone = VmStopped(
        org=ORG,
        vm="web-1",
        host="h1",
        reservation=None,
        asleep_since=known.since_seq,
        cause="found",
        found="off",
        stopped_at=past.now,
    )
    past.happened(gone)
    assert past.fleet.vms[ORG, "web-1"].state == "stopped"
    past.stock(vms=1)
    past.round()
    past.ready("web-1")
    past.round()
    past.quiesced("web-1")
    assert past.fleet.vms[ORG, "web-1"].state == "quiesced"
    past.happened(gone)
    assert past.fleet.vms[ORG, "web-1"].state == "quiesced"


def test_a_decision_that_does_not_follow_the_last_one_is_not_folded() -> None:
    past = setting().asleep("web", 2)
    past.scale(add=1)
    decided = past.round()
    before = past.usage.reserved(ORG)
    copy: GateDecided = msgspec.structs.replace(decided)
    past.happened(copy)
    past.happened(copy)
    assert past.usage.reserved(ORG) == before


@pytest.mark.parametrize("above", [math.nan, math.inf])
def test_what_could_not_be_read_back_is_never_sent(above: float) -> None:
    trigger = Trigger(query="up", above=above)
    pool = Pool(org=ORG, name="web", size=SMALL, template="tiny", triggers=(trigger,))
    fact = PoolDefined(org=ORG, pool="web", definition=pool)
    with pytest.raises(UnknownEventError):
        address(fact, writer="gate", id="a" * 32, time=Past().now, cause=None, correlation="a" * 32)


def test_a_pool_file_with_an_endless_threshold_is_refused() -> None:
    text = 'org="acme"\nname="web"\ntemplate="tiny"\nsize={name="s",vcpu=1,memory_mib=96}\ntrigger={query="up",above=%s}'
    for above in ("nan", "inf"):
        with pytest.raises(PoolError):
            read_pool(text % above)


def test_a_quota_that_readers_could_not_count_exactly_is_refused() -> None:
    contract = f"""
format = 2
id = "acme-1"
version = 1
org = "acme"
allowance_bp = 1000
warm_reserve_bp = 500
price_eur_cents_month = 1
valid_from = 2026-01-01T00:00:00Z
valid_until = 2027-01-01T00:00:00Z
technical = []
[quota]
vcpu = {MOST_QUOTA + 1}
memory_mib = 1
[owner]
person = "owner"
commitment = "{"0" * 64}"
"""
    with pytest.raises(ContractError, match=str(MOST_QUOTA + 1)):
        read_contract(contract.encode())
