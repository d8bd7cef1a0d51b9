"""All images of an org's pool looked at together, beside everything else that storage asks of a cluster: 500 of them in 90 ms.

A child and a lane of their own: no boot waits behind a survey, and no survey behind a disk that is copied.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from services.storage.ceph.cluster import Cluster
from services.storage.ceph.speaker import CephError, Speaker
from services.storage.ceph.words import joined, pool_of
from services.storage.errors import StorageError
from services.storage.files.survey import Lying
from services.storage.lane import Lane

LISTER: Final = Path(__file__).with_name("lister.py")

MOST_IMAGES: Final = 10_000
"""In one pool; an org with more is told of once, and not compared."""

_AT_ONCE: Final = 256
"""Images in one call: 45 to 65 ms."""

_CALL_SECONDS: Final = 20.0

_SURVEY_SECONDS: Final = 300.0
"""For one org, calls that each took as long as they may among it."""


@dataclass(frozen=True, slots=True)
class Images:
    """What lies in an org's pool."""

    names: frozenset[str]
    lying: Mapping[str, Lying]
    """Those that were asked for, as far as they are there."""
    trash: frozenset[str]
    """Names of images that lie in the pool's trash."""


@runtime_checkable
class Imaged(Protocol):
    """Whoever can say what lies in the house's cluster."""

    @property
    def has_cluster(self) -> bool:
        """Whether there is one."""
        ...

    async def images(self, org: str, wanted: Iterable[str]) -> Images:
        """All images of the org, and how those are that are wanted. `StorageError`, `lost` where the cluster is not reached."""
        ...


class Surveying:
    """The cluster's images, by way of its administrator."""

    def __init__(self, cluster: Cluster) -> None:
        self._speaker = Speaker(cluster.conf, cluster.user, LISTER)
        self._lane = Lane("storage-survey")

    async def images(self, org: str, wanted: Iterable[str]) -> Images:
        """Safe to repeat; nothing is changed."""
        names = tuple(wanted)
        return await self._lane.call("list images", lambda: self._images(org, names), _SURVEY_SECONDS)

    async def close(self) -> None:
        """The child is gone."""
        self._speaker.close()

    def _images(self, org: str, wanted: Iterable[str]) -> Images:
        pool = pool_of(org)
        listed = self._ask(org, "images", pool=pool, most=MOST_IMAGES)
        ids: dict[str, str] = listed["images"]
        asked = {name: ids[name] for name in wanted if name in ids}
        heads: dict[str, dict[str, Any]] = {}
        order = list(asked.values())
        for first in range(0, len(order), _AT_ONCE):
            heads |= self._ask(org, "heads", pool=pool, ids=order[first : first + _AT_ONCE])
        lying = {
            name: Lying(heads[one]["size_bytes"], joined(heads[one]["parent"]))
            for name, one in asked.items()
            if one in heads  # else it went since it was listed
        }
        gone = asked.keys() - lying.keys()
        return Images(frozenset(ids.keys() - gone), lying, frozenset(listed["trash"]))

    def _ask(self, org: str, call: str, **arguments: object) -> Any:
        try:
            return self._speaker.ask(call, _CALL_SECONDS, **arguments)
        except CephError as error:
            match error.kind:
                case "Refused":
                    raise StorageError(f"Org {org} has too many images to compare: {error}.") from error
                case "ObjectNotFound":
                    raise StorageError(
                        f"Org {org} has disks in a cluster, and no pool in this one ({error}). Is it another cluster that the house names "
                        "now? Nothing is said about its disks."
                    ) from error
                case _:
                    raise
