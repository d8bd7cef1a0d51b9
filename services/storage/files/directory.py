"""Volumes as qcow2 files in one directory of a host; `services.storage.volumes.Store` says what each call promises.

libvirt makes them, and speaks to the domains that have them open. The rest is done to the files themselves, by qemu-img or by
renaming, so the directory must be reached under its own path where storage runs. Snapshots lie inside the file: none is a file
more, and to give one up moves no data.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from events.clock import Clock
from schemas.house import HostPlace
from schemas.template import BASE
from schemas.volume import FileSource, Source, sleep_of, volume_name
from services.storage import formers, qemu_img
from services.storage.claims import Ours
from services.storage.copies import standalone
from services.storage.errors import StorageError
from services.storage.files import claiming, filling
from services.storage.files.chain import files_of
from services.storage.files.joining import Joins
from services.storage.files.qcow2 import size_of
from services.storage.files.survey import Survey, surveyed
from services.storage.files.trash import TRASH, Trash
from services.storage.lane import Lane
from services.storage.link import Link
from services.storage.volumes import (
    COPY_SECONDS,
    QUICK_SECONDS,
    Copy,
    Former,
    OtherVolumeError,
    PinnedError,
    Seen,
    Snapshot,
    TooEarlyError,
    Trashed,
    Volume,
    in_use,
    missing,
    must_be_name,
    must_not_shrink,
    must_share_org,
    stranger,
    without,
)

T = TypeVar("T")


class Directory:
    """The volumes of one host. What copies has a lane of its own: a boot does not wait behind a backup."""

    def __init__(self, place: HostPlace, templates: Path, clock: Clock, ours: Ours = lambda: ()) -> None:
        self._here = Path(place.volumes)
        self._host = place.name
        self._templates = templates
        self._ours = ours
        self._clock = clock
        self._link = Link(place)
        self._trash = Trash(self._here / TRASH)
        self._quick = Lane(f"storage-{place.name}-files")
        self._slow = Lane(f"storage-{place.name}-copies")
        self._surveys = Lane(f"storage-{place.name}-surveys")
        self._joins = Joins(self._link)

    async def create(self, volume: Volume, size_bytes: int, template: str | None = None) -> Seen:
        """A file over the template's; libvirt makes it, owned as its guests need it."""
        return await self._call("create", lambda: self._create(volume, size_bytes, template))

    async def look(self, volume: Volume) -> Seen | None:
        """What the file's head and the kernel's locks say, without libvirt."""
        return await self._call("look", lambda: self._look(volume))

    async def grow(self, volume: Volume, size_bytes: int, domain: str | None = None) -> int:
        """By QEMU where it has the file open, else by qemu-img."""
        return await self._call("grow", lambda: self._grow(volume, size_bytes, domain))

    async def snapshot(self, volume: Volume, name: str, domain: str | None = None) -> Snapshot:
        """Inside the file, by QEMU where it has it open."""
        return await self._call("snapshot", lambda: self._snapshot(volume, name, domain))

    async def snapshots(self, volume: Volume) -> tuple[Snapshot, ...]:
        """Those inside the file."""
        return await self._call("snapshots", lambda: qemu_img.snapshots(self._file(volume)))

    async def restore(self, volume: Volume, name: str, size_bytes: int) -> Seen:
        """The file's table is that of the snapshot again."""
        return await self._call("restore", lambda: self._restore(volume, name, size_bytes))

    async def forget(self, volume: Volume, name: str, domain: str | None = None) -> None:
        """Its clusters are free for the file to use again; the file itself gets no smaller."""
        await self._call("forget", lambda: self._forget(volume, name, domain))

    async def join(self, volume: Volume, domain: str | None = None) -> None:
        """By QEMU where it has the file open, else by qemu-img; other joins of the host wait."""
        await self._joins.join(lambda: self._chain(volume), domain)

    async def clone(self, volume: Volume, name: str, to: Volume) -> Seen:
        """A whole copy: no file can lie over a snapshot inside another."""
        return await self._copy("clone", lambda: self._clone(volume, name, to))

    async def duplicate(self, volume: Volume, name: str, to: Volume, order: str) -> Seen:
        """A clone; its template's part is in it from the beginning."""
        return await self._copy("duplicate", lambda: self._duplicate(volume, name, to, order))

    async def detach(self, volume: Volume) -> Seen:
        """What is in the template's file is copied up."""
        return await self._copy("detach", lambda: self._detach(volume))

    async def release(self, volume: Volume) -> Seen:
        """The kernel did so when he died."""
        return await self._call("release", lambda: self._release(volume))

    async def trash(self, volume: Volume, guard_seconds: int) -> Trashed:
        """The file and its layers are in a directory of their own below `.trash`; the time is in its name."""
        return await self._call("trash", lambda: self._put_away(volume, guard_seconds))

    async def trashed(self, org: str) -> tuple[Trashed, ...]:
        """The directories below `.trash` with names of ours."""
        return await self._call("list the trash", lambda: self._trash.listed(org))

    async def recover(self, trashed: Trashed) -> Seen:
        """The files are where they were."""
        return await self._call("recover", lambda: self._recover(trashed))

    async def purge(self, trashed: Trashed) -> None:
        """The files are removed."""
        await self._call("purge", lambda: self._purge(trashed))

    async def claim(self, volume: Volume, order: str) -> bool:
        """By a file beside the volume's."""
        return await self._call("claim", lambda: claiming.claim(self._path(volume), order))

    async def sweep(self, volume: Volume) -> None:
        """The draft of its file is gone."""
        await self._copy("sweep", lambda: claiming.sweep(self._path(volume)))

    async def discard(self, volume: Volume, order: str) -> None:
        """Its files are removed."""
        await self._copy("discard", lambda: claiming.discard(volume, self._path(volume), order))

    async def survey(self) -> Survey:
        """What lies in the directory, its trash left out; in a lane of its own, so that no boot waits behind it."""
        return await self._link.call(self._surveys, "survey", lambda: surveyed(self._link, self._here))

    async def export(self, volume: Volume, name: str | None, file: Path) -> Copy:
        """By `qemu-img convert`, with the template's part in it."""
        return await self._copy("export", lambda: self._export(volume, name, file))

    async def load(self, copy: Copy, volume: Volume) -> Seen:
        """A copy of the file, owned as libvirt's guests need it."""
        return await self._copy("load", lambda: self._load(copy, volume))

    async def take(self, volume: Volume, former: Former) -> Seen:
        """Moved within a file system, else copied."""
        return await self._copy("take", lambda: self._take(volume, former))

    async def give_back(self, volume: Volume, former: Former) -> None:
        """The file is where it was."""
        await self._copy("give back", lambda: formers.give_back(former, filling.into(self._path(volume))))

    async def source(self, volume: Volume) -> Source:
        """The file that is to be written: the newest layer's, where there is one."""
        return await self._call("name", lambda: FileSource(str(self._top(self._file(volume)))))

    async def close(self) -> None:
        """There is no child to be left."""

    # ------------------------------------------------------------------------------------------ blocking, in a lane

    def _create(self, volume: Volume, size_bytes: int, template: str | None) -> Seen:
        base = self._templates / template / BASE if template is not None else None
        if base is not None:
            must_not_shrink(volume, size_of(base), size_bytes)
        made, fresh = self._link.make(volume_name(volume.org, volume.name), size_bytes, base)
        if fresh:
            return Seen(made.path(), size_bytes, str(base) if base is not None else None, in_use=False)
        seen = self._seen(volume)
        if seen.parent != (str(base) if base is not None else None):
            raise OtherVolumeError(
                f"{seen.place} on host {self._host} is no disk over {base or 'nothing'}, but over {seen.parent or 'nothing'}; move it "
                "away, and ask again.",
                final=True,
            )
        return seen

    def _look(self, volume: Volume) -> Seen | None:
        return self._seen(volume) if self._path(volume).exists() else None

    def _grow(self, volume: Volume, size_bytes: int, domain: str | None) -> int:
        file = self._file(volume)
        top = self._top(file)
        there = self._seen(volume)
        must_not_shrink(volume, there.size_bytes, size_bytes)
        if there.in_use:
            if domain is None or not self._link.grow(
                domain, lambda disk: files_of(disk)[:1] == [str(top)], size_bytes
            ):
                raise in_use(volume, "grown", domain)
        elif there.size_bytes < size_bytes:
            qemu_img.run("resize", "-f", "qcow2", str(top), str(size_bytes))
        return self._seen(volume).size_bytes

    def _snapshot(self, volume: Volume, name: str, domain: str | None) -> Snapshot:
        must_be_name(name)
        file = self._alone(volume)
        if (found := qemu_img.snapshot(file, name)) is not None:
            return found
        if qemu_img.written(file):
            if domain is None or not self._link.monitor(
                domain, str(file), "blockdev-snapshot-internal-sync", name=name
            ):
                raise in_use(volume, "snapshotted", domain)
        else:
            qemu_img.renew(file)
            qemu_img.run("snapshot", "-c", name, str(file))
        made = qemu_img.snapshot(file, name)
        assert made is not None, name
        return made

    def _restore(self, volume: Volume, name: str, size_bytes: int) -> Seen:
        file = self._alone(volume)
        _must_have(file, volume, name)
        if qemu_img.written(file):
            raise in_use(volume, "restored", None)
        size_bytes = max(size_bytes, self._seen(volume).size_bytes)
        qemu_img.run("snapshot", "-a", name, str(file))
        if self._seen(volume).size_bytes < size_bytes:
            qemu_img.run("resize", "-f", "qcow2", str(file), str(size_bytes))
        return self._seen(volume)

    def _forget(self, volume: Volume, name: str, domain: str | None) -> None:
        file = self._file(volume)
        if qemu_img.snapshot(file, name) is None:
            return
        if qemu_img.written(file):
            command = "blockdev-snapshot-delete-internal-sync"
            if domain is None or not self._link.monitor(domain, str(file), command, name=name):
                raise in_use(volume, "rid of a snapshot", domain)
        else:
            qemu_img.run("snapshot", "-d", name, str(file))

    def _clone(self, volume: Volume, name: str, to: Volume) -> Seen:
        must_share_org(volume, to)
        file = self._file(volume)
        _must_have(file, volume, name)
        if not self._path(to).exists():
            self._fill(to, "-U", "-l", f"snapshot.name={name}", "-f", "qcow2", str(file))
        return self._seen(to)

    def _duplicate(self, volume: Volume, name: str, to: Volume, order: str) -> Seen:
        must_share_org(volume, to)
        if not claiming.claim(self._path(to), order):
            raise stranger(to, str(self._path(to)))
        self._clone(volume, name, to)
        return self._detach(to)

    def _detach(self, volume: Volume) -> Seen:
        file = self._alone(volume)
        if self._seen(volume).parent is not None:
            if qemu_img.written(file):
                raise in_use(volume, "detached", None)
            # Safe: it copies what is missing, and then forgets the file below; killed, it has copied some.
            qemu_img.run("rebase", "-f", "qcow2", "-b", "", str(file), seconds=COPY_SECONDS)
        return self._seen(volume)

    def _release(self, volume: Volume) -> Seen:
        self._file(volume)
        seen = self._seen(volume)
        if seen.in_use:
            raise in_use(volume, "released", None)
        return seen

    def _export(self, volume: Volume, name: str | None, file: Path) -> Copy:
        if file.exists():
            return standalone.export(file)
        origin = self._file(volume)
        if name is not None:
            _must_have(origin, volume, name)
            return standalone.export(file, "-U", "-l", f"snapshot.name={name}", "-f", "qcow2", str(origin))
        if self._layers(origin):  # pinned: what is above it is written instead
            return standalone.export(file, "-U", "-f", "qcow2", str(origin))
        if qemu_img.written(origin):
            raise in_use(volume, "exported without a snapshot", None)
        return standalone.export(file, "-f", "qcow2", str(origin))

    def _load(self, copy: Copy, volume: Volume) -> Seen:
        standalone.verify(copy)
        if not self._path(volume).exists():
            self._fill(volume, "-f", "qcow2", str(copy.file))
        return self._seen(volume)

    # --------------------------------------------------------------------------------------------------------- trash

    def _put_away(self, volume: Volume, guard_seconds: int) -> Trashed:
        file = self._path(volume)
        if not file.exists():
            found = [one for one in self._trash.listed(volume.org) if one.volume == volume]
            if not found:
                raise missing(volume)
            return found[-1]
        if qemu_img.written(self._top(file)):
            raise in_use(volume, "put into the trash", None)
        # The volume last: as long as it is there, it is not in the trash.
        until = self._clock.now() + dt.timedelta(seconds=guard_seconds)
        return self._trash.put(volume, (*self._layers(file), file), until)

    def _recover(self, trashed: Trashed) -> Seen:
        file = self._path(trashed.volume)
        if file.exists() and self._trash.holds(trashed):
            raise OtherVolumeError(
                f"Volume {trashed.volume} stays in the trash: {file} is another volume by now. Move that away, and ask again.",
                final=True,
            )
        self._trash.take(trashed)
        self._file(trashed.volume)
        return self._seen(trashed.volume)

    def _purge(self, trashed: Trashed) -> None:
        if self._clock.now() < trashed.until and self._trash.holds(trashed):
            raise TooEarlyError(
                f"Volume {trashed.volume} stays in the trash until {trashed.until.isoformat()}; nothing was removed."
            )
        self._trash.remove(trashed)

    # -------------------------------------------------------------------------------------------------------- inside

    def _fill(self, volume: Volume, *origin: str) -> None:
        self._link.pool()
        filling.fill(self._path(volume), *origin)

    def _take(self, volume: Volume, former: Former) -> Seen:
        self._link.pool()
        ours = (self._here, self._templates, *self._ours())
        formers.take(self._link.connected(), volume, former, filling.into(self._path(volume)), ours)
        return self._seen(volume)

    def _path(self, volume: Volume) -> Path:
        if not self._here.is_dir():
            self._link.pool()
        if not self._here.is_dir():
            raise StorageError(
                f"The directory {self._here} of host {self._host} is not here; mount it under this path where storage runs."
            )
        return self._here / volume_name(volume.org, volume.name)

    def _file(self, volume: Volume) -> Path:
        if (file := self._path(volume)).exists():
            return file
        raise missing(volume)

    def _alone(self, volume: Volume) -> Path:
        """The volume's file, which has no layer above it."""
        file = self._file(volume)
        if layers := self._layers(file):
            raise PinnedError(
                f"Volume {volume} has the layer {layers[0].name} above it; join it first, and ask again."
            )
        return file

    def _layers(self, file: Path) -> list[Path]:
        """The files above the volume's, that of the latest sleep first."""
        found = {path: sleep_of(str(path), str(file)) for path in self._here.glob(f"{file.stem}.s*.qcow2")}
        return sorted(
            (path for path, sleep in found.items() if sleep is not None), key=lambda path: -(found[path] or 0)
        )

    def _chain(self, volume: Volume) -> tuple[Path, list[Path]]:
        """The volume's file, and what lies above it."""
        file = self._path(volume)
        return file, self._layers(file)

    def _top(self, file: Path) -> Path:
        """What is written to when the volume is."""
        return next(iter(self._layers(file)), file)

    def _seen(self, volume: Volume) -> Seen:
        file = self._path(volume)
        top = self._top(file)
        lower, upper = qemu_img.head(file), qemu_img.head(top)
        if lower is None or upper is None:
            raise StorageError(
                f"{top} on host {self._host} is no qcow2 file; move it away, and ask again.", final=True
            )
        return Seen(str(file), upper.size_bytes, lower.parent, qemu_img.written(top))

    async def _call(self, what: str, call: Callable[[], T]) -> T:
        return await self._link.call(self._quick, what, call, QUICK_SECONDS)

    async def _copy(self, what: str, call: Callable[[], T]) -> T:
        return await self._link.call(self._slow, what, call, COPY_SECONDS)


def _must_have(file: Path, volume: Volume, name: str) -> None:
    if qemu_img.snapshot(file, name) is None:
        raise without(volume, name)
