"""Copies of volumes: qcow2 files that stand alone, the same whichever driver made them. All of it blocks."""

from pathlib import Path

from services.storage import qemu_img
from services.storage.copies.backups import draft_of
from services.storage.errors import StorageError
from services.storage.volumes import COPY_SECONDS, Copy, DamagedCopyError, MissingError


def export(file: Path, *origin: str) -> Copy:
    """The file holds what qemu-img reads from `origin` (its arguments); one that is there already stays.

    Nobody but our user may read it. It gets its name when it is whole and on the disk.
    """
    if not file.exists():
        draft = draft_of(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            qemu_img.run("convert", "-O", "qcow2", *origin, str(draft), seconds=COPY_SECONDS)
            qemu_img.settle(draft, file)
        except OSError as error:
            raise StorageError(f"No copy can be written to {file}: {error.strerror}.") from error
        finally:
            draft.unlink(missing_ok=True)
    found = qemu_img.head(file)
    if found is None:
        raise DamagedCopyError(f"{file} is no copy of ours; move it away, and ask again.", final=True)
    return Copy(file, found.size_bytes, file.stat().st_size, qemu_img.sha256(file))


def verify(copy: Copy) -> None:
    """Raise `DamagedCopyError` unless the file is what was exported."""
    try:
        found = qemu_img.sha256(copy.file)
    except FileNotFoundError:
        raise MissingError(f"The copy {copy.file} is gone.", final=True) from None
    if found != copy.sha256:
        raise DamagedCopyError(
            f"The copy {copy.file} has the digest {found} and was exported with {copy.sha256}; nothing was made of it. Take "
            "another copy.",
            final=True,
        )
