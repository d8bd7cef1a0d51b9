"""Whom the gate looks after while sleepers of many wait for a hand: those whose turn may have come, and nobody else."""

import datetime as dt
import time
from dataclasses import replace

import pytest

from events.gate import SaveOrdered
from events.vm import VmFoundAwake
from projections.freezes.fold import Freeze, Freezes
from services.gate.state import State
from services.gate.turns import LATE_SECONDS, Turns
from tests.given import NOW, ORG, SMALL, Past


def town(orgs: int, sleepers: int = 4, hosts: tuple[str, ...] = ("h1",)) -> dict[str, Past]:
    """So many orgs whose pools sleep on the same hosts and are to be saved; one ledger, and one state of it."""
    state, pasts, seq = State(), dict[str, Past](), 0
    for number in range(orgs):
        past = Past(f"org-{number}")
        past.state = state
        past.docket, past.usage, past.fleet = state.docket, state.usage, state.fleet
        past.seq = seq
        past.contract(vcpu=10_000).pool("web")
        for host in hosts:
            if host not in state.fleet.hosts:
                past.host(host, 1 << 30)
        for vm in range(sleepers):
            past.asleep("web", 1, host=hosts[vm % len(hosts)])
        past.save()
        seq = past.seq
        pasts[past.org] = past
    for past in pasts.values():
        past.seq = seq
        past.round()
        seq = past.seq
    return pasts


def all_of(pasts: dict[str, Past]) -> Past:
    return next(iter(pasts.values()))


def aligned(pasts: dict[str, Past]) -> None:
    """All write to the one ledger, behind what any of them wrote."""
    seq = max(past.seq for past in pasts.values())
    for past in pasts.values():
        past.seq = seq


def finished(pasts: dict[str, Past], host: str) -> None:
    """The first save of the host that is under way is done."""
    aligned(pasts)
    for past in pasts.values():
        for vm in past.fleet.members(past.org, "web", "saving"):
            if past.fleet.vms[past.org, vm].host == host:
                past.saved(vm)
                aligned(pasts)
                return


def ordered(pasts: dict[str, Past], turns: Turns, seconds: float = 0.0) -> list[str]:
    """Whom the gate saves next, of all orgs."""
    told: list[str] = []
    for org in turns.due(all_of(pasts).now, seconds):
        past = pasts[org]
        aligned(pasts)
        decision = past.decide()
        assert decision is not None, f"{org} was said to have somebody to save"
        told += [f"{org}/{one.vm}" for one in past.stored(decision).orders if isinstance(one, SaveOrdered)]
        aligned(pasts)
    return told


def test_a_hand_that_is_free_is_given_to_one_of_all_who_wait_for_it_and_to_each_in_turn() -> None:
    pasts = town(3)
    turns = Turns(all_of(pasts).state)
    assert ordered(pasts, turns) == []
    took: list[str] = []
    for _ in range(9):
        finished(pasts, "h1")
        next_ones = ordered(pasts, turns)
        assert all_of(pasts).fleet.saving("h1") <= 2
        took += [one.partition("/")[0] for one in next_ones]
    assert len(took) == 9
    assert took[:3].count("org-1") == 1
    assert took[:3].count("org-2") == 1


def test_all_who_wait_are_saved_in_the_end_and_no_more_at_once_than_hosts_have_hands() -> None:
    hosts = ("h1", "h2", "h3")
    pasts = town(8, 6, hosts)
    turns, fleet = Turns(all_of(pasts).state), all_of(pasts).fleet
    ordered(pasts, turns)
    for _ in range(40):
        for host in hosts:
            finished(pasts, host)
            ordered(pasts, turns)
            assert all(fleet.saving(one) <= 2 for one in hosts)
    assert all(len(fleet.members(org, "web", "saved")) == 6 for org in pasts)
    assert list(all_of(pasts).state.saves.orgs()) == []


def test_rings_that_concern_no_save_cost_the_same_however_many_wait() -> None:
    pasts = town(120, 4, ("h1", "h2"))
    turns, past = Turns(all_of(pasts).state), all_of(pasts)
    turns.due(past.now, 0.0)
    began = time.process_time()
    for _ in range(2000):
        assert turns.due(past.now, 1.0) == []
    assert time.process_time() - began < 0.5, "a look at all who wait takes 5 ms each time"


@pytest.mark.parametrize("why", ["frozen", "lost", "in memory", "held"])
def test_what_nothing_tells_of_is_seen_within_a_minute(why: str) -> None:
    past = Past().contract(vcpu=10_000).pool("web").host(memory_mib=1 << 20).asleep("web", 5)
    past.save(origin="forecast")
    past.round()
    turns = Turns(past.state)
    match why:
        case "frozen":
            past.frozen("web", 30)
        case "lost":
            past.lost()
        case "in memory":
            past.pool("web", sleep="paused")
        case _:
            past.save_failed("web-1")
    if why != "held":
        past.saved("web-1")
    assert turns.due(past.now, 0.0) == []
    past.later(61)
    if why == "lost":
        past.found()
    if why == "in memory":
        past.pool("web")
    assert turns.due(past.now, LATE_SECONDS) == [ORG]


@pytest.mark.parametrize("end", ["died", "awake", "fenced"])
def test_a_hand_is_free_as_well_when_a_save_ends_without_an_outcome(end: str) -> None:
    past = Past().contract(vcpu=10_000).pool("web").host(memory_mib=1 << 20).asleep("web", 5)
    past.host("h2", 1 << 20).asleep("web", 3, host="h2")
    past.save()
    past.round()
    turns = Turns(past.state)
    assert turns.due(past.now, 0.0) == []
    match end:
        case "died":
            past.quiesced_died("web-1")
        case "awake":
            past.happened(
                VmFoundAwake(
                    org=ORG,
                    vm="web-1",
                    pool="web",
                    host="h1",
                    size=SMALL,
                    reservation="0" * 32,
                    observed_at=past.now,
                )
            )
        case _:
            past.fenced("h1")
    assert turns.due(past.now, 0.0) == ([] if end == "fenced" else [ORG])


class Asked(Freezes):
    """Freezes that know how often they were asked: once for each request that is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def over(self, org: str, pool: str, now: dt.datetime) -> Freeze | None:
        self.times += 1
        return super().over(org, pool, now)


def test_a_request_of_which_nobody_is_left_is_looked_at_no_more() -> None:
    past = Past().contract(vcpu=10_000).pool("web").host(memory_mib=1 << 20).asleep("web", 3)
    past.save()
    past.round()
    freezes = Asked()
    turns = Turns(replace(past.state, freezes=freezes))
    turns.due(past.now, 0.0)
    turns.due(past.now, LATE_SECONDS)
    assert freezes.times >= 2, "while somebody is left it is looked at"
    past.quiesced_died("web-3")
    past.saved("web-1")
    past.saved("web-2")
    turns.due(past.now, 2 * LATE_SECONDS)
    asked = freezes.times
    for minute in range(3, 90):
        assert turns.due(past.now, minute * LATE_SECONDS) == []
    assert freezes.times == asked


def test_a_gate_that_begins_looks_at_all_that_stand() -> None:
    past = Past().contract(vcpu=10_000).pool("web").host(memory_mib=1 << 20).asleep("web", 5)
    past.save()
    past.round()
    past.saved("web-1")
    turns = Turns(past.state)
    assert turns.due(NOW, 0.0) == [ORG]
