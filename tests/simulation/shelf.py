"""Volumes of one host that lie nowhere: contents are marks at places, and a copy is a small file that says them.

It answers what a driver of volumes answers, and passes the tests that the real drivers pass (tests/seams/test_storage_drivers.py).
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from events.clock import Clock
from services.storage.formers import DomainRunsError, NoDomainError
from services.storage.volumes import (
    Copy,
    DamagedCopyError,
    Former,
    MissingError,
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
)
from services.waker.port import DomainState, HypervisorError

EMPTY: Final = "\0"
_SECOND: Final = dt.timedelta(seconds=1)


class Contents(msgspec.Struct, frozen=True):
    """What is on a disk: its size, and a mark at each place that was written."""

    size_bytes: int
    marks: dict[int, str]

    def at(self, place: int) -> str:
        """The mark there; NUL where nothing was written."""
        return self.marks.get(place, EMPTY)

    def with_mark(self, place: int, mark: str) -> "Contents":
        """The same with this mark."""
        return Contents(self.size_bytes, {**self.marks, place: mark})


@dataclass(frozen=True, slots=True)
class Kept:
    """One volume."""

    now: Contents
    parent: str | None = None
    snapshots: tuple[tuple[Snapshot, Contents], ...] = ()

    def snapshot(self, name: str) -> tuple[Snapshot, Contents] | None:
        """The snapshot of that name."""
        return next((one for one in self.snapshots if one[0].name == name), None)


@dataclass(slots=True)
class Foreign:
    """A domain of somebody else's, and its only disk."""

    domain: str
    uuid: str
    contents: Contents
    state: DomainState = "off"
    """`missing` once nobody has it defined."""
    order: str | None = None
    """By which its disk was taken."""


