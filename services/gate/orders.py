"""The gate's orders, each with an id derived from what caused it: the same cause orders the same thing once.

The id of a wake or boot is the reservation that its outcome must name. It contains the sequence of the request, so that
a key that is asked again, long after, reserves anew.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Protocol, Self

import msgspec

from events.gate import (
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    GrowOrdered,
    Order,
    PlugOrdered,
    Purpose,
    RebootOrdered,
    SaveOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.ids import derive
from projections.breakers.known import Lost
from projections.fleet.fold import Fleet, Vm
from projections.volumes.fold import Disk
from schemas.capacity import Size
from schemas.image import Readiness
from schemas.images import MOST_RESTORES, image_seconds
from schemas.pool import Pool
from services.gate.state import Pending


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a VM is started: the request that it answers, and what tells this attempt from every other."""

    request: str
    attempt: str | int

    @classmethod
    def of(cls, pending: Pending) -> Self:
        """A request, which has its place in the ledger."""
        return cls(pending.id, pending.seq)

    @classmethod
    def again(cls, lost: Lost) -> Self:
        """The same request once more, since a VM that was started for it failed: attempt 2 of that reservation."""
        return cls(lost.request, derive(lost.reservation, 2))


def wake(vm: Vm, pool: Pool, cause: Cause, now: dt.datetime) -> WakeOrdered:
    """The sleeper resumes where it is, to serve."""
    return WakeOrdered(
        id=derive(cause.request, cause.attempt, "wake.ordered", vm.name),
        vm=vm.name,
        pool=pool.name,
        host=vm.host,
        size=vm.size,
        request=cause.request,
        purpose="serve",
        begin_by=now + dt.timedelta(seconds=pool.order_seconds),
        ready_seconds=pool.readiness_seconds,
    )


def in_turn(
    orders: Iterable[WakeOrdered | BootOrdered], pool: Pool, fleet: Fleet, org: str, given: Iterable[Order]
) -> list[WakeOrdered | BootOrdered]:
    """The same orders; whose turn comes later may also begin later, so that nobody who was granted is left out.

    On one host a pool's VMs rise `wake_batch` at a time, and a place is held for as long as a guest may take to answer: each
    whole batch before it allows a wake that much more. Before it are those on their way already, and those that this round
    ordered (`given`). A wake from disk stands in the queue of that disk as well, which all pools of all orgs share with those
    that are being saved: it may begin when each image before it has been read or written, and where its pool reads fewer at a
    time than the disk does, others read meanwhile. A wake out of RAM does not wait for the disk.
    """
    ahead: Counter[str] = Counter()
    moving_mib: Counter[str] = Counter()
    beside_mib = max(0, MOST_RESTORES - pool.wake_batch) * pool.size.memory_mib

    def stand(one: Order) -> None:
        if isinstance(one, WakeOrdered):
            ahead[one.host] += one.pool == pool.name
            if fleet.vms[org, one.vm].state == "saved":
                moving_mib[one.host] += one.size.memory_mib
        elif isinstance(one, SaveOrdered):
            moving_mib[one.host] += fleet.vms[org, one.vm].size.memory_mib

    for name in [*fleet.members(org, pool.name, "waking"), *fleet.members(org, pool.name, "warm")]:
        vm = fleet.vms[org, name]
        ahead[vm.host] += vm.purpose == "serve"
    for one in given:
        stand(one)
    turned: list[WakeOrdered | BootOrdered] = []
    for one in orders:
        if not isinstance(one, WakeOrdered):
            turned.append(one)
            continue
        rounds = ahead[one.host] // pool.wake_batch
        seconds = rounds * pool.readiness_seconds
        if fleet.vms[org, one.vm].state == "saved":
            before_mib = fleet.imaging_mib(one.host) + moving_mib[one.host] + rounds * beside_mib
            seconds += ceil(image_seconds(before_mib))
        turned.append(msgspec.structs.replace(one, begin_by=one.begin_by + dt.timedelta(seconds=seconds)))
        stand(one)
    return turned


def boot(  # noqa: PLR0917 - what a new VM consists of
    vm: str, host: str, pool: Pool, cause: Cause, purpose: Purpose, now: dt.datetime
) -> BootOrdered:
    """The VM starts cold on the host, and is defined from the pool's template where it does not exist."""
    return BootOrdered(
        id=derive(cause.request, cause.attempt, "boot.ordered", vm),
        vm=vm,
        pool=pool.name,
        host=host,
        size=pool.size,
        template=pool.template,
        request=cause.request,
        purpose=purpose,
        begin_by=now + dt.timedelta(seconds=pool.boot_seconds),
        ready_seconds=pool.boot_seconds,
    )


def drain(vm: Vm, pool: Pool, pending: Pending) -> DrainOrdered:
    """The VM gets no new work, and its sessions may end."""
    assert vm.reservation is not None, vm
    return DrainOrdered(
        id=derive(pending.id, pending.seq, "drain.ordered", vm.name),
        vm=vm.name,
        pool=pool.name,
        reservation=vm.reservation,
        request=pending.id,
        drain_seconds=pool.drain_seconds,
    )


