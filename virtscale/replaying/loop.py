"""How a command that reads much of the ledger runs."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

_YOUNG: Final = 50_000  # as events.bus.heap has it, and for the same reason


def run(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """The work is done; its exit code."""
    # What folds hold stays: looking through it again and again is a fifth of the time.
    gc.freeze()
    gc.set_threshold(_YOUNG)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())
