"""The garbage collector of a process that folds the ledger: what folds hold stays, so looking through it is waste."""

import gc
from typing import Final

from events.bus.ledger import Ledger

_YOUNG: Final = 50_000
"""Objects made and not yet gone before the collector looks; its own 700 are two rounds of one org. Looking cost a gate
at full load an eighth of its CPU (docs/performance.md)."""

_MIDDLE: Final = 20
_OLD: Final = 100


async def settle(ledger: Ledger) -> None:
    """Once the ledger is read to its end, what the folds hold is never looked through again.

    Without this, each full collection stops the worker for as long as it takes to visit every VM there is. It is the
    whole process that is settled; whoever calls this owns the process.
    """
    await ledger.live.wait()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
