"""The last that the waker does for a VM: its domain is gone for good, and its address is another's to have.

The disk is storage's, which touches it only after that: nobody shall have a disk open that is being erased.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from events.clock import Clock
from events.deletion import VmUndefined
from events.gate import EraseOrdered
from projections.deletions.fold import Deletions
from projections.fleet.fold import Fleet
from services.waker.bars import timed
from services.waker.outcomes import Outcomes
from services.waker.port import Domain, DomainState, Hypervisor, HypervisorError, Unknown, domain_name
from services.waker.state import Key

_AT_REST: Final[frozenset[DomainState]] = frozenset({"off", "saved"})

log = logging.getLogger("virtscale.waker")


class Erasing:
    """The waker's hands on domains of its host that are to be gone."""

    def __init__(  # noqa: PLR0917 - what it is made from
        self,
        hypervisor: Hypervisor,
        outcomes: Outcomes,
        fleet: Fleet,
        deletions: Deletions,
        clock: Clock,
        host: str,
    ) -> None:
        self._hypervisor = hypervisor
        self._outcomes = outcomes
        self._fleet = fleet
        self._deletions = deletions
        self._clock = clock
        self._host = host

    def keys(self) -> list[Key]:
        """VMs whose domains are to go from this host now."""
        return [
            (org, vm) for org, vm, what in self._deletions.erasing if what == "disk" and self.order((org, vm))
        ]

    def order(self, key: Key) -> EraseOrdered | None:
        """The order by which the VM's domain is to go from this host; None where there is none, or it went already."""
        order = self._deletions.erasing.get((*key, "disk"))
        standing = self._deletions.of(*key)
        if order is None or standing is None:
            return None
        vm = self._fleet.vms.get(key)
        last = vm.host if vm is not None else None
        return order if self._host in standing.defined_on(last) else None

    async def forget(self, listed: Iterable[Domain | Unknown], busy: Callable[[Key], bool]) -> None:
        """What is left here of VMs whose disks are erased is undefined, and the ledger knows: of a host that was dead meanwhile.

        `listed` is what was just seen. Until its deletion ends nobody else has the VM's name, so that the domain is that VM's. The
        trap is whatever comes after: of a name that was recycled nobody knows any more whose domain it is, and it stays; so does one
        that is awake or asleep in RAM, which counts.
        """
        for domain in listed:
            if isinstance(domain, Unknown) or domain.state not in _AT_REST or busy((domain.org, domain.vm)):
                continue
            standing = self._deletions.of(domain.org, domain.vm)
            order = standing.disk if standing is not None and "hard" in standing.completed else None
            if order is None:
                continue
            log.warning("%s/%s is erased, and this host had its domain still", domain.org, domain.vm)
            await timed("undefine", self._hypervisor.undefine(domain.name))
            await self._undefined((domain.org, domain.vm), order)

    async def erase(self, key: Key, order: EraseOrdered) -> None:
        """The domain is gone, whatever it was, and the ledger knows; an error is tried again by whoever called.

        Safe to repeat: a domain that is missing is gone. One that runs all the same is ended, and its life with it, so that what
        it counted is free.
        """
        name, vm = domain_name(*key), self._fleet.vms.get(key)
        await timed("undefine", self._hypervisor.undefine(name))
        left = await self._hypervisor.state(name)
        if left != "missing":
            # A start that a former life asked for may have landed in between.
            raise HypervisorError(f"{name} was undefined, and is {left}.")
        if vm is not None and vm.host == self._host and vm.reservation is not None:
            log.warning("%s/%s is deleted, and was awake until now", *key)
            await self._outcomes.stopped(vm, "found", "missing")
        await self._undefined(key, order)

    async def _undefined(self, key: Key, order: EraseOrdered) -> None:
        now = self._clock.now()
        fact = VmUndefined(org=key[0], vm=key[1], host=self._host, order=order.id, undefined_at=now)
        await self._outcomes.ended(fact, f"vm.undefined {self._host}", order, now)
