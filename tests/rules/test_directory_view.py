"""The view of VMs that are kept: each row is as the fold has it, whatever event made it so."""

from events.gate import GrowOrdered
from events.volume import VolumeGrowFailed
from projections.directory.fold import Directory
from projections.directory.table import TABLES
from projections.table import Cell, Key
from tests.given import ORG
from tests.keeping import GIB, Keeping


def rows(past: Keeping) -> dict[Key, dict[str, Cell]]:
    """The rows as a keeper writes them: those alone that an event touched."""
    (table,) = TABLES
    directory, kept = Directory(), dict[Key, dict[str, Cell]]()
    for recorded in past.lines:
        directory.apply(recorded)
        for key in table.touched(recorded) if type(recorded.fact) in (table.takes or ()) else ():
            row = table.row(directory, key)
            kept.pop(key, None)
            if row is not None:
                kept[key] = dict(zip(table.columns, row, strict=True))
    return kept


def test_a_disk_that_did_not_grow_further_has_in_its_row_what_a_former_order_gave_it() -> None:
    past = Keeping().running()
    past.resize(disk_gib=40)
    _, (grow,) = past.answer()
    assert isinstance(grow, GrowOrdered)
    past.happened(
        VolumeGrowFailed(
            ORG, "db", "h1", grow.volume, grow.id, 20 * GIB, "volume-refused", "the disk is full", past.now
        )
    )
    assert rows(past)[ORG, "db"]["disk_bytes"] == 20 * GIB
