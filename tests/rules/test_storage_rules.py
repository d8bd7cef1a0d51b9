"""Which boot wants a disk, which sleeper wants a pin, and what comes next on its disk."""

import pytest
from msgspec.structs import replace

from events.gate import BootOrdered
from events.ids import derive
from projections.fleet.fold import Vm
from projections.fleet.life import EVERY, IN_MEMORY, State
from projections.volumes.fold import Disk
from schemas.capacity import Size
from schemas.volume import layer_over, sleep_of, volume_name
from services.storage.decide import move, sleeps_still, wants_pin, wants_volume
from services.storage.port import Look, Standing
from tests.simulation.clock import EPOCH

SIZE = Size("small", 1, 512)
ORDER = BootOrdered(derive("boot"), "web-1", "web", "h1", SIZE, "tiny", derive("request"), "serve", EPOCH, 60)
BOOTING = Vm("acme", "web-1", "web", "h1", SIZE, "booting", reservation=ORDER.id)
ASLEEP = Vm("acme", "web-1", "web", "h1", SIZE, "quiesced", domain="vs-acme.web-1", asleep_since=40)
DISK = Disk("acme", "web-1", "h1", "/volumes/acme.web-1.qcow2", "tiny", 1 << 26, ORDER.id, EPOCH)


def test_a_boot_wants_a_disk_where_the_vm_has_none_on_that_host() -> None:
    assert wants_volume(BOOTING, None, ORDER, None)
    assert wants_volume(BOOTING, replace(DISK, host="h2"), ORDER, None)
    assert wants_volume(BOOTING, replace(DISK, order=derive("earlier")), ORDER, None), "it may be gone"
    assert not wants_volume(BOOTING, DISK, ORDER, None)


@pytest.mark.parametrize(
    ("vm", "failed"),
    [
        (None, None),
        (replace(BOOTING, reservation="another"), None),
        (replace(BOOTING, proven=True), None),
        (BOOTING, ORDER.id),
    ],
)
def test_a_boot_that_ended_or_runs_or_whose_disk_failed_wants_none(vm: Vm | None, failed: str | None) -> None:
    assert not wants_volume(vm, None, ORDER, failed)
    assert not wants_volume(vm, None, None, None)


def test_a_disk_that_failed_an_earlier_order_is_tried_for_the_next() -> None:
    assert wants_volume(BOOTING, None, ORDER, derive("earlier"))


@pytest.mark.parametrize("state", sorted(EVERY))
def test_only_who_sleeps_in_memory_wants_a_pin(state: State) -> None:
    assert wants_pin(replace(ASLEEP, state=state), DISK) == (state in IN_MEMORY)


@pytest.mark.parametrize(
    ("vm", "disk"),
    [
        (None, DISK),
        (ASLEEP, None),
        (ASLEEP, replace(DISK, settled=40)),
        (ASLEEP, replace(DISK, host="h2")),
        (replace(ASLEEP, domain=None), DISK),
        (replace(ASLEEP, asleep_since=None), DISK),
    ],
)
def test_who_has_no_disk_or_whose_sleep_is_settled_wants_no_pin(vm: Vm | None, disk: Disk | None) -> None:
    assert not wants_pin(vm, disk)


def test_a_later_sleep_wants_a_pin_of_its_own() -> None:
    assert wants_pin(replace(ASLEEP, asleep_since=41), replace(DISK, settled=40))
    assert sleeps_still(ASLEEP, 40)
    assert not sleeps_still(ASLEEP, 39)
    assert not sleeps_still(replace(ASLEEP, state="waking"), 40)
    assert not sleeps_still(None, 40)


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (Look("paused", 1, None), "pin"),
        (Look("paused", 2, 17), "join"),
        (Look("paused", 2, 17, joining=True), "join"),
        (Look("paused", 2, 40), "tell"),
        (Look("paused", 2, None), "join"),
        (Look("paused", 3, None), "refuse"),
        (Look("paused", 0, None), "refuse"),
    ],
)
def test_what_comes_next_is_read_off_the_disk(look: Look, expected: str) -> None:
    assert move(look, 40) == expected


@pytest.mark.parametrize("standing", ["running", "off", "missing"])
def test_a_disk_is_not_touched_unless_its_vm_sleeps_in_memory(standing: Standing) -> None:
    assert move(Look(standing, 1, None), 40) == "give-up"
    assert move(Look(standing, 2, 40), 40) == "give-up"


def test_a_layer_has_its_name_from_its_sleep_and_no_other_file_is_one() -> None:
    volume = f"/volumes/{volume_name('acme', 'web-1')}"
    assert volume == "/volumes/acme.web-1.qcow2"
    assert layer_over(volume, 812) == "/volumes/acme.web-1.s812.qcow2"
    assert sleep_of(layer_over(volume, 812), volume) == 812
    others = (
        volume,
        "/volumes/acme.web-11.s812.qcow2",
        "/elsewhere/acme.web-1.s812.qcow2",
        layer_over(volume, 812) + "x",
    )
    assert [sleep_of(other, volume) for other in others] == [None] * 4
