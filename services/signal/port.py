"""What the signal worker asks of a metrics store; Prometheus answers it, and the simulation does."""

import datetime as dt
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value of a query, and the moment of the sample it comes from."""

    value: float
    observed_at: dt.datetime


class Metrics(Protocol):
    """The measurements."""

    async def query(self, expression: str, timeout_seconds: float) -> Measurement | None:
        """The newest value of an expression that yields one number; None when there is none or no answer."""
        ...
