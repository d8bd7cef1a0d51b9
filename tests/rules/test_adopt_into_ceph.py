"""Domains that are adopted into a pool whose disks are in Ceph: by a house that has a cluster, and by one that has none."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from events.volume import VolumeAdopted, VolumeAdoptFailed
from schemas.house import CephPlace, load
from schemas.pool import Storage as Kind
from services.storage.errors import StorageError
from services.storage.keeping import BACKSTOP
from services.storage.volumes import Former, Seen, Store, Volume
from services.storage.worker import Pauses, Storage
from tests.rules.desk import played
from tests.rules.leaving import FORMER, GIB, Leaving
from tests.rules.one_life import one_life
from tests.rules.waker_host import Site
from tests.simulation.clock import pause
from virtscale import description
from virtscale.invocation import UsageError
from virtscale.ports import Ports
from virtscale.vms import adopting

POOL = 'org = "acme"\nname = "apps"\ntemplate = "tiny"\nkind = "kept"\nstorage = "ceph"\n[size]\nname = "s"\nvcpu = 1\nmemory_mib = 96\n'


class Toy:
    """A house with a cluster, or with none: what it was asked."""

    def __init__(self, *, cluster: bool) -> None:
        self.cluster = cluster
        self.asked: list[str] = []

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return False

    def template_bytes(self, template: str) -> int:
        return GIB

    async def enrol(self, org: str, quota_bytes: int) -> None:
        self.asked.append(f"enrol {org} with {quota_bytes}")
        if not self.cluster:
            raise StorageError("The house knows no Ceph cluster.", final=True)

    def store(self, host: str, storage: Kind) -> Store | None:
        return cast("Store", self) if self.cluster and storage == "ceph" else None

    def at(self, host: str) -> Any:
        return None

    async def take(self, volume: Volume, former: Former) -> Seen:
        await pause(0.01)
        self.asked.append(f"take {former.file} as {volume}")
        return Seen("org-acme/db", 9 * GIB, None, in_use=False)


class Scene:
    """A desk whose org adopts VM db into a pool in Ceph."""

    def __init__(self, *, cluster: bool) -> None:
        self.site = Site()
        self.there = Leaving(self.site)
        self.toy = Toy(cluster=cluster)
        self.there.keep("ceph")

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[None]:
        """One life of storage."""
        desk = self.site.desk
        async with one_life(
            desk,
            "storage",
            lambda ledger, bus: Storage(ledger, bus, desk.clock, cast("Any", self.toy), Pauses(0, 0)).work(),
        ):
            yield


@played
async def test_the_org_may_have_the_disk_in_the_cluster_before_it_is_taken_there() -> None:
    here = Scene(cluster=True)
    async with here.storage():
        order = here.there.adopt()
        await pause(5)
    assert here.toy.asked == [f"enrol acme with {BACKSTOP * 10 * GIB}", f"take {FORMER} as acme/db"]
    (told,) = here.site.said(VolumeAdopted)
    assert (told.order, told.host, told.volume, told.size_bytes) == (order.id, "h1", "org-acme/db", 9 * GIB)


@played
async def test_a_house_without_a_cluster_touches_no_disk_and_says_what_it_lacks() -> None:
    here = Scene(cluster=False)
    async with here.storage():
        here.there.adopt()
        await pause(600)
    assert [one.split()[0] for one in here.toy.asked] == ["enrol"]
    (told,) = here.site.said(VolumeAdoptFailed)
    assert (told.code, told.text) == ("Storage", "The house knows no Ceph cluster.")
    assert here.site.said(VolumeAdopted) == []


def test_the_command_says_so_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(tmp_path))
    house = description.describe(
        tmp_path, Ports.usual(), str(tmp_path / "templates"), (), description.kept(tmp_path)
    )
    description.write(house)
    Path(house.pools).mkdir(parents=True, exist_ok=True)
    (Path(house.pools) / "acme.apps.toml").write_text(POOL)
    with pytest.raises(UsageError, match="keeps its disks in Ceph, and the house names no cluster"):
        adopting.wanted(load(tmp_path), ("acme", "apps"), "old-db", "db")
    description.write(msgspec.structs.replace(house, ceph=CephPlace("/etc/ceph/ceph.conf")))
    assert adopting.wanted(load(tmp_path), ("acme", "apps"), "old-db", "db").pool.storage == "ceph"
