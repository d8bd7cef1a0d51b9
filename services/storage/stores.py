"""Which driver has the disk that an order is about."""

from typing import Protocol

from projections.fleet.fold import Fleet
from services.storage.errors import StorageError
from services.storage.port import Hosts
from services.storage.volumes import Store


class NoStoreError(StorageError):
    """The pool's storage is not to be had there."""

    code = "NoStore"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


class OfPool(Protocol):
    """What an order says of where its VM's disk is."""

    @property
    def vm(self) -> str:
        """Its name."""
        ...

    @property
    def pool(self) -> str:
        """The VM's, which says what storage it has."""
        ...

    @property
    def host(self) -> str:
        """Where its disk is reached."""
        ...


def store_of(hosts: Hosts, fleet: Fleet, org: str, order: OfPool) -> Store:
    """The driver of the pool's storage on the order's host; `NoStoreError` where that has none."""
    pool = fleet.pools.get((org, order.pool))
    where = pool.storage if pool is not None else "local"
    store = hosts.store(order.host, where)
    if store is None:
        raise NoStoreError(f"Host {order.host} has no {where} storage for the disk of {org}/{order.vm}.")
    return store
