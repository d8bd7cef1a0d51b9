"""Disks in Ceph are freed before a QEMU is started on them: one that was killed holds its disk, and its org's user may not end that.

Each boot and each reboot of a kept VM is attended: while the disk is in use, by the life that is being stopped or by one that is
believed to live, it is asked again, until the order's time is over. What is said is for this order alone.
"""

import asyncio
import logging
from typing import Final

from events.clock import Clock
from events.envelope import Recorded
from events.fences import Fences
from events.gate import BootOrdered, GateDecided, RebootOrdered, Rise
from events.host import HostFenced
from events.vm import VmBooted, VmQuiesced, VmRebootFailed, VmStopped, VmWakeFailed
from events.volume import VolumeFailed, VolumeReleased
from projections.fleet.fold import Fleet
from projections.volumes.fold import Disk, Volumes
from projections.volumes.release import Start, release_by
from schemas.volume import in_cluster
from services.storage.errors import StorageError
from services.storage.metrics import ERRORS
from services.storage.outcomes import Outcomes
from services.storage.state import Key
from services.storage.stores import Stores
from services.storage.volumes import InUseError, Volume

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0

log = logging.getLogger("virtscale.storage")


class Starts:
    """Orders to start kept VMs anew that have no outcome yet. It only says where to look, as `Owed` does."""

    def __init__(self) -> None:
        self.open: dict[Key, Start] = {}
        self._fences = Fences()

    def apply(self, recorded: Recorded) -> None:
        """The orders now include the event."""
        match recorded.fact:
            case GateDecided(org=org, orders=orders) as decided if self._fences.pass_on(recorded, decided):
                for order in orders:
                    if isinstance(order, Rise):
                        self.open.pop((org, order.vm), None)
                    if isinstance(order, RebootOrdered) or (
                        isinstance(order, BootOrdered) and order.purpose == "keep"
                    ):
                        self.open[org, order.vm] = order
            case VolumeReleased(org=org, vm=vm, order=order) | VolumeFailed(org=org, vm=vm, order=order):
                self._ended((org, vm), order)
            case (
                VmBooted(org=org, vm=vm, reservation=reservation)
                | VmQuiesced(org=org, vm=vm, reservation=reservation)
                | VmWakeFailed(org=org, vm=vm, reservation=reservation)
                | VmStopped(org=org, vm=vm, reservation=reservation)
                | VmRebootFailed(org=org, vm=vm, reservation=reservation)
            ):
                self._ended((org, vm), reservation)
            case HostFenced(host=host):
                self.open = {key: order for key, order in self.open.items() if order.host != host}
            case _:
                pass

    def _ended(self, key: Key, order: str | None) -> None:
        known = self.open.get(key)
        if known is not None and known.id == order:
            del self.open[key]


class Releasing:
    """Storage's hands on disks that may be held."""

    def __init__(
        self, stores: Stores, outcomes: Outcomes, clock: Clock, folds: tuple[Starts, Fleet, Volumes]
    ) -> None:
        self._stores = stores
        self._outcomes = outcomes
        self._clock = clock
        self._starts, self._fleet, self._volumes = folds

    def owed(self, key: Key) -> Start | None:
        """The order whose disk is to be freed now: it holds, and its disk is known on its host."""
        order, vm, disk = self._starts.open.get(key), self._fleet.vms.get(key), self._volumes.disks.get(key)
        if order is None or vm is None or vm.reservation != order.id or vm.proven:
            return None
        return order if disk is not None and _lies(disk, order) else None

    async def release(self, key: Key, order: Start) -> None:
        """Nobody else holds the disk and the host knows the secret for it, or the ledger knows why not; or the order holds no more."""
        vm, disk, pause, volume = (
            self._fleet.vms[key],
            self._volumes.disks[key],
            _FIRST_PAUSE_SECONDS,
            Volume(*key),
        )
        while self.owed(key) is order:
            try:
                store = self._stores.of(key, order.host)
                # Safe to repeat, both: what is free stays so, and a secret that is there is told again.
                await store.release(volume)
                await store.source(volume)
            except StorageError as error:
                if not isinstance(error, InUseError):  # that is what a reboot waits for
                    ERRORS.labels(order.host).inc()
                    log.warning("host %s: free the disk of %s/%s: %s", order.host, *key, error)
                if error.final or self._clock.now() > release_by(order):
                    await self._outcomes.volume_failed(vm, order, error.code, str(error))
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                await self._outcomes.released(vm, order, disk.volume)
                return


def _lies(disk: Disk, order: Start) -> bool:
    return in_cluster(disk.volume) and disk.host == order.host
