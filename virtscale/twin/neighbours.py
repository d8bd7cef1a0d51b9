"""Simulated parts around the workers: a load balancer that does what it is told, metrics from a function, a mail sink."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from events.clock import Clock
from services.announcer.port import BalancerError, Server, ServerState
from services.notifier.port import Mail
from services.signal.port import Measurement
from virtscale.twin.clock import pause

CALL_SECONDS: Final = 0.001
SAMPLE_SECONDS: Final = 5
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class SimulatedBalancer:
    """`services.announcer.port.Balancer`: its servers have no sessions, so that a drain ends at once."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, str], Server] = {}

    async def servers(self) -> Mapping[tuple[str, str], Server]:
        """Every server."""
        return dict(self._servers)

    async def add(self, backend: str, name: str, address: str) -> None:
        """The server exists."""
        await pause(CALL_SECONDS)
        known = self._servers.get((backend, name))
        if known is None or known.address != address:
            self._servers[backend, name] = Server(backend, name, address, "maint")

    async def set_state(self, backend: str, name: str, state: ServerState) -> None:
        """The server is in this state."""
        await pause(CALL_SECONDS)
        known = self._servers.get((backend, name))
        if known is None:
            raise BalancerError(f"No such server: {backend}/{name}.")
        self._servers[backend, name] = replace(known, state=state)

    async def cut(self, backend: str, name: str) -> int:
        """There is nothing to cut."""
        del backend, name
        return 0

    async def remove(self, backend: str, name: str) -> bool:
        """The server is gone."""
        self._servers.pop((backend, name), None)
        return True

    async def keep(self, servers: Mapping[str, Mapping[str, str]]) -> None:
        """Nothing here is ever reloaded."""


class Gauges:
    """`services.signal.port.Metrics`: each query is a function of time, sampled every five seconds."""

    def __init__(self, clock: Clock, values: Mapping[str, Callable[[dt.datetime], float]]) -> None:
        self._clock = clock
        self._values = dict(values)

    async def query(self, expression: str, timeout_seconds: float) -> Measurement | None:
        """The newest sample."""
        del timeout_seconds
        await pause(CALL_SECONDS)
        value = self._values.get(expression)
        step = dt.timedelta(seconds=SAMPLE_SECONDS)
        at = _EPOCH + (self._clock.now() - _EPOCH) // step * step
        return None if value is None else Measurement(value(at), at)

    async def course(
        self, expression: str, since: dt.datetime, until: dt.datetime, step_seconds: int
    ) -> list[Measurement] | None:
        """Nothing was kept: the past is in the telemetry."""
        del expression, since, until, step_seconds
        return []


class Sink:
    """`services.notifier.port.Relay` and `Contacts`: mails are counted, and everybody has an address."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def send(self, mail: Mail, timeout_seconds: float) -> None:
        """The mail is taken."""
        del timeout_seconds
        await pause(CALL_SECONDS)
        self.mails.append(mail)

    def contact(self, person: str) -> str | None:
        """An address that nobody has."""
        return f"{person}@example.invalid"

    def erase(self, person: str) -> bool:
        """Nobody is kept here."""
        del person
        return False


class Memory:
    """`services.forecaster.keeping.Shelf`: kept as long as the run lasts."""

    def __init__(self) -> None:
        self._kept = b""

    async def read(self) -> bytes | None:
        """What was put there last."""
        return self._kept or None

    async def put(self, data: bytes | bytearray) -> None:
        """It is there."""
        self._kept = bytes(data)
