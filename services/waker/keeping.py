"""What the waker does with VMs that are kept for their own sake, beside what it does with all: time to shut down, reboots, vCPU.

A reboot is a stop and a start under a reservation of its own. Whoever finds the domain running, after a kill between any two
calls, sees in its own description for which order it was started: so nothing is stopped twice, and nothing is called done that
was not.
"""

import asyncio
import datetime as dt
import logging
from typing import Final

from events.clock import Clock
from events.gate import PlugOrdered, RebootOrdered
from projections.fleet.fold import PATIENCE, Vm
from services.waker.bars import timed
from services.waker.decide import awaits_release, lacking_mib, too_late
from services.waker.outcomes import Outcomes
from services.waker.port import Hypervisor, HypervisorError, domain_name
from services.waker.state import Known

LOOK_SECONDS: Final = 1.0
"""Between two looks at a guest that was asked to shut down."""

RELEASE_SECONDS: Final = 0.1
"""Between two looks at whether storage has freed the disk of a VM that was stopped to be rebooted."""

MOST_PLUGS: Final = 3
"""Attempts at an order to plug in vCPU; a connection that is lost is none."""

log = logging.getLogger("virtscale.waker")


class Keeping:
    """The waker's hands on kept VMs of one host."""

    def __init__(self, hypervisor: Hypervisor, outcomes: Outcomes, known: Known, clock: Clock) -> None:
        self._hypervisor = hypervisor
        self._outcomes = outcomes
        self._fleet = known.fleet
        self._volumes = known.volumes
        self._clock = clock

    async def brought_down(self, vm: Vm, order: RebootOrdered) -> bool:
        """Whether the domain may be started anew, or was already: what ran under the former reservation runs no more, and holds no disk.

        Of a disk in Ceph storage says so, or that it is not to be had: whoever starts the domain looks which. False where a VM that runs is not touched, since the order came too late or its host lacks the memory: it runs on, and the
        ledger knows.
        """
        name = domain_name(vm.org, vm.name)
        life = await self._hypervisor.life(name)
        if life is None:
            await self._freed(vm, order)
            return True
        if life.order == order.id:
            return True
        if too_late(order.begin_by, self._clock.now()):
            text = f"The reboot of {vm.org}/{vm.name} could not begin by {order.begin_by:%H:%M:%S} UTC; it runs on as it did."
            await self._outcomes.reboot_failed(vm, life.size, "order-expired", text)
            return False
        if (nodeless := await self._nodeless(vm)) is not None:
            text = f"{vm.org}/{vm.name} is not rebooted, and runs on as it did: {nodeless}"
            await self._outcomes.reboot_failed(vm, life.size, "host-full", text)
            return False
        lacking = lacking_mib(self._fleet, vm, frozenset[str]())
        if lacking > 0:
            text = f"Host {vm.host} lacks {lacking} of the {vm.size.memory_mib} MiB that {vm.org}/{vm.name} shall have; it runs on as it did."
            await self._outcomes.reboot_failed(vm, life.size, "host-full", text)
            return False
        await self.shut_down(name, order.grace_seconds)
        # Safe to repeat: a domain that is off stays off.
        await timed("stop", self._hypervisor.stop(name))
        await self._freed(vm, order)
        return True

    async def _nodeless(self, vm: Vm) -> str | None:
        """Why no node has room for a pinned VM as it shall be; None where one has, or where it is pinned to none."""
        pool = self._fleet.pools.get((vm.org, vm.pool))
        if pool is None or pool.numa != "pinned":
            return None
        return await self._hypervisor.nodeless(domain_name(vm.org, vm.name), vm.size.memory_mib)

    async def _freed(self, vm: Vm, order: RebootOrdered) -> None:
        """Storage said what became of the disk, or had its time, or the order holds no more."""
        key = vm.org, vm.name
        # The ledger's folds say so, and they change beside us: a look costs nothing.
        while awaits_release(self._volumes, vm, order, self._clock.now()):
            known = self._fleet.vms.get(key)
            if known is None or known.reservation != order.id:
                return
            await asyncio.sleep(RELEASE_SECONDS)

    async def shut_down(self, name: str, seconds: float) -> None:
        """The guest shut down by itself, or had its time; one that cannot be asked has none."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        if seconds <= 0:
            return
        try:
            # Safe to repeat: a guest that is shutting down goes on with it.
            await timed("shutdown", self._hypervisor.shutdown(name))
        except HypervisorError as error:
            if error.lost:
                raise
            log.warning("%s could not be asked to shut down, and its power is cut: %s", name, error)
            return
        # libvirt tells of its end by an event, which goes to the worker; a look costs a millisecond.
        while await self._hypervisor.state(name) == "running" and (left := ends_at - loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(LOOK_SECONDS, left))

    def grace_seconds(self, vm: Vm) -> float:
        """What is left of the time that the guest has to shut down: a waker that starts again does not start it again."""
        if vm.due_at is None:
            return 0.0
        left: dt.timedelta = vm.due_at - PATIENCE - self._clock.now()
        return max(0.0, left.total_seconds())

    async def plug(self, vm: Vm, order: PlugOrdered, attempts: int) -> None:
        """The VM has more vCPU, or the ledger knows why not. An error is tried again by whoever called."""
        try:
            # Safe to repeat: what is plugged in stays.
            await timed("plug", self._hypervisor.plug(domain_name(vm.org, vm.name), order.size.vcpu))
        except HypervisorError as error:
            if error.lost or attempts < MOST_PLUGS:
                raise
            text = f"{vm.org}/{vm.name} on {vm.host} runs on with the vCPU that it had: {error}"
            await self._outcomes.plug_failed(vm, order, "plug-refused", text)
            return
        await self._outcomes.plugged(vm, order)
