"""Wakes that a host takes in batches may begin as late as their turn may come."""

import datetime as dt
from collections import Counter
from math import ceil
from typing import Any

from events.gate import WakeOrdered
from schemas.capacity import Size
from schemas.images import MOST_RESTORES, image_seconds
from schemas.pool import Pool
from tests.given import SMALL, Past

POOL = Pool(org="acme", name="web", size=SMALL, template="tiny")
BATCH, ORDER, WINDOW = POOL.wake_batch, POOL.order_seconds, POOL.readiness_seconds


BIG = Size(name="big", vcpu=1, memory_mib=4096)


def setting(**pool: Any) -> Past:
    return Past().contract(vcpu=400).pool("web", **pool).host(memory_mib=1 << 20)


def waits(past: Past) -> list[int]:
    """After how many seconds each wake of the next round may begin at the latest."""
    orders = [one for one in past.round().orders if isinstance(one, WakeOrdered)]
    return [round((one.begin_by - past.now) / dt.timedelta(seconds=1)) for one in orders]


def on_disk(past: Past, **pools: int) -> Past:
    """So many VMs of each pool sleep on disk."""
    for pool, vms in pools.items():
        past.asleep(pool, vms).save(pool)
        while past.fleet.count(past.org, pool, frozenset({"saved"})) < vms:
            for one in past.round().orders:
                past.saved(one.vm)
    return past


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


def test_what_another_request_or_pool_reads_from_the_same_disk_is_read_before_it() -> None:
    past = on_disk(setting(size=BIG).pool("jobs", size=BIG), web=8, jobs=1)
    image = image_seconds(BIG.memory_mib)
    past.scale(add=4)
    assert waits(past) == [ORDER + ceil(image * number) for number in range(4)]
    past.later(15)
    past.scale(add=1)
    assert waits(past) == [ORDER + ceil(image * 4)]
    past.scale("jobs", add=1)
    assert waits(past) == [ORDER + ceil(image * 5)]


def test_a_pool_that_reads_one_at_a_time_has_the_disk_for_as_long_as_others_may_read_beside_it() -> None:
    past = on_disk(setting(size=BIG, wake_batch=1), web=3)
    past.scale(add=3)
    four = MOST_RESTORES * image_seconds(BIG.memory_mib)
    assert waits(past) == [ORDER + number * WINDOW + ceil(four * number) for number in range(3)]


def test_what_runs_by_now_has_been_read() -> None:
    past = on_disk(setting(size=BIG), web=3)
    image = image_seconds(BIG.memory_mib)
    past.scale(add=2)
    past.round()
    past.resumed("web-1")
    past.ready("web-2")
    past.scale(add=1)
    assert waits(past) == [ORDER]
    past.wake_failed("web-3", found="saved")
    assert past.fleet.imaging_mib("h1") == 0
    assert image > ORDER / 2


def test_what_is_being_saved_is_written_to_the_same_disk() -> None:
    past = on_disk(setting(size=BIG), web=1).asleep("web", 1)
    past.pool("jobs", size=BIG).asleep("jobs", 1)
    past.save("jobs")
    past.round()
    past.scale(add=2)
    assert waits(past) == [ORDER, ORDER + ceil(image_seconds(BIG.memory_mib))]


def test_a_wake_out_of_ram_does_not_wait_for_the_disk() -> None:
    past = on_disk(setting(size=BIG), web=4)
    past.scale(add=4)
    past.round()
    past.later(5)
    past.asleep("web", 2)
    past.scale(add=2)
    assert past.fleet.imaging_mib("h1") == 4 * BIG.memory_mib
    assert waits(past) == [ORDER, ORDER]


def test_a_wake_from_disk_is_overdue_when_it_could_long_serve_and_not_while_its_memory_is_read() -> None:
    past = on_disk(setting(size=BIG), web=8)
    past.scale(add=8)
    began, image = past.now, image_seconds(BIG.memory_mib)
    past.round()
    for number in range(8):
        lands = (number // MOST_RESTORES + 1) * MOST_RESTORES * image
        assert past.fleet.vms[past.org, f"web-{number + 1}"].due_at == began + dt.timedelta(
            seconds=ORDER + ceil(image * number) + MOST_RESTORES * image + WINDOW
        )
        past.now = began
        past.later(lands)
        assert f"web-{number + 1}" not in {vm.name for vm in past.fleet.overdue(past.now)}


def test_the_image_of_ten_gibibytes_takes_107_seconds() -> None:
    assert round(image_seconds(10 * 1024)) == 107
