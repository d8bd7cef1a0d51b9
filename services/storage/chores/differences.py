"""What is otherwise about disks than the ledger has it: the rules, of files and of images. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from events.bus.ledger import Ledger
from projections.copies.fold import Copies
from projections.directory.fold import Directory
from projections.drift.fold import Drift
from projections.fleet.fold import Fleet
from projections.volumes.fold import Disk, Volumes
from schemas.names import shorten
from schemas.template import BASE
from schemas.volume import in_cluster
from services.storage.ceph.survey import Images
from services.storage.ceph.words import TEMPLATES, drafted
from services.storage.files.survey import Survey
from services.storage.state import Key, Owed
from services.storage.written import Written

Where = tuple[str, str, str]
"""Org, VM, and what is otherwise."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about one disk that is not as the ledger has it."""

    org: str
    vm: str
    host: str
    """That of the disk in the ledger: of an image, the one on which its VM was started last."""
    what: str
    expected: str
    found: str
    repair: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Folds:
    """What the rules need to know."""

    fleet: Fleet
    directory: Directory
    volumes: Volumes
    copies: Copies
    owed: Owed
    written: Written

    @classmethod
    def of(cls, ledger: Ledger) -> "Folds":
        """The ledger's own, which whoever else asks for them has as well."""
        return cls(
            fleet=ledger.fold(Fleet),
            directory=ledger.fold(Directory),
            volumes=ledger.fold(Volumes),
            copies=ledger.fold(Copies),
            owed=ledger.fold(Owed),
            written=ledger.fold(Written),
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found, of which disks it says nothing, and what lies there that is nobody's."""

    found: Mapping[Where, Difference]
    unsure: frozenset[Key]
    strangers: tuple[str, ...]

    def is_over(self, drift: Drift) -> bool:
        """Whether what stood there was looked at, and was as it should be; or its disk has another host by now, and it stands there."""
        if (drift.org, drift.vm) in self.unsure:
            return False
        found = self.found.get((drift.org, drift.vm, drift.what))
        return found is None or found.host != drift.host


def look(folds: Folds, host: str, survey: Survey) -> Seen:
    """Everything about the disks of a host's directory that is not as the ledger has it; of one that is at work nothing is said."""
    mine = files_of(folds, host)
    strangers = (name for name in survey.files if not _is_known(folds, _of_file(name)))
    return _compared(folds, mine, lambda key, disk: _of_files(folds, key, disk, survey), strangers)


def look_at_images(folds: Folds, org: str, images: Images) -> Seen:
    """Everything about the disks of an org in the cluster that is not as the ledger has it; of one that is at work nothing is said."""
    strangers = (name for name in images.names if not _is_known(folds, (org, drafted(name))))
    mine = images_of(folds, org)
    return _compared(folds, mine, lambda key, disk: _of_images(folds, key, disk, images), strangers)


def files_of(folds: Folds, host: str) -> Mapping[Key, Disk]:
    """The disks in the host's directory."""
    disks = folds.volumes.disks.items()
    return {key: disk for key, disk in disks if disk.host == host and not in_cluster(disk.volume)}


def images_of(folds: Folds, org: str) -> Mapping[Key, Disk]:
    """The org's disks that are in the cluster."""
    disks = folds.volumes.disks.items()
    return {key: disk for key, disk in disks if key[0] == org and in_cluster(disk.volume)}


def _compared(
    folds: Folds,
    mine: Mapping[Key, Disk],
    compare: Callable[[Key, Disk], Iterable[Difference]],
    strangers: Iterable[str],
) -> Seen:
    unsure = frozenset(key for key in mine if _is_busy(folds, key))
    found = {(*key, one.what): one for key in mine.keys() - unsure for one in compare(key, mine[key])}
    return Seen(found, unsure, tuple(sorted(strangers)))


def _of_files(folds: Folds, key: Key, disk: Disk, survey: Survey) -> Iterable[Difference]:
    name = Path(disk.volume).name
    file = survey.files.get(name)
    if file is None:
        yield _missing(folds, key, disk, survey.absent)
    elif file.size_bytes is None:
        yield Difference(*key, disk.host, "format", "a qcow2 file", "another file", "none")
    else:
        yield from _of_size(folds, key, disk, survey.top(name).size_bytes)
        # Templates may be reached by another way than when the disk was made: only the end of the path is compared.
        if file.parent is not None and Path(file.parent).parts[-2:] != (disk.template, BASE):
            yield _of_parent(key, disk, file.parent)


def _of_images(folds: Folds, key: Key, disk: Disk, images: Images) -> Iterable[Difference]:
    image = images.lying.get(key[1])
    if image is None:
        trashed = key[1] in images.trash
        yield _missing(
            folds,
            key,
            disk,
            "no such image, and one of its name in the trash" if trashed else "no such image",
        )
    else:
        yield from _of_size(folds, key, disk, image.size_bytes)
        if image.parent is not None and image.parent.partition("@")[0] != f"{TEMPLATES}/{disk.template}":
            yield _of_parent(key, disk, image.parent)


def _missing(folds: Folds, key: Key, disk: Disk, found: str) -> Difference:
    kept, vm = folds.directory.get(*key) is not None, folds.fleet.vms.get(key)
    runs = vm is not None and vm.reservation is not None
    text = f"{found}, and a guest that has it open" if runs else found
    return Difference(*key, disk.host, "missing", disk.volume, text, "none" if kept else "at-next-boot")


def _of_size(folds: Folds, key: Key, disk: Disk, has: int | None) -> Iterable[Difference]:
    shall = folds.written.size_bytes(key)
    if shall is not None and has is not None and has != shall:
        counts = has if has > shall else None
        yield Difference(*key, disk.host, "size", f"{shall} bytes", f"{has} bytes", "none", counts)


def _of_parent(key: Key, disk: Disk, parent: str) -> Difference:
    """One that lies over nothing is none: it was restored or adopted, and is whole in itself."""
    expected = shorten(f"the disk of {disk.template}")
    return Difference(*key, disk.host, "parent", expected, shorten(parent), "none")


def _is_busy(folds: Folds, key: Key) -> bool:
    """Whether storage is at the disk by order, or is about to be, or the VM is on its way into the directory or out of it.

    A deletion's own step into the trash is among these: its VM has left the directory by then.
    """
    vm = folds.fleet.vms.get(key)
    pool = folds.fleet.pools.get((key[0], vm.pool)) if vm is not None else None
    leaves = pool is not None and pool.kind == "kept" and folds.directory.get(*key) is None
    owed = key in folds.owed.boots or key in folds.owed.grows
    moves = key in folds.directory.adopting or key in folds.directory.departed
    return owed or leaves or moves or folds.copies.is_busy(*key)


def _of_file(name: str) -> Key:
    """Whose the file would be, by its name: that of a disk, of a layer over it, of a seed disk, or of a draft."""
    org, _, rest = name.partition(".")
    return org, rest.partition(".")[0]


def _is_known(folds: Folds, key: Key) -> bool:
    directory = folds.directory
    return (
        key in folds.fleet.vms
        or key in folds.volumes.disks
        or key in directory.vms
        or key in directory.departed
        or key in directory.adopting
    )
