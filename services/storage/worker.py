"""Storage at work: it makes the disk that a boot waits for, and pins the disk of every VM that fell asleep.

One task at a time per VM. What to do is read off the folds and off the disk at every step, so that a kill between any two lines
loses nothing. A wake never waits for storage: it goes through libvirt beside it, and whoever woke is told of as woken.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from events.gate import BootOrdered
from projections.directory.fold import Directory
from projections.fleet.fold import Fleet, Vm
from projections.usage.fold import Usage
from projections.volumes.fold import Disk, Volumes
from schemas.volume import in_cluster
from services.storage.attempt import Attempt
from services.storage.chores.kinds import chores
from services.storage.copies.freezing import Still, moving
from services.storage.decide import MOST_ATTEMPTS, move, sleeps_still, wants_pin, wants_volume
from services.storage.errors import StorageError, WokeError
from services.storage.keeping import DISK_MISSING, DiskMissingError, Keeping, Words, nothing
from services.storage.lane import Calls
from services.storage.metrics import ERRORS
from services.storage.outcomes import Outcomes
from services.storage.port import Hosts, Made, Sleeper
from services.storage.port import Volumes as Place
from services.storage.releasing import Releasing, Starts
from services.storage.state import Key, Owed
from services.storage.stores import Stores
from services.storage.written import Written

MOST_PINS: Final = 2
"""Disks of one host that are pinned at a time: giving up a former pin copies what was written since, on that host's disk."""

_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 5.0

WOKE: Final = "woke"
"""It woke before anything was done to its disk."""

WOKE_LATE: Final = "woke-late"
"""It woke while its disk was being pinned: the former pin is given up, and what lies there is not as it fell asleep."""

REFUSED: Final = "refused"
"""The host said no before anything was done to the disk."""

UNPINNED: Final = "unpinned"
"""The host said no after the former pin was given up, or a former life left it so."""

log = logging.getLogger("virtscale.storage")


@dataclass(frozen=True, slots=True)
class Pauses:
    """What storage waits for before it touches a disk."""

    nap_seconds: float = 2.0
    """Who wakes before that had a nap, which needs no pin: demand that comes right back finds nobody at the domain. A wake that
    meets a pin waits 13 ms for it (docs/performance.md)."""
    settle_seconds: float = 35.0
    """From its start on. What a former life asked and libvirt has not begun by then is dropped: it waits 30 s for the lock of a
    domain."""


