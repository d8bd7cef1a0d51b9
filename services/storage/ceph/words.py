"""How Ceph calls what we call volumes, and how it says what it knows of them."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final
from xml.etree import ElementTree as ET

from schemas.names import is_name
from services.storage.ceph.speaker import CephError
from services.storage.errors import StorageError
from services.storage.volumes import (
    HasClonesError,
    MissingError,
    ShrinkError,
    Snapshot,
    TooEarlyError,
    Trashed,
    Volume,
    in_use,
)

TEMPLATES: Final = "templates"
"""The pool that every org may read and none may write."""


DRAFT: Final = ".part"
"""The end of an image's name, as `child` gives it on its way to the trash."""


def pool_of(org: str) -> str:
    """The org's pool, and its user without `client.` before it."""
    return f"org-{org}"


def place_of(volume: Volume) -> str:
    """The image of a volume, as `pool/image`."""
    return f"{pool_of(volume.org)}/{volume.name}"


def drafted(image: str) -> str:
    """Whose an image is: one that was never whole bears its name with another end, until it is gone."""
    return image.removesuffix(DRAFT)


def joined(parent: list[str] | None) -> str | None:
    """What an image lies over, as `pool/image@snapshot`."""
    return None if parent is None else f"{parent[0]}/{parent[1]}@{parent[2]}"


def volumes_of(places: str) -> Iterator[Volume]:
    """The volumes among `pool/image, pool/image`."""
    for place in places.split(", "):
        pool, _, name = place.partition("/")
        org = pool.removeprefix(pool_of(""))
        if pool == pool_of(org) and is_name(org) and is_name(name):
            yield Volume(org, name)


def moment(seconds: float) -> dt.datetime:
    """An instant as Ceph says it."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def snapshot_of(volume: Volume, found: dict[str, Any]) -> Snapshot:
    """A snapshot as Ceph says it."""
    return Snapshot(found["name"], moment(found["taken_at"]), place_of(volume), found["size_bytes"])


def has_image(disk: ET.Element, place: str) -> bool:
    """Whether a domain's disk is that image."""
    source = disk.find("source")
    return source is not None and source.get("protocol") == "rbd" and source.get("name") == place


def refusal(error: CephError, call: str, volume: Volume) -> StorageError:
    """What Ceph said about a volume, as whoever asked knows it."""
    match error.kind:
        case "ImageNotFound":
            return MissingError(
                f"There is no volume {volume}, or it has no such snapshot: {error}.", final=True
            )
        case "ObjectNotFound":
            return MissingError(f"Org {volume.org} has no pool in the cluster: enrol it first.", final=True)
        case "ImageBusy" | "ReadOnlyImage":
            # Also after the one who had it open died, until Ceph has waited for him long enough.
            return in_use(volume, f"touched ({call})", None)
        case "Refused":
            return ShrinkError(
                f"Volume {volume} has {error} bytes and was asked to have less; a volume never shrinks. Nothing was changed.",
                final=True,
            )
        case _:
            return error


def unpurged(error: CephError, trashed: Trashed) -> StorageError:
    """Why a volume stays in the trash, as whoever asked knows it."""
    match error.kind:
        case "PermissionError":
            return TooEarlyError(
                f"Volume {trashed.volume} stays in the trash until {trashed.until.isoformat()}; nothing was removed."
            )
        case "ImageBusy":
            return in_use(trashed.volume, "purged", None)
        case "Refused":
            return HasClonesError(
                f"Volume {trashed.volume} stays in the trash: {error} lie over its snapshots. Detach them first.",
                tuple(volumes_of(str(error))),
            )
        case _:
            return error
