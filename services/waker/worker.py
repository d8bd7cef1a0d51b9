"""The waker at work: the only one who touches the domains of its host, and only as the gate ordered.

One task at a time per VM, in order; VMs side by side. What to do is read off the folds at every step, so that
a kill between any two lines loses nothing: the next life finds the order open and the domain as it is.
"""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from events.bus.ledger import Ledger
from events.bus.port import Bus, UnansweredError
from events.clock import Clock
from events.gate import BootOrdered
from events.registry import UnknownEventError
from projections.drift.fold import Drifts
from projections.epochs.fold import Epochs
from projections.fleet.fold import Fleet
from projections.fleet.life import UP
from projections.volumes.fold import Volumes
from schemas import alive
from schemas.alive import Alive
from schemas.house import HostPlace
from services.waker import sysfs
from services.waker.batches import Climbs, Turns
from services.waker.decide import awaits_disk, awaits_pin, finding, is_up, ordered, reconciled
from services.waker.drift import AGAIN_SECONDS, Comparing
from services.waker.effects import Effects
from services.waker.farewells import Farewells
from services.waker.idle import Idleness, Idler
from services.waker.memory import Memory
from services.waker.metrics import CONNECTED, ERRORS
from services.waker.outcomes import Outcomes
from services.waker.port import REBOOTED, Domain, DomainState, Hypervisor, HypervisorError, Unknown, owner
from services.waker.state import Key, Known, Orders
from services.waker.tries import Tries

RECONCILE_SECONDS: Final = 60.0
"""All domains are compared with the ledger this often; changes in between are heard."""

_STORAGE_SECONDS: Final = 1.0  # how often an order that waits for storage is asked whether it is too late
_SETTLE_SECONDS: Final = 0.25  # between two looks at a host that a recovered ledger waits for

_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0

log = logging.getLogger("virtscale.waker")


@dataclass(frozen=True, slots=True)
class _Rumour:
    """What was last heard of a domain; reason enough to look, and nothing more."""

    state: DomainState
    detail: str


@dataclass(slots=True)
class _Ear:
    """Whether the hypervisor listens; `stir` ends the pause before the next comparison of everything."""

    connected: asyncio.Event = field(default_factory=asyncio.Event)
    stir: asyncio.Event = field(default_factory=asyncio.Event)


