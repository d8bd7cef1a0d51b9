"""The time of day, as an argument: whoever decides is told what time it is."""

import datetime as dt
from typing import Protocol


class Clock(Protocol):
    """Tells the time; the simulation brings its own."""

    def now(self) -> dt.datetime:
        """The present in UTC, aware."""
        ...


class SystemClock:
    """The clock of the machine, in UTC."""

    def now(self) -> dt.datetime:
        """The present in UTC, to the microsecond."""
        return dt.datetime.now(dt.UTC)
