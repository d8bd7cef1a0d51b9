"""VMs that are kept for their own sake: what must be so of each, whatever goes wrong; and at rest, the ledger and what is there agree."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from events.copy import CopyRestoreFailed
from events.deletion import DeletionBegun, DeletionCancelled, DeletionCompleted, DeletionScheduled
from events.envelope import Recorded
from events.gate import GateDecided
from events.keep import VmAdoptFailed, VmCreated
from events.volume import VolumeAdoptFailed
from projections.adoptions.fold import Adoptions
from projections.copies.fold import Copies, Copy
from projections.deletions.fold import Deletions
from projections.directory.fold import Directory
from projections.leases.fold import Leases
from projections.maintenance.fold import Calendar
from schemas.capacity import ENFORCED, NOTHING, STORED, Capacity
from schemas.deletion import STAGES, Schedule, Stage
from services.storage.volumes import Volume
from services.waker.port import domain_name
from tests.simulation.guests import PLACE, Guests
from tests.simulation.shelf import Contents, Foreign, Shelf

if TYPE_CHECKING:
    from tests.simulation.world import World

Key = tuple[str, str]
"""Org and VM."""

_CLOCKS_APART: Final = dt.timedelta(seconds=4)
"""How far two programs' clocks differ at most where nobody sets one."""


def _there(copy: Copy) -> int:
    """What a copy takes: a backup that is made has a file, and what was ordered counts as it was."""
    if copy.kind == "snapshot" or copy.state == "ordered":
        return copy.size_bytes
    file = Path(copy.place)
    return file.stat().st_size if file.exists() else 0


FOREIGN: Final = 2
"""Domains of somebody else's on each host, and what their disks have."""
FOREIGN_BYTES: Final = 48 << 20
RECOUNTED_EACH: Final = 50
"""Events after which all that counts is counted anew."""


