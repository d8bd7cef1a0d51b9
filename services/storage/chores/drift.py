"""Disks compared with the ledger once a minute: what nobody ordered is told, and what is so no more.

A difference is told when two looks a second apart find the same, and told once: what stands is a fold, which another life of storage
reads as well. Nothing is put right here: a disk is what its owner has, and only a person can say what it should be. Hosts'
directories are looked at one after the other, and beside them the cluster, one org after the other: one that does not answer keeps
nobody else waiting.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from prometheus_client import Gauge

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from events.drift import VolumeDrifted, VolumeSettled
from events.fact import Fact
from events.ids import derive
from events.registry import UnknownEventError
from projections.drift.fold import Drift, Drifts
from schemas.volume import in_cluster
from services.storage.ceph.survey import Imaged
from services.storage.chores.differences import (
    Difference,
    Folds,
    Seen,
    files_of,
    images_of,
    look,
    look_at_images,
)
from services.storage.errors import StorageError
from services.storage.files.survey import Surveyed
from services.storage.metrics import DRIFTED, ERRORS, IMAGES_DRIFTED, IMAGES_STRANGE, STRANGERS
from services.storage.port import Hosts
from services.storage.state import Key

LOOK_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 1.0
"""Between the two looks."""

_MOST_NAMED: Final = 1000
"""Strangers that are said by name, of each host and each org."""

_CLUSTER: Final = "the cluster"

log = logging.getLogger("virtscale.storage")


class Place(Protocol):
    """Where disks lie that are compared together."""

    @property
    def name(self) -> str:
        """As the log calls it."""
        ...

    @property
    def host(self) -> str:
        """By which errors are counted."""
        ...

    @property
    def drifted(self) -> Gauge:
        """How many things are otherwise."""
        ...

    @property
    def strange(self) -> tuple[str, Gauge]:
        """What a stranger is called there, and how many there are."""
        ...

    async def survey(self) -> Callable[[], Seen]:
        """What lies there; and, by the ledger as it is when that is asked, what of it is otherwise."""
        ...

    def is_of(self, drift: Drift) -> bool:
        """Whether the difference is about a disk that lies there."""
        ...


class Files:
    """A host's directory."""

    def __init__(self, folds: Folds, host: str, store: Surveyed) -> None:
        self._folds, self._store = folds, store
        self.host, self.name = host, f"host {host}"
        self.drifted = DRIFTED.labels(host)
        self.strange = "file", STRANGERS.labels(host)

    async def survey(self) -> Callable[[], Seen]:
        """As the driver of the directory says it."""
        survey = await self._store.survey()
        return lambda: look(self._folds, self.host, survey)

    def is_of(self, drift: Drift) -> bool:
        """That of a disk that is nowhere any more is of its host."""
        disk = self._folds.volumes.disks.get((drift.org, drift.vm))
        return drift.host == self.host and (disk is None or not in_cluster(disk.volume))


class OrgImages:
    """An org's pool in the cluster."""

    def __init__(self, folds: Folds, org: str, cluster: Imaged) -> None:
        self._folds, self._org, self._cluster = folds, org, cluster
        self.host, self.name = "none", f"org {org} in the cluster"
        self.drifted = IMAGES_DRIFTED.labels(org)
        self.strange = "image", IMAGES_STRANGE.labels(org)

    async def survey(self) -> Callable[[], Seen]:
        """The heads of those alone that the ledger knows."""
        wanted = [vm for _, vm in images_of(self._folds, self._org)]
        images = await self._cluster.images(self._org, wanted)
        return lambda: look_at_images(self._folds, self._org, images)

    def is_of(self, drift: Drift) -> bool:
        """Whatever host it was told with: the disk may have another by now."""
        disk = self._folds.volumes.disks.get((drift.org, drift.vm))
        return drift.org == self._org and disk is not None and in_cluster(disk.volume)


