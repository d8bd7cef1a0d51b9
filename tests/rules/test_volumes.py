"""Disks and pins as the ledger tells them, and the table that is made of them."""

import pytest

from events.deletion import VolumeErased
from events.envelope import Recorded
from events.fact import Fact
from events.ids import derive
from events.registry import NEWEST
from events.volume import (
    SnapshotFailed,
    SnapshotTaken,
    VolumeAdopted,
    VolumeAdoptFailed,
    VolumeCreated,
    VolumeFailed,
)
from projections.volumes.fold import Disk, Volumes
from projections.volumes.table import TABLES
from tests.simulation.clock import EPOCH

VOLUME = "/volumes/acme.web-1.qcow2"
KEY = ("acme", "web-1")
MADE = VolumeCreated("acme", "web-1", "h1", VOLUME, "tiny", 1 << 26, derive("boot"), EPOCH)


def recorded(fact: Fact, seq: int) -> Recorded:
    row, id_ = NEWEST[type(fact)], derive("test", seq)
    return Recorded(seq, seq, id_, row.writer, EPOCH, None, id_, row.tag, fact)


def taken(sleep: int) -> SnapshotTaken:
    return SnapshotTaken("acme", "web-1", "h1", VOLUME, 2, sleep, EPOCH)


def failed(sleep: int, code: str = "woke") -> SnapshotFailed:
    return SnapshotFailed("acme", "web-1", "h1", sleep, code, "it woke", EPOCH)


def folded(*facts: Fact) -> Volumes:
    volumes = Volumes()
    for seq, fact in enumerate(facts, 1):
        volumes.apply(recorded(fact, seq))
    return volumes


def disk(*facts: Fact) -> Disk:
    return folded(MADE, *facts).disks[KEY]


def test_a_new_disk_is_one_layer_and_nothing_of_it_is_pinned() -> None:
    made = disk()
    assert (made.volume, made.layers, made.snapshot, made.settled) == (VOLUME, 1, None, 0)


def test_a_pin_is_of_the_sleep_it_names_and_the_next_replaces_it() -> None:
    pinned = disk(taken(10), taken(20))
    assert (pinned.snapshot, pinned.pinned_since, pinned.layers, pinned.settled) == (VOLUME, 20, 2, 20)


@pytest.mark.parametrize("late", [taken(10), failed(10)])
def test_what_is_told_late_of_an_earlier_sleep_changes_nothing(late: Fact) -> None:
    assert disk(taken(20), late) == disk(taken(20))


def test_a_pin_told_twice_is_one() -> None:
    assert disk(taken(20), taken(20)) == disk(taken(20))


def test_after_a_sleep_without_a_pin_nothing_is_called_pinned_until_the_next_is() -> None:
    unpinned = disk(taken(10), failed(20))
    assert (unpinned.snapshot, unpinned.layers, unpinned.trouble, unpinned.settled) == (
        None,
        None,
        "woke",
        20,
    )
    again = disk(taken(10), failed(20), taken(30))
    assert (again.snapshot, again.layers, again.trouble) == (VOLUME, 2, None)


def test_a_pin_that_was_lost_is_pinned_no_more() -> None:
    assert disk(taken(20), failed(20, "unpinned")).snapshot is None


def test_the_second_telling_of_a_disk_leaves_its_pin() -> None:
    assert disk(taken(20), MADE) == disk(taken(20))


def test_an_order_without_a_disk_is_known_until_one_is_made() -> None:
    refused = VolumeFailed("acme", "web-1", "h1", derive("boot"), "refused", "no space", EPOCH)
    assert folded(refused).failed[KEY] == refused
    assert KEY not in folded(refused, MADE).failed


def test_pins_of_vms_without_a_disk_are_nobodys() -> None:
    assert folded(taken(10), failed(20)).disks == {}


def test_the_table_has_a_row_for_each_disk() -> None:
    (table,) = TABLES
    volumes = folded(MADE, taken(20))
    assert set(table.touched(recorded(taken(20), 2))) == {KEY}
    row = dict(zip(table.columns, table.row(volumes, KEY) or (), strict=True))
    assert (row["vm"], row["snapshot"], row["pinned_since"], row["layers"]) == ("web-1", VOLUME, 20, 2)
    assert table.row(volumes, ("acme", "web-2")) is None


def test_a_disk_that_is_erased_or_given_back_is_none_and_neither_has_a_row() -> None:
    order = derive("adopt")
    adopted = VolumeAdopted("acme", "web-1", "h1", order, "/images/a", VOLUME, "tiny", 1 << 26, EPOCH)
    erased = VolumeErased("acme", "web-1", "h1", derive("erase"), VOLUME, 0, EPOCH)
    given_back = VolumeAdoptFailed("acme", "web-1", "h1", order, "DomainRuns", "It runs.", EPOCH)
    other = VolumeAdoptFailed("acme", "web-1", "h1", derive("other"), "DomainRuns", "It runs.", EPOCH)
    assert disk(adopted).order == order
    assert folded(adopted, other).disks != {}
    for facts in ((MADE, erased), (adopted, erased), (adopted, given_back)):
        volumes = folded(*facts)
        assert volumes.disks == {}
        for seq, fact in enumerate(facts, 1):
            assert list(TABLES[0].touched(recorded(fact, seq))) == [KEY]
        assert TABLES[0].row(volumes, KEY) is None