class Storage:
    """The disks of all hosts; there must be one only (its user on the bus is one)."""

    def __init__(  # noqa: PLR0917 - what a worker is made from
        self,
        ledger: Ledger,
        bus: Bus,
        clock: Clock,
        hosts: Hosts,
        pauses: Pauses | None = None,
        words: Words = nothing,
        backups: str = "",
        still: Still = moving,
        calls: Calls | None = None,
    ) -> None:
        """`words` has what VMs are told at their first boot; `backups` is a directory, whose files `calls` touch; `still` quietens a guest."""
        self._pauses = pauses or Pauses()
        self._settled = asyncio.Event()
        self._wanted: dict[Key, asyncio.Event] = {}
        """For a VM whose nap is waited for: rings when a boot wants its disk meanwhile."""
        self._ledger = ledger
        self._hosts = hosts
        self._fleet = ledger.fold(Fleet)
        self._volumes = ledger.fold(Volumes)
        self._owed = ledger.fold(Owed)
        self._bell = ledger.bell()
        self._outcomes = Outcomes(ledger, bus, clock)
        directory = ledger.fold(Directory)
        self._stores = Stores(hosts, (directory, self._fleet, self._volumes))
        self._keeping = Keeping(
            hosts,
            self._outcomes,
            words,
            self._stores,
            (directory, self._fleet, self._volumes, ledger.fold(Usage), ledger.fold(Written)),
        )
        self._starts = ledger.fold(Starts)
        self._releasing = Releasing(
            self._stores, self._outcomes, clock, (self._starts, self._fleet, self._volumes)
        )
        self._chores = chores(ledger, bus, clock, self._stores, hosts, self._bell.ring, backups, calls, still)
        self._running: set[Key] = set()
        self._found: dict[Key, str] = {}
        """The latest order for which the VM's volume was found where it was."""
        self._pins: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MOST_PINS))

    async def work(self) -> None:
        """Disks are made and pinned as the ledger asks for it, for ever."""
        await self._ledger.live.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle(), name="storage: settling")
            for chore in self._chores:
                tasks.create_task(chore.work(), name=f"storage: {type(chore).__name__}")
            left: defaultdict[str, list[Key]] = defaultdict(list)
            for key, disk in self._volumes.disks.items():
                if not (in_cluster(disk.volume) or wants_pin(self._fleet.vms.get(key), disk)):
                    left[disk.host].append(key)
            for host, keys in left.items():
                tasks.create_task(self._tidy_all(host, keys), name=f"storage: tidying {host}")
            while True:
                keys = [*self._owed.boots, *self._starts.open, *self._owed.grows, *self._owed.sleepers]
                for key in keys + [one for chore in self._chores for one in chore.open()]:
                    if key not in self._running and self._has_work(key):
                        self._begin(tasks, key, self._attend(key))
                for key, wanted in self._wanted.items():
                    if self._boot(key) is not None:
                        wanted.set()
                await self._bell.wait()

    def _has_work(self, key: Key) -> bool:
        if self._boot(key) is not None or self._releasing.owed(key) is not None:
            return True
        if key in self._owed.grows or self._sleeper(key) is not None:
            return True
        return any(chore.has_work(key) for chore in self._chores)

    async def _settle(self) -> None:
        """No disk is touched before all that a former life asked is over; in a new house there was none."""
        if self._volumes.disks:
            await asyncio.sleep(self._pauses.settle_seconds)
        self._settled.set()

    def _begin(self, tasks: asyncio.TaskGroup, key: Key, work: Coroutine[Any, Any, None]) -> None:
        self._running.add(key)
        tasks.create_task(work, name=f"storage {key[0]}/{key[1]}")

    def _boot(self, key: Key) -> BootOrdered | None:
        """The boot order that wants a disk now."""
        order, failed = self._owed.boots.get(key), self._volumes.failed.get(key)
        vm, disk = self._fleet.vms.get(key), self._volumes.disks.get(key)
        if order is None or self._found.get(key) == order.id:
            return None
        if not wants_volume(vm, disk, order, failed.order if failed is not None else None):
            return None
        return order if self._hosts.has_disk(order.template) else None

    def _sleeper(self, key: Key) -> tuple[Vm, Disk] | None:
        """The VM whose disk is to be pinned now, and its disk."""
        vm, disk = self._fleet.vms.get(key), self._volumes.disks.get(key)
        return (vm, disk) if vm is not None and disk is not None and wants_pin(vm, disk) else None

    async def _attend(self, key: Key) -> None:
        """The VM needs nothing any more of storage."""
        try:
            while True:
                if (order := self._boot(key)) is not None:
                    await self._make(key, order)
                elif (start := self._releasing.owed(key)) is not None:
                    await self._releasing.release(key, start)
                elif (growth := self._owed.grows.get(key)) is not None:
                    await self._keeping.grow(key, growth)
                elif (chore := next((one for one in self._chores if one.has_work(key)), None)) is not None:
                    await chore.attend(key)
                elif (sleeper := self._sleeper(key)) is not None:
                    await self._rest(key)
                    async with self._pins[sleeper[0].host]:
                        if self._sleeper(key) == sleeper:
                            await self._pin(key, *sleeper)
                else:
                    return
        finally:
            self._running.remove(key)

    async def _rest(self, key: Key) -> None:
        """The VM's nap is over, and so is all that a former life asked; or a boot wants its disk, which waits for neither.

        A house that starts again finds its guests gone only after storage read that they sleep.
        """
        wanted = self._wanted[key] = asyncio.Event()
        rest = asyncio.create_task(self._nap(), name=f"storage: nap {key[1]}")
        boot = asyncio.create_task(wanted.wait(), name=f"storage: boot {key[1]}")
        try:
            await asyncio.wait({rest, boot}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rest.cancel()
            boot.cancel()
            del self._wanted[key]

    async def _nap(self) -> None:
        await asyncio.sleep(self._pauses.nap_seconds)
        await self._settled.wait()

    # -------------------------------------------------------------------------------------------------- a new disk

    async def _make(self, key: Key, order: BootOrdered) -> None:
        """The order has its disk, or is told that there is none, or does not hold any more.

        A waker does not wait for a disk that the ledger knows, and nothing is told of one that is there. One that is gone is made
        anew, empty as its template's, and its pin went with it; not so a kept VM's that ran, whose order is refused.
        """
        vm, attempts, pause = self._fleet.vms[key], 0, _FIRST_PAUSE_SECONDS
        known = (disk := self._volumes.disks.get(key)) is not None and disk.host == order.host
        place = self._hosts.at(order.host)
        if place is None and self._stores.where(key) == "local":
            text = (
                f"Host {order.host} has no directory for disks, and VMs of template {order.template} have one: name it with "
                "`virtscale host add --volumes`, or as `volumes` of the host in the house's description."
            )
            await self._outcomes.volume_failed(vm, order, "no-volumes", text)
            return
        while self._boot(key) is order:
            try:
                # Safe to repeat: a volume that is there stays as it is.
                made = await self._made(key, order, place)
            except StorageError as error:
                attempts += not error.lost
                self._hurt(order.host, f"make the disk of {key[0]}/{key[1]}", error)
                if error.final or attempts >= MOST_ATTEMPTS:
                    lost = isinstance(error, DiskMissingError)
                    if known and not lost:
                        self._found[key] = order.id  # the boot finds out by itself
                    else:
                        code = DISK_MISSING if lost else REFUSED
                        await self._outcomes.volume_failed(vm, order, code, str(error))
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                if known and made.fresh:
                    log.warning("the disk of %s/%s was gone from host %s: it has a new one", *key, order.host)
                if made.fresh or not known:
                    await self._outcomes.created(vm, order, made)
                self._found[key] = order.id
                return

    async def _made(self, key: Key, order: BootOrdered, place: Place | None) -> Made:
        if order.purpose == "keep" or place is None:
            return await self._keeping.make(key, order, place)
        return await place.make(*key, order.template)

    # --------------------------------------------------------------------------------------------------- a sleeper

    async def _pin(self, key: Key, vm: Vm, disk: Disk) -> None:
        """Of this sleep is said whether its disk is pinned."""
        assert vm.asleep_since is not None, vm
        assert vm.domain is not None, vm
        attempt = Attempt(vm, Sleeper(vm.domain, disk.volume), vm.asleep_since)
        place = self._hosts.at(vm.host)
        if place is None:
            text = f"Host {vm.host} has no directory for disks any more."
            await self._outcomes.snapshot_failed(vm, attempt.sleep, REFUSED, text)
            return
        pause = _FIRST_PAUSE_SECONDS
        while not await self._step(key, place, attempt):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _step(self, key: Key, place: Place, attempt: Attempt) -> bool:
        """One try, from a look at the disk on; whether the sleep is settled by it."""
        vm, sleep = attempt.vm, attempt.sleep

        def asleep() -> bool:
            return sleeps_still(self._fleet.vms.get(key), sleep)

        try:
            if not asleep():
                raise WokeError(f"{key[0]}/{key[1]} woke before its disk was pinned.")
            look = await place.look(attempt.sleeper)
            step = move(look, sleep)
            if step == "join":
                attempt.touched = True
                await place.join(attempt.sleeper, asleep)
                look = await place.look(attempt.sleeper)
                step = move(look, sleep)
            if step == "pin" and asleep():
                attempt.touched = True
                # Not safe to repeat blindly, and never done so: each try looks first.
                await place.pin(attempt.sleeper, sleep)
                look = await place.look(attempt.sleeper)
                step = move(look, sleep)
            if step == "refuse":
                text = f"its disk has {look.layers} layers that are not storage's own"
                return await self._refuse(place, attempt, text)
            # The look says that it slept, and the ledger that nobody woke it before: in this order, for a wake stands in the
            # ledger before it is carried out.
            await self._ledger.catch_up()
            if step == "tell" and asleep():
                await self._outcomes.taken(vm, sleep, attempt.sleeper.volume, look)
                return True
            return not asleep() and await self._woke(place, attempt)
        except WokeError:
            await self._ledger.catch_up()
            return not asleep() and await self._woke(place, attempt)
        except StorageError as error:
            attempt.failures += not error.lost
            self._hurt(vm.host, f"pin the disk of {key[0]}/{key[1]}", error)
            if error.final or attempt.failures >= MOST_ATTEMPTS:
                return await self._refuse(place, attempt, str(error))
            return False

    async def _woke(self, place: Place, attempt: Attempt) -> bool:
        if not await self._left_whole(place, attempt):
            return False
        text = f"{attempt.vm.org}/{attempt.vm.name} woke before its disk was pinned as it fell asleep."
        code = WOKE_LATE if attempt.touched else WOKE
        await self._outcomes.snapshot_failed(attempt.vm, attempt.sleep, code, text)
        return True

    async def _refuse(self, place: Place, attempt: Attempt, why: str) -> bool:
        if not await self._left_whole(place, attempt):
            return False
        text = f"The disk of {attempt.vm.org}/{attempt.vm.name} is not pinned on {attempt.vm.host}: {why}"
        code = UNPINNED if attempt.touched else REFUSED
        await self._outcomes.snapshot_failed(attempt.vm, attempt.sleep, code, text)
        return True

    async def _left_whole(self, place: Place, attempt: Attempt) -> bool:
        """Whether nothing that was begun goes on under the VM: an attempt ends only then. One whose domain is off ended with it."""
        vm = self._fleet.vms.get((attempt.vm.org, attempt.vm.name))
        if not attempt.touched or vm is None or vm.state == "stopped":
            return True
        try:
            # Safe to repeat: what has ended is not ended again.
            await place.abandon(attempt.sleeper)
        except StorageError as error:
            self._hurt(attempt.vm.host, f"leave the disk of {vm.org}/{vm.name} whole", error)
            return False
        return True

    async def _tidy_all(self, host: str, keys: list[Key]) -> None:
        """No copying that a former life began goes on under a VM of the host that is awake; a host that is away is waited for.

        All its disks are looked at, one by one: whoever began the copying died before it said so, and of what lay on the disk then
        the ledger may know nothing either.
        """
        await self._settled.wait()
        for key in keys:
            refusals, pause = 0, _FIRST_PAUSE_SECONDS
            while True:
                try:
                    await self._tidy(host, key)
                    break
                except StorageError as error:
                    self._hurt(host, f"look at the disk of {key[0]}/{key[1]}", error)
                    refusals += not error.lost
                    if error.final or refusals >= MOST_ATTEMPTS:
                        break
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _tidy(self, host: str, key: Key) -> None:
        """A join that was left on the disk of a VM that does not sleep is ended, and its pin is told lost.

        Unless somebody is at the disk already: who pins it looks at it as well, and a boot ends what was before. A domain that is off
        has none.
        """
        vm, disk, place = self._fleet.vms.get(key), self._volumes.disks.get(key), self._hosts.at(host)
        if key in self._running or vm is None or vm.state == "stopped" or vm.domain is None:
            return
        if place is None or disk is None or not vm.host == disk.host == host:
            return
        sleeper = Sleeper(vm.domain, disk.volume)
        self._running.add(key)
        try:
            if (await place.look(sleeper)).joining and not self._sleeper(key):
                # Safe to repeat: what has ended is not ended again.
                await place.abandon(sleeper)
                text = f"The pin of {vm.org}/{vm.name} was being given up when storage ended; the VM woke meanwhile."
                await self._outcomes.snapshot_failed(vm, disk.settled, UNPINNED, text)
        finally:
            self._running.remove(key)
            self._bell.ring()

    def _hurt(self, host: str, what: str, error: StorageError) -> None:
        ERRORS.labels(host).inc()
        log.warning("host %s: %s: %s", host, what, error)
