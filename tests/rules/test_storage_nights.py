"""Which night it is, which VM is backed up then, and how often that is tried."""

import datetime as dt
from itertools import pairwise
from typing import Any

import pytest

from events.copy import CopyFailed
from events.deletion import DeletionBegun, DeletionCompleted, DeletionScheduled
from events.gate import CopyOrdered
from projections.deletions.fold import Deletions
from schemas.deletion import POLICIES, stages
from schemas.maintenance import Window
from services.storage.copies.nights import MOST_TRIES, Due, Nights, Sky, look, night_of, opening
from tests.copying import Copying
from tests.given import ORG

MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
BERLIN = Window()
NIGHT = dt.date(2026, 11, 22)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


TONIGHT = at("2026-11-22T21:00")
"""22:00 in Berlin."""


class Nightfall:
    """VM db of a pool that wants backups, and what storage would ask for."""

    def __init__(self, **pool: Any) -> None:
        self.past = Copying()
        self.past.running(**{"backups": "nightly", **pool})
        self.deletions = Deletions()
        self._folded = 0
        self._nights = Nights()

    def look(self, now: dt.datetime) -> tuple[list[Due], dt.datetime | None]:
        for recorded in self.past.lines[self._folded :]:
            self.deletions.apply(recorded)
            self._nights.apply(recorded)
        self._folded = len(self.past.lines)
        state = self.past.state
        return look(
            Sky(self._nights, state.copies, self.deletions, state.directory, state.fleet, state.volumes), now
        )

    def due(self, now: dt.datetime) -> list[Due]:
        return self.look(now)[0]

    def asks(self, now: dt.datetime) -> CopyOrdered | None:
        """What is due is said, and answered; the order."""
        (due,) = self.due(now)
        self.past.now = now
        self.past.night(due.copy, due.night, attempt=due.attempt)
        _, orders = self.past.answer()
        order = orders[0] if orders else None
        assert order is None or isinstance(order, CopyOrdered)
        return order

    def fails(self, order: CopyOrdered) -> None:
        self.past.happened(
            CopyFailed(ORG, "db", "h1", order.copy, "backup", order.id, "Storage", "no", self.past.now)
        )


def test_by_day_nothing_is_due_and_the_next_look_is_when_the_window_opens() -> None:
    assert Nightfall().look(TONIGHT - HOUR) == ([], TONIGHT)


def test_each_vm_of_the_pool_is_backed_up_once_a_night() -> None:
    scene = Nightfall()
    assert scene.due(TONIGHT) == [Due(ORG, "db", "apps", NIGHT, 1)]
    order = scene.asks(TONIGHT)
    assert order is not None
    assert order.copy == "night-2026-11-22"
    assert scene.due(TONIGHT + HOUR) == [], "it is being made"
    scene.past.made(order)
    assert scene.due(TONIGHT + 6 * HOUR) == []
    assert scene.due(TONIGHT + DAY) == [Due(ORG, "db", "apps", NIGHT + DAY, 1)]


def test_a_pool_that_wants_none_and_a_vm_without_a_disk_get_none() -> None:
    assert Nightfall(backups="none").look(TONIGHT) == ([], None)
    scene = Nightfall()
    scene.past.create("new", start=False)
    scene.past.round()
    assert [one.vm for one in scene.due(TONIGHT)] == ["db"]


def test_a_backup_that_failed_is_tried_three_times_ten_minutes_apart() -> None:
    scene, now = Nightfall(), TONIGHT
    for attempt in range(1, MOST_TRIES + 1):
        order = scene.asks(now)
        assert order is not None
        scene.fails(order)
        if attempt < MOST_TRIES:
            assert scene.look(now + 9 * MINUTE) == ([], now + 10 * MINUTE)
        now += 10 * MINUTE
    assert scene.due(now + HOUR) == []
    assert [one.attempt for one in scene.due(TONIGHT + DAY)] == [1]


