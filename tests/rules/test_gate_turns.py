"""Wakes that a host takes in batches may begin as late as their turn may come."""

import datetime as dt
from collections import Counter
from math import ceil
from typing import Any

from events.gate import WakeOrdered
from schemas.images import image_seconds
from schemas.pool import Pool
from tests.given import SMALL, Past

POOL = Pool(org="acme", name="web", size=SMALL, template="tiny")
BATCH, ORDER, WINDOW = POOL.wake_batch, POOL.order_seconds, POOL.readiness_seconds


def setting(**pool: Any) -> Past:
    return Past().contract(vcpu=400).pool("web", **pool).host()


def waits(past: Past) -> list[int]:
    """After how many seconds each wake of the next round may begin at the latest."""
    orders = [one for one in past.round().orders if isinstance(one, WakeOrdered)]
    return [round((one.begin_by - past.now) / dt.timedelta(seconds=1)) for one in orders]


def test_each_batch_before_it_allows_a_wake_another_window() -> None:
    past = setting().asleep("web", 64)
    past.scale(add=64)
    assert waits(past) == [ORDER + number // BATCH * WINDOW for number in range(64)]


def test_those_that_are_on_their_way_stand_before_it() -> None:
    past = setting().asleep("web", 3 * BATCH)
    past.scale(add=2 * BATCH)
    past.round()
    past.scale(add=BATCH)
    assert waits(past) == [ORDER + 2 * WINDOW] * BATCH


def test_two_requests_of_one_round_stand_in_one_queue() -> None:
    past = setting().asleep("web", 2 * BATCH)
    past.scale(add=BATCH)
    past.scale(add=BATCH)
    assert Counter(waits(past)) == {ORDER: BATCH, ORDER + WINDOW: BATCH}


def test_each_host_has_a_queue_of_its_own() -> None:
    past = setting(placement="spread").host("h2").asleep("web", BATCH).asleep("web", BATCH, host="h2")
    past.scale(add=2 * BATCH)
    assert waits(past) == [ORDER] * 2 * BATCH


def test_each_wake_from_disk_before_it_allows_a_wake_the_time_that_reading_its_memory_takes() -> None:
    past = setting().asleep("web", BATCH + 1)
    past.save("web", paused=0)
    while orders := past.round().orders:
        for one in orders:
            past.saved(one.vm)
        if len(past.fleet.members("acme", "web", "saved")) == BATCH + 1:
            break
    past.scale(add=BATCH + 1)
    image = image_seconds(SMALL.memory_mib)
    assert waits(past) == [ORDER + ceil(image * number) for number in range(BATCH)] + [
        ORDER + WINDOW + ceil(image * BATCH)
    ]


def test_the_image_of_ten_gibibytes_takes_107_seconds() -> None:
    assert round(image_seconds(10 * 1024)) == 107
