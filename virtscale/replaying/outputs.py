"""Files that a command writes: whether they can be is known before the work, not after it."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from events.lock import TakenError
from virtscale.invocation import UsageError


@contextmanager
def writing(path: Path) -> Generator[None]:
    """What the system says against writing the file is said as wrong usage, in a sentence."""
    try:
        yield
    except TakenError:
        raise
    except OSError as error:
        raise UsageError(
            f"{path!s:.200} cannot be written: {error.strerror}. Name a file in a directory where you may write."
        ) from error


def require_file(path: Path) -> None:
    """The path names a file, or may come to name one; `UsageError` where it cannot.

    Whether its directory takes files is known to whoever makes the first one there, with `writing`.
    """
    with writing(path):
        if path.is_dir():
            raise UsageError(f"{path} is a directory: name a file to write.")
        if not path.parent.is_dir():
            raise UsageError(f"There is no directory {path.parent} to write {path.name} in.")


@contextmanager
def drafted(path: Path) -> Generator[Path]:
    """An empty file beside it, which takes its place when the block ends well, and is gone when it does not."""
    require_file(path)
    draft = path.with_name(f"{path.name}.draft")
    with writing(path):
        draft.write_bytes(b"")
    try:
        yield draft
        with writing(path):
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
