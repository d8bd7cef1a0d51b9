"""Disks compared with the ledger once a minute: what nobody ordered is told, and what is so no more.

A difference is told when two looks a second apart find the same, and told once: what stands is a fold, which another life of storage
reads as well. Nothing is put right here: a disk is what its owner has, and only a person can say what it should be.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from events.drift import VolumeDrifted, VolumeSettled
from events.fact import Fact
from events.ids import derive
from events.registry import UnknownEventError
from projections.copies.fold import Copies
from projections.directory.fold import Directory
from projections.drift.fold import Drift, Drifts
from projections.fleet.fold import Fleet
from projections.volumes.fold import Disk, Volumes
from schemas.names import shorten
from schemas.template import BASE
from schemas.volume import in_cluster
from services.storage.errors import StorageError
from services.storage.files.survey import Lying, Survey, Surveyed
from services.storage.metrics import DRIFTED, ERRORS, STRANGERS
from services.storage.port import Hosts
from services.storage.state import Key, Owed
from services.storage.written import Written

LOOK_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 1.0
"""Between the two looks."""

_MOST_NAMED: Final = 1000
"""Files of nobody's that are said by name, of each host."""

Where = tuple[str, str, str]
"""Org, VM, and what is otherwise."""

log = logging.getLogger("virtscale.storage")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about one disk that is not as the ledger has it."""

    org: str
    vm: str
    what: str
    expected: str
    found: str
    repair: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Folds:
    """What the rules need to know."""

    fleet: Fleet
    directory: Directory
    volumes: Volumes
    copies: Copies
    owed: Owed
    written: Written


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found, of which disks it says nothing, and which files are nobody's."""

    found: Mapping[Where, Difference]
    unsure: frozenset[Key]
    strangers: tuple[str, ...]


def look(folds: Folds, host: str, survey: Survey) -> Seen:
    """Everything about the disks of a host's directory that is not as the ledger has it; of one that is at work nothing is said."""
    found: dict[Where, Difference] = {}
    unsure: set[Key] = set()
    for key, disk in folds.volumes.disks.items():
        if disk.host != host or in_cluster(disk.volume):
            continue
        if _is_busy(folds, key):
            unsure.add(key)
            continue
        for one in _differences(folds, key, disk, survey):
            found[*key, one.what] = one
    strangers = tuple(sorted(name for name in survey.files if not _is_known(folds, name)))
    return Seen(found, frozenset(unsure), strangers)


def _differences(folds: Folds, key: Key, disk: Disk, survey: Survey) -> Iterable[Difference]:
    name = Path(disk.volume).name
    file = survey.files.get(name)
    if file is None:
        kept, vm = folds.directory.get(*key) is not None, folds.fleet.vms.get(key)
        runs = vm is not None and vm.reservation is not None
        text = "no such file, and a guest that has it open" if runs else "no such file"
        yield Difference(*key, "missing", disk.volume, text, "none" if kept else "at-next-boot")
        return
    if file.size_bytes is None:
        yield Difference(*key, "format", "a qcow2 file", "another file", "none")
        return
    shall, has = folds.written.size_bytes(key), survey.top(name).size_bytes
    if shall is not None and has is not None and has != shall:
        counts = has if has > shall else None
        yield Difference(*key, "size", f"{shall} bytes", f"{has} bytes", "none", counts)
    if not _is_parent(file, disk):
        yield Difference(
            *key, "parent", shorten(f"the disk of {disk.template}"), shorten(file.parent or ""), "none"
        )


def _is_parent(file: Lying, disk: Disk) -> bool:
    """Whether it lies over its template's disk, or over nothing: one that was restored or adopted is whole in itself.

    The trap: templates may be reached by another way than when the disk was made, so only the end of the path is compared.
    """
    return file.parent is None or Path(file.parent).parts[-2:] == (disk.template, BASE)


def _is_busy(folds: Folds, key: Key) -> bool:
    """Whether storage is at the disk by order, or is about to be, or the VM is on its way out of the directory."""
    pool = folds.fleet.pools.get((key[0], vm.pool)) if (vm := folds.fleet.vms.get(key)) is not None else None
    leaves = pool is not None and pool.kind == "kept" and folds.directory.get(*key) is None
    owed = key in folds.owed.boots or key in folds.owed.grows
    return owed or leaves or folds.copies.is_busy(*key)


def _is_known(folds: Folds, name: str) -> bool:
    """Whether the file is a VM's, by its name: that of its disk, of a layer over it, of its seed disk, or of a draft."""
    org, _, rest = name.partition(".")
    key = org, rest.partition(".")[0]
    directory = folds.directory
    return (
        key in folds.fleet.vms
        or key in folds.volumes.disks
        or key in directory.vms
        or key in directory.departed
        or key in directory.adopting
    )