class Living:
    """The judge of kept VMs in one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._truth = world.truth
        self.directory, self.copies = Directory(), Copies()
        self.deletions, self.leases = Deletions(), Leases()
        self.calendar = Calendar()
        self.adoptions = Adoptions()
        self._folds = (
            *(self.directory, self.copies, self.deletions, self.leases),
            *(self.calendar, self.adoptions),
        )
        self._names: dict[Key, str] = {}
        """Who has which name: the event that gave it."""
        self._stages: dict[str, list[Stage]] = {}
        self._schedules: dict[str, Schedule] = {}
        self._cancelled: set[str] = set()
        self._held: dict[str, Capacity] = {}
        self._counts: dict[Key, Capacity] = {}
        """What each VM counts, strays nothing."""
        self._compute: dict[str, Capacity] = {}
        """The sum of that, by org."""
        self.guests: dict[str, Guests] = {}
        for host in world.hosts:
            shelf = host.disks.shelf
            assert shelf is not None, host.name
            self.guests[host.name] = Guests(shelf, self._truth.breaks, self._may_lose)
            host.disks.guest = self.guests[host.name].changed
            for number in range(FOREIGN):
                file = f"/{host.name}/old-{number}.img"
                contents = Contents(FOREIGN_BYTES, {PLACE: "41"})
                shelf.foreign[file] = Foreign(f"old-{number}", f"{host.name}-old-{number}", contents)
        self._truth.witness = self.fold

    # -------------------------------------------------------------------------------------------------- as it happens

    def fold(self, line: Recorded) -> Iterator[str]:
        """The event is stored, and all folds of the world have it; what is wrong with it."""
        for fold in self._folds:
            fold.apply(line)
        match line.fact:
            case VmCreated(org=org, vm=vm):
                if (org, vm) in self._names:
                    yield f"{org}/{vm} was made at #{line.seq}, and the name is another's since {self._names[org, vm]}."
                self._names[org, vm] = f"#{line.seq}"
            case VmAdoptFailed(org=org, vm=vm) | VolumeAdoptFailed(org=org, vm=vm):
                self._names.pop((org, vm), None)
            case CopyRestoreFailed(org=org, vm=vm, of=of) if of != vm:
                self._names.pop((org, vm), None)
            case DeletionScheduled(deletion=deletion, schedule=schedule):
                self._stages[deletion], self._schedules[deletion] = [], schedule
            case DeletionCancelled(deletion=deletion, vm=vm):
                if "hard" in self._stages[deletion]:
                    yield f"The deletion of {vm} was cancelled at #{line.seq}, after its disk was to go."
                self._cancelled.add(deletion)
            case DeletionBegun() as begun:
                yield from self._begins(begun, line)
            case DeletionCompleted(deletion=deletion, org=org, vm=vm, stage=stage):
                if stage not in self._stages[deletion]:
                    yield f"The stage {stage} of {vm} was completed at #{line.seq}, and never begun."
                if stage == "recycle":
                    self._names.pop((org, vm), None)
            case _:
                pass
        self._count(line)
        if line.seq % RECOUNTED_EACH == 0:
            yield from self._recounted()
        yield from self._within(line)

    def _begins(self, begun: DeletionBegun, line: Recorded) -> Iterator[str]:
        stages, schedule = self._stages[begun.deletion], self._schedules[begun.deletion]
        if begun.deletion in self._cancelled:
            yield f"The stage {begun.stage} of {begun.vm} began at #{line.seq}, and its deletion was cancelled."
        if begun.stage != STAGES[len(stages)]:
            yield f"The stage {begun.stage} of {begun.vm} began at #{line.seq}, after {stages}."
        due = dict(schedule.instants())[begun.stage]
        early = self._truth.now() < due - _CLOCKS_APART and not self._truth.clocks_step
        if begun.begun_at < due or early:
            yield f"The stage {begun.stage} of {begun.vm} began at #{line.seq}, before {due}."
        stages.append(begun.stage)

    def held(self, org: str) -> Capacity:
        """All that counts for the org: what is admitted, its disks and its copies."""
        usage = self._truth.usage
        compute = self._compute.get(org, NOTHING)
        return compute + Capacity(block_bytes=usage.stored(org) + self.copies.stored(org))

    def _count(self, line: Recorded) -> None:
        """What the VMs that the event is about count now; of one about a host or a contract, all VMs."""
        fact, holdings = line.fact, self._truth.usage.holdings
        if isinstance(fact, GateDecided):
            keys = [(fact.org, order.vm) for order in fact.orders]
        elif (vm := getattr(fact, "vm", None)) is not None:
            keys = [(fact.org, vm)]
        else:
            keys = [*self._counts, *holdings]
        for key in dict.fromkeys(keys):
            one = holdings.get(key)
            now = NOTHING if one is None or one.stray else one.size.compute
            before = self._counts.get(key, NOTHING)
            self._counts[key] = now
            self._compute[key[0]] = self._compute.get(key[0], NOTHING) + now - before

    def _recounted(self) -> Iterator[str]:
        """What was counted event by event is what there is."""
        for org in self._world.orgs:
            mine = (one for key, one in self._truth.usage.holdings.items() if key[0] == org)
            compute = sum((one.size.compute for one in mine if not one.stray), NOTHING)
            if compute != self._compute.get(org, NOTHING):
                yield f"{org} holds {compute}, and {self._compute.get(org)} were counted."

    def _within(self, line: Recorded) -> Iterator[str]:
        """Nothing that the gate says takes more than the envelope has."""
        org = line.fact.org
        if org not in self._world.orgs:
            return
        now, before = self.held(org), self._held.get(org, NOTHING)
        self._held[org] = now
        if not isinstance(line.fact, GateDecided | VmCreated):
            return
        contract = self._truth.usage.contracts.get(org)
        limit = contract.limit if contract is not None else NOTHING
        for dimension in (*ENFORCED, *STORED):
            if now.of(dimension) > max(limit.of(dimension), before.of(dimension)):
                yield (
                    f"{org} holds {now.of(dimension)} {dimension} since #{line.seq}, past its limit of {limit.of(dimension)}; "
                    f"before it were {before.of(dimension)}."
                )

    def _may_lose(self, what: str, volume: Volume) -> bool:
        key = (volume.org, volume.name)
        if what == "restore":
            return key in self.copies.restoring
        deletion = self.deletions.of(*key)
        if key in self.adoptions.open:
            return True
        erased = deletion is not None and deletion.disk is not None
        return erased or key in self.copies.restoring or key not in self._truth.volumes.disks

    # --------------------------------------------------------------------------------------------------------- at rest

    def unrest(self) -> Iterator[str]:
        """Where what is there is not what the ledger says, one sentence each."""
        for key in (*self.copies.making, *self.copies.dropping):
            yield f"The copy {key[2]} of {key[1]} is under way."
        for key in (*self.copies.restoring, *self.adoptions.open, *self.deletions.erasing):
            yield f"{key[1]} is being restored, adopted or erased."
        yield from self._silent()
        yield from self._recounted()
        for org in self._world.orgs:
            yield from self._counted(org)
        for key, kept in self.directory.vms.items():
            if kept.awaits is not None:
                yield f"{key[1]} waits for its disk."
            yield from self._disk(key, kept.disk_bytes)
            yield from self._copies_of(key)
        for host in self._world.hosts:
            shelf = host.disks.shelf
            assert shelf is not None, host.name
            yield from self._left(shelf)
            yield from self._domains(host.name)

    def _silent(self) -> Iterator[str]:
        """Alerts are silenced for deletions that stand, and for no others."""
        standing = {one.id for one in self.deletions.standing()}
        for org, vm, deletion in self._world.hush.silent():
            if deletion not in standing:
                yield f"The alerts of {org}/{vm} are silent for {deletion}, which is over."

    def _shelves(self) -> Iterator[Shelf]:
        for host in self._world.hosts:
            assert host.disks.shelf is not None, host.name
            yield host.disks.shelf

    def _disk(self, key: Key, disk_bytes: int) -> Iterator[str]:
        disk, volume = self._truth.volumes.disks.get(key), Volume(*key)
        there = [shelf for shelf in self._shelves() if volume in shelf.volumes]
        vm = self._truth.fleet.vms.get(key)
        # A boot that was given up may have left a disk that nobody told of: it is where the next boot will find it.
        if disk is None and vm is not None and [shelf.host for shelf in there] == [vm.host]:
            return
        if [shelf.host for shelf in there] != ([] if disk is None else [disk.host]):
            yield f"The disk of {volume} is on {disk and disk.host} in the ledger, and on {[one.host for one in there]}."
            return
        if disk is not None:
            seen = there[0].volumes[volume].now.size_bytes
            if not disk.size_bytes == seen == disk_bytes:
                yield f"The disk of {volume} is to have {disk_bytes} bytes, has {disk.size_bytes} in the ledger and {seen} there."
            self.guests[disk.host].must_be_whole(volume)

    def _copies_of(self, key: Key) -> Iterator[str]:
        volume = Volume(*key)
        made = {one.name for one in self.copies.of(*key) if one.kind == "snapshot"}
        shelves = [shelf for shelf in self._shelves() if volume in shelf.volumes]
        there = {one.name for shelf in shelves for one, _ in shelf.volumes[volume].snapshots}
        if any(self._truth.rulings.was_dead(shelf.host) for shelf in shelves):
            there &= made  # what was under way when its host was called dead is there again with it
        if made != there:
            yield f"{volume} has the snapshots {sorted(made)} in the ledger, and {sorted(there)} are there."

    def _left(self, shelf: Shelf) -> Iterator[str]:
        """Nothing is on the host that no VM has."""
        for volume in shelf.volumes:
            if (volume.org, volume.name) not in self.directory.vms:
                yield f"The disk of {volume} is left on {shelf.host}, and there is no such VM."
        for file, foreign in shelf.foreign.items():
            if (foreign.order is not None) != (foreign.state == "missing"):
                yield f"The disk {file} is taken by {foreign.order}, and its former domain is {foreign.state}."
        for trashed, _ in shelf.binned.values():
            yield f"The disk of {trashed.volume} is in the trash of {shelf.host}."

    def _domains(self, name: str) -> Iterator[str]:
        host = self._truth.hosts[name]
        for machine in host.machines.values():
            key = (machine.org, machine.vm)
            kept, vm = self.directory.vms.get(key), self._truth.fleet.vms.get(key)
            scaled = machine.pool in {pool.name for pool in self._world.pools}
            # Of a host that was called dead nothing is asked any more: should it live, a domain that is off may be left there.
            forgiven = machine.state == "off" and self._truth.rulings.was_dead(name)
            if kept is None and not scaled and not forgiven:
                yield f"The domain {machine.name} is left on {name}, and there is no such VM."
            if kept is None or vm is None or machine.state != "running":
                continue
            counted = self._truth.usage.holdings.get(key)
            if counted is not None and not machine.size.compute == vm.size.compute == counted.size.compute:
                yield f"{machine.name} runs with {machine.size}; the fleet has {vm.size}, and {counted.size} count."

    def _counted(self, org: str) -> Iterator[str]:
        """Bytes that count are bytes there, and disks that are to be made."""
        kept = sum(
            one.disk_bytes
            for key, one in self.directory.vms.items()
            if key[0] == org and key not in self._truth.volumes.disks
        )
        disks = sum(
            one.now.size_bytes
            for shelf in self._shelves()
            for volume, one in shelf.volumes.items()
            if volume.org == org and (volume.org, volume.name) in self._truth.volumes.disks
        )
        scaled = sum(
            disk.size_bytes
            for key, disk in self._truth.volumes.disks.items()
            if key[0] == org and Volume(*key) not in self._all()
        )
        said = self._truth.usage.stored(org)
        if said != kept + disks + scaled:
            yield f"{org} has {said} bytes of disks by the ledger; {disks} are there, {kept} are to be, {scaled} are its pools'."
        copies = sum(_there(one) for one in self.copies.all() if one.org == org)
        if self.copies.stored(org) != copies:
            yield f"{org} has {self.copies.stored(org)} bytes of copies by the ledger, and {copies} are there."

    def _all(self) -> set[Volume]:
        return {volume for shelf in self._shelves() for volume in shelf.volumes}

    def runs(self, key: Key) -> bool:
        """Whether the VM's domain runs."""
        name = domain_name(*key)
        return any(
            name in host.machines and host.machines[name].state == "running" for host in self._world.hosts
        )
