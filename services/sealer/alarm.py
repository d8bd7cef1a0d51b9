"""How full the bus's store is, and that somebody is told in time."""

import logging

from events.bus.port import Store
from services.sealer import decide, metrics

log = logging.getLogger("virtscale.sealer")


class Alarm:
    """Said once for each further percent, from 70 on; a ledger that is full takes nothing more."""

    def __init__(self) -> None:
        self._percent = 0
        """Up to which it was said."""

    def measure(self, store: Store) -> None:
        """The metric says how full the store is, and where that is much a line of the log does."""
        if not store.max_bytes:
            return
        ratio = store.bytes / store.max_bytes
        metrics.STORE_RATIO.set(ratio)
        percent = int(ratio * 100)
        if ratio >= decide.ALARM_RATIO and percent > self._percent:
            self._percent = percent
            log.warning(
                "the ledger has filled %d %% of its store (%d of %d bytes); when it is full nothing is appended. Give it "
                "more, or run `virtscale ledger roll`.",
                percent,
                store.bytes,
                store.max_bytes,
            )
