"""Domains as they are defined: from a VM's template, with its disk, and for one that is kept with the order that it is for."""

from typing import Final

from events.clock import Clock
from events.gate import Rise, WakeOrdered
from projections.fleet.fold import Vm
from schemas.ephemeral import ephemeral_bytes
from services.waker.bars import timed
from services.waker.decide import is_kept
from services.waker.outcomes import Outcomes
from services.waker.port import Definition, Hypervisor
from services.waker.state import Known

MOST_PLUGGED: Final = 2
"""A kept VM's domain is defined to take so many times its vCPU: more need a reboot. Each place costs QEMU some memory."""


CHANGED: Final = ("size", "disk")
"""What the waker found otherwise of a domain that a new definition puts right."""


class Domains:
    """The waker's word for what a domain shall be."""

    def __init__(self, hypervisor: Hypervisor, outcomes: Outcomes, known: Known, clock: Clock) -> None:
        self._hypervisor = hypervisor
        self._outcomes = outcomes
        self._known = known
        self._clock = clock

    async def define(self, vm: Vm, order: Rise, *, known: bool = False) -> None:
        """The domain exists as the order wants it, and the ledger knows. Safe to repeat: what is there keeps its uuid and its address.

        Of one that is `known` it is told only where it is another than the ledger has: one that somebody undefined has a new address
        from a former life, which died before it could tell.
        """
        if isinstance(order, WakeOrdered):
            template = self._known.fleet.pools[vm.org, vm.pool].template
        else:
            template = order.template
        disk = self._known.volumes.disks.get((vm.org, vm.name))
        volume = disk.volume if disk is not None else None
        pool = self._known.fleet.pools.get((vm.org, vm.pool))
        local = pool is not None and pool.ephemeral
        own = (order.id, vm.size.vcpu * MOST_PLUGGED) if is_kept(order) else ("", vm.size.vcpu)
        definition = Definition(
            vm.org,
            vm.pool,
            vm.name,
            vm.size,
            template,
            volume,
            *own,
            pinned=pool is not None and pool.numa == "pinned",
            ephemeral_bytes=ephemeral_bytes(vm.size, self._clock.now()) if local else 0,
        )
        defined = await timed("define", self._hypervisor.define(definition))
        if not known or (defined.name, defined.address) != (vm.domain, vm.address):
            await self._outcomes.defined(vm, defined)

    def is_outdated(self, vm: Vm, order: Rise) -> bool:
        """Whether a domain that is there may be another than the order wants: of a disk of before, or with a size of before.

        One that is pinned is given its node anew at each start from off, since others have come and gone meanwhile. One that somebody
        changed by hand is what its order says again.
        """
        changed = any(
            self._known.drifts.get(vm.org, vm.name, vm.host, "domain", what) is not None for what in CHANGED
        )
        disk = self._known.volumes.disks.get((vm.org, vm.name))
        pool = self._known.fleet.pools.get((vm.org, vm.pool))
        special = pool is not None and (pool.numa == "pinned" or pool.ephemeral)
        return is_kept(order) or special or changed or (disk is not None and disk.order == order.id)
