"""Guests of kept VMs whose kernel kills processes for want of memory: asked for once a minute, told with advice.

The kernel counts its own kills (`oom_kill` in /proc/vmstat) from its boot on, and the guest's agent reads the file. So nothing is
missed between two looks, and a guest without an agent, or one whose owner has it say nothing, is not looked into.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable
from typing import Final

from events.bus.ledger import Ledger
from events.clock import Clock
from events.drift import VmOomKilled
from projections.drift.fold import Drifts
from projections.fleet.fold import Fleet, Vm
from projections.fleet.life import UP
from schemas.memory import relief
from services.waker.outcomes import Outcomes
from services.waker.port import Hypervisor, HypervisorError, domain_name

LOOK_SECONDS: Final = 60.0

MOST_AT_ONCE: Final = 4
"""Agents asked at once on one host, beside the calls that anybody waits for: of a host with 500 guests whose agents say nothing one
round takes four minutes, and then they are left alone."""

SILENCE: Final = dt.timedelta(minutes=10)
"""For so long nobody asks an agent that did not answer."""

log = logging.getLogger("virtscale.waker")


def news(known: int, counted: int) -> int:
    """How many kills are new, of those that the guest counts since its boot; one that counts fewer than are known has booted since."""
    return counted - known if counted >= known else counted


class Memory:
    """One waker's look into its guests' memory."""

    def __init__(
        self, ledger: Ledger, hypervisor: Hypervisor, outcomes: Outcomes, fleet: Fleet, clock: Clock
    ) -> None:
        self._hypervisor = hypervisor
        self._outcomes = outcomes
        self._fleet = fleet
        self._clock = clock
        self._drifts = ledger.fold(Drifts)
        self._silent: dict[str, dt.datetime] = {}
        """Until when the agent is left alone, by reservation."""
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def watch(self, host: str, connected: Callable[[], bool]) -> None:
        """The guests of the host are asked, again and again, while there is a connection."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not connected():
                continue
            running = [vm for vm in self._fleet.vms.values() if vm.host == host and _is_asked(vm)]
            now = self._clock.now()
            self._silent = {
                vm.reservation: until
                for vm in running
                if vm.reservation is not None
                and (until := self._silent.get(vm.reservation)) is not None
                and until > now
            }
            async with asyncio.TaskGroup() as looks:
                for vm in running:
                    if vm.reservation not in self._silent:
                        looks.create_task(self._look(vm), name=f"memory of {vm.org}/{vm.name}")

    async def _look(self, vm: Vm) -> None:
        """The ledger knows how many processes this VM's guest killed; nothing happens where it does not say."""
        assert vm.reservation is not None, vm
        async with self._slots:
            try:
                counted = await self._hypervisor.kills(domain_name(vm.org, vm.name))
            except HypervisorError as error:
                log.debug("%s/%s is not asked for its memory: %s", vm.org, vm.name, error)
                self._silent[vm.reservation] = self._clock.now() + SILENCE
                return
        known = self._drifts.kills.get((vm.org, vm.name))
        same = known is not None and known.reservation == vm.reservation
        kills = news(known.of_boot if same and known is not None else 0, counted)
        now = self._fleet.vms.get((vm.org, vm.name))
        if kills == 0 or now is None or now.reservation != vm.reservation:
            return
        at = self._clock.now()
        fact = VmOomKilled(
            org=vm.org,
            vm=vm.name,
            host=vm.host,
            reservation=vm.reservation,
            kills=kills,
            memory_mib=vm.size.memory_mib,
            advice=relief(vm.size),
            observed_at=at,
        )
        log.warning("%s/%s ran out of memory: its kernel killed %s", vm.org, vm.name, kills)
        await self._outcomes.observed(fact, "vm.oom-killed", vm.name, at)


def _is_asked(vm: Vm) -> bool:
    return vm.purpose == "keep" and vm.reservation is not None and vm.proven and vm.state in UP