def test_a_backup_that_was_refused_is_tried_again_like_one_that_failed() -> None:
    scene = Nightfall(disk_gib=17)
    assert scene.asks(TONIGHT) is None
    assert scene.due(TONIGHT + 9 * MINUTE) == []
    assert [one.attempt for one in scene.due(TONIGHT + 10 * MINUTE)] == [2]


def test_a_night_that_was_missed_is_not_made_up_for() -> None:
    scene = Nightfall()
    assert scene.due(TONIGHT + 7 * HOUR - MINUTE) == [Due(ORG, "db", "apps", NIGHT, 1)]
    assert scene.due(TONIGHT + 7 * HOUR) == []


def test_a_vm_that_is_stopped_to_be_deleted_is_not_backed_up_and_until_then_it_is() -> None:
    scene = Nightfall()
    deletion, day = "d" * 32, NIGHT + 2 * DAY
    schedule = stages(day, "Europe/Berlin", POLICIES[-1])
    scene.past.happened(
        DeletionScheduled(ORG, "db", "apps", deletion, schedule, "kim", "old", scene.past.now)
    )
    assert len(scene.due(TONIGHT)) == 1
    for stage in ("prepare", "soft"):
        scene.past.happened(DeletionBegun(ORG, "db", "apps", deletion, stage, True, scene.past.now))
        if stage == "prepare":
            assert len(scene.due(TONIGHT)) == 1
            scene.past.happened(DeletionCompleted(ORG, "db", "apps", deletion, stage, scene.past.now))
    assert scene.due(TONIGHT) == []


def test_a_clock_that_was_ahead_asks_for_nothing_twice_and_hides_no_night() -> None:
    scene = Nightfall()
    order = scene.asks(TONIGHT + 300 * DAY)
    assert order is not None
    scene.past.made(order)
    tonight = scene.asks(TONIGHT)
    assert tonight is not None
    scene.past.made(tonight)
    assert scene.due(TONIGHT) == []
    assert scene.due(TONIGHT + DAY) != []
    assert scene.due(TONIGHT + 300 * DAY) == []


@pytest.mark.parametrize(
    ("window", "night", "opens", "closes"),
    [
        (BERLIN, "2026-11-22", "2026-11-22T21:00", "2026-11-23T04:00"),
        (BERLIN, "2026-03-28", "2026-03-28T21:00", "2026-03-29T03:00"),  # six hours
        (BERLIN, "2026-10-24", "2026-10-24T20:00", "2026-10-25T04:00"),  # eight
        # 02:30 does not exist on 2026-03-29, and comes twice on 2026-10-25.
        (Window(start="02:30", end="04:00"), "2026-03-29", "2026-03-29T01:30", "2026-03-29T02:00"),
        (Window(start="02:30", end="04:00"), "2026-10-25", "2026-10-25T01:30", "2026-10-25T03:00"),
        (Window(zone="America/New_York"), "2026-11-22", "2026-11-23T03:00", "2026-11-23T10:00"),
        (
            Window(zone="UTC", start="00:00", end="23:59"),
            "2026-11-22",
            "2026-11-22T00:00",
            "2026-11-22T23:59",
        ),
    ],
)
def test_a_night_is_as_long_as_clocks_there_say(window: Window, night: str, opens: str, closes: str) -> None:
    assert night_of(window, dt.date.fromisoformat(night)) == (at(opens), at(closes))
    assert opening(window, at(opens) - MINUTE) == at(opens)
    assert opening(window, at(opens)) > at(opens)


def test_the_weekdays_of_a_window_say_when_a_vm_may_be_interrupted_and_nights_are_all_the_same() -> None:
    assert len(Nightfall(window=Window(weekdays=("wed",))).due(TONIGHT)) == 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"])
def test_over_a_year_there_is_one_night_for_each_day_and_none_begins_early(zone: str) -> None:
    window, now, nights = Window(zone=zone), at("2026-01-01T12:00"), list[dt.datetime]()
    for _ in range(366):
        now = opening(window, now)
        nights.append(now)
    gaps = {later - earlier for earlier, later in pairwise(nights)}
    assert gaps <= {23 * HOUR, DAY, 25 * HOUR}
    assert len({one.astimezone(dt.UTC) for one in nights}) == 366
