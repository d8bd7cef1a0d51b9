"""The wall clocks of a world: each program's, and the bus's. They differ, and in some worlds somebody sets them.

A clock outlives the lives of its program, as a machine's does. Monotonic time, the loop's, goes on whatever is set.
"""

import asyncio
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.simulation.chance import Chance, Plan, Weather
from tests.simulation.clock import VirtualClock, pause

BUS: Final = "the bus"

STEPS_SECONDS: Final = (1.0, 5.0, 30.0, 300.0, 3600.0)
"""By so much at most a clock is set, forward or back."""

SLEW_SECONDS: Final = 0.25
SLEW_STEPS: Final = 40
"""A clock that is slewed is right after ten seconds, in steps too small to be seen one by one."""

FAR_SECONDS: Final = 4.0
"""Who is off by more is set right before it is set wrong again."""


@dataclass(slots=True)
class Clocks:
    """Every program's clock, by its name."""

    loop: asyncio.AbstractEventLoop
    plan: Plan
    chance_of: Callable[[str], Chance]
    note: Callable[[str], None]
    weather: Weather
    by_name: dict[str, VirtualClock] = field(default_factory=dict[str, VirtualClock])
    homes: dict[str, float] = field(default_factory=dict[str, float])
    """How far each is off by itself."""
    stepped: set[str] = field(default_factory=set[str])
    """Those that somebody has set."""
    passed_seconds: float = 0.0
    """How much time passed in which nobody did anything: every clock is ahead of the loop by it."""

    def of(self, name: str) -> VirtualClock:
        """The program's clock, the same in each of its lives."""
        known = self.by_name.get(name)
        if known is None:
            off = self.chance_of(f"{name} clock").rng.uniform(-2.0, 2.0) if self.plan.clocks_off else 0.0
            off = 0.0 if name == BUS else off
            self.homes[name] = off
            known = self.by_name[name] = VirtualClock(self.loop, off_seconds=off)
        return known

    def now(self) -> dt.datetime:
        """The true time."""
        return VirtualClock(self.loop, off_seconds=self.passed_seconds).now()

    def pass_by(self, seconds: float) -> None:
        """So much time has passed by every clock, as for machines that were all suspended."""
        self.passed_seconds += seconds
        for clock in self.by_name.values():
            clock.off_seconds += seconds

    def agree(self) -> None:
        """Every clock is as right as it ever is."""
        for name, clock in self.by_name.items():
            clock.off_seconds = self.homes[name] + self.passed_seconds

    async def strike(self, chance: Chance, *, bus: bool) -> None:
        """One clock is set: wrong, right again, or step by step."""
        rng = chance.rng
        name = BUS if bus else rng.choice([one for one in self.by_name if one != BUS])
        clock, home = self.by_name[name], self.homes[name] + self.passed_seconds
        far = abs(clock.off_seconds - home) > FAR_SECONDS
        if far:
            seconds = home - clock.off_seconds
        else:
            seconds = rng.choice((-1.0, 1.0)) * rng.choice(STEPS_SECONDS) * rng.uniform(0.2, 1.0)
        self.stepped.add(name)
        if abs(seconds) <= STEPS_SECONDS[1] and rng.random() < 0.5:
            self.note(f"the clock of {name} is slewed by {seconds:+.3f} s")
            for _ in range(SLEW_STEPS):
                if self.weather.calm:
                    return
                clock.off_seconds += seconds / SLEW_STEPS
                await pause(SLEW_SECONDS)
            return
        self.note(f"the clock of {name} is set by {seconds:+.3f} s")
        clock.off_seconds += seconds
