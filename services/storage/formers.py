"""A disk of somebody else's domain becomes a volume, and is given back where that fails: the steps that both drivers take.

First the file is set aside, under another name in its own directory: from there on nobody can start its domain, so that what is
copied is what the guest left. A note beside it says by which order, and as whose it was found. Then it is moved to its new place, or
copied where it lies in another file system, or is to be an image, or is not qcow2. What was copied stays aside: it is its owner's to
remove. Blocks.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import libvirt
import msgspec

from schemas.foreign import obstacles, read
from services.storage import qemu_img
from services.storage.claims import against, claims
from services.storage.errors import StorageError
from services.storage.volumes import Former, MissingError, OtherVolumeError, Volume

ASIDE: Final = ".adopted"
"""The end of the name of a disk that was set aside."""

NOTE: Final = ".adopted.json"
"""What says where it went, and by which order."""


class AdoptError(StorageError):
    """The domain cannot be adopted as it is."""

    code = "UnfitDomain"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


class DomainRunsError(AdoptError):
    """Somebody started it, or it sleeps: it is not touched."""

    code = "DomainRuns"


class NoDomainError(AdoptError):
    """There is no such domain, or its disk is not there."""

    code = "NoSuchDomain"


@dataclass(frozen=True, slots=True)
class Into:
    """Where a driver has the volume."""

    exists: Callable[[], bool]
    move: Callable[[Path], bool]
    """The file is the volume from here on; False where it must be copied."""
    fill: Callable[[str, Path], object]
    """The volume has what is in the file, which is of that form."""
    back: Callable[[Path], object]
    """The volume is that file again, which it was before `move`."""
    remove: Callable[[], object]
    """There is no such volume, and no half of one."""


class _Note(msgspec.Struct):
    order: str
    vm: str
    uid: int
    gid: int
    mode: int
    form: str = "qcow2"
    """What the file was; one that was not qcow2 is never given back as what it became."""


def take(
    connection: libvirt.virConnect, volume: Volume, former: Former, into: Into, ours: tuple[Path, ...]
) -> None:
    """The volume has what the file had; see `Store.take`. Each step is looked for before it is taken.

    What lies in `ours` is no former disk.
    """
    here, aside = Path(former.file), Path(former.file + ASIDE)
    known = _noted(former)
    if into.exists():
        if known is not None and not here.exists():
            return
        raise OtherVolumeError(
            f"There is a volume {volume} already, of another disk: take another name.", final=True
        )
    form = _form(connection, former)
    if known is None and aside.exists():
        raise OtherVolumeError(
            f"{aside} lies there since {former.file} was adopted before: move it away, and ask again.",
            final=True,
        )
    if not aside.exists():
        _must_be_its_own(connection, here, former, ours)
        _must_fit(here, form, former)
        _write_note(volume, former, form, here.stat())
        here.rename(aside)
        _sync(here.parent)
    # Who started it before it was set aside is seen now; who tries it later finds no disk.
    _form(connection, former)
    _must_be_closed(aside, former)
    if form != "qcow2" or not into.move(aside):
        into.fill(form, aside)


def give_back(former: Former, into: Into) -> None:
    """The file lies where it lay; see `Store.give_back`. Until it does, its note stays: nothing else says where it went."""
    here, aside = Path(former.file), Path(former.file + ASIDE)
    known = _noted(former)
    if known is None:
        return
    if aside.exists():
        if here.exists():
            raise OtherVolumeError(
                f"{aside} cannot go back: there is another {here} by now. Move that away.", final=True
            )
        into.remove()
        aside.rename(here)
    elif known.form == "qcow2" and not here.exists() and into.exists():
        into.back(here)
    if not here.exists():
        raise MissingError(
            f"{here} of {former.domain} cannot go back: neither it nor {aside} is there. Put it in its place; {here}{NOTE} says whose it was."
        )
    os.chown(here, known.uid, known.gid)
    here.chmod(known.mode)
    Path(former.file + NOTE).unlink(missing_ok=True)
    _sync(here.parent)


def _form(connection: libvirt.virConnect, former: Former) -> str:
    """What the disk's file is; `AdoptError` where the domain is not off, or not one that can be adopted."""
    try:
        domain = connection.lookupByUUIDString(former.uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        raise NoDomainError(f"There is no domain {former.domain} ({former.uuid}) any more.") from error
    name = f"The domain {former.domain}"
    if domain.name() != former.domain:
        raise AdoptError(f"{name} is called {domain.name()} by now: ask for it by that name.")
    if domain.isActive():
        raise DomainRunsError(
            f"{name} runs, and only one that is off is adopted: shut it down, and ask again."
        )
    if domain.hasManagedSaveImage():
        raise DomainRunsError(f"{name} sleeps on its host's disk: start it, shut it down, and ask again.")
    if domain.snapshotNum():
        raise AdoptError(f"{name} has snapshots, which a VM of ours has not: delete them, and ask again.")
    found = read(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    for obstacle in obstacles(found):
        raise AdoptError(f"{name} stays as it is: {obstacle.text}.")
    disk = found.disks[0]
    if disk.place != former.file:
        raise AdoptError(f"{name} has the disk {disk.place} by now, and not {former.file}: ask again.")
    return disk.form


def _must_be_its_own(
    connection: libvirt.virConnect, file: Path, former: Former, ours: tuple[Path, ...]
) -> None:
    """The file is this domain's alone: whoever else has it would lose it, or would be written over."""
    for obstacle in against(file, former.uuid, claims(connection, ours), ours):
        raise AdoptError(
            f"The domain {former.domain} stays as it is: {obstacle.text}, and ask again. Nothing was changed."
        )


def _must_be_closed(file: Path, former: Former) -> None:
    if qemu_img.opened(file):
        raise DomainRunsError(
            f"Somebody has {former.file} open: its domain {former.domain} is left as it is."
        )


def _must_fit(file: Path, form: str, former: Former) -> None:
    """The file is whole in itself, nobody has it open, and it is no larger than what was asked for."""
    if not file.is_file():
        raise NoDomainError(
            f"The disk {file} of {former.domain} is not there, where storage runs: mount its directory."
        )
    _must_be_closed(file, former)
    why = unfit(file, form)
    if why is None and (size := size_of(file, form)) > former.most_bytes:
        why = f"has {size} bytes, and {former.most_bytes} were asked for: ask again for all of it"
    if why is not None:
        raise AdoptError(f"The disk {file} of {former.domain} {why}, and ask again. Nothing was changed.")


def unfit(file: Path, form: str) -> str | None:
    """Why the disk is not whole in itself, and what to do about it; None where it is. Also while somebody has it open."""
    found = _info(file, form)
    own: dict[str, Any] = found.get("format-specific", {}).get("data", {})
    if "backing-filename" in found:
        return f"lies over {found['backing-filename']}: flatten it (`qemu-img rebase -b ''`)"
    if found.get("encrypted") or "data-file" in own:
        return "is encrypted, or has its data in another file: convert it to a qcow2 or raw file that stands alone"
    if own.get("corrupt"):
        return "is damaged: repair it (`qemu-img check -r all`)"
    if found.get("snapshots"):
        return f"has {len(found['snapshots'])} snapshots inside: delete them (`qemu-img snapshot -d`)"
    return None


def size_of(file: Path, form: str) -> int:
    """What the disk has, in bytes."""
    return int(_info(file, form)["virtual-size"])


def _info(file: Path, form: str) -> dict[str, Any]:
    return json.loads(qemu_img.run("info", "-U", "--output=json", "-f", form, str(file)))


def _noted(former: Former) -> _Note | None:
    """What was written down of this order; nothing where it took nothing yet."""
    try:
        note = msgspec.json.decode(Path(former.file + NOTE).read_bytes(), type=_Note)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return note if note.order == former.order else None


def _write_note(volume: Volume, former: Former, form: str, found: os.stat_result) -> None:
    path = Path(former.file + NOTE)
    draft = path.with_name(path.name + ".part")
    note = _Note(former.order, str(volume), found.st_uid, found.st_gid, found.st_mode & 0o7777, form)
    try:
        draft.write_bytes(msgspec.json.encode(note))
        qemu_img.settle(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
