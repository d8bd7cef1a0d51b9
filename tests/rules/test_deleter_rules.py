"""What the deleter says: stages in order, never early, again after a refusal, complete when their work is done."""

import datetime as dt

import pytest

from events.deletion import (
    DeletionCompleted,
    DeletionDue,
    SilenceFailed,
    VmUndefined,
    VolumeErased,
)
from events.fact import Fact
from events.gate import EraseOrdered, StopOrdered
from schemas.deletion import STAGES
from schemas.request import SeedRef
from services.deleter.decide import AGAIN, MOST_QUICK, PATIENCE, SELDOM, Forget, Said, silence_of
from services.deleter.state import State
from tests.given import ORG
from tests.rules.endings import FIRST, Endings
from tests.rules.windows import DAY, MINUTE

SECOND = dt.timedelta(seconds=1)


def scheduled() -> Endings:
    house = Endings().house()
    assert house.delete().code == "Done"
    return house


def until(stage: str) -> Endings:
    """A deletion of which all stages before this one are complete, at the instant of this one."""
    house = scheduled()
    for one in STAGES:
        house.to(house.at(one))
        if one == stage:
            return house
        house.works()
    raise AssertionError(stage)


def said(facts: list[Fact]) -> list[tuple[str, str]]:
    return [
        (type(fact).__name__, fact.stage)
        for fact in facts
        if isinstance(fact, DeletionDue | DeletionCompleted)
    ]


def test_nothing_is_said_before_the_instant_and_then_the_stage_is_due_once() -> None:
    house = scheduled()
    house.to(house.at("prepare") - SECOND)
    assert house.deletes() == []
    house.to(house.at("prepare"))
    (due,) = house.deletes()
    assert isinstance(due, DeletionDue)
    assert (due.stage, due.attempt, due.due_at) == ("prepare", 1, house.at("prepare"))
    house.later(10 * 86_400)
    assert house.deletes() == [], "the gate has not answered"


def test_all_five_stages_come_on_their_days_and_the_name_is_free() -> None:
    house = scheduled()
    days = dict(house.standing().schedule.instants())
    for stage in STAGES:
        house.to(days[stage] - SECOND).works()
        assert stage not in house.completed()
        house.to(days[stage]).works()
        assert house.completed()[-1] == stage
    assert [stage for stage, _ in house.begun()] == list(STAGES)
    assert house.deleter.deletions.of(ORG, "db") is None
    house.to(house.now + 400 * DAY)
    assert house.deletes() == []


def test_forty_days_late_everything_comes_in_order_at_once() -> None:
    house = scheduled()
    house.to(house.at("recycle") + 40 * DAY).works()
    assert [stage for stage, _ in house.begun()] == list(STAGES)
    assert house.completed() == list(STAGES)
    assert {at for _, at in house.begun()} == {house.now}


def test_the_preparation_waits_for_the_notice_in_the_calendar() -> None:
    house = until("prepare")
    house.deletes()
    house.gates()
    assert house.deletes() == []
    house.look()
    assert said(house.deletes()) == [("DeletionCompleted", "prepare")]


def test_a_vm_that_is_stopped_too_late_keeps_its_stage_open() -> None:
    house = until("soft")
    house.deletes()
    (decided,) = house.gates()
    (stop,) = decided.orders
    assert isinstance(stop, StopOrdered)
    house.to(house.at("hard") + DAY)
    assert house.deletes() == []
    house.off()
    assert said(house.deletes()) == [("DeletionCompleted", "soft"), ("DeletionDue", "hard")]


def test_the_disk_is_gone_when_domain_and_volume_are() -> None:
    house = until("hard")
    house.deletes()
    (decided,) = house.gates()
    (order,) = decided.orders
    assert isinstance(order, EraseOrdered)
    assert (order.what, order.host) == ("disk", "h1")
    house.happened(
        VolumeErased(
            org=ORG,
            vm="db",
            host="h1",
            order=order.id,
            volume=order.volume,
            snapshots=0,
            erased_at=house.now,
        )
    )
    assert house.deletes() == []
    house.happened(VmUndefined(org=ORG, vm="db", host="h1", order=order.id, undefined_at=house.now))
    assert said(house.deletes()) == [("DeletionCompleted", "hard")]