@dataclass(slots=True)
class Shelf:
    """The volumes of one host, and its trash. Each call is done at once, and outlives whoever asked for it."""

    host: str
    clock: Clock
    templates: Mapping[str, Contents]
    open_by: Callable[[Volume], str | None] = lambda _: None
    """The domain that has the volume open."""
    is_pinned: Callable[[Volume], bool] = lambda _: False
    """Whether a layer lies above it."""
    volumes: dict[Volume, Kept] = field(default_factory=dict[Volume, Kept])
    foreign: dict[str, Foreign] = field(default_factory=dict[str, Foreign])
    """Domains of somebody else's, by the file of their disk."""
    claims: dict[Volume, str] = field(default_factory=dict[Volume, str])
    """Orders by which volumes are made."""
    binned: dict[str, tuple[Trashed, Kept]] = field(default_factory=dict[str, tuple[Trashed, Kept]])
    made: Callable[[Volume], None] = lambda _: None
    """Hears of each volume that there is from now on, `gone` of each that is no more, `restored` of each that is as it once was."""
    gone: Callable[[Volume], None] = lambda _: None
    restored: Callable[[Volume], None] = lambda _: None
    _binned: int = 0

    def place(self, volume: Volume) -> str:
        """The file of a volume."""
        return f"/{self.host}/{volume.org}.{volume.name}.qcow2"

    def seen(self, volume: Volume) -> Seen:
        """The volume as it is."""
        kept = self._kept(volume)
        return Seen(
            self.place(volume), kept.now.size_bytes, kept.parent, in_use=self.open_by(volume) is not None
        )

    def write(self, volume: Volume, place: int, mark: str) -> None:
        """Its guest wrote that."""
        kept = self._kept(volume)
        self.volumes[volume] = replace(kept, now=kept.now.with_mark(place, mark))

    def create(self, volume: Volume, size_bytes: int, template: str | None) -> Seen:
        """See `Store`."""
        base = self.templates[template] if template is not None else Contents(0, {})
        parent = f"/templates/{template}" if template is not None else None
        must_not_shrink(volume, base.size_bytes, size_bytes)
        kept = self.volumes.get(volume)
        if kept is None:
            self._put(volume, Kept(Contents(size_bytes, base.marks), parent))
        elif kept.parent != parent:
            raise OtherVolumeError(
                f"{self.place(volume)} is no disk over {parent or 'nothing'}, but over {kept.parent or 'nothing'}.",
                final=True,
            )
        return self.seen(volume)

    def look(self, volume: Volume) -> Seen | None:
        """See `Store`."""
        return self.seen(volume) if volume in self.volumes else None

    def grow(self, volume: Volume, size_bytes: int, domain: str | None) -> int:
        """See `Store`."""
        kept = self._kept(volume)
        must_not_shrink(volume, kept.now.size_bytes, size_bytes)
        self._must_be_named(volume, "grown", domain)
        self.volumes[volume] = replace(kept, now=Contents(size_bytes, kept.now.marks))
        return size_bytes

    def snapshot(self, volume: Volume, name: str, domain: str | None) -> Snapshot:
        """See `Store`."""
        must_be_name(name)
        kept = self._alone(volume)
        found = kept.snapshot(name)
        if found is None:
            self._must_be_named(volume, "snapshotted", domain)
            now = self.clock.now().replace(microsecond=0)
            found = Snapshot(name, now, self.place(volume), kept.now.size_bytes), kept.now
            self.volumes[volume] = replace(kept, snapshots=(*kept.snapshots, found))
        return found[0]

    def snapshots(self, volume: Volume) -> tuple[Snapshot, ...]:
        """See `Store`."""
        return tuple(one for one, _ in self._kept(volume).snapshots)

    def restore(self, volume: Volume, name: str, size_bytes: int) -> Seen:
        """See `Store`."""
        kept = self._alone(volume)
        then = self._must_have(volume, name)
        if self.open_by(volume) is not None:
            raise in_use(volume, "restored", None)
        now = Contents(max(then.size_bytes, size_bytes, kept.now.size_bytes), then.marks)
        self.volumes[volume] = replace(kept, now=now)
        self.restored(volume)
        return self.seen(volume)

    def forget(self, volume: Volume, name: str, domain: str | None) -> None:
        """See `Store`."""
        kept = self._kept(volume)
        if kept.snapshot(name) is None:
            return
        self._must_be_named(volume, "rid of a snapshot", domain)
        self.volumes[volume] = replace(
            kept, snapshots=tuple(one for one in kept.snapshots if one[0].name != name)
        )

    def clone(self, volume: Volume, name: str, to: Volume) -> Seen:
        """See `Store`."""
        must_share_org(volume, to)
        then = self._must_have(volume, name)
        if to not in self.volumes:
            self._put(to, Kept(then))
        return self.seen(to)

    def detach(self, volume: Volume) -> Seen:
        """See `Store`."""
        kept = self._alone(volume)
        if kept.parent is not None:
            if self.open_by(volume) is not None:
                raise in_use(volume, "detached", None)
            self.volumes[volume] = replace(kept, parent=None)
        return self.seen(volume)

    def release(self, volume: Volume) -> Seen:
        """See `Store`."""
        seen = self.seen(volume)
        if seen.in_use:
            raise in_use(volume, "released", None)
        return seen

    def trash(self, volume: Volume, guard_seconds: int) -> Trashed:
        """See `Store`."""
        kept = self.volumes.get(volume)
        if kept is None:
            found = [one for one, _ in self.binned.values() if one.volume == volume]
            if not found:
                raise missing(volume)
            return found[-1]
        if self.open_by(volume) is not None:
            raise in_use(volume, "put into the trash", None)
        self._binned += 1
        until = self.clock.now().replace(microsecond=0) + _SECOND * guard_seconds
        trashed = Trashed(f"bin-{self._binned}", volume, until)
        self.binned[trashed.key] = trashed, kept
        self._take(volume)
        return trashed

    def trashed(self, org: str) -> tuple[Trashed, ...]:
        """See `Store`."""
        found = [one for one, _ in self.binned.values() if one.volume.org == org]
        return tuple(sorted(found, key=lambda one: (one.until, one.key)))

    def recover(self, trashed: Trashed) -> Seen:
        """See `Store`."""
        if trashed.key in self.binned:
            if trashed.volume in self.volumes:
                raise OtherVolumeError(f"{trashed.volume} is another volume by now.", final=True)
            _, kept = self.binned.pop(trashed.key)
            self._put(trashed.volume, kept)
        return self.seen(trashed.volume)

    def purge(self, trashed: Trashed) -> None:
        """See `Store`."""
        if trashed.key in self.binned and self.clock.now() < trashed.until:
            raise TooEarlyError(
                f"Volume {trashed.volume} stays in the trash until {trashed.until.isoformat()}."
            )
        self.binned.pop(trashed.key, None)

    def claim(self, volume: Volume, order: str) -> bool:
        """See `Store`."""
        free = volume not in self.volumes
        if free:
            self.claims[volume] = order
        return self.claims.get(volume) == order

    def sweep(self, volume: Volume) -> None:
        """What is made here is whole at once."""
        if volume not in self.volumes:
            self.claims.pop(volume, None)

    def discard(self, volume: Volume, order: str) -> None:
        """See `Store`."""
        if self.claims.get(volume) != order:
            return
        if self.open_by(volume) is not None:
            raise in_use(volume, "discarded", None)
        del self.claims[volume]
        if self.volumes.pop(volume, None) is not None:
            self.gone(volume)

    def clear(self, volume: Volume) -> None:
        """Nothing of it is left, in the trash neither."""
        if self.open_by(volume) is not None:
            raise in_use(volume, "removed", None)
        self.binned = {key: (one, kept) for key, (one, kept) in self.binned.items() if one.volume != volume}
        self.claims.pop(volume, None)
        if self.volumes.pop(volume, None) is not None:
            self.gone(volume)

    def export(self, volume: Volume, name: str | None, file: Path) -> Copy:
        """See `Store`."""
        if not file.exists():
            contents = self._must_have(volume, name) if name is not None else self._kept(volume).now
            if name is None and self.open_by(volume) is not None and not self.is_pinned(volume):
                raise in_use(volume, "exported without a snapshot", None)
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_name(file.name + ".part")
            draft.touch(mode=0o600)
            draft.write_bytes(msgspec.json.encode(contents))
            draft.rename(file)
        payload = file.read_bytes()
        size_bytes = msgspec.json.decode(payload, type=Contents).size_bytes
        return Copy(file, size_bytes, len(payload), hashlib.sha256(payload).hexdigest())

    def load(self, copy: Copy, volume: Volume) -> Seen:
        """See `Store`."""
        try:
            payload = copy.file.read_bytes()
        except FileNotFoundError:
            raise MissingError(f"The copy {copy.file} is gone.", final=True) from None
        digest = hashlib.sha256(payload).hexdigest()
        if digest != copy.sha256:
            raise DamagedCopyError(
                f"The copy {copy.file} has the digest {digest} and was exported with {copy.sha256}.",
                final=True,
            )
        if volume not in self.volumes:
            self._put(volume, Kept(msgspec.json.decode(payload, type=Contents)))
        return self.seen(volume)

    def take(self, volume: Volume, former: Former) -> Seen:
        """See `Store`."""
        found = self.foreign.get(former.file)
        if found is None or (found.domain, found.uuid) != (former.domain, former.uuid):
            raise NoDomainError(f"There is no domain {former.domain} with the disk {former.file}.")
        if found.order == former.order and volume in self.volumes:
            return self.seen(volume)
        if volume in self.volumes or found.order is not None:
            raise OtherVolumeError(f"{former.file} or {volume} is another's by now.", final=True)
        if found.state != "off":
            raise DomainRunsError(f"The domain {former.domain} is {found.state}, and is not touched.")
        found.order = former.order
        self._put(volume, Kept(found.contents))
        return self.seen(volume)

    def give_back(self, volume: Volume, former: Former) -> None:
        """See `Store`."""
        found = self.foreign.get(former.file)
        if found is not None and found.order == former.order:
            found.order = None
            if volume in self.volumes:
                self._take(volume)

    def retire(self, domain: str, uuid: str) -> DomainState:
        """The domain is undefined where it was off, and its disk stays; how it was found."""
        found = next((one for one in self.foreign.values() if one.uuid == uuid), None)
        if found is None or found.state == "missing":
            return "missing"
        if found.domain != domain:
            raise HypervisorError(
                f"The domain {uuid} is called {found.domain}, and no more {domain}.", final=True
            )
        before = found.state
        found.state = "missing" if before == "off" else before
        return before

    def _put(self, volume: Volume, kept: Kept) -> None:
        self.volumes[volume] = kept
        self.made(volume)

    def _take(self, volume: Volume) -> None:
        del self.volumes[volume]
        self.gone(volume)

    def _kept(self, volume: Volume) -> Kept:
        kept = self.volumes.get(volume)
        if kept is None:
            raise missing(volume)
        return kept

    def _alone(self, volume: Volume) -> Kept:
        kept = self._kept(volume)
        if self.is_pinned(volume):
            raise PinnedError(f"Volume {volume} has a layer above it; join it first, and ask again.")
        return kept

    def _must_have(self, volume: Volume, name: str) -> Contents:
        found = self._kept(volume).snapshot(name)
        if found is None:
            raise MissingError(f"Volume {volume} has no snapshot {name}.", final=True)
        return found[1]

    def _must_be_named(self, volume: Volume, what: str, domain: str | None) -> None:
        holder = self.open_by(volume)
        if holder is not None and holder != domain:
            raise in_use(volume, what, domain)
