"""Domains compared with the ledger once a minute: what nobody ordered is told, and what can be put right is.

A difference is told when two looks a second apart find the same, so that what is just being changed by order is none. It is told
once: what stands is a fold, which another life of the waker reads as well.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from events.bus.ledger import Ledger
from events.clock import Clock
from events.drift import DomainDrifted, DomainSettled
from projections.drift.fold import Drift
from projections.fleet.fold import Fleet, Vm
from projections.fleet.life import SLEEPING
from projections.volumes.fold import Volumes
from schemas.capacity import Size
from schemas.names import shorten
from services.waker.build import Build, Shape, other_disks
from services.waker.decide import ordered
from services.waker.metrics import DRIFTED
from services.waker.outcomes import Outcomes
from services.waker.port import Domain, Hypervisor, Unknown, domain_name, owner
from services.waker.sizes import Sizes
from services.waker.state import Key, Known

AGAIN_SECONDS: Final = 1.0
"""Between the two looks."""

PATIENCE: Final = dt.timedelta(minutes=10)
"""What is told of already and becomes something else again is told anew after this long: a host may balloon its guests all day.
What becomes larger is told at once, for it counts."""

_LEAST_MIB: Final = 32  # a size has no less: of a guest that was squeezed further no size is said

Where = tuple[str, str, str]
"""Org, VM, and what is otherwise."""

log = logging.getLogger("virtscale.waker")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about one domain that is not as the ledger has it."""

    org: str
    vm: str
    what: str
    expected: str
    found: str
    repair: str
    reservation: str | None = None
    size: Size | None = None
    """With which it runs."""
    ordered: Size | None = None
    """With which it should."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found, and of which VMs it can say nothing: they are on their way, or their QEMU is busy."""

    found: Mapping[Where, Difference]
    unsure: frozenset[Key]


@dataclass(frozen=True, slots=True)
class Folds:
    """What the rules need to know."""

    fleet: Fleet
    volumes: Volumes
    sizes: Sizes


def look(
    folds: Folds,
    host: str,
    listed: Sequence[Domain | Unknown],
    busy: Callable[[Key], bool],
    *,
    stops: bool = True,
) -> Look:
    """Everything about the host's domains that is not as the ledger has it; of a VM on its way nothing is said.

    `stops` is False where the ledger was recovered and does not know the host yet: then nobody's second life is ended, for what was
    lost of the ledger may say that it is the only one.
    """
    found: dict[Where, Difference] = {}
    unsure: set[Key] = set()
    for domain in listed:
        key = owner(domain.name) if isinstance(domain, Unknown) else (domain.org, domain.vm)
        vm = folds.fleet.vms.get(key) if key is not None else None
        if vm is None or key is None:
            continue
        told: list[Difference | None] = []
        if isinstance(domain, Unknown) or busy(key):
            unsure.add(key)
        elif vm.host != host:
            told = [_elsewhere(folds, vm, domain, host, stops=stops)]
        elif domain.build is None or not _stands(vm):
            unsure.add(key)
        else:
            told = [_size(folds, vm, domain, domain.build), _disks(vm, domain.build)]
        found |= {(one.org, one.vm, one.what): one for one in told if one is not None}
    return Look(found, frozenset(unsure))


def is_news(known: Drift | None, now: dt.datetime, one: Difference) -> bool:
    """Whether the ledger is to be told of the difference, given what it was told last."""
    if known is None:
        return True
    if (known.expected, known.found, known.repair, known.reservation) == (
        one.expected,
        one.found,
        one.repair,
        one.reservation,
    ):
        return False
    grew = _exceeds(one, known.size)
    other = known.reservation != one.reservation or known.repair != one.repair
    return grew or other or now - known.observed_at >= PATIENCE


def _exceeds(one: Difference, told: Size | None) -> bool:
    """Whether it takes more than what counts by now, which is the larger of what was ordered and what was told."""
    if one.size is None or one.ordered is None:
        return False
    counts = one.ordered if told is None else one.ordered.larger(told)
    return counts.larger(one.size) != counts


def _is_over(drift: Drift, seen: Look) -> bool:
    """Whether what stood there was looked at, and was as it should be."""
    return (drift.org, drift.vm) not in seen.unsure and (drift.org, drift.vm, drift.what) not in seen.found


def _stands(vm: Vm) -> bool:
    return ordered(vm) is None and vm.state not in {"booting", "waking"}


def _elsewhere(folds: Folds, vm: Vm, domain: Domain, host: str, *, stops: bool) -> Difference | None:
    """A domain of a VM that is another host's in the ledger.

    One that is awake, or asleep in RAM, beside the ledger's that is so too is a second life of one VM, and must end before both
    write to one disk. Where the ledger's is off, this may be the only one: a person moved it. A description of one that comes and
    goes with demand stays where it ran last, and says nothing.
    """
    kept = _is_kept(folds, vm)
    active, lives = domain.state in {"running", "paused"}, vm.reservation is not None or vm.state in SLEEPING
    if active:
        return Difference(
            vm.org,
            vm.name,
            "elsewhere",
            f"on {vm.host}",
            f"{domain.state} on {host}",
            "stop" if lives and stops else "none",
        )
    disk = folds.volumes.disks.get((vm.org, vm.name))
    if not kept or (disk is not None and not disk.volume.startswith("/")):
        return None  # what has its disk in Ceph starts here or there
    return Difference(
        vm.org, vm.name, "elsewhere", f"on {vm.host}", f"defined on {host}, {domain.state}", "none"
    )


