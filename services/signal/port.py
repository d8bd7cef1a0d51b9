"""What the signal worker asks of a metrics store and tells of it; Prometheus answers it, and the simulation does."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal, Protocol

from schemas.telemetry import Told


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value of a query, and the moment of the newest sample it comes from."""

    value: float
    observed_at: dt.datetime
    oldest_at: dt.datetime | None = None
    """Of the oldest sample it comes from, where that is another one: many series are scraped one after another."""

    def is_new_since(self, newest: dt.datetime) -> bool:
        """Whether all that it comes from was taken later; else a sample of before would count again in this one."""
        return (self.oldest_at or self.observed_at) > newest


Missing = Literal["vanished", "many", "no-number"]
"""Why an answer holds no measurement: no series, more than one, or a value that is none."""

Heard = Measurement | Missing | None
"""What became of a question; None where nobody answered."""


class Metrics(Protocol):
    """The measurements."""

    async def query(self, expression: str, timeout_seconds: float) -> Heard:
        """The newest value of an expression that yields one number, or why there is none."""
        ...


class Past(Protocol):
    """The measurements that a metrics store kept."""

    async def course(
        self, expression: str, since: dt.datetime, until: dt.datetime, step_seconds: int
    ) -> list[Measurement] | None:
        """Both ends and every step between, the oldest first, without those that had no value; None when nobody answered."""
        ...


class Telling(Protocol):
    """Where the demand of a tick goes."""

    async def tell(self, org: str, told: Told) -> None:
        """It is told, or dropped and counted."""
        ...
