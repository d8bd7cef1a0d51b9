"""One step on one VM, from the call to its outcome in the ledger.

Nothing is released without proof, and proof is an answered call: calls on a domain take effect in the order in
which they were made, so once a `suspend` or a `stop` was answered, nothing that this waker or a former life of it
asked of the domain before can still land. An error, a silence or a look alone prove nothing.

An error of the hypervisor comes through: whoever called tries the step again, as the ledger has it by then.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from events.clock import Clock
from events.gate import BootOrdered, PlugOrdered, RebootOrdered, Rise, SaveOrdered, WakeOrdered
from events.vm import Refreshed, Rest, Sleep
from projections.fleet.fold import Vm
from schemas.images import MOST_RESTORES, restore_seconds
from services.waker.bars import bar, timed
from services.waker.decide import (
    diskless,
    failure,
    finding,
    is_late,
    lacking_mib,
    ordered,
    stop_cause,
    too_late,
)
from services.waker.domains import Domains
from services.waker.keeping import Keeping
from services.waker.outcomes import How, Outcomes, Rising
from services.waker.port import (
    CALL_SECONDS,
    SAVE_SECONDS,
    Domain,
    DomainState,
    Hypervisor,
    HypervisorError,
    VolumeFailedError,
    domain_name,
)
from services.waker.saves import Saves
from services.waker.shares import Shares
from services.waker.state import Key, Known
from services.waker.tries import Tries, why

log = logging.getLogger("virtscale.waker")

MOST_EFFECTS: Final = 8
"""Calls at once on one host. A resume is answered long before its guest serves: how many rise is for `wake_batch` to say."""

MOST_BOOTS: Final = 8
"""Boots at once on one host. Each takes seconds; a wake out of RAM takes milliseconds, and waits for none."""

MOST_LOOKS: Final = 4
AGAIN_SECONDS: Final = 1.0
"""A domain found paused is looked at again after this long: somebody's resume may be on its way."""


