"""Bad days: whatever strikes a world out of the blue, each thing at its own mean time, until the calm."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.simulation.chance import Chance
from tests.simulation.clock import pause
from tests.simulation.hypervisor import Host
from tests.simulation.machine import Machine
from tests.simulation.world import World

SICK_SECONDS: Final = (4.0, 30.0)
"""How long a host wakes nobody, at least and at most; so with guests that wake unfit."""


LEAPS_HOURS: Final = (1, 5, 14, 24, 75, 200)

BUS_SHARE: Final = 0.3
"""Of the steps, where the bus's clock is set too."""


class Torment:
    """What strikes one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def go_on(self) -> None:
        """Whatever strikes out of the blue strikes, at its own mean time, for ever."""
        plan = self._world.plan
        troubles: list[tuple[float, str, Callable[[Chance], Awaitable[None]]]] = [
            (plan.kill_seconds, "kill", self._kill),
            (plan.bus_outage_seconds, "bus outage", self._bus_outage),
            (plan.libvirtd_restart_seconds, "libvirtd restart", self._libvirtd_restart),
            (plan.domain_crash_seconds, "crash", lambda chance: self._befall(chance, "off", "crashed")),
            (
                plan.domain_shutdown_seconds,
                "shutdown",
                lambda chance: self._befall(chance, "off", "shutdown"),
            ),
            (plan.domain_paused_seconds, "paused", lambda chance: self._befall(chance, "paused", "ioerror")),
            (plan.domain_lost_seconds, "lost", lambda chance: self._befall(chance, "missing", "undefined")),
            (plan.domain_woken_seconds, "woken", lambda chance: self._befall(chance, "running", "resumed")),
            (plan.host_reboot_seconds, "host reboot", self._host_reboot),
            (plan.balancer_restart_seconds, "balancer restart", self._balancer_restart),
            (15.0, "load", self._load_changes),
            (plan.clock_step_seconds, "clock step", self._clock_step),
            (plan.host_sick_seconds, "sick host", self._host_sick),
            (plan.guests_unfit_seconds, "unfit guests", self._guests_unfit),
            (plan.leap_seconds, "leap", self._leap),
        ]
        async with asyncio.TaskGroup() as strikes:
            for mean_seconds, name, strike in troubles:
                if mean_seconds:
                    strikes.create_task(self._strike(mean_seconds, name, strike))

    async def _strike(
        self, mean_seconds: float, name: str, strike: Callable[[Chance], Awaitable[None]]
    ) -> None:
        chance = self._world.chance(name)
        while True:
            await pause(chance.rng.expovariate(1 / mean_seconds))
            if not self._world.weather.calm:
                self._world.weather.strikes += 1
                await strike(chance)

    async def _kill(self, chance: Chance) -> None:
        chance.rng.choice(self._world.programs).kill("out of the blue")

    async def _bus_outage(self, chance: Chance) -> None:
        self._world.note("the bus is down")
        self._world.server.stop()
        await pause(chance.seconds(0.5, 15.0))
        self._world.server.start()
        self._world.note("the bus is up")

    async def _libvirtd_restart(self, chance: Chance) -> None:
        host = chance.rng.choice(self._world.hosts)
        self._world.note(f"libvirtd of {host.name} is killed")
        host.stop_libvirtd()
        await pause(chance.seconds(0.5, 20.0))
        host.start_libvirtd()
        self._world.note(f"libvirtd of {host.name} is there again")

    async def _befall(self, chance: Chance, state: Any, why: str) -> None:
        """Something happens to a domain that can happen to it."""
        before = {
            "off": {"running", "paused"},
            "paused": {"running"},
            "missing": {"off"},
            "running": {"paused"},
        }
        able = [machine for machine in self._world.truth.machines() if machine.state in before[state]]
        if able:
            machine = chance.rng.choice(able)
            self._host_of(machine).change(machine, state, "fault", why)

    def _host_of(self, machine: Machine) -> Host:
        return self._world.truth.hosts[machine.host]

    async def _host_reboot(self, chance: Chance) -> None:
        host = chance.rng.choice(self._world.hosts)
        self._world.note(f"host {host.name} loses its power")
        host.lose_power()
        await pause(chance.seconds(5.0, 30.0))
        host.start_libvirtd()

    async def _balancer_restart(self, chance: Chance) -> None:
        self._world.note("the load balancer is killed")
        self._world.balancer.up = False
        await pause(chance.seconds(0.1, 10.0))
        self._world.balancer.restart()
        self._world.balancer.up = True

    async def _load_changes(self, chance: Chance) -> None:
        self._world.gauges.load = chance.rng.random()

    async def _clock_step(self, chance: Chance) -> None:
        plan = self._world.plan
        await self._world.clocks.strike(chance, bus=plan.bus_steps and chance.rng.random() < BUS_SHARE)

    async def _leap(self, chance: Chance) -> None:
        hours = chance.rng.choice(LEAPS_HOURS)
        self._world.note(f"{hours} hours go by")
        self._world.clocks.pass_by(hours * 3600.0)

    async def _host_sick(self, chance: Chance) -> None:
        """Nothing starts on the host, whatever is tried; who runs there runs on."""
        host = chance.rng.choice(self._world.hosts)
        self._world.note(f"host {host.name} is sick")
        host.sick = True
        await pause(chance.seconds(*SICK_SECONDS))
        host.sick = False
        self._world.note(f"host {host.name} is well again")

    async def _guests_unfit(self, chance: Chance) -> None:
        """Whoever wakes on the host is another boot than the one that slept."""
        host = chance.rng.choice(self._world.hosts)
        self._world.note(f"guests of host {host.name} reboot as they wake")
        host.unfit = True
        await pause(chance.seconds(*SICK_SECONDS))
        host.unfit = False
