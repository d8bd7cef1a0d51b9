"""Volumes as images in a Ceph cluster; `services.storage.volumes.Store` says what each call promises.

Each org has a pool of its own, `org-<org>`, which `tenants` makes. A template is an image in the pool `templates` with a
protected snapshot, brought there when its first volume is made. Ceph takes the snapshots and keeps the trash; a domain's QEMU has
the image open under its org's own user, whom the host's libvirt knows by a secret.
"""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from schemas.house import HostPlace
from schemas.template import BASE
from schemas.volume import ClusterSource, Source
from services.storage import formers, qemu_img
from services.storage.ceph.cluster import Cluster
from services.storage.ceph.keys import tell
from services.storage.ceph.speaker import START_SECONDS, CephError, Speaker
from services.storage.ceph.words import (
    TEMPLATES,
    has_image,
    joined,
    moment,
    place_of,
    pool_of,
    refusal,
    snapshot_of,
    unpurged,
)
from services.storage.claims import Ours
from services.storage.copies import standalone
from services.storage.files.qcow2 import size_of
from services.storage.lane import Lane
from services.storage.link import Link
from services.storage.volumes import (
    COPY_SECONDS,
    QUICK_SECONDS,
    Copy,
    Former,
    MissingError,
    OtherVolumeError,
    Seen,
    Snapshot,
    Trashed,
    Volume,
    closed,
    in_use,
    missing,
    must_be_name,
    must_not_shrink,
    must_share_org,
    over_another,
    stranger,
    without,
)

T = TypeVar("T")

COPIER: Final = Path(__file__).with_name("copier.py")

_ORIGIN: Final = "origin"
"""The snapshot of a template's image that volumes lie over."""


