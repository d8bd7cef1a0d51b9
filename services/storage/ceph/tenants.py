"""Orgs in a Ceph cluster: each has a pool, and a user who reaches that pool alone."""

from collections.abc import Callable
from typing import Final, TypeVar

from services.storage.ceph.cluster import Cluster
from services.storage.ceph.speaker import START_SECONDS, CephError, Speaker
from services.storage.ceph.words import TEMPLATES, pool_of
from services.storage.lane import Lane
from services.storage.volumes import QUICK_SECONDS, must_be_name

T = TypeVar("T")

BLOCKED_SECONDS: Final = 2 * 3600.0
"""How long an address stays blocked: twice as long as what its client proved who it was with (Ceph: one hour)."""

_ENOENT: Final = "ObjectNotFound"


class Tenants:
    """The orgs of one cluster, by way of its administrator."""

    def __init__(self, cluster: Cluster) -> None:
        self._speaker = Speaker(cluster.conf, cluster.user)
        self._lane = Lane("storage-tenants")

    async def enrol(self, org: str, quota_bytes: int) -> None:
        """The org has its pool and its user, and Ceph lets it write no more than this, each byte counted once.

        The quota is a backstop: the gate refuses first, for at the quota Ceph blocks every write without an error. The user
        may ask monitors only to read, since Ceph's own profile for users of images lets each of them block any other's
        address. What the user may read besides its pool are the templates. Safe to repeat, also with another quota.
        """
        must_be_name(org)
        await self._call("enrol an org", lambda: self._enrol(org, quota_bytes))

    async def revoke(self, org: str) -> tuple[str, ...]:
        """The org's user exists no more, and each of its clients is cut off; gives their addresses. The pool stays.

        Both are needed: without the user no new client gets in, but one that is in would go on reading. Its domains' disks
        answer every write with an error from here on. Safe to repeat.
        """
        must_be_name(org)
        return await self._call("revoke an org", lambda: self._revoke(org))

    async def close(self) -> None:
        """The child is gone."""
        self._speaker.close()

    def _enrol(self, org: str, quota_bytes: int) -> None:
        pool, ask = pool_of(org), self._command
        for name in (TEMPLATES, pool):
            self._speaker.ask("init", QUICK_SECONDS, pool=name)
        ask("osd pool set-quota", pool=pool, field="max_bytes", val=str(quota_bytes))
        caps = ["mon", "allow r", "osd", f"profile rbd pool={pool}, profile rbd-read-only pool={TEMPLATES}"]
        entity = f"client.{pool}"
        try:
            ask("auth get-key", entity=entity)
        except CephError as error:
            if error.kind != _ENOENT:
                raise
            ask("auth get-or-create", entity=entity, caps=caps)
        else:
            ask("auth caps", entity=entity, caps=caps)

    def _revoke(self, org: str) -> tuple[str, ...]:
        entity = f"client.{pool_of(org)}"
        self._command("auth del", entity=entity)  # says nothing against one that is gone
        found: list[str] = self._speaker.ask("sessions", QUICK_SECONDS, user=entity)
        for address in found:
            self._command("osd blocklist", blocklistop="add", addr=address, expire=BLOCKED_SECONDS)
        return tuple(found)

    def _command(self, prefix: str, **arguments: object) -> object:
        return self._speaker.ask("command", QUICK_SECONDS, command={"prefix": prefix, **arguments})

    async def _call(self, what: str, call: Callable[[], T]) -> T:
        return await self._lane.call(what, call, QUICK_SECONDS + START_SECONDS)
