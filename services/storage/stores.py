"""Which driver has a VM's disk: that of the disk as it lies, for a pool may be defined anew with another storage."""

from projections.directory.fold import Directory
from projections.fleet.fold import Fleet
from projections.volumes.fold import Volumes
from schemas.pool import Storage
from schemas.volume import in_cluster
from services.storage.errors import StorageError
from services.storage.port import Hosts
from services.storage.state import Key
from services.storage.volumes import Store


class NoStoreError(StorageError):
    """The disk's storage is not to be had there."""

    code = "NoStore"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


class Stores:
    """The drivers, by the VM whose disk they have."""

    def __init__(self, hosts: Hosts, folds: tuple[Directory, Fleet, Volumes]) -> None:
        self._hosts = hosts
        self._directory, self._fleet, self._volumes = folds

    def where(self, key: Key, pool: str | None = None) -> Storage:
        """Where the VM's disk is, or will be: a disk stays where it was made, and one that is not made yet is as its pool says now.

        `pool` is that of an order, which may be about a VM that is not in the directory any more.
        """
        disk, kept = self._volumes.disks.get(key), self._directory.get(*key)
        if disk is not None:
            return "ceph" if in_cluster(disk.volume) else "local"
        name = kept.pool if kept is not None else pool
        known = self._fleet.pools.get((key[0], name)) if name is not None else None
        return known.storage if known is not None else "local"

    def knows(self, key: Key) -> bool:
        """Whether the VM has a disk, by the ledger."""
        return key in self._volumes.disks

    def of(self, key: Key, host: str, pool: str | None = None) -> Store:
        """The driver of the VM's disk, as that host reaches it. Raises `NoStoreError`."""
        where = self.where(key, pool)
        store = self._hosts.store(host, where)
        if store is None:
            mend = (
                "name the cluster as `ceph` in the house's description, or start the house with --ceph"
                if where == "ceph"
                else "name its directory as `volumes` of the host in the house's description"
            )
            raise NoStoreError(
                f"Host {host} has no {where} storage for the disk of {key[0]}/{key[1]}: {mend}."
            )
        return store
