"""The trash of a directory of volumes: a directory for each volume in it, whose name says until when it stays.

Only renames, on one file system: a volume is there or here, and what was cut short is gone on with.
"""

import datetime as dt
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from schemas.volume import volume_name
from services.storage.volumes import Trashed, Volume

TRASH: Final = ".trash"
"""Below the directory of volumes; libvirt does not look there."""


class Trash:
    """What lies in one trash, and how it gets in and out. Blocks."""

    def __init__(self, directory: Path) -> None:
        self._here = directory

    def listed(self, org: str) -> tuple[Trashed, ...]:
        """The org's volumes in it, the one to be purged first at the head; those on their way in or out are among them."""
        found: list[Trashed] = []
        for path in self._here.iterdir() if self._here.exists() else ():
            stem, _, until = path.name.rpartition(".")
            owner, _, name = stem.partition(".")
            if owner == org and until.isdigit() and any(path.iterdir()):
                found.append(
                    Trashed(path.name, Volume(org, name), dt.datetime.fromtimestamp(int(until), dt.UTC))
                )
        return tuple(sorted(found, key=lambda one: (one.until, one.key)))

    def holds(self, trashed: Trashed) -> bool:
        """Whether the volume itself lies there."""
        return (self._here / trashed.key / _file(trashed.volume)).exists()

    def put(self, volume: Volume, files: Sequence[Path], until: dt.datetime) -> Trashed:
        """The files are in the trash, the volume's own, which comes last, as well."""
        begun = (one for one in self.listed(volume.org) if one.volume == volume and not self.holds(one))
        trashed = next(begun, None) or self._place(volume, until)
        into = self._here / trashed.key
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in files:
            path.rename(into / path.name)
        return trashed

    def take(self, trashed: Trashed) -> None:
        """The files are beside the trash again, the volume's own last; nothing happens where none is left."""
        left = self._here / trashed.key
        if not left.exists():
            return
        last = _file(trashed.volume)
        for path in sorted(left.iterdir(), key=lambda one: one.name == last):
            path.rename(self._here.parent / path.name)
        left.rmdir()

    def remove(self, trashed: Trashed) -> None:
        """The files are gone; nothing happens where they are already."""
        if (self._here / trashed.key).exists():
            shutil.rmtree(self._here / trashed.key)

    def _place(self, volume: Volume, until: dt.datetime) -> Trashed:
        """A place that nothing lies in, of that second or a later one."""
        until, stem = until.replace(microsecond=0), _file(volume).removesuffix(".qcow2")
        while (path := self._here / f"{stem}.{int(until.timestamp())}").exists() and any(path.iterdir()):
            until += dt.timedelta(seconds=1)
        return Trashed(path.name, volume, until)


def _file(volume: Volume) -> str:
    return volume_name(volume.org, volume.name)