def _size(folds: Folds, vm: Vm, domain: Domain, build: Build) -> Difference | None:
    """It runs with another size than was ordered, or would start with another than it was defined with.

    What is defined and does not run is defined anew at the next boot of a kept VM, or of one whose definition is known for wrong.
    """
    shall = folds.sizes.ordered(vm.org, vm.name, vm.reservation)
    if shall is None and vm.reservation is not None:
        return None
    shall = shall or domain.size
    expected = f"{shall.vcpu} vCPU, {shall.memory_mib} MiB"
    if build.live is not None and not build.live.is_of(shall, shall.vcpu):
        runs = vm.reservation is not None and domain.state == "running"
        size = _counted(build.live, shall) if runs else None
        repair = "reboot" if runs and _is_kept(folds, vm) else "at-next-boot"
        return Difference(
            vm.org,
            vm.name,
            "size",
            expected,
            str(build.live),
            repair,
            vm.reservation if runs else None,
            size,
            shall,
        )
    if not build.stored.is_of(domain.size, shall.vcpu):
        expected = f"{domain.size.vcpu} vCPU, {domain.size.memory_mib} MiB"
        return Difference(vm.org, vm.name, "size", expected, f"defined with {build.stored}", "at-next-boot")
    return None


def _counted(live: Shape, shall: Size) -> Size | None:
    """The size that counts; None where it is less than any size can be."""
    return live.size(shall) if max(live.memory_mib, live.most_mib) >= _LEAST_MIB <= live.memory_mib else None


def _disks(vm: Vm, build: Build) -> Difference | None:
    other = other_disks(build)
    if other is None:
        return None
    return Difference(vm.org, vm.name, "disk", shorten(other[0]), shorten(other[1]), "at-next-boot")


def _is_kept(folds: Folds, vm: Vm) -> bool:
    pool = folds.fleet.pools.get((vm.org, vm.pool))
    return pool is not None and pool.kind == "kept"


class Comparing:
    """One waker's comparing of its host's domains with the ledger."""

    def __init__(  # noqa: PLR0917 - what a worker's hand is made from
        self,
        ledger: Ledger,
        hypervisor: Hypervisor,
        outcomes: Outcomes,
        known: Known,
        clock: Clock,
        host: str,
    ) -> None:
        self._ledger = ledger
        self._hypervisor = hypervisor
        self._outcomes = outcomes
        self._clock = clock
        self._host = host
        self._folds = Folds(known.fleet, known.volumes, ledger.fold(Sizes))
        self._drifts = known.drifts

    async def look(
        self, listed: Sequence[Domain | Unknown], busy: Callable[[Key], bool], *, stops: bool = True
    ) -> bool:
        """The ledger knows what is otherwise on the host, and what is so no more; whether anything was put right just now.

        `listed` is what was just seen; errors of the hypervisor come through.
        """
        first = look(self._folds, self._host, listed, busy, stops=stops)
        DRIFTED.labels(self._host).set(len(first.found))
        if not self._concerns(first):
            return False
        await asyncio.sleep(AGAIN_SECONDS)
        again = await self._hypervisor.domains()
        await self._ledger.catch_up()
        second = look(self._folds, self._host, again, busy, stops=stops)
        for drift in [one for one in self._drifts.of(self._host, "domain") if _is_over(one, first)]:
            if _is_over(drift, second):
                await self._settled(drift)
        repaired = False
        for where, one in second.found.items():
            if first.found.get(where) == one:
                await self._tell(one)
                repaired |= await self._repair(one)
        return repaired

    def _concerns(self, seen: Look) -> bool:
        """Whether there is anything to be told or done."""
        now = self._clock.now()
        if any(one.repair == "stop" or is_news(self._known(one), now, one) for one in seen.found.values()):
            return True
        return any(_is_over(one, seen) for one in self._drifts.of(self._host, "domain"))

    def _known(self, one: Difference) -> Drift | None:
        return self._drifts.get(one.org, one.vm, self._host, "domain", one.what)

    async def _tell(self, one: Difference) -> None:
        now = self._clock.now()
        if not is_news(self._known(one), now, one):
            return
        log.warning(
            "host %s: %s/%s is %s, and the ledger has it %s (repair: %s)",
            self._host,
            one.org,
            one.vm,
            one.found,
            one.expected,
            one.repair,
        )
        fact = DomainDrifted(
            org=one.org,
            vm=one.vm,
            host=self._host,
            what=one.what,
            expected=one.expected,
            found=one.found,
            repair=one.repair,
            reservation=one.reservation,
            size=one.size,
            observed_at=now,
        )
        await self._outcomes.observed(fact, "domain.drifted", one.vm, now)

    async def _settled(self, drift: Drift) -> None:
        now = self._clock.now()
        fact = DomainSettled(drift.org, drift.vm, self._host, drift.what, now)
        await self._outcomes.observed(fact, "domain.settled", drift.vm, now)

    async def _repair(self, one: Difference) -> bool:
        """A second life of a VM has ended. Safe to repeat: a domain that is off stays off."""
        if one.repair != "stop":
            return False
        vm = self._folds.fleet.vms.get((one.org, one.vm))
        if vm is None or vm.host == self._host:
            return False
        await self._hypervisor.stop(domain_name(one.org, one.vm))
        return True
