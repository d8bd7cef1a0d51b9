"""An Alertmanager that is not there: silences by id, each found again by its deletion; `services.deleter.port.Silences`."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from services.deleter.port import Found, Silence, SilenceError
from tests.simulation.chance import Chance, Plan
from tests.simulation.clock import pause


@dataclass(slots=True)
class Hush:
    """What is silent, and until when."""

    plan: Plan
    chance: Chance
    now: Callable[[], dt.datetime]
    """The true time, which the Alertmanager's clock has."""
    standing: dict[str, Silence] = field(default_factory=dict[str, Silence])
    _number: int = 0

    async def set(self, silence: Silence) -> str:
        """The deletion has this one silence."""
        await self._way()
        if silence.ends_at <= self.now():
            raise SilenceError("The silence would have ended before it began.", final=True)
        known = [own for own, one in self.standing.items() if one.deletion == silence.deletion]
        for own in known[1:]:
            del self.standing[own]
        if known:
            self.standing[known[0]] = silence
            own = known[0]
        else:
            self._number += 1
            own = f"silence-{self._number}"
            self.standing[own] = silence
        await self._back()
        return own

    async def find(self, org: str, vm: str, deletion: str) -> tuple[Found, ...]:
        """The deletion's silences."""
        await self._way()
        now = self.now()
        found = sorted(
            (own, one)
            for own, one in self.standing.items()
            if (one.org, one.vm, one.deletion) == (org, vm, deletion) and one.ends_at > now
        )
        return tuple(Found(own, one.starts_at, one.ends_at, one.starts_at <= now) for own, one in found)

    async def end(self, id: str) -> None:
        """The silence is over."""
        await self._way()
        self.standing.pop(id, None)
        await self._back()

    def silent(self) -> list[tuple[str, str, str]]:
        """What is, or will be, by org, VM and deletion."""
        now = self.now()
        return sorted((one.org, one.vm, one.deletion) for one in self.standing.values() if one.ends_at > now)

    async def _way(self) -> None:
        await pause(self.chance.seconds(0.001, 0.02))
        if self.chance.strikes(self.plan.metrics_fail):
            raise SilenceError("The Alertmanager does not answer.", lost=True)

    async def _back(self) -> None:
        if self.chance.strikes(self.plan.metrics_fail):
            await pause(5.0)
            raise SilenceError("The Alertmanager did not answer in time.", lost=True)
