"""What a ledger says of a VM that is deleted, or that was somebody else's, for whoever carries it out."""

import datetime as dt

from events.deletion import DeletionBegun, DeletionScheduled
from events.gate import AdoptOrdered, EraseOrdered
from events.ids import derive
from events.keep import VmCreated
from events.pool import PoolDefined
from schemas.deletion import STAGES, policy, scheduled
from schemas.pool import Pool
from schemas.pool import Storage as Kind
from tests.rules.waker_host import SIZE, Site

GIB = 2**30
PLACE = "/volumes/acme.db.qcow2"
FORMER = "/var/lib/libvirt/images/old-db.qcow2"
UUID = "7c1ef0a0-0000-4000-8000-00000000db01"


class Leaving:
    """Words for the end of a kept VM, and for the beginning of one that was there before."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.deletion = derive("deletion", "db")

    def keep(self, storage: Kind = "local") -> None:
        """There is a pool `apps`, which keeps VM db."""
        now = self.site.desk.clock.now()
        pool = Pool("acme", "apps", SIZE, "tiny", kind="kept", storage=storage)
        self.site.desk.write(PoolDefined("acme", "apps", pool))
        self.site.desk.write(
            VmCreated("acme", "db", "apps", SIZE, "tiny", "lab", "none", 10 * GIB, None, False, "kim", now)
        )

    def schedule(self) -> None:
        """Its deletion is scheduled, and its hard stage has begun."""
        now = self.site.desk.clock.now()
        plan = scheduled(now.date() + dt.timedelta(days=6), "Europe/Berlin", policy(now), now)
        self.site.desk.write(DeletionScheduled("acme", "db", "apps", self.deletion, plan, "kim", "over", now))
        for stage in STAGES[:3]:
            self.site.desk.write(
                DeletionBegun("acme", "db", "apps", self.deletion, stage, ran=False, begun_at=now)
            )

    def erase(self, host: str | None = "h1", volume: str | None = PLACE) -> EraseOrdered:
        """The gate has the VM itself erased."""
        own = derive("erase", "disk", self.deletion)
        order = EraseOrdered(own, "db", "apps", host, "disk", volume, self.deletion, derive("r"))
        self.site.order(order)
        return order

    def erase_backups(self) -> EraseOrdered:
        """The gate has its backups erased."""
        own = derive("erase", "backups", self.deletion)
        order = EraseOrdered(own, "db", "apps", "h1", "backups", PLACE, self.deletion, derive("r"))
        self.site.order(order)
        return order

    def adopt(self, number: int = 1, disk: str = FORMER, size_bytes: int = 10 * GIB) -> AdoptOrdered:
        """The gate has the domain `old-db` adopted as db."""
        own = derive("adopt", number)
        order = AdoptOrdered(own, "db", "apps", "h1", "old-db", UUID, disk, size_bytes, "tiny", derive("r"))
        self.site.order(order)
        return order
