"""Files that a command writes: whether they can be is known before the work, not after it."""

import os
import secrets
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
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


def require_file(path: Path, *sources: Path | None) -> None:
    """The path names a file, or may come to name one; `UsageError` where it cannot.

    What is there already and is no file is never replaced: `/dev/null` is everybody's. Neither is one of the `sources`, which the
    command reads, nor what its own words go to. Whether its directory takes files is known to whoever makes the first one there,
    with `writing`.
    """
    with writing(path):
        if path.is_dir():
            raise UsageError(f"{path} is a directory: name a file to write.")
        real = _real(path)
        if not real.parent.is_dir():
            raise UsageError(f"There is no directory {real.parent} to write {real.name} in.")
        try:
            there = real.stat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(there.st_mode):
            raise UsageError(
                f"{path} is a device, a pipe or a socket, which no file may replace: name a file to write."
            )
        if any(os.path.samestat(there, os.fstat(stream)) for stream in _printed()):
            raise UsageError(f"{path} is where this command prints: name another file to write.")
        for source in sources:
            if source is not None and source.exists() and source.samefile(real):
                raise UsageError(
                    f"{path} is what is read ({source}), and would be lost: name another file to write."
                )


def _real(path: Path) -> Path:
    """What a link stands for: that is written, and the link stays."""
    return Path(os.path.realpath(path))


def _printed() -> Iterator[int]:
    for stream in (1, 2):
        with suppress(OSError):  # closed: then nothing is printed there
            os.fstat(stream)
            yield stream


@contextmanager
def drafted(path: Path, *sources: Path | None) -> Generator[Path]:
    """An empty file beside it, which takes its place when the block ends well, and is gone when it does not.

    The draft has a name that nothing else has. Refusals as in `require_file`.
    """
    require_file(path, *sources)
    real = _real(path)
    draft = real.with_name(f".virtscale-{secrets.token_hex(8)}.draft")
    with writing(path), draft.open("xb"):
        pass
    try:
        yield draft
        with writing(path):
            draft.replace(real)
    finally:
        draft.unlink(missing_ok=True)
