"""`virtscale host drain`: a host carries no new VMs, others take over, and those that serve there go to sleep.

Each step is a request that the gate decides, and everything is read off the ledger. So Ctrl-C leaves nothing half-done
that a repetition would do twice: VMs asked for in place of the host's carry a key made of the host, of where in the ledger
it was cordoned, and of the pool, and the same key asks once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.envelope import Recorded
from events.host import HostCordoned
from projections.activations.fold import Activations
from projections.fleet.fold import Fleet, Vm
from projections.fleet.life import ASLEEP, SLEEPING
from schemas.house import House
from schemas.intake import ChangeHost, Quiesce, Receipt, Scale
from schemas.names import PLATFORM
from virtscale.ask import new_key, operator, publish
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_TIMEOUT
from virtscale.freezes.standing import actor_of, checked
from virtscale.ruled import ruled
from virtscale.show import say

MOST_TRIES: Final = 100
_LOOK_SECONDS: Final = 0.5
_ENDED: Final = frozenset({"serving", "failed"})
_COMING: Final = frozenset({"booting", "waking", "warm"})


class Cordons:
    """Where each host was last cordoned."""

    def __init__(self) -> None:
        self.seqs: dict[str, int] = {}

    def apply(self, recorded: Recorded) -> None:
        """The cordons now include the event."""
        match recorded.fact:
            case HostCordoned(host=host):
                self.seqs[host] = recorded.seq
            case _:
                pass


def drain(house: House, name: str, reason: str, actor: str | None, seconds: float, *, replace: bool) -> int:
    """The host is cordoned, and no VM serves there any more; the exit code says how far it came."""
    request = ChangeHost(
        key=new_key(), host=name, change="drain", actor=actor_of(actor), reason=checked(reason)
    )
    done = asyncio.run(ruled(house, PLATFORM, request))
    if done.answer.outcome == "refused":
        say(f"{name}: {done.text}")
        return EXIT_NOT_FOUND if done.answer.code == "HostUnknown" else done.exit_code
    say(f"host {name} is cordoned: no VM starts or wakes there")
    return asyncio.run(_empty(house, name, seconds, replace=replace))


async def _empty(house: House, name: str, seconds: float, *, replace: bool) -> int:
    async with operator(house) as bus:
        ledger = Ledger(bus)
        emptying = Emptying(name, bus, ledger)
        following = asyncio.create_task(ledger.follow(), name="ledger")
        try:
            async with asyncio.timeout(seconds):
                await ledger.live.wait()
                code = await emptying.run(replace=replace)
        except TimeoutError:
            say(
                f"not ended after {seconds:g} s; {emptying.left()}. Host {name} stays cordoned: repeat the command."
            )
            return EXIT_TIMEOUT
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
    return code


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """The gate did not let others take over, or did not let them all go."""

    text: str


class Emptying:
    """One run of the command over one host."""

    def __init__(self, name: str, bus: Bus, ledger: Ledger) -> None:
        self._name = name
        self._bus = bus
        self._ledger = ledger
        self._fleet = ledger.fold(Fleet)
        self._trips = ledger.fold(Activations)
        self._cordons = ledger.fold(Cordons)
        self._bell = ledger.bell()

    async def run(self, *, replace: bool) -> int:
        """Others serve, then the host's VMs sleep, pool by pool; the exit code."""
        await self._until(lambda: not self._awake(_COMING))
        serving = Counter((vm.org, vm.pool) for vm in self._awake(frozenset({"serving"})))
        code = EXIT_DONE
        for (org, pool), count in sorted(serving.items()):
            try:
                if replace:
                    await self._replace(org, pool, count)
                await self._quiesce(org, pool, count)
            except Refused as refused:
                say(f"{org}/{pool}: {refused.text}")
                code = EXIT_REFUSED
        if code == EXIT_DONE:
            await self._until(lambda: not self._awake())
            asleep = sum(vm.host == self._name and vm.state in SLEEPING for vm in self._fleet.vms.values())
            say(f"host {self._name} is empty: no VM is awake there, {asleep} sleep and stay asleep")
        else:
            say(f"host {self._name} stays cordoned; {self.left()}. Repeat the command when there is room.")
        return code

    def left(self) -> str:
        """What is still awake on the host."""
        names = [f"{vm.org}/{vm.name} {vm.state}" for vm in self._awake()]
        return f"awake there: {', '.join(names)}" if names else "no VM is awake there"

    async def _replace(self, org: str, pool: str, count: int) -> None:
        """As many VMs as serve on the host serve elsewhere, because of this cordon and not of a former one."""
        for number in range(MOST_TRIES):
            key = f"drain-{self._name}-{self._cordons.seqs.get(self._name, 0)}-{pool}-{number}"
            receipt = await publish(self._bus, org, Scale(pool=pool, key=key, add=count, wait=True))
            await self._until(lambda receipt=receipt: self._answered(receipt))
            known = self._trips.requests[receipt.id]
            assert known.answer is not None
            if receipt.repeated and not self._still_serves(receipt):
                continue  # refused or fallen asleep since: that was another run of this command
            if known.answer.outcome != "admitted":
                raise Refused(receipt.text or known.answer.code)
            say(
                f"{org}/{pool}: VMs that serve on {self._name}: {count}; as many others were granted in their place"
            )
            await self._arrive(org, receipt)
            return
        raise Refused(f"{MOST_TRIES} runs of this command asked for others in vain.")

    def _answered(self, receipt: Receipt) -> bool:
        known = self._trips.requests.get(receipt.id)
        return known is not None and known.answer is not None

    def _still_serves(self, receipt: Receipt) -> bool:
        """Whether what a former run was granted is there, or about to be."""
        trips = self._trips.of(receipt.id)
        vms = [self._fleet.vms.get((trip.org, trip.vm)) for trip in trips]
        return bool(vms) and all(
            vm is not None and vm.request == receipt.id and vm.state in {"serving", *_COMING} for vm in vms
        )

    async def _arrive(self, org: str, receipt: Receipt) -> None:
        said: set[str] = set()

        def arrived() -> bool:
            trips = self._trips.of(receipt.id)
            for trip in trips:
                if trip.stage in _ENDED and trip.vm not in said:
                    said.add(trip.vm)
                    vm = self._fleet.vms.get((org, trip.vm))
                    where = vm.host if vm else "?"
                    say(f"  {trip.vm} {trip.stage} on {where}{f': {trip.failure}' if trip.failure else ''}")
            return all(trip.stage in _ENDED for trip in trips)

        await self._until(arrived)
        failed = [trip.vm for trip in self._trips.of(receipt.id) if trip.stage == "failed"]
        if failed:
            raise Refused(f"{', '.join(failed)} did not come; none of those on {self._name} was sent away.")

    async def _quiesce(self, org: str, pool: str, count: int) -> None:
        """The pool's VMs on the host sleep; the gate sends those of a cordoned host away first."""
        receipt = await publish(self._bus, org, Quiesce(pool=pool, key=new_key(), count=count, wait=True))
        await self._until(lambda: self._answered(receipt))
        answer = self._trips.requests[receipt.id].answer
        assert answer is not None
        say(f"{org}/{pool}: {answer.granted} of {count} are sent to sleep")
        told: set[str] = set()

        def asleep() -> bool:
            on_the_way = 0
            for vm in self._fleet.vms.values():
                if (vm.org, vm.pool, vm.host) != (org, pool, self._name):
                    continue
                if vm.state in {"draining", "drained", "suspending"}:
                    on_the_way += 1
                    told.add(vm.name)
                elif vm.name in told and vm.state in ASLEEP:
                    told.discard(vm.name)
                    say(f"  {vm.name} sleeps on {self._name}")
            return on_the_way == 0

        await self._until(asleep)
        if answer.granted < count:
            raise Refused(receipt.text or answer.code)

    def _awake(self, states: frozenset[str] | None = None) -> list[Vm]:
        return [
            vm
            for vm in self._fleet.vms.values()
            if vm.host == self._name and vm.state not in ASLEEP and (states is None or vm.state in states)
        ]

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._bell.wait(_LOOK_SECONDS)
