"""What holds of maintenance whatever is asked and however the ledger is told: inside the window, with the notice, once."""

import datetime as dt
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import Recorded
from events.gate import GateDecided, RebootOrdered
from events.maintenance import MaintenanceBegun, MaintenanceRescheduled, MaintenanceScheduled
from projections.maintenance.fold import Calendar
from schemas.maintenance import Window, chosen
from services.steward.state import State
from tests.keeping import ONE, TWO
from tests.rules.windows import MORNING, Windows

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "UTC")


def kept(house: Windows) -> None:
    """Each promise, as the ledger alone shows it."""
    told: dict[str, tuple[dt.datetime, dt.datetime]] = {}
    notice = dt.timedelta(hours=12)
    begun: Counter[str] = Counter()
    for line in house.lines:
        match line.fact:
            case MaintenanceScheduled(entry=entry) | MaintenanceRescheduled(entry=entry):
                slot = entry.slot
                assert slot.opens <= slot.start < slot.end <= slot.closes, slot
                assert entry.announced_at is not None
                known = told.get(entry.id)
                if known is None or known[0] != slot.start:
                    assert slot.start - line.time >= notice, (slot, line.time)
                    told[entry.id] = slot.start, line.time
            case MaintenanceBegun(entry=entry) as fact:
                assert told[entry.id][0] == entry.slot.start, "begun as it was announced"
                assert entry.slot.start <= fact.begun_at
                length = entry.slot.end - entry.slot.start
                assert fact.begun_at + length <= entry.slot.closes
                assert fact.begun_at <= fact.begin_by
                begun[entry.id] += 1
            case GateDecided(orders=orders, now=now):
                for order in orders:
                    if isinstance(order, RebootOrdered):
                        assert now <= order.begin_by
            case _:
                pass
    assert all(count == 1 for count in begun.values()), begun


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_is_asked_work_begins_as_announced_in_its_window_with_the_notice_kept(
    data: st.DataObject,
) -> None:
    zone = data.draw(st.sampled_from(ZONES))
    house = Windows().house(vms=3, window=Window(zone=zone, start="22:00", end="02:00"))
    names = ("db0x", "db1x", "db2x")
    for _ in range(data.draw(st.integers(5, 25))):
        vm = data.draw(st.sampled_from(names))
        waiting = [one.entry for one in house.entries() if not one.over and one.entry.vm == vm]
        match data.draw(
            st.sampled_from(("time", "start", "late", "reboot", "postpone", "cancel", "gate", "run"))
        ):
            case "time":
                house.later(data.draw(st.integers(60, 40 * 3600)))
            case "start" if waiting:
                house.to(max(house.now, waiting[0].slot.start))
            case "late" if waiting:
                house.to(
                    max(
                        house.now, waiting[0].slot.start + dt.timedelta(minutes=data.draw(st.integers(1, 90)))
                    )
                )
            case "reboot" if house.state_of(vm) == "running" and house.decide() is None:
                house.reboot(vm)
            case "postpone" if waiting:
                house.please("postpone", entry=waiting[0].id, vm=vm)
            case "cancel" if waiting:
                house.please("cancel", entry=waiting[0].id, vm=vm)
            case "gate":
                house.gates()
            case "run":
                for order in [
                    one
                    for line in house.lines
                    if isinstance(line.fact, GateDecided)
                    for one in line.fact.orders
                ]:
                    if (
                        isinstance(order, RebootOrdered)
                        and house.fleet.vms["acme", order.vm].reservation == order.id
                    ):
                        house.rebooted(order)
            case _:
                pass
        house.look()
    kept(house)


def refolded(lines: list[Recorded]) -> State:
    state = State()
    for line in lines:
        state.apply(line)
    return state


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_copies_of_the_stewards_events_fold_to_nothing_wherever_they_come(seed: int) -> None:
    house, dice = Windows().house(), random.Random(seed)
    house.wants(TWO)
    house.look()
    house.please("postpone")
    house.look()
    house.to(house.entry.slot.start).look()
    _, order = house.gate()
    assert order is not None
    house.rebooted(order)
    house.look()
    calendar = Calendar()
    told: list[Recorded] = []
    for line in house.lines:
        calendar.apply(line)
        if type(line.fact) in Calendar.TAKES:
            told.append(line)
        for again in dice.sample(told, dice.randint(0, len(told))):
            calendar.apply(again)
    assert calendar.entries == house.steward.calendar.entries
    assert calendar.entries == refolded(house.lines).calendar.entries


@pytest.mark.parametrize("vms", [30, pytest.param(200, marks=pytest.mark.long)])
def test_a_year_of_many_vms_with_both_changes_of_clocks_is_worked_off_in_windows(vms: int) -> None:
    """Every VM is rebooted each quarter, some are resized; each night has room for as many as its hours."""
    house = Windows().house(vms=vms, vcpu=500)
    names = sorted(house.steward.directory.vms)
    for quarter in range(4):
        for place, (_, vm) in enumerate(names):
            if place % 10 == quarter % 10:
                house.resize_of(vm, TWO if house.steward.directory.vms["acme", vm].size == ONE else ONE)
            else:
                house.reboot(vm)
        until = MORNING + (quarter + 1) * dt.timedelta(days=91)
        while True:
            house.look()
            starts = [one.entry.slot.start for one in house.steward.calendar.open("acme")]
            if not starts or min(starts) >= until:
                break
            house.to(max(house.now, min(starts))).look()
            for decided in house.gates():
                for order in decided.orders:
                    assert isinstance(order, RebootOrdered)
                    house.later(60)
                    house.rebooted(order)
        house.to(until)
    kept(house)
    results = Counter(one.entry.result for one in house.entries())
    assert results == {"done": len(house.entries())}
    assert len(house.entries()) == 4 * vms
    nights = Counter(one.entry.slot.opens for one in house.entries())
    slots = sorted((one.entry.slot.start, one.entry.slot.end) for one in house.entries())
    assert all(before[1] <= after[0] for before, after in pairwise(slots)), "one at a time"
    assert max(nights.values()) <= 8 * 3600 // (15 * 60)
    assert chosen("maintenance-12h").notice_seconds == 12 * 3600
