"""One file of views takes the place of another."""

from pathlib import Path
from typing import Final

BESIDE: Final = ("-wal", "-shm", "-journal")
"""Files that SQLite keeps beside one, and reads as if they were part of it."""


def swap(fresh: Path, path: Path) -> None:
    """The file `fresh`, which has no log beside it, stands under the name of `path`.

    What stands beside the old one goes first: a log that a killed process left would be played into the new file by whoever
    opens that. Killed in between, one leaves the old file without its newest rows; the next start, or the next rebuild, makes
    it anew.
    """
    remove_beside(path)
    fresh.replace(path)


def remove(path: Path) -> None:
    """There is no such file, and nothing that SQLite kept beside it."""
    path.unlink(missing_ok=True)
    remove_beside(path)


def remove_beside(path: Path) -> None:
    """What SQLite keeps beside a file that is in use, or was when its process was killed, is gone."""
    for end in BESIDE:
        path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