class Effects:
    """The waker's hands on one host; at most `MOST_EFFECTS` of them are on domains at a time."""

    def __init__(self, hypervisor: Hypervisor, outcomes: Outcomes, known: Known, clock: Clock) -> None:
        self._hypervisor = hypervisor
        self._outcomes = outcomes
        self._fleet = known.fleet
        self._orders = known.orders
        self._volumes = known.volumes
        self._domains = Domains(hypervisor, outcomes, known, clock)
        self._keeping = Keeping(hypervisor, outcomes, known, clock)
        self._saves = Saves(hypervisor, outcomes, known.fleet, known.volumes)
        self._clock = clock
        self._slots = asyncio.Semaphore(MOST_EFFECTS)
        self._boots = asyncio.Semaphore(MOST_BOOTS)
        self._restores = asyncio.Semaphore(MOST_RESTORES)
        self._refreshes = Shares()
        self._looks = asyncio.Semaphore(MOST_LOOKS)

    async def rise(self, vm: Vm, order: Rise, tries: Tries) -> None:
        """The order is carried out; or it is too late, or hopeless, and the domain is proven asleep.

        The one release without an attempt is `order-expired`, and it needs the same proof: a former life may
        have tried.
        """
        tries.begin(order.id)
        if isinstance(order, RebootOrdered) and not await self._keeping.brought_down(vm, order):
            return
        takes = not isinstance(order, WakeOrdered) or order.id in self._orders.from_disk
        tries.cold = tries.cold or takes
        async with self._slots_for(order, tries):
            # Waiting for a slot takes time: the deadline is looked at after it, right before the effect, and
            # whether the order still holds: its host may have been fenced meanwhile.
            if self._void(vm, order):
                return
            if (text := diskless(self._volumes, vm, order, self._clock.now())) is not None:
                tries.error = VolumeFailedError(text)
            hopeless = tries.error is not None and tries.error.final
            if tries.attempts == 0 and not tries.given_up and takes and not isinstance(order, RebootOrdered):
                tries.lacking_mib = lacking_mib(self._fleet, vm, self._orders.from_disk)
                hopeless = hopeless or tries.lacking_mib > 0
            late = is_late(order, tries.attempts, self._clock.now())
            if late and not (tries.given_up or hopeless):
                await self._await_start(vm, order, tries)
            if tries.given_up or hopeless or late:
                found = await self._hold_down(vm, tries)
                rising = self._inspected(order, tries) if found == "running" else None
            elif tries.attempts > 0 and tries.ran:
                found = await self._hypervisor.state(domain_name(vm.org, vm.name))
                rising = self._inspected(order, tries) if found == "running" else None
            else:
                found, rising = "running", await self._attempt(vm, order, tries)
        if rising is not None:
            rising = await self._fresh(vm, rising)
        if rising is not None:
            await self._outcomes.risen(vm, rising)
        elif found != "running" and tries.given_up:
            text = why(vm, order, tries)
            code = failure(order, tries.error, found, full=tries.lacking_mib > 0)
            await self._outcomes.wake_failed(vm, code, text, found)
        elif found != "running":
            await self._end(vm, found, tries.detail)

    async def _fresh(self, vm: Vm, rising: Rising) -> Rising:
        """The same, with what the guest's agent did; without a word where that failed, for the ledger shall know that it runs.

        Meanwhile the prober asks the guest already, so that of a wake's time this is what exceeds its answer. Safe to repeat.
        """
        if rising.how == "booted" or not self._orders.refreshes((vm.org, vm.name), vm.reservation):
            return rising
        loop, name = asyncio.get_running_loop(), domain_name(vm.org, vm.name)
        began = loop.time()
        try:
            async with self._refreshes.place(vm.org, vm.pool):
                written = await timed("refresh", self._hypervisor.refresh(name))
        except HypervisorError as error:
            if error.lost:
                raise
            log.warning("%s/%s was woken, and not refreshed: %s", vm.org, vm.name, error)
            return rising
        return replace(rising, refreshed=Refreshed(round((loop.time() - began) * 1000), written))

    async def _await_start(self, vm: Vm, order: Rise, tries: Tries) -> None:
        """Nothing more comes of a start that was asked for in time and not answered: it runs, or it has had its time.

        A wake from disk that is nearly done is worth more than its deadline, and no fault of its host.
        """
        loop, name = asyncio.get_running_loop(), domain_name(vm.org, vm.name)
        try:
            while tries.may_land(loop.time()) and not self._void(vm, order):
                if await self._hypervisor.state(name) == "running":
                    return
                await asyncio.sleep(AGAIN_SECONDS)
        except HypervisorError as error:
            tries.ends(error, tries.lands_by)
            raise

    async def suspend(self, vm: Vm) -> None:
        """The VM sleeps, or turned out to be off; its reservation has ended."""
        name = domain_name(vm.org, vm.name)
        found: Rest = "paused"
        async with self._slots:
            try:
                # Safe to repeat: a paused domain stays paused.
                await timed("suspend", self._hypervisor.suspend(name))
            except HypervisorError as error:
                found = await self._without_it(name, error)
        match found:
            case "paused" | "saved":
                await self._outcomes.quiesced(vm, "ordered")
            case "off" | "missing":
                await self._outcomes.stopped(vm, "found", found)

    async def save(self, vm: Vm, order: SaveOrdered, tries: Tries) -> None:
        """The sleeper is on disk, or the ledger knows why it stays in RAM; or the hypervisor refused, and it is tried again."""
        tries.begin(order.id)
        try:
            await self._saves.carry_out(vm, order, tries.attempts)
        except HypervisorError as error:
            tries.attempts += not error.lost
            raise

    async def plug(self, vm: Vm, order: PlugOrdered, tries: Tries) -> None:
        """The VM has its vCPU, or the ledger knows why not; or the hypervisor refused, and it is tried again."""
        tries.begin(order.id)
        tries.attempts += 1
        await self._keeping.plug(vm, order, tries.attempts)

    async def stop(self, vm: Vm) -> None:
        """The VM is off; its reservation has ended. The guest of one that is kept had time to shut down."""
        name = domain_name(vm.org, vm.name)
        if vm.purpose == "keep":
            await self._keeping.shut_down(name, self._keeping.grace_seconds(vm))
        found: Sleep = "off"
        async with self._slots:
            try:
                # Safe to repeat: a domain that is off stays off.
                await timed("stop", self._hypervisor.stop(name))
            except HypervisorError as error:
                seen = await self._without_it(name, error)
                if seen == "paused" or seen == "saved":  # noqa: PLR1714 - a set would not tell the type checker
                    raise
                found = seen
        await self._outcomes.stopped(vm, "ordered", found)

    async def look(
        self, key: Key, detail: str, order: Rise | None, stranger: Domain | None, *, tries: Tries
    ) -> None:
        """What the domain is and what the ledger says of it agree again, or an order has come that sees to it.

        A look is compared with the ledger of the moment when its answer came, and is not remembered.
        `detail` is what the hypervisor said of the change, `stranger` what it lists of a VM the ledger does not know.
        """
        vm, seen = await self._compare(key)
        if _at_peace(vm) and finding(vm, seen) == "asleep":
            await asyncio.sleep(AGAIN_SECONDS)
            vm, seen = await self._compare(key)
        if not _at_peace(vm):
            return
        match finding(vm, seen):
            case "awake" if vm is not None:
                now = self._clock.now()
                rising = await self._fresh(vm, Rising(self._how(order), now, now, 0))
                await self._outcomes.risen(vm, rising)
            case "asleep" | "stopped" if vm is not None and seen != "running":
                async with self._slots:
                    await self._end(vm, seen, detail)
            case "gone" if vm is not None:
                await self._outcomes.stopped(
                    vm, stop_cause(detail), "missing" if seen == "missing" else "off"
                )
            case "unsaved" if vm is not None:
                tries.begin(f"saved since {vm.since_seq}")
                tries.attempts += 1
                await self._saves.again(vm, tries.attempts)
            case "stray" if vm is not None:
                await self._outcomes.found_awake(vm.org, vm.name, vm.pool, vm.size, vm.since_seq)
            case "stray" if stranger is not None:
                await self._outcomes.found_awake(*key, stranger.pool, stranger.size, 0)
            case _:
                pass

    async def _compare(self, key: Key) -> tuple[Vm | None, DomainState]:
        async with self._looks:
            seen = await self._hypervisor.state(domain_name(*key))
        return self._fleet.vms.get(key), seen

    async def _attempt(self, vm: Vm, order: Rise, tries: Tries) -> Rising | None:
        """One attempt, or None when it came to its effect too late and left it.

        A first one on a sleeper resumes at once: a look before would cost as much as the effect.
        """
        tries.attempts += 1
        started_at = self._clock.now()
        try:
            if tries.attempts == 1 and not tries.cold and vm.address is not None:
                how = await self._resume(vm, order, tries)
            else:
                how = await self._inspect(vm, order, tries)
        except HypervisorError as error:
            tries.error = error
            raise
        return Rising(how, started_at, self._clock.now(), tries.attempts) if how is not None else None

    async def _resume(self, vm: Vm, order: Rise, tries: Tries) -> How | None:
        name = domain_name(vm.org, vm.name)
        tries.how = "resumed"
        try:
            # Safe to repeat: a domain that runs already goes on running.
            await timed("resume", self._hypervisor.resume(name))
        except HypervisorError as error:
            seen = "running" if error.lost or tries.ran else await self._hypervisor.state(name)
            if seen in {"running", "paused"}:
                raise
            return await self._start(vm, order, seen, tries)
        return "resumed"

    async def _inspect(self, vm: Vm, order: Rise, tries: Tries) -> How | None:
        """The domain is looked at first: a former attempt may have landed, in this life or the one before."""
        name = domain_name(vm.org, vm.name)
        seen = await self._forget(vm, order, await self._hypervisor.state(name), tries)
        if seen in {"saved", "off", "missing"}:
            return await self._start(vm, order, seen, tries)
        if vm.address is None:
            await self._domains.define(vm, order)
        if seen == "running":
            return tries.how or self._how(order)
        if self._void(vm, order) or is_late(order, tries.attempts, self._clock.now()):
            return None
        # One that was restored may have come so far, and no farther, in a former attempt.
        tries.how = "restored" if tries.how == "restored" else "resumed"
        # Safe to repeat: a domain that runs already goes on running.
        await timed("resume", self._hypervisor.resume(name))
        return tries.how

    async def _start(self, vm: Vm, order: Rise, seen: DomainState, tries: Tries) -> How | None:
        """Not safe to repeat blindly, and never done so: each attempt looks first. One that was saved goes on where it slept.

        A sleeper of RAM that is found off, or on disk, waits for a slot of those that are started; that is no attempt.
        """
        if not tries.cold:
            tries.cold, tries.attempts = True, tries.attempts - 1
            return None
        fresh = seen == "missing" or vm.address is None or self._domains.is_outdated(vm, order)
        if fresh or seen == "off":
            await self._domains.define(vm, order, known=not fresh)
        # A look and a definition may take long: all is looked at again, right before the effect.
        if self._void(vm, order) or is_late(order, tries.attempts, self._clock.now()):
            return None
        tries.how = "restored" if seen == "saved" else "booted"
        reading = restore_seconds(vm.size.memory_mib) if seen == "saved" else 0.0
        within = CALL_SECONDS + reading
        before = tries.lands_by
        tries.lands_by = before or asyncio.get_running_loop().time() + max(within, SAVE_SECONDS)
        try:
            await timed("start", self._hypervisor.start(domain_name(vm.org, vm.name), within))
        except HypervisorError as error:
            tries.ends(error, before)
            raise
        return tries.how

    async def _forget(self, vm: Vm, order: Rise, seen: DomainState, tries: Tries) -> DomainState:
        """The domain as it was seen; one that sleeps, and is off in the ledger, is off by now, so that a boot is one.

        Its host was fenced while it slept. A later life of the waker that finds it running says that it was booted, and whoever
        booted is not refreshed; so its memory goes, wherever it is. What was started under this very order may be paused for a
        moment, and is no sleeper.
        """
        sleeps = isinstance(order, BootOrdered) and seen in {"saved", "paused"} and tries.how != "booted"
        if not sleeps or self._void(vm, order) or too_late(order.begin_by, self._clock.now()):
            return seen
        name = domain_name(vm.org, vm.name)
        # Safe to repeat: a domain that is off stays off.
        await timed("stop", self._hypervisor.stop(name))
        return await self._hypervisor.state(name)

    def _slots_for(self, order: Rise, tries: Tries) -> asyncio.Semaphore:
        if not tries.cold:
            return self._slots
        return self._restores if order.id in self._orders.from_disk else self._boots

    def _void(self, vm: Vm, order: Rise) -> bool:
        """Whether nothing is held under the order any more: then it wakes nobody."""
        known = self._fleet.vms.get((vm.org, vm.name))
        return known is None or known.reservation != order.id

    async def _hold_down(self, vm: Vm, tries: Tries) -> DomainState:
        """How the domain is, and when it does not run: that it will not, whatever was asked of it before."""
        name = domain_name(vm.org, vm.name)
        seen = await self._hypervisor.state(name)
        if seen == "running" and not tries.given_up:
            return seen
        tries.given_up = True
        await bar(self._hypervisor, name, seen)
        return await self._hypervisor.state(name)

    async def _without_it(self, name: str, error: HypervisorError) -> Rest:
        """How a domain does not run that refused to be suspended or stopped; it must be off or missing for that."""
        if error.lost:
            raise error
        match await self._hypervisor.state(name):
            case "saved" | "off" as found:
                await bar(self._hypervisor, name, found)
                return found
            case "missing":
                return "missing"
            case "running" | "paused":
                raise error

    async def _end(self, vm: Vm, seen: Rest, detail: str) -> None:
        """The VM's awake life ended by itself: proven, and said. One that somebody saved is said to sleep in RAM, and counts so."""
        await bar(self._hypervisor, domain_name(vm.org, vm.name), seen)
        match seen:
            case "paused" | "saved":
                await self._outcomes.quiesced(vm, "found")
            case "off" | "missing":
                await self._outcomes.stopped(vm, stop_cause(detail), seen)

    def _inspected(self, order: Rise, tries: Tries) -> Rising:
        """It runs, whoever did it: a silent attempt of this life, or a former life."""
        now = self._clock.now()
        return Rising(tries.how or self._how(order), now, now, tries.attempts)

    def _how(self, order: Rise | None) -> How:
        """How a domain came to run of which nobody saw that it did."""
        if not isinstance(order, WakeOrdered):
            return "booted"
        return "restored" if order.id in self._orders.from_disk else "resumed"


def _at_peace(vm: Vm | None) -> bool:
    """Nothing that the waker was ordered to do can change the domain now."""
    return ordered(vm) in {None, "confirm"}
