"""Disks of somebody else's domains become volumes, or lie where they lay: an adoption that fails is undone before that is told."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final

from events.clock import Clock
from events.gate import AdoptOrdered
from events.volume import VolumeAdopted, VolumeAdoptFailed
from projections.adoptions.fold import Adoption, Adoptions
from projections.usage.fold import Usage
from schemas.names import shorten
from services.storage.decide import MOST_ATTEMPTS
from services.storage.errors import StorageError
from services.storage.keeping import BACKSTOP
from services.storage.metrics import ERRORS
from services.storage.outcomes import Outcomes
from services.storage.port import Hosts
from services.storage.state import Key
from services.storage.stores import NoStoreError, Stores
from services.storage.volumes import Former, Volume

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 60.0

log = logging.getLogger("virtscale.storage")


class _GivenBackError(StorageError):
    """The waker may not undefine the former domain, so that its disk is its own again."""

    code = "DomainRuns"


class Adopting:
    """Storage's hands on disks that are taken over. All it remembers it could do without: how often it tried, and why it gives up."""

    def __init__(  # noqa: PLR0917 - what a worker's hands are made from
        self,
        hosts: Hosts,
        stores: Stores,
        outcomes: Outcomes,
        clock: Clock,
        folds: tuple[Adoptions, Usage],
        ring: Callable[[], None],
    ) -> None:
        self._hosts = hosts
        self._stores = stores
        self._outcomes = outcomes
        self._clock = clock
        self._adoptions, self._usage = folds
        self._ring = ring
        self._tries: dict[str, int] = {}
        self._pauses: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._trouble: dict[str, StorageError] = {}
        """Why an order has failed whose disk is not given back yet."""

    def open(self) -> Iterator[Key]:
        """VMs whose disk is to be taken or to be given back."""
        return (key for key, known in self._adoptions.open.items() if known.turn != "retire")

    def has_work(self, key: Key) -> bool:
        """Whether something can be done now."""
        known = self._adoptions.open.get(key)
        return known is not None and known.turn != "retire" and known.order.id not in self._waiting

    async def attend(self, key: Key) -> None:
        """The disk is the VM's, or it is its former domain's again, and the ledger knows; or it is tried again later."""
        known = self._adoptions.open.get(key)
        if known is None or not self.has_work(key):
            return
        try:
            if known.turn == "take" and known.order.id not in self._trouble:
                await self._take(key, known.order)
            else:
                await self._give_back(key, known)
        except StorageError as error:
            self._refused(key, known, error)
        else:
            self._forget(known.order.id)

    async def work(self) -> None:
        """Nothing is done beside the VMs' tasks."""

    async def _take(self, key: Key, order: AdoptOrdered) -> None:
        """Safe to repeat: what a former life set aside, moved or copied is gone on with."""
        org, volume = key[0], Volume(*key)
        await self._enrol(org, order)
        seen = await self._stores.of(key, order.host, order.pool).take(volume, _former(order))
        now = self._clock.now()
        fact = VolumeAdopted(
            org=org,
            vm=order.vm,
            host=order.host,
            order=order.id,
            former=order.disk,
            volume=seen.place,
            template=order.template,
            size_bytes=seen.size_bytes,
            adopted_at=now,
        )
        await self._outcomes.ended(fact, "volume.adopted", order, now)

    async def _enrol(self, org: str, order: AdoptOrdered) -> None:
        """The org may have so much where the VM's disk will be. A host's directory asks nobody for leave."""
        if self._stores.where((org, order.vm), order.pool) == "local":
            return
        contract = self._usage.contracts.get(org)
        allowed = contract.limit.block_bytes if contract is not None else 0
        await self._hosts.enrol(org, BACKSTOP * max(allowed, self._usage.stored(org), order.size_bytes))

    async def _give_back(self, key: Key, known: Adoption) -> None:
        """Safe to repeat. It is told only once the disk lies where it lay."""
        order = known.order
        why = self._trouble.get(order.id) or _GivenBackError(known.trouble or "It was given up.")
        try:
            store = self._stores.of(key, order.host, order.pool)
        except NoStoreError as error:
            log.warning("host %s: nothing of %s/%s is there to be given back: %s", order.host, *key, error)
        else:
            await store.give_back(Volume(*key), _former(order))
        now = self._clock.now()
        fact = VolumeAdoptFailed(
            org=key[0],
            vm=order.vm,
            host=order.host,
            order=order.id,
            code=why.code,
            text=shorten(str(why)),
            observed_at=now,
        )
        await self._outcomes.ended(fact, "volume.adopt-failed", order, now)

    def _refused(self, key: Key, known: Adoption, error: StorageError) -> None:
        """It is tried again after a pause; or it is given back from here on, which is tried for ever."""
        order = known.order
        ERRORS.labels(order.host).inc()
        log.warning("host %s: adopt the disk of %s as %s/%s: %s", order.host, order.domain, *key, error)
        tries = self._tries[order.id] = self._tries.get(order.id, 0) + (not error.lost)
        if known.turn == "take" and order.id not in self._trouble and (error.final or tries >= MOST_ATTEMPTS):
            self._trouble[order.id] = error
            return
        pause = min(2 * self._pauses.get(order.id, FIRST_PAUSE_SECONDS / 2), LONGEST_PAUSE_SECONDS)
        self._pauses[order.id] = pause
        self._waiting.add(order.id)
        asyncio.get_running_loop().call_later(pause, self._wake, order.id)

    def _wake(self, order: str) -> None:
        self._waiting.discard(order)
        self._ring()

    def _forget(self, order: str) -> None:
        self._tries.pop(order, None)
        self._pauses.pop(order, None)
        self._trouble.pop(order, None)


def _former(order: AdoptOrdered) -> Former:
    return Former(order.id, order.domain, order.uuid, order.disk, order.size_bytes)