class Comparing:
    """Storage's comparing of disks with the ledger, host by host."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, hosts: Hosts) -> None:
        self._ledger = ledger
        self._clock = clock
        self._hosts = hosts
        self._pen = Pen(bus, "storage", clock)
        self._drifts = ledger.fold(Drifts)
        self._folds = Folds(
            fleet=ledger.fold(Fleet),
            directory=ledger.fold(Directory),
            volumes=ledger.fold(Volumes),
            copies=ledger.fold(Copies),
            owed=ledger.fold(Owed),
            written=ledger.fold(Written),
        )
        self._named: dict[str, set[str]] = {}
        """Files of nobody's that were said, by host."""

    def open(self) -> Iterable[Key]:
        """Of no VM."""
        return ()

    def has_work(self, key: Key) -> bool:
        """Never."""
        del key
        return False

    async def attend(self, key: Key) -> None:
        """Nothing is to be done for a single VM."""

    async def work(self) -> None:
        """The ledger knows what is otherwise, and what is so no more, for ever."""
        await self._ledger.live.wait()
        while True:
            for host in list(self._folds.fleet.hosts):
                try:
                    await self._compare(host)
                except (StorageError, UnknownEventError) as error:
                    # The latter: what a file says of itself cannot be told in the ledger. The other hosts are looked at.
                    ERRORS.labels(host).inc()
                    log.warning("host %s: its disks are not compared with the ledger: %s", host, error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _compare(self, host: str) -> None:
        store = self._hosts.store(host, "local")
        if not isinstance(store, Surveyed):
            return
        if not any(disk.host == host for disk in self._folds.volumes.disks.values()):
            return  # its directory may not be made yet
        first = look(self._folds, host, await store.survey())
        self._name(host, first.strangers)
        DRIFTED.labels(host).set(len(first.found))
        if not self._concerns(host, first):
            return
        await asyncio.sleep(AGAIN_SECONDS)
        survey = await store.survey()
        await self._ledger.catch_up()
        second = look(self._folds, host, survey)
        for drift in [one for one in self._drifts.of(host, "volume") if _is_over(one, first)]:
            if _is_over(drift, second):
                now = self._clock.now()
                fact = VolumeSettled(drift.org, drift.vm, host, drift.what, now)
                await self._record(fact, "volume.settled", drift.vm, now)
        for where, one in second.found.items():
            if first.found.get(where) == one and self._is_news(host, one):
                await self._tell(host, one)

    def _concerns(self, host: str, seen: Seen) -> bool:
        if any(self._is_news(host, one) for one in seen.found.values()):
            return True
        return any(_is_over(one, seen) for one in self._drifts.of(host, "volume"))

    def _is_news(self, host: str, one: Difference) -> bool:
        known = self._drifts.get(one.org, one.vm, host, "volume", one.what)
        return known is None or (known.expected, known.found) != (one.expected, one.found)

    async def _tell(self, host: str, one: Difference) -> None:
        log.warning(
            "host %s: of the disk of %s/%s there is %s, and the ledger has %s",
            host,
            one.org,
            one.vm,
            one.found,
            one.expected,
        )
        now = self._clock.now()
        fact = VolumeDrifted(
            org=one.org,
            vm=one.vm,
            host=host,
            what=one.what,
            expected=one.expected,
            found=one.found,
            repair=one.repair,
            size_bytes=one.size_bytes,
            observed_at=now,
        )
        await self._record(fact, "volume.drifted", one.vm, now)

    async def _record(self, fact: Fact, name: str, vm: str, moment: dt.datetime) -> None:
        """Safe to repeat: one look has one moment for it, and its id with it."""
        own = derive("storage", name, fact.org, vm, moment.isoformat())
        ack = await self._pen.record(fact, id=own, cause=None, correlation=own)
        await self._ledger.reach(ack.seq)

    def _name(self, host: str, strangers: tuple[str, ...]) -> None:
        """Files of nobody's are counted, and each is said once."""
        STRANGERS.labels(host).set(len(strangers))
        named = self._named.setdefault(host, set())
        for name in strangers:
            if name not in named and len(named) < _MOST_NAMED:
                named.add(name)
                log.warning(
                    "host %s: the file %s among its disks belongs to no VM; nothing is done to it", host, name
                )


def _is_over(drift: Drift, seen: Seen) -> bool:
    """Whether what stood there was looked at, and was as it should be."""
    return (drift.org, drift.vm) not in seen.unsure and (drift.org, drift.vm, drift.what) not in seen.found