class Waker:
    """The waker of one host; there must be one only (its `__main__` holds a lock file)."""

    def __init__(
        self, ledger: Ledger, bus: Bus, clock: Clock, hypervisor: Hypervisor, place: HostPlace
    ) -> None:
        self._ledger = ledger
        self._bus = bus
        self._clock = clock
        self._since = clock.now()
        self._hypervisor = hypervisor
        self._place = place
        self._fleet = ledger.fold(Fleet)
        self._orders = ledger.fold(Orders)
        self._volumes = ledger.fold(Volumes)
        self._epochs = ledger.fold(Epochs)
        known = Known(self._fleet, self._orders, self._volumes, ledger.fold(Drifts))
        self._bell = ledger.bell()
        self._outcomes = Outcomes(ledger, bus, clock, place.name)
        self._effects = Effects(hypervisor, self._outcomes, known, clock)
        self._farewells = Farewells(ledger, hypervisor, self._outcomes, clock, place.name)
        self._comparing = Comparing(ledger, hypervisor, self._outcomes, known, clock, place.name)
        self._memory = Memory(ledger, hypervisor, self._outcomes, self._fleet, clock)
        self._turns = Turns(ledger.fold(Climbs), self._fleet, self._orders, place.name, clock)
        idleness = ledger.fold(Idleness)
        self._idler = Idler(
            idleness, self._fleet, self._outcomes, clock, sysfs.counters if sysfs.is_here(place.uri) else None
        )
        self._rest = ledger.bell()
        self._ear = _Ear()
        self._began = 0
        self.ended = False
        """The host was removed, and nothing more is done on it."""
        self._running: dict[Key, Tries] = {}
        self._hands: dict[Key, asyncio.Task[None]] = {}
        self._rumours: dict[Key, _Rumour] = {}
        self._strangers: dict[Key, Domain] = {}
        self._reboots: dict[Key, tuple[str, dt.datetime]] = {}
        """Guests that were heard to start anew, under which reservation, and when."""

    async def work(self) -> None:
        """Orders for this host are carried out, and its domains are what the ledger says, until the host is removed."""
        await self._ledger.live.wait()
        self._began = self._ledger.seq
        self._hypervisor.watch(self._changed)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._stay_connected(), name=f"waker {self._place.name}: connection")
            serving = tasks.create_task(self._tell_life(), name=f"waker {self._place.name}: signs of life")
            idling = tasks.create_task(
                self._idler.watch(self._place.name, self._cpus, self._rest),
                name=f"waker {self._place.name}: idle",
            )
            minding = tasks.create_task(
                self._memory.watch(self._place.name, self._ear.connected.is_set),
                name=f"waker {self._place.name}: memory",
            )
            shaken = self._shaken()
            while not self._removed():
                if shaken != self._shaken():
                    shaken = self._shaken()
                    self._ear.stir.set()
                open_orders = (*self._orders.open(self._place.name), *self._farewells.keys())
                for key in [*open_orders, *self._rumours, *self._reboots]:
                    if key not in self._running and self._next_step(key) is not None:
                        self._running[key] = Tries()
                        self._hands[key] = tasks.create_task(
                            self._attend(key), name=f"waker {key[0]}/{key[1]}"
                        )
                # What storage did is told by the ledger; that an order waited too long for it, by nobody.
                pause = _STORAGE_SECONDS if self._some_await_storage() else RECONCILE_SECONDS
                await self._bell.wait(min(pause, self._turns.pause_seconds()))
            for task in (watching, serving, idling, minding, *self._hands.values()):
                task.cancel()
        self.ended = True

    async def _tell_life(self) -> None:
        """Whoever asks is told that we live; a bus that is away just now is waited for."""

        async def answer(_subject: str, _payload: bytes) -> bytes:
            return msgspec.json.encode(Alive(self._ear.connected.is_set(), self._since))

        while True:
            try:
                await self._bus.serve(alive.subject(self._place.name), self._place.name, answer)
                return
            except UnansweredError as error:
                log.warning("host %s: nobody can ask its waker yet: %s", self._place.name, error)
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)

    def _shaken(self) -> tuple[int | None, int]:
        """Changes when what runs here may count otherwise than it did."""
        return self._orders.shaken.get(self._place.name), self._epochs.recovered_seq

    def _cpus(self) -> int:
        known = self._orders.registered.get(self._place.name)
        return known.vcpu if known is not None else 0

    def _removed(self) -> bool:
        """Whether the host was removed in this life of ours; one that was so before is being added again."""
        return self._orders.removed.get(self._place.name, 0) > self._began

    # ---------------------------------------------------------------------------------------------------- one VM

    def _next_step(self, key: Key) -> str | None:
        """What the VM needs now: what was ordered, or a look because of something heard."""
        step = ordered(self._fleet.vms.get(key))
        if step is not None:
            return None if self._awaits_storage(key, step) or not self._its_turn(key, step) else step
        if key in self._orders.plugs:
            return "plug"
        if self._farewells.is_due(key):
            return "farewell"
        if key in self._reboots:
            return "tell"
        rumour = self._rumours.get(key)
        if rumour is None:
            return None
        if finding(self._fleet.vms.get(key), rumour.state) is None:
            del self._rumours[key]
            return None
        return "look"

    def _awaits_storage(self, key: Key, step: str) -> bool:
        """Whether storage has to make the VM's disk, or to pin it, before this step."""
        vm, now = self._fleet.vms[key], self._clock.now()
        if step == "save":
            return awaits_pin(self._volumes, vm, now)
        order = self._orders.rises.get(key)
        if step != "rise" or not awaits_disk(self._volumes, vm, order, now):
            return False
        return isinstance(order, BootOrdered) and self._hypervisor.has_disk(order.template)

    def _its_turn(self, key: Key, step: str) -> bool:
        """Whether the batch of its pool has a place for it; only those that rise need one."""
        order = self._orders.rises.get(key)
        return step != "rise" or order is None or self._turns.comes(key, order)

    def _some_await_storage(self) -> bool:
        waiting = (key for key in self._orders.open(self._place.name) if key not in self._running)
        steps = ((key, ordered(self._fleet.vms.get(key))) for key in waiting)
        return any(step is not None and self._awaits_storage(key, step) for key, step in steps)

    async def _attend(self, key: Key) -> None:
        """The VM needs nothing any more; an error pauses, and what is needed then is decided anew."""
        pause = _FIRST_PAUSE_SECONDS
        try:
            while (step := self._next_step(key)) is not None:
                if not self._ear.connected.is_set():
                    await self._wait_for_connection()
                    continue
                try:
                    await self._take(key, step)
                    pause = _FIRST_PAUSE_SECONDS
                except (HypervisorError, UnknownEventError) as error:
                    # The latter: what was seen of this VM cannot be told in the ledger. The host's others go on.
                    self._hurt(f"{step} {key[0]}/{key[1]}", error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        finally:
            del self._running[key]
            self._hands.pop(key, None)
            self._turns.leave(key)

    async def _take(self, key: Key, step: str) -> None:
        vm = self._fleet.vms.get(key)
        order = self._orders.rises.get(key)
        match step:
            case "rise":
                assert vm is not None, key
                assert order is not None, vm
                await self._effects.rise(vm, order, self._running[key])
            case "suspend":
                assert vm is not None, key
                await self._effects.suspend(vm)
            case "save":
                save = self._orders.saves.get(key)
                assert vm is not None, key
                assert save is not None, vm
                await self._effects.save(vm, save, self._running[key])
            case "stop":
                assert vm is not None, key
                await self._effects.stop(vm)
            case "plug":
                assert vm is not None, key
                await self._effects.plug(vm, self._orders.plugs[key], self._running[key])
            case "farewell":
                await self._farewells.take(key)
            case "tell":
                reservation, heard_at = self._reboots.pop(key)
                if vm is not None and is_up(vm, self._place.name, reservation):
                    await self._outcomes.rebooted(vm, heard_at)
            case _:
                await self._look(key)

    async def _look(self, key: Key) -> None:
        rumour = self._rumours.pop(key, None)
        try:
            await self._effects.look(
                key,
                rumour.detail if rumour else "",
                self._orders.rises.get(key),
                self._strangers.get(key),
                tries=self._running[key],
            )
        except HypervisorError:
            if rumour is not None:
                self._rumours.setdefault(key, rumour)
            raise

    # ---------------------------------------------------------------------------------------------- the hypervisor

    def _changed(self, name: str, state: DomainState, detail: str) -> None:
        """A change was heard of. While the VM has a task it is kept for after it."""
        if not name:
            self._lose()
            return
        key = owner(name)
        if key is None:
            return
        tries = self._running.get(key)
        if tries is not None:
            tries.hear(state, detail)
        vm = self._fleet.vms.get(key)
        if detail == REBOOTED:
            if vm is not None and vm.reservation is not None and vm.purpose == "keep" and vm.state in UP:
                self._reboots[key] = vm.reservation, self._clock.now()
                self._bell.ring()
            return
        if key in self._strangers or (vm is not None and vm.host == self._place.name):
            self._rumours[key] = _Rumour(state, detail)
            self._bell.ring()
        elif vm is None and state == "running":
            self._ear.stir.set()

    async def _wait_for_connection(self) -> None:
        """The hypervisor listens, or a moment has passed; either way the ledger may have moved on meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_PAUSE_SECONDS):
                await self._ear.connected.wait()

    def _lose(self) -> None:
        if self._ear.connected.is_set():
            self._since = self._clock.now()
        self._ear.connected.clear()
        self._ear.stir.set()

    def _hurt(self, what: str, error: HypervisorError | UnknownEventError) -> None:
        ERRORS.labels(self._place.name).inc()
        log.warning("host %s: %s: %s", self._place.name, what, error)
        if isinstance(error, HypervisorError) and error.lost:
            self._lose()

    async def _stay_connected(self) -> None:
        """There is a connection, again and again; after each new one, and now and then, everything is compared."""
        while True:
            await self._connect()
            while self._ear.connected.is_set():
                pause = RECONCILE_SECONDS
                self._ear.stir.clear()
                awaited, since = self._epochs.awaits(self._place.name), self._epochs.recovered_seq
                try:
                    listed = await self._hypervisor.domains()
                    self._compare(listed)
                    if not awaited:  # what was recovered may not know yet who has a name
                        await self._farewells.forget(listed, self._is_busy)
                    elif not await self._reconcile(listed, since):
                        pause = _SETTLE_SECONDS
                    if await self._comparing.look(listed, self._is_busy, stops=not awaited):
                        pause = AGAIN_SECONDS
                except (HypervisorError, UnknownEventError) as error:
                    self._hurt("compare the domains", error)
                    pause = _LONGEST_PAUSE_SECONDS
                try:
                    async with asyncio.timeout(pause):
                        await self._ear.stir.wait()
                except TimeoutError:
                    continue

    async def _connect(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        CONNECTED.labels(self._place.name).set(0)
        while True:
            try:
                report = await self._hypervisor.connect()
                break
            except HypervisorError as error:
                self._hurt("connect", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        log.info("host %s is connected: %s", self._place.name, self._place.uri)
        CONNECTED.labels(self._place.name).set(1)
        self._since = self._clock.now()
        self._ear.connected.set()
        if self._removed():
            return
        known = self._orders.registered.get(self._place.name)
        await self._outcomes.registered(self._place, report, known)

    def _compare(self, listed: Sequence[Domain | Unknown]) -> None:
        """Where the list and the ledger differ there is a rumour to look into; the list may be stale."""
        found = {(domain.org, domain.vm): domain for domain in listed if isinstance(domain, Domain)}
        self._strangers = {key: domain for key, domain in found.items() if key not in self._fleet.vms}
        for key, domain in self._strangers.items():
            self._hear(key, domain.state)
        for key, vm in self._fleet.vms.items():
            if vm.host == self._place.name:
                domain = found.get(key)
                self._hear(key, domain.state if domain is not None else "missing")
        self._bell.ring()

    def _is_busy(self, key: Key) -> bool:
        """Whether something is being done to the domain by order, or is about to be."""
        orders = self._orders
        return (
            key in self._running or key in orders.rises or key in orders.plugs or self._farewells.is_due(key)
        )

    async def _reconcile(self, listed: Sequence[Domain | Unknown], since: int) -> bool:
        """The ledger, recovered at `since`, is told that it knows the host, if it does by now: every rumour was looked into."""
        if self._removed() or not reconciled(self._fleet, self._place.name, listed):
            return False
        awake = sum(domain.state == "running" for domain in listed)
        await self._outcomes.reconciled(since, len(listed), awake)
        return True

    def _hear(self, key: Key, state: DomainState) -> None:
        if finding(self._fleet.vms.get(key), state) is not None:
            self._rumours.setdefault(key, _Rumour(state, ""))
