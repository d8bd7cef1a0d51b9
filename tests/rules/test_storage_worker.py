"""Storage at work on a host of toys, in virtual time: what it says, and that a wake is never in its way."""

from collections import deque

import pytest

from events.volume import SnapshotTaken, VolumeCreated, VolumeFailed
from projections.volumes.fold import Volumes as Folded
from services.storage.errors import StorageError
from services.storage.worker import Pauses
from tests.rules.desk import played
from tests.rules.storage_site import VOLUME, Scene
from tests.simulation.clock import pause


@played
async def test_a_boot_of_a_new_vm_gets_its_disk_and_no_other() -> None:
    here = Scene()
    async with here.storage():
        order = here.site.boot()
        await pause(1)
        (made,) = here.site.said(VolumeCreated)
        assert (made.volume, made.size_bytes, made.order, made.host) == (VOLUME, 1 << 26, order, "h1")
        here.site.boot(number=2)
        here.site.boot("web-2", template="diskless")
        await pause(1)
    assert here.toy.asked == ["make"] * 2, "it was looked for"
    assert len(here.site.said(VolumeCreated)) == 1, "and found"


@played
async def test_a_disk_that_is_gone_is_made_anew_for_the_next_boot_and_its_pin_is_no_more() -> None:
    here = Scene()
    async with here.storage():
        here.sleeps(here.disk())
        await pause(1)
        order = here.site.boot(number=2)
        await pause(1)
        (_, made) = here.site.said(VolumeCreated)
        assert (made.volume, made.order) == (VOLUME, order)
    told = [*here.site.desk.facts(VolumeCreated), *here.site.desk.facts(SnapshotTaken)]
    volumes = Folded()
    for recorded in sorted(told, key=lambda one: one.seq):
        volumes.apply(recorded)
    disk = volumes.disks["acme", "web-1"]
    assert (disk.layers, disk.snapshot, disk.pinned_since) == (1, None, None)


@played
async def test_a_host_that_refuses_is_asked_three_times_and_one_that_is_away_until_it_is_back() -> None:
    here = Scene()
    away = [StorageError("There is no connection.", lost=True)] * 5
    full = [StorageError("No space left on device.")] * 3
    here.toy.no["make"] = deque([*away, *full])
    async with here.storage():
        order = here.site.boot()
        await pause(60)
    (said,) = here.site.said(VolumeFailed)
    assert (said.order, said.code, "No space" in said.text) == (order, "refused", True)
    assert here.toy.asked == ["make"] * 8


@played
async def test_what_cannot_be_mended_by_asking_again_is_said_at_once() -> None:
    here = Scene()
    here.toy.no["make"] = deque([StorageError("There is no disk.qcow2.", final=True)])
    async with here.storage():
        here.site.boot()
        await pause(1)
    assert here.toy.asked == ["make"]
    assert len(here.site.said(VolumeFailed)) == 1


@played
async def test_a_disk_is_pinned_in_each_sleep_and_the_former_pin_is_given_up_first() -> None:
    here = Scene()
    reservation = here.disk()
    async with here.storage():
        first = here.sleeps(reservation)
        await pause(1)
        assert [(one.asleep_since, one.layers) for one in here.site.said(SnapshotTaken)] == [(first, 2)]
        again = here.wakes()
        await pause(1)
        here.toy.standing = "paused"
        second = here.sleeps(again)
        await pause(1)
    assert [(one.asleep_since, one.layers) for one in here.site.said(SnapshotTaken)][1:] == [(second, 2)]
    assert [one for one in here.toy.asked if one != "look"] == ["pin", "join", "pin"]
    assert here.toy.layers == 2
    assert not here.codes()


@played
async def test_a_vm_without_a_disk_is_left_alone() -> None:
    here = Scene()
    reservation = here.site.awake()
    async with here.storage():
        here.sleeps(reservation)
        await pause(10)
    assert here.toy.asked == []


@played
async def test_a_pin_that_landed_unanswered_is_told_and_not_repeated() -> None:
    here = Scene()
    sleep = here.sleeps(here.disk())
    here.toy.layers, here.toy.pinned = 2, sleep
    async with here.storage():
        await pause(1)
    (said,) = here.site.said(SnapshotTaken)
    assert said.asleep_since == sleep
    assert "pin" not in here.toy.asked


@played
async def test_a_vm_that_woke_before_anything_was_done_is_said_to_have_woken() -> None:
    here = Scene()
    reservation = here.disk()
    async with here.storage():
        here.toy.during["look"] = here.wakes
        here.sleeps(reservation)
        await pause(5)
    assert here.codes() == ["woke"]
    assert here.toy.asked == ["look"]


@played
async def test_a_long_join_ends_when_its_vm_wakes() -> None:
    here = Scene()
    reservation = here.disk()
    here.toy.layers, here.toy.pinned, here.toy.slow = 2, 3, 60.0
    here.toy.no["abandon"] = deque([StorageError("Busy.")] * 2)
    async with here.storage():
        here.sleeps(reservation)
        await pause(2)
        here.wakes()
        await pause(5)
        assert here.codes() == ["woke-late"]
    assert not here.toy.joining
    assert here.toy.layers == 2
    assert not here.site.said(SnapshotTaken)


@played
async def test_a_pin_that_landed_under_a_vm_that_had_woken_is_not_called_one() -> None:
    here = Scene()
    reservation = here.disk()
    async with here.storage():
        here.toy.during["pin"] = here.wakes
        here.sleeps(reservation)
        await pause(5)
    assert here.codes() == ["woke-late"]
    assert not here.site.said(SnapshotTaken)