class Rbd:
    """The volumes that domains of one host can have in a cluster. What copies has a lane and a child of its own."""

    def __init__(self, place: HostPlace, templates: Path, cluster: Cluster, ours: Ours = lambda: ()) -> None:
        self._cluster = cluster
        self._templates = templates
        self._ours = ours
        self._link = Link(place)
        self._quick = Lane(f"storage-{place.name}-images")
        self._slow = Lane(f"storage-{place.name}-exports")
        self._asking = Speaker(cluster.conf, cluster.user)
        self._copying = Speaker(cluster.conf, cluster.user, COPIER)
        self._known: set[str] = set()
        """The templates that were seen in the cluster."""

    async def create(self, volume: Volume, size_bytes: int, template: str | None = None) -> Seen:
        """A clone of the template's snapshot, or an empty image; neither holds data."""
        if template is not None and template not in self._known:
            await self._copy("offer a template", lambda: self._offer(template))
        return await self._call("create", lambda: self._create(volume, size_bytes, template))

    async def look(self, volume: Volume) -> Seen | None:
        """What the image's head says, and who watches it. One that died with it open is seen there for 30 s more."""
        return await self._call("look", lambda: self._look(volume))

    async def grow(self, volume: Volume, size_bytes: int, domain: str | None = None) -> int:
        """By QEMU where it has the image open, else by Ceph."""
        return await self._call("grow", lambda: self._grow(volume, size_bytes, domain))

    async def snapshot(self, volume: Volume, name: str, domain: str | None = None) -> Snapshot:
        """By Ceph, whoever has the image open."""
        del domain
        must_be_name(name)
        return await self._call("snapshot", lambda: self._snapshot(volume, name))

    async def snapshots(self, volume: Volume) -> tuple[Snapshot, ...]:
        """Those that have a name."""
        return await self._call("snapshots", lambda: self._snapshots(volume))

    async def restore(self, volume: Volume, name: str, size_bytes: int) -> Seen:
        """Each object that changed since is copied back: its time grows with what was written."""
        return await self._copy("restore", lambda: self._restore(volume, name, size_bytes))

    async def forget(self, volume: Volume, name: str, domain: str | None = None) -> None:
        """Ceph frees its objects later, by itself."""
        del domain
        await self._call("forget", lambda: self._ask("forget", volume, name=name))

    async def clone(self, volume: Volume, name: str, to: Volume) -> Seen:
        """An image over the snapshot, which shares all that neither has written since."""
        return await self._call("clone", lambda: self._clone(volume, name, to))

    async def duplicate(self, volume: Volume, name: str, to: Volume, order: str) -> Seen:
        """Over the snapshot first; then all that it shares is copied."""
        return await self._copy("duplicate", lambda: self._duplicate(volume, name, to, order))

    async def detach(self, volume: Volume) -> Seen:
        """What it shares is copied, also while a domain has it open."""
        return await self._copy("detach", lambda: self._seen(volume, self._ask_long("flatten", volume)))

    async def release(self, volume: Volume) -> Seen:
        """The lock of one who died is broken, and he is blocked: the org's own user may not, and would be denied every write."""
        return await self._call("release", lambda: self._release(volume))

    async def trash(self, volume: Volume, guard_seconds: int) -> Trashed:
        """Ceph's own trash, which keeps the time."""
        return await self._call("trash", lambda: self._trash(volume, guard_seconds))

    async def trashed(self, org: str) -> tuple[Trashed, ...]:
        """Ceph's own list."""
        return await self._call("list the trash", lambda: self._trashed(org))

    async def recover(self, trashed: Trashed) -> Seen:
        """Out of Ceph's own trash."""
        return await self._call("recover", lambda: self._recover(trashed))

    async def purge(self, trashed: Trashed) -> None:
        """The image's objects are removed one by one: its time grows with what was written."""
        await self._copy("purge", lambda: self._purge(trashed))

    async def claim(self, volume: Volume, order: str) -> bool:
        """By an object beside the image."""
        return await self._call("claim", lambda: self._ask("claim", volume, order=order))

    async def sweep(self, volume: Volume) -> None:
        """An image that is marked as being made is gone, and so is its mark."""
        await self._copy("sweep", lambda: self._ask_long("sweep", volume))

    async def discard(self, volume: Volume, order: str) -> None:
        """Its objects are removed one by one."""
        await self._copy("discard", lambda: self._ask_long("discard", volume, order=order))

    async def export(self, volume: Volume, name: str | None, file: Path) -> Copy:
        """By `qemu-img convert`, with the template's part in it."""
        return await self._copy("export", lambda: self._export(volume, name, file))

    async def load(self, copy: Copy, volume: Volume) -> Seen:
        """By `qemu-img convert` into another name, which is changed at the end."""
        return await self._copy("load", lambda: self._load(copy, volume))

    async def take(self, volume: Volume, former: Former) -> Seen:
        """By `qemu-img convert`; the former disk stays aside."""
        return await self._copy("take", lambda: self._take(volume, former))

    async def give_back(self, volume: Volume, former: Former) -> None:
        """The image is gone, and the former disk where it was."""
        await self._copy("give back", lambda: formers.give_back(former, self._into(volume)))

    async def source(self, volume: Volume) -> Source:
        """The image, the monitors, and the secret of the org's user, which the host's libvirt has from here on."""
        return await self._call("name", lambda: self._source(volume))

    async def close(self) -> None:
        """Both children are gone, whatever they were asked."""
        self._asking.close()
        self._copying.close()

    # ------------------------------------------------------------------------------------------ blocking, in a lane

    def _create(self, volume: Volume, size_bytes: int, template: str | None) -> Seen:
        parent = None
        if template is not None:
            must_not_shrink(volume, size_of(self._templates / template / BASE), size_bytes)
            parent = [TEMPLATES, template, _ORIGIN]
        seen = self._seen(volume, self._ask("create", volume, size_bytes=size_bytes, parent=parent))
        if seen.parent != joined(parent):
            raise OtherVolumeError(
                f"The image {seen.place} is no disk over {joined(parent) or 'nothing'}, but over {seen.parent or 'nothing'}; rename it, "
                "and ask again.",
                final=True,
            )
        return seen

    def _offer(self, template: str) -> None:
        """The template's disk is in the cluster, for volumes to lie over. A template's disk never changes."""
        must_be_name(template)
        base = self._templates / template / BASE
        size_of(base)
        ask = self._copying.ask
        with self._cluster.alone(template):
            ask("init", QUICK_SECONDS, pool=TEMPLATES)
            self._fill(TEMPLATES, template, base)
            ask("snapshot", QUICK_SECONDS, pool=TEMPLATES, image=template, name=_ORIGIN)
            ask("protect", QUICK_SECONDS, pool=TEMPLATES, image=template, name=_ORIGIN)
        self._known.add(template)

    def _look(self, volume: Volume) -> Seen | None:
        found = self._ask("look", volume)
        return self._seen(volume, found) if found is not None else None

    def _must(self, volume: Volume) -> Seen:
        seen = self._look(volume)
        if seen is None:
            raise missing(volume)
        return seen

    def _grow(self, volume: Volume, size_bytes: int, domain: str | None) -> int:
        if domain is not None:
            # To say who has it open Ceph opens the image itself, which takes as long as the growing: whoever runs with it has it.
            must_not_shrink(volume, self._ask("size", volume), size_bytes)
            place = place_of(volume)
            if self._link.grow(domain, lambda disk: has_image(disk, place), size_bytes):
                return size_bytes
        seen = self._must(volume)
        must_not_shrink(volume, seen.size_bytes, size_bytes)
        if seen.in_use:
            raise in_use(volume, "grown", domain)
        return self._seen(volume, self._ask("grow", volume, size_bytes=size_bytes)).size_bytes

    def _snapshot(self, volume: Volume, name: str) -> Snapshot:
        return snapshot_of(volume, self._ask("snapshot", volume, name=name))

    def _snapshots(self, volume: Volume) -> tuple[Snapshot, ...]:
        found = [snapshot_of(volume, one) for one in self._ask("snapshots", volume)]
        return tuple(sorted(found, key=lambda one: (one.taken_at, one.name)))

    def _restore(self, volume: Volume, name: str, size_bytes: int) -> Seen:
        found = self._ask_long("restore", volume, name=name, size_bytes=size_bytes)
        return closed(volume, self._seen(volume, found), "restored")

    def _clone(self, volume: Volume, name: str, to: Volume) -> Seen:
        made = self._over(
            volume, name, to, lambda parent: self._ask("create", to, size_bytes=0, parent=parent)
        )
        seen = self._seen(to, made)
        if seen.parent not in {None, f"{place_of(volume)}@{name}"}:  # None: it was detached since
            raise over_another(to, seen)
        return seen

    def _duplicate(self, volume: Volume, name: str, to: Volume, order: str) -> Seen:
        made = self._over(
            volume, name, to, lambda parent: self._ask_long("duplicate", to, order=order, parent=parent)
        )
        if made is None:
            raise stranger(to, place_of(to))
        seen = self._seen(to, made)
        if seen.parent is not None:
            raise over_another(to, seen)
        return seen

    def _over(self, volume: Volume, name: str, to: Volume, ask: Callable[[list[str]], Any]) -> Any:
        must_share_org(volume, to)
        try:
            return ask([pool_of(volume.org), volume.name, name])
        except MissingError as error:
            raise without(volume, name) from error

    def _trash(self, volume: Volume, guard_seconds: int) -> Trashed:
        seen = self._look(volume)
        if seen is not None and seen.in_use:
            raise in_use(volume, "put into the trash", None)
        self._ask("trash", volume, guard_seconds=guard_seconds)
        found = [one for one in self._trashed(volume.org) if one.volume == volume]
        if not found:
            raise missing(volume)
        return found[-1]

    def _trashed(self, org: str) -> tuple[Trashed, ...]:
        found = [
            Trashed(one["key"], Volume(org, one["name"]), moment(one["until"]))
            for one in self._asking.ask("trashed", QUICK_SECONDS, pool=pool_of(org))
        ]
        return tuple(sorted(found, key=lambda one: (one.until, one.key)))

    def _recover(self, trashed: Trashed) -> Seen:
        try:
            self._ask("recover", trashed.volume, key=trashed.key)
        except CephError as error:
            if error.kind != "ImageExists":
                raise
            raise OtherVolumeError(
                f"Volume {trashed.volume} stays in the trash: its name is another volume's by now. Move that away, and ask again.",
                final=True,
            ) from error
        return self._must(trashed.volume)

    def _purge(self, trashed: Trashed) -> None:
        try:
            self._copying.ask("purge", COPY_SECONDS, pool=pool_of(trashed.volume.org), key=trashed.key)
        except CephError as error:
            raise unpurged(error, trashed) from error

    def _export(self, volume: Volume, name: str | None, file: Path) -> Copy:
        if file.exists():
            return standalone.export(file)
        if name is None:
            closed(volume, self._must(volume), "exported without a snapshot")
            return standalone.export(file, "-f", "raw", self._address(pool_of(volume.org), volume.name))
        if all(one.name != name for one in self._snapshots(volume)):
            raise without(volume, name)
        return standalone.export(
            file, "-f", "raw", self._address(pool_of(volume.org), f"{volume.name}@{name}")
        )

    def _load(self, copy: Copy, volume: Volume) -> Seen:
        standalone.verify(copy)
        return self._seen(volume, self._fill(pool_of(volume.org), volume.name, copy.file))

    def _release(self, volume: Volume) -> Seen:
        return closed(volume, self._seen(volume, self._ask("release", volume)), "released")

    def _source(self, volume: Volume) -> ClusterSource:
        self._ask("release", volume)  # one that is in use stays as it is
        user = pool_of(volume.org)
        monitors = tuple(self._asking.ask("monitors", QUICK_SECONDS))
        cluster: str = self._asking.ask("fsid", QUICK_SECONDS)
        key: str = self._asking.ask(
            "command", QUICK_SECONDS, command={"prefix": "auth get-key", "entity": f"client.{user}"}
        )["key"]
        return tell(self._link.connected(), ClusterSource(place_of(volume), monitors, user, ""), cluster, key)

    # -------------------------------------------------------------------------------------------------------- inside

    def _take(self, volume: Volume, former: Former) -> Seen:
        ours = (self._templates, *self._ours())
        formers.take(self._link.connected(), volume, former, self._into(volume), ours)
        return self._must(volume)

    def _into(self, volume: Volume) -> formers.Into:
        pool = pool_of(volume.org)
        return formers.Into(
            exists=lambda: self._look(volume) is not None,
            move=lambda _: False,
            fill=lambda form, file: self._fill(pool, volume.name, file, form),
            back=lambda _: None,
            remove=lambda: self._ask_long("drop", volume),
        )

    def _fill(self, pool: str, image: str, file: Path, form: str = "qcow2") -> dict[str, Any]:
        """There is an image with the file's contents, or the one that was there."""
        nonce = secrets.token_hex(16)
        found = self._copying.ask("begin", COPY_SECONDS, pool=pool, image=image, nonce=nonce)
        if found is None:
            address = self._address(pool, image)
            qemu_img.run("convert", "-f", form, "-O", "raw", str(file), address, seconds=COPY_SECONDS)
            found = self._copying.ask("whole", QUICK_SECONDS, pool=pool, image=image, nonce=nonce)
        return found

    def _address(self, pool: str, image: str) -> str:
        """The image as qemu-img is told of it."""
        conf = str(self._cluster.conf).replace("\\", "\\\\").replace(":", "\\:")
        return f"rbd:{pool}/{image}:id={self._cluster.user.removeprefix('client.')}:conf={conf}"

    def _seen(self, volume: Volume, found: dict[str, Any]) -> Seen:
        return Seen(place_of(volume), found["size_bytes"], joined(found["parent"]), found["watchers"] > 0)

    def _ask(self, call: str, volume: Volume, **arguments: object) -> Any:
        return self._told(self._asking, call, volume, QUICK_SECONDS, arguments)

    def _ask_long(self, call: str, volume: Volume, **arguments: object) -> Any:
        return self._told(self._copying, call, volume, COPY_SECONDS, arguments)

    def _told(
        self, speaker: Speaker, call: str, volume: Volume, seconds: float, arguments: dict[str, object]
    ) -> Any:
        try:
            return speaker.ask(call, seconds, pool=pool_of(volume.org), image=volume.name, **arguments)
        except CephError as error:
            raise refusal(error, call, volume) from error

    async def _call(self, what: str, call: Callable[[], T]) -> T:
        return await self._link.call(self._quick, what, call, QUICK_SECONDS + START_SECONDS)

    async def _copy(self, what: str, call: Callable[[], T]) -> T:
        return await self._link.call(self._slow, what, call, COPY_SECONDS)