class Comparing:
    """Storage's comparing of disks with the ledger, place by place."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, hosts: Hosts) -> None:
        self._ledger = ledger
        self._clock = clock
        self._hosts = hosts
        self._pen = Pen(bus, "storage", clock)
        self._drifts = ledger.fold(Drifts)
        self._folds = Folds.of(ledger)
        self._named: dict[str, set[str]] = {}
        """Strangers that were said, by place."""
        self._away: set[str] = set()
        """Places that are not compared, and of which that was said."""

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
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._compare_hosts(), name="storage: comparing files")
            if isinstance(self._hosts, Imaged) and self._hosts.has_cluster:
                tasks.create_task(self._compare_images(self._hosts), name="storage: comparing images")

    async def _compare_hosts(self) -> None:
        await self._compare_all(self._directories)

    async def _compare_images(self, cluster: Imaged) -> None:
        await self._compare_all(lambda: self._pools(cluster))

    async def _compare_all(self, places: Callable[[], Iterable[Place]]) -> None:
        former: dict[str, Place] = {}
        while True:
            present = {one.name: one for one in places()}
            for name in former.keys() - present.keys():  # its last disk is gone
                former[name].drifted.set(0)
                former[name].strange[1].set(0)
            for place in present.values():
                error = await self._try(place)
                if error is not None and _is_of_all(place, error):
                    break
            former = present
            await asyncio.sleep(LOOK_SECONDS)

    def _directories(self) -> Iterable[Place]:
        for host in self._folds.fleet.hosts:
            store = self._hosts.store(host, "local")
            # The directory of a host that has no disk may not be made yet.
            if isinstance(store, Surveyed) and files_of(self._folds, host):
                yield Files(self._folds, host, store)

    def _pools(self, cluster: Imaged) -> Iterable[Place]:
        disks = self._folds.volumes.disks.items()
        for org in sorted({key[0] for key, disk in disks if in_cluster(disk.volume)}):
            yield OrgImages(self._folds, org, cluster)

    async def _try(self, place: Place) -> Exception | None:
        """Its disks were compared; or why not, which is said once."""
        try:
            await self._compare(place)
        except (StorageError, UnknownEventError) as error:
            # The latter: what a file says of itself cannot be told in the ledger. The other places are looked at.
            ERRORS.labels(place.host).inc()
            name = _CLUSTER if _is_of_all(place, error) else place.name
            if name not in self._away:
                self._away.add(name)
                log.warning(
                    "%s: nothing is said about any disk there until it can be looked at: %s", name, error
                )
            return error
        for name in {place.name, _CLUSTER if isinstance(place, OrgImages) else place.name} & self._away:
            self._away.remove(name)
            log.info("%s: its disks are compared with the ledger again", name)
        return None

    async def _compare(self, place: Place) -> None:
        first = (await place.survey())()
        self._name(place, first.strangers)
        place.drifted.set(len(first.found))
        over = [one for one in self._standing(place) if first.is_over(one)]
        if not over and not any(self._is_news(one) for one in first.found.values()):
            return
        await asyncio.sleep(AGAIN_SECONDS)
        again = await place.survey()
        await self._ledger.catch_up()
        second = again()
        for drift in over:
            if second.is_over(drift):
                now = self._clock.now()
                fact = VolumeSettled(drift.org, drift.vm, drift.host, drift.what, now)
                await self._record(fact, "volume.settled", drift.vm, now)
        for where, one in second.found.items():
            if first.found.get(where) == one and self._is_news(one):
                await self._tell(place, one)

    def _standing(self, place: Place) -> list[Drift]:
        return [one for one in self._drifts.standing.values() if one.part == "volume" and place.is_of(one)]

    def _is_news(self, one: Difference) -> bool:
        known = self._drifts.get(one.org, one.vm, one.host, "volume", one.what)
        return known is None or (known.expected, known.found) != (one.expected, one.found)

    async def _tell(self, place: Place, one: Difference) -> None:
        log.warning(
            "%s: of the disk of %s/%s there is %s, and the ledger has %s",
            place.name,
            one.org,
            one.vm,
            one.found,
            one.expected,
        )
        now = self._clock.now()
        fact = VolumeDrifted(
            org=one.org,
            vm=one.vm,
            host=one.host,
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

    def _name(self, place: Place, strangers: tuple[str, ...]) -> None:
        """What is nobody's is counted, and each is said once."""
        kind, count = place.strange
        count.set(len(strangers))
        named = self._named.setdefault(place.name, set())
        for name in strangers:
            if name not in named and len(named) < _MOST_NAMED:
                named.add(name)
                log.warning(
                    "%s: the %s %s among its disks belongs to no VM; nothing is done to it",
                    place.name,
                    kind,
                    name,
                )


def _is_of_all(place: Place, error: Exception) -> bool:
    """Whether no other place beside it can be looked at either: the cluster of all orgs is not reached."""
    return isinstance(place, OrgImages) and isinstance(error, StorageError) and error.lost
