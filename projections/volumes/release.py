"""Until when a disk in Ceph may be freed for an order: storage frees it until then, and the order's waker waits until then."""

import datetime as dt
from typing import Final

from events.gate import BootOrdered, RebootOrdered

PATIENCE: Final = dt.timedelta(seconds=60)
"""Twice the 30 s for which Ceph believes a client to live that was killed."""

Start = BootOrdered | RebootOrdered
"""Orders that start a QEMU anew; a VM that is woken has the disk open, or goes on where it closed it in order."""


def release_by(order: Start) -> dt.datetime:
    """When the order ends if somebody holds the disk still.

    A boot needs it by when it may begin at the latest. A reboot's VM is off by then: its guest had its time to shut down, perhaps
    from the last moment on at which that could begin.
    """
    if isinstance(order, BootOrdered):
        return order.begin_by
    return order.begin_by + dt.timedelta(seconds=order.grace_seconds) + PATIENCE
