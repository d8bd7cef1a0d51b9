"""By whose order a volume of a directory was made: a file beside it, which is there before the volume is. Blocks."""

import os
from pathlib import Path

from events import durable
from schemas.volume import sleep_of
from services.storage import qemu_img
from services.storage.copies.backups import draft_of
from services.storage.volumes import Volume, in_use


def claim(file: Path, order: str) -> bool:
    """Whether the volume is the order's; see `Store.claim`."""
    note = _note_of(file)
    if note.exists() and note.read_text() == order:
        return True
    # A layer of before would be written to, and read, over the new volume: whoever starts the domain takes the newest there is.
    layers = file.parent.glob(f"{file.stem}.s*{file.suffix}")
    if os.path.lexists(file) or any(sleep_of(str(one), str(file)) is not None for one in layers):
        return False
    durable.write(note, order.encode())
    return True


def sweep(file: Path) -> None:
    """Nothing is left of a making that was cut short; see `Store.sweep`."""
    draft_of(file).unlink(missing_ok=True)
    if not os.path.lexists(file):
        _note_of(file).unlink(missing_ok=True)


def discard(volume: Volume, file: Path, order: str) -> None:
    """Nothing is left of the volume that the order made; see `Store.discard`."""
    note = _note_of(file)
    if not note.exists() or note.read_text() != order:
        return
    if file.exists() and qemu_img.written(file):
        raise in_use(volume, "discarded", None)
    for one in (draft_of(file), file, note):
        one.unlink(missing_ok=True)


def _note_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.order")