def test_a_vm_that_never_ran_is_deleted_too() -> None:
    house = Endings().house()
    house.create("idle", start=False)
    house.round()
    assert house.delete("idle").code == "Done"
    house.to(house.at("recycle", "idle")).works()
    assert house.completed("idle") == list(STAGES)


def test_a_vm_on_its_way_is_asked_about_again_each_minute_and_later_seldom() -> None:
    house = until("soft")
    house.change("reboot", when="now")
    house.gates()
    assert house.state_of() == "booting"
    house.off()
    house.change("start")
    house.gates()
    (order,) = [one for decided in house.decisions()[-1:] for one in decided.orders]
    house.carries_out(order)
    house.change("stop")
    house.gates()
    assert house.state_of() == "stopping"
    house.deletes()
    house.gates()
    for attempt in range(1, MOST_QUICK + 3):
        assert house.dues()[-1] == ("soft", attempt)
        pause = AGAIN if attempt <= MOST_QUICK else SELDOM
        house.to(house.now + pause - SECOND)
        assert house.deletes() == []
        house.to(house.now + SECOND)
        assert said(house.deletes()) == [("DeletionDue", "soft")]
        house.gates()
    house.off()
    house.later(SELDOM.total_seconds())
    house.works()
    assert house.completed()[-1] == "soft"


def test_a_gate_whose_clock_is_behind_is_asked_again() -> None:
    house = scheduled()
    house.to(house.at("prepare"))
    house.deletes()
    ahead = house.now
    house.now = ahead - dt.timedelta(seconds=30)
    (decided,) = house.gates()
    assert [answer.code for answer in decided.answers] == ["DeletionEarly"]
    house.now = ahead
    house.later(59)
    assert house.deletes() == []
    house.later(1)
    assert said(house.deletes()) == [("DeletionDue", "prepare")]
    house.works()
    assert house.dues()[:2] == [("prepare", 1), ("prepare", 2)]
    assert house.completed() == ["prepare"]


def test_a_cancelled_deletion_has_no_more_stages_and_the_vm_is_as_it_was() -> None:
    house = until("hard")
    assert house.undelete().code == "Done"
    for decided in house.decisions()[-1:]:
        for order in decided.orders:
            house.carries_out(order)
    assert house.state_of() == "running"
    house.to(house.now + 100 * DAY).works()
    assert house.completed() == ["prepare", "soft"]


def test_two_deleters_say_the_same_under_the_same_ids_and_it_counts_once() -> None:
    house = until("soft")
    second = State()
    for line in house.lines:
        second.apply(line)
    (deletion,) = house.deleter.deletions.standing()
    (same,) = second.deletions.standing()
    one, other = house.says_next(deletion), house.says_next(same)
    assert isinstance(one, Said)
    assert one == other
    house.happened(one.fact, one.id)
    house.happened(one.fact, one.id)
    house.works()
    assert house.completed() == ["prepare", "soft"]
    assert [stage for stage, _ in house.begun()] == ["prepare", "soft"]


def test_a_copy_of_what_was_said_before_keeps_nobody_waiting() -> None:
    house = until("soft")
    house.change("stop")
    house.gates()
    house.deletes()
    first = house.lines[-1]
    house.gates()
    house.later(60)
    assert said(house.deletes()) == [("DeletionDue", "soft")]
    house.gates()
    house.off()
    house.happened(first.fact, first.id)
    house.later(60)
    assert ("DeletionDue", "soft") in said(house.deletes())
    house.works()
    assert house.completed()[-1] == "soft"


