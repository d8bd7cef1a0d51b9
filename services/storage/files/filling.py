"""Files of a host's directory of disks that are written from elsewhere: whole once they have their name, and owned as guests need it."""

import errno
import os
from pathlib import Path
from typing import Final

from services.storage import qemu_img
from services.storage.copies.backups import draft_of
from services.storage.formers import Into
from services.storage.volumes import COPY_SECONDS

_GUESTS_ALONE: Final = 0o600


def fill(file: Path, *origin: str) -> None:
    """The file has what qemu-img reads from `origin` (its arguments), from the moment at which it has its name. Blocks."""
    draft = draft_of(file)
    try:
        qemu_img.run("convert", "-O", "qcow2", *origin, str(draft), seconds=COPY_SECONDS)
        _hand_over(draft, file.parent)
        qemu_img.settle(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def into(file: Path) -> Into:
    """Where a former disk becomes this file: moved within a file system, else copied."""
    return Into(
        exists=lambda: os.path.lexists(file),
        move=lambda former: _move(former, file),
        fill=lambda form, former: fill(file, "-f", form, str(former)),
        back=file.rename,
        remove=lambda: _remove(file),
    )


def _move(former: Path, file: Path) -> bool:
    if former.is_symlink() or former.stat().st_dev != file.parent.stat().st_dev:
        return False
    _hand_over(former, file.parent)
    try:
        qemu_img.settle(former, file)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _hand_over(file: Path, directory: Path) -> None:
    """The guests' user has it, and nobody else reads it."""
    owner = directory.stat()
    os.chown(file, owner.st_uid, owner.st_gid)
    file.chmod(_GUESTS_ALONE)


def _remove(file: Path) -> None:
    for one in (file, draft_of(file)):
        one.unlink(missing_ok=True)