@played
async def test_a_pin_is_not_told_of_a_vm_whose_wake_is_ordered_and_not_carried_out_yet() -> None:
    here = Scene()
    reservation = here.disk()
    async with here.storage():
        here.toy.during["pin"] = here.site.wake
        here.sleeps(reservation)
        await pause(5)
    assert here.toy.standing == "paused"
    assert here.codes() == ["woke-late"]
    assert not here.site.said(SnapshotTaken)


@played
async def test_a_refused_pin_is_tried_three_times_and_leaves_no_join_behind() -> None:
    here = Scene()
    reservation = here.disk()
    here.toy.layers, here.toy.pinned = 2, 3
    here.toy.no["join"] = deque([StorageError("No space left on device.")] * 3)
    async with here.storage():
        here.sleeps(reservation)
        await pause(30)
    assert here.codes() == ["unpinned"]
    assert here.toy.asked.count("join") == 3
    assert not here.toy.joining


@played
async def test_a_chain_that_is_not_its_own_is_not_touched() -> None:
    here = Scene()
    reservation = here.disk()
    here.toy.layers = 3
    async with here.storage():
        here.sleeps(reservation)
        await pause(5)
    assert here.codes() == ["refused"]
    assert here.toy.asked == ["look"]


@played
async def test_a_new_life_touches_no_disk_before_what_the_former_asked_is_over() -> None:
    here = Scene()
    here.sleeps(here.disk())
    async with here.storage(Pauses(nap_seconds=0.0)):
        await pause(Pauses().settle_seconds - 1)
        assert here.toy.asked == []
        await pause(2)
    assert len(here.site.said(SnapshotTaken)) == 1


@played
async def test_a_boot_in_a_new_life_waits_for_no_pin_of_the_former_one() -> None:
    here = Scene()
    here.sleeps(here.disk())
    async with here.storage(Pauses()):
        await pause(1)
        order = here.site.boot(number=2)
        await pause(1)
        (_, made) = here.site.said(VolumeCreated)
        assert made.order == order
        assert here.toy.asked == ["make"]


@played
async def test_a_join_that_a_former_life_left_under_an_awake_vm_is_ended_and_its_pin_told_lost() -> None:
    here = Scene()
    reservation = here.disk()
    async with here.storage():
        here.sleeps(reservation)
        await pause(1)
        here.wakes()
        await pause(1)
    here.toy.joining = True
    async with here.storage():
        await pause(1)
    assert not here.toy.joining
    assert here.codes() == ["unpinned"]


@pytest.mark.parametrize("before", ["unpinned", "unsaid"])
@played
async def test_a_join_that_a_former_life_left_is_ended_also_where_no_pin_was_known_before_it(
    before: str,
) -> None:
    here = Scene()
    reservation = here.disk()
    if before == "unpinned":  # it woke while its former pin was given up
        here.toy.layers, here.toy.pinned, here.toy.slow = 2, 3, 60.0
        async with here.storage():
            here.sleeps(reservation)
            await pause(1)
            reservation = here.wakes(1)
            await pause(5)
        assert here.codes() == ["woke-late"]
    else:  # storage died when its first pin had landed, and before it said so
        here.toy.layers, here.toy.pinned = 2, here.sleeps(reservation)
        reservation = here.wakes(1)
    here.toy.standing, here.toy.slow = "paused", 60.0
    async with here.storage():
        here.sleeps(reservation)
        await pause(1)
        assert here.toy.joining
    here.wakes(2)
    assert here.toy.joining, "its life ended with that under way"
    async with here.storage():
        await pause(1)
    assert not here.toy.joining
    assert here.codes()[-1] == "unpinned"


@played
async def test_a_join_that_was_left_on_a_host_that_is_away_is_ended_when_the_host_is_back() -> None:
    here = Scene()
    here.disk()
    here.toy.standing, here.toy.joining, here.toy.layers = "running", True, 2
    here.toy.no["look"] = deque([StorageError("There is no connection.", lost=True)] * 5)
    here.toy.no["abandon"] = deque([StorageError("Busy.")] * 2)
    async with here.storage():
        await pause(60)
    assert not here.toy.joining
    assert here.codes() == ["unpinned"]
    assert here.toy.asked == ["look"] * 5 + ["look", "abandon"] * 3


@played
async def test_a_boot_waits_for_no_disk_that_is_looked_at_in_vain() -> None:
    here = Scene()
    here.disk()
    here.toy.no["look"] = deque([StorageError("There is no connection.", lost=True)] * 1000)
    async with here.storage():
        await pause(100)
        here.toy.asked.clear()
        order = here.site.boot(number=2)
        await pause(0.1)
        assert here.toy.asked == ["make"]
        assert here.site.said(VolumeCreated)[-1].order == order


@played
async def test_a_host_without_a_place_for_disks_says_how_to_name_one() -> None:
    here = Scene()
    here.toy.at = lambda _host: None  # type: ignore[method-assign]
    async with here.storage():
        here.site.boot()
        await pause(1)
    (said,) = here.site.said(VolumeFailed)
    assert said.code == "no-volumes"
    assert "host add --volumes" in said.text


@played
async def test_a_nap_is_not_pinned_and_nobody_speaks_of_it() -> None:
    here = Scene()
    reservation = here.disk()
    async with here.storage(Pauses(settle_seconds=0.0)):
        here.sleeps(reservation)
        await pause(1)
        again = here.wakes()
        await pause(5)
        assert here.toy.asked == []
        here.toy.standing = "paused"
        sleep = here.sleeps(again)
        await pause(5)
    assert [one.asleep_since for one in here.site.said(SnapshotTaken)] == [sleep]
    assert not here.codes()
