"""How much of what waits goes into one append: the group commit of every writer that has many to make."""

from typing import Final

FEW: Final = 5
"""So many go faster side by side: an atomic batch costs four fsyncs, whatever its size, a single append one."""

MOST_TOGETHER: Final = 64
"""Messages in one batch: 64 requesters that wait are served by one, and none waits for more than a few milliseconds."""


def most_now(waiting: int, singles: int, batches: int) -> int:
    """How many of `waiting` messages go out together now, while so many appends of the same writer are under way.

    None while a batch is under way: what comes meanwhile makes the next one, so that a slow disk makes batches longer and
    not more of them. One while few wait; more than `FEW` go as a batch, even beside singles.
    """
    if batches or not waiting:
        return 0
    if waiting > FEW:
        return min(waiting, MOST_TOGETHER)
    return 1 if singles < FEW else 0
