"""A sleeper goes from its host's RAM to its disk, or stays where it is; an order to save is never left without an outcome."""

import asyncio
import logging
from typing import Final

from events.gate import SaveOrdered
from projections.fleet.fold import Fleet, Vm
from projections.volumes.fold import Volumes
from services.waker.bars import bar, timed
from services.waker.decide import PIN_PATIENCE, save_failure, stop_cause, unpinned
from services.waker.outcomes import Outcomes
from services.waker.port import DomainState, Hypervisor, HypervisorError, domain_name

MOST_SAVES: Final = 2
"""Saves at once on one host: each writes as fast as the disk takes it, and wakes have slots of their own."""

MOST_TRIES: Final = 3
"""How often the hypervisor may refuse until a sleeper stays in RAM."""

log = logging.getLogger("virtscale.waker")


class Saves:
    """The waker's hands on sleepers of one host."""

    def __init__(self, hypervisor: Hypervisor, outcomes: Outcomes, fleet: Fleet, volumes: Volumes) -> None:
        self._hypervisor = hypervisor
        self._outcomes = outcomes
        self._fleet = fleet
        self._volumes = volumes
        self._slots = asyncio.Semaphore(MOST_SAVES)

    async def carry_out(self, vm: Vm, order: SaveOrdered, refused: int) -> None:
        """The order has its outcome; or the hypervisor refused, for the `refused`-th time before, and its error comes through.

        Each time the domain is looked at first: a former attempt may have landed, in this life or the one before. One that
        is saved is saved once more, since only an answered call proves that no save of before can still land, and it would
        land on a guest that was woken by then.
        """
        name = domain_name(vm.org, vm.name)
        async with self._slots:
            known = self._fleet.vms.get((vm.org, vm.name))
            if known is None or (known.state, known.order) != ("saving", order.id):
                return
            match await self._hypervisor.state(name):
                case "running":
                    await self._outcomes.found_awake(vm.org, vm.name, vm.pool, vm.size, known.since_seq)
                case "off" | "missing" as found:
                    await bar(self._hypervisor, name, found)
                    await self._outcomes.stopped(known, stop_cause(""), found)
                case "paused" if unpinned(self._volumes, known):
                    text = (
                        f"{vm.org}/{vm.name} sleeps on in the RAM of host {vm.host}: nobody has said within "
                        f"{PIN_PATIENCE.seconds} s whether its disk is pinned, and it is not saved before."
                    )
                    await self._outcomes.save_failed(known, order, "unpinned", text)
                case "paused" | "saved" as found:
                    await self._save(known, order, found, refused)

    async def again(self, vm: Vm, attempts: int) -> None:
        """What the ledger has on disk, and was found in RAM, is on disk: its host counts on that memory. Safe to repeat.

        Or the ledger has it in RAM, once the hypervisor has refused too often: then the memory counts, and nobody writes it to a
        disk that is full again and again. Whether it goes to disk is the gate's to say from then on.
        """
        name = domain_name(vm.org, vm.name)
        async with self._slots:
            known = self._fleet.vms.get((vm.org, vm.name))
            if known is None or known.state != "saved" or known.since_seq != vm.since_seq:
                return
            log.warning("%s/%s slept in RAM and shall on disk; it is saved again", vm.org, vm.name)
            try:
                await timed("save", self._hypervisor.save(name))
            except HypervisorError as error:
                await self._hold(name, error, attempts)
                text = (
                    f"{vm.org}/{vm.name} was saved, and sleeps in the RAM of host {vm.host} by nobody's order. It could not be saved "
                    f"again, and sleeps on there: {error}"
                )
                await self._outcomes.unsaved(known, text)

    async def _hold(self, name: str, error: HypervisorError, attempts: int) -> None:
        """The domain is paused, and no save of before can land on it; where that is not so, or trying again may help, the error."""
        if error.lost or not (error.final or attempts >= MOST_TRIES):
            raise error
        await bar(self._hypervisor, name, "paused")
        if await self._hypervisor.state(name) != "paused":
            raise error

    async def _save(self, vm: Vm, order: SaveOrdered, found: DomainState, refused: int) -> None:
        name = domain_name(vm.org, vm.name)
        try:
            # Safe to repeat: a saved domain stays saved.
            image_bytes = await timed("save", self._hypervisor.save(name))
        except HypervisorError as error:
            if found != "paused":
                raise
            await self._hold(name, error, refused + 1)
            text = (
                f"{vm.org}/{vm.name} could not be saved on host {vm.host}, and sleeps on in its RAM: {error}"
            )
            await self._outcomes.save_failed(vm, order, save_failure(error), text)
        else:
            await self._outcomes.saved(vm, order, image_bytes)