def test_every_event_names_the_one_behind_it() -> None:
    house = scheduled()
    house.to(house.at("prepare"))
    (deletion,) = house.deleter.deletions.standing()
    step = house.says_next(deletion)
    assert isinstance(step, Said)
    assert step.cause in {line.id for line in house.lines}
    assert step.correlation == deletion.id


def test_the_preparation_waits_for_the_silence_no_longer_than_ten_minutes() -> None:
    house = until("prepare")
    house.silencing = True
    house.works()
    assert house.completed() == []
    house.to(house.now + PATIENCE - SECOND).works()
    assert house.completed() == []
    house.to(house.now + SECOND).works()
    assert house.completed() == ["prepare"]


def test_the_preparation_is_complete_as_soon_as_the_silence_is_set() -> None:
    house = until("prepare")
    house.silencing = True
    house.works()
    house.silenced()
    assert said(house.deletes()) == [("DeletionCompleted", "prepare")]


def test_a_silence_that_was_refused_for_good_is_waited_for_by_nobody() -> None:
    house = until("prepare")
    house.silencing = True
    house.works()
    house.happened(
        SilenceFailed(
            org=ORG,
            vm="db",
            deletion=house.standing().id,
            code="SilenceRefused",
            text="It was said no.",
            observed_at=house.now,
        )
    )
    assert said(house.deletes()) == [("DeletionCompleted", "prepare")]


def test_alerts_are_silent_from_the_day_of_the_stop_to_that_on_which_the_name_is_free() -> None:
    house = scheduled()
    assert silence_of(house.standing(), house.now) is None
    house.to(house.at("prepare")).works()
    wanted = silence_of(house.standing(), house.now)
    assert wanted is not None
    assert (wanted.starts_at, wanted.ends_at) == (house.at("soft"), house.at("recycle"))
    assert wanted.matchers == (("org", ORG), ("vm", "db"))
    assert silence_of(house.standing(), house.at("recycle")) is None
    deletion = house.standing().id
    assert house.undelete().code == "Done"
    gone = house.deleter.deletions.get(deletion)
    assert gone is not None
    assert silence_of(gone, house.now) is None


def seeded(*vms: str) -> Endings:
    house = Endings().house()
    for vm in vms:
        house.create(vm, seed=SeedRef("seed-x", "0" * 64), start=False)
        house.round()
    return house


def test_what_a_vm_was_told_goes_with_its_disk_before_the_stage_is_complete() -> None:
    house = seeded("web")
    house.delete("web")
    house.to(house.at("hard", "web"))
    for _ in range(20):
        house.look()
        house.gates()
        house.erases()
        step = house.says_next(house.standing("web"))
        if isinstance(step, Forget):
            break
        if step is not None:
            house.happened(step.fact, step.id)
    else:
        pytest.fail("it is never forgotten")
    assert step.seed == SeedRef("seed-x", "0" * 64)
    assert "hard" not in house.completed("web")
    house.works()
    assert house.completed("web")[-1] == "hard"
    assert len(house.forgets) == 1


def test_what_another_vm_was_told_too_stays() -> None:
    house = seeded("web", "shop")
    house.delete("web", FIRST)
    house.to(house.at("hard", "web")).works()
    assert house.completed("web")[-1] == "hard"
    assert house.forgets == []
    house.delete("shop", FIRST + 10 * DAY)
    house.to(house.at("hard", "shop")).works()
    assert [one.seed.name for one in house.forgets] == ["seed-x"]


def test_stages_are_never_a_minute_early_for_a_deleter_that_looks_all_the_time() -> None:
    house = scheduled()
    while house.deleter.deletions.of(ORG, "db") is not None:
        house.works()
        deletion = house.deleter.deletions.of(ORG, "db")
        if deletion is None:
            break
        stage = deletion.running or deletion.next
        assert stage is not None
        house.to(max(house.now + MINUTE, deletion.instant(stage) - MINUTE))
    days = house.deleter.deletions.get(house.all(DeletionCompleted)[0].deletion)
    assert days is not None
    assert all(at >= days.instant(stage) for stage, at in house.begun())
