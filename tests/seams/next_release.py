"""Runs a worker as the next release will: there `stock.requested` has a second version, which says why.

`python -m tests.seams.next_release services.gate --house DIR`. What a release does in `events/`, this does before anything of
it is imported: the newest struct has the name, the former one is kept beside it, and an upcaster stands between them.
"""

import runpy
import sys
from typing import Annotated

import msgspec

from events import stock
from events.fact import Fact, Moment
from schemas.names import Name
from schemas.request import Key

Former = stock.StockRequested
UNSAID = "nobody said why"


class StockRequested(Fact, frozen=True):
    """The pool shall hold at least `vms` VMs that are asleep or awake, for this reason."""

    pool: Name
    publisher: Name
    key: Key
    vms: Annotated[int, msgspec.Meta(ge=1)]
    received_at: Moment
    why: str = "it is asked for by the next release"


def _from_v1(former: Fact) -> Fact:
    assert isinstance(former, Former)
    return StockRequested(**msgspec.structs.asdict(former), why=UNSAID)


def adopt() -> None:
    """The registry of this process has the second version, and all modules that are imported from here on know it."""
    stock.StockRequested = StockRequested
    from events import registry  # noqa: PLC0415 - it reads the name that was just put there

    rows: list[registry.Row] = []
    for row in registry.ROWS:
        if row.name == "stock.requested":
            rows.append(registry.Row(row.name, 1, Former, row.writer, row.kind, _from_v1))
            rows.append(registry.Row(row.name, 2, StockRequested, row.writer, row.kind))
        else:
            rows.append(row)
    registry.ROWS = tuple(rows)
    registry.BY_TAG.update({row.tag: row for row in rows})
    registry._BY_NAME_VERSION.update({(row.name, row.version): row for row in rows})
    registry.NEWEST[StockRequested] = registry.BY_TAG["stock.requested.v2"]
    registry.WRITTEN[StockRequested] = registry.BY_TAG["stock.requested.v2"]


if __name__ == "__main__":
    adopt()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