def come_back(vm: Vm, pending: Pending) -> DrainCancelled:
    """The VM that was on its way out serves again."""
    assert vm.reservation is not None, vm
    assert vm.order is not None, vm
    return DrainCancelled(
        id=derive(pending.id, pending.seq, "drain.cancelled", vm.name),
        vm=vm.name,
        pool=vm.pool,
        reservation=vm.reservation,
        drain=vm.order,
        request=pending.id,
    )


def suspend(vm: Vm) -> SuspendOrdered:
    """The VM goes to sleep; nobody asked for it just now, it is the next step of its life."""
    assert vm.reservation is not None, vm
    return SuspendOrdered(
        id=derive(vm.reservation, "suspend", vm.name),
        vm=vm.name,
        pool=vm.pool,
        host=vm.host,
        reservation=vm.reservation,
        request=vm.request,
    )


def stop(vm: Vm, grace_seconds: int = 0, request: str | None = None) -> StopOrdered:
    """The VM is switched off: it runs and never answered, or somebody asked for it."""
    assert vm.reservation is not None, vm
    return StopOrdered(
        id=derive(vm.reservation, "stop", vm.name),
        vm=vm.name,
        pool=vm.pool,
        host=vm.host,
        reservation=vm.reservation,
        request=request or vm.request,
        grace_seconds=grace_seconds,
    )


class Shape(Protocol):
    """What a kept VM is made from."""

    @property
    def size(self) -> Size:
        """What it takes while it is awake."""
        ...

    @property
    def image(self) -> str:
        """Its template."""
        ...

    @property
    def readiness(self) -> Readiness:
        """What makes it ready."""
        ...


def start(  # noqa: PLR0917 - what a boot consists of
    vm: str, host: str, pool: Pool, shape: Shape, pending: Pending, now: dt.datetime
) -> BootOrdered:
    """The kept VM starts cold; nobody waits for the answer of a guest that has none to give."""
    return BootOrdered(
        id=derive(pending.id, pending.seq, "boot.ordered", vm),
        vm=vm,
        pool=pool.name,
        host=host,
        size=shape.size,
        template=shape.image,
        request=pending.id,
        purpose="keep",
        begin_by=now + dt.timedelta(seconds=pool.boot_seconds),
        ready_seconds=_patience(shape, pool),
    )


def rouse(vm: Vm, shape: Shape, pool: Pool, pending: Pending, now: dt.datetime) -> WakeOrdered:
    """The kept VM that sleeps goes on where it was."""
    return WakeOrdered(
        id=derive(pending.id, pending.seq, "wake.ordered", vm.name),
        vm=vm.name,
        pool=vm.pool,
        host=vm.host,
        size=vm.size,
        request=pending.id,
        purpose="keep",
        begin_by=now + dt.timedelta(seconds=pool.order_seconds),
        ready_seconds=_patience(shape, pool),
    )


def reboot(  # noqa: PLR0917 - what a boot consists of
    vm: Vm, shape: Shape, size: Size, pool: Pool, pending: Pending, now: dt.datetime
) -> RebootOrdered:
    """The kept VM that runs is stopped and starts anew with that size, under a reservation of its own."""
    assert vm.reservation is not None, vm
    return RebootOrdered(
        id=derive(pending.id, pending.seq, "reboot.ordered", vm.name),
        vm=vm.name,
        pool=vm.pool,
        host=vm.host,
        size=size,
        template=shape.image,
        former=vm.reservation,
        request=pending.id,
        begin_by=now + dt.timedelta(seconds=pool.boot_seconds),
        ready_seconds=_patience(shape, pool),
        grace_seconds=pool.grace_seconds,
    )


def plug(vm: Vm, size: Size, pending: Pending) -> PlugOrdered:
    """The kept VM has more vCPU while it runs."""
    assert vm.reservation is not None, vm
    return PlugOrdered(
        id=derive(pending.id, pending.seq, "plug.ordered", vm.name),
        vm=vm.name,
        pool=vm.pool,
        host=vm.host,
        size=size,
        reservation=vm.reservation,
        request=pending.id,
    )


def grow(disk: Disk, pool: str, size_bytes: int, pending: Pending) -> GrowOrdered:
    """The VM's disk is made larger where it lies."""
    return GrowOrdered(
        id=derive(pending.id, pending.seq, "grow.ordered", disk.vm),
        vm=disk.vm,
        pool=pool,
        host=disk.host,
        volume=disk.volume,
        size_bytes=size_bytes,
        request=pending.id,
    )


def _patience(shape: Shape, pool: Pool) -> int:
    return pool.boot_seconds if shape.readiness == "http" else 0


def save(vm: Vm, request: str, *attempt: int) -> SaveOrdered:
    """The sleeper's RAM is written to disk, and its host has the memory back."""
    assert vm.asleep_since is not None, vm
    return SaveOrdered(
        id=derive(request, attempt[0], "save.ordered", vm.name, *attempt[1:]),
        vm=vm.name,
        pool=vm.pool,
        host=vm.host,
        asleep_since=vm.asleep_since,
        request=request,
    )
