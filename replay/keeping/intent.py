"""What is to happen to the ledger's stream, written down before the old one goes: a kill in between is completed later.

From here on there is one way only, and each step finds out by itself whether it was done: the old store is set aside or the
old stream deleted, a new stream is made that begins behind the archive, and its first events are appended.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from events import durable
from events.envelope import Addressed
from schemas.names import Count
from schemas.struct import Value

FILE: Final = "keeping.json"
"""In the house's directory, as long as something is under way."""

BEGUN: Final = "putting-back.json"
"""In a house into which a ledger is being put back, until that can be completed by whoever comes next."""


class Line(Value, frozen=True):
    """One event that the new stream begins with, as it will be stored."""

    subject: str
    id: str
    payload: str


class Intent(Value, frozen=True):
    """The ledger goes on behind `size` events that are archived and verified, in a stream that begins with `lines`."""

    what: str
    """The word for it: rolled, recovered, restored, imported."""
    size: Count
    root: str
    lines: tuple[Line, ...]
    last_seq: Count | None = None
    """Where the old stream ended; when it has gone on since, it may not be deleted. None when it may be in any case."""
    aside: str = ""
    """The old store is kept under this name beside it; empty when all it holds is in the archive."""
    forget_marks: bool = False
    """Whether the marks of those who acted on what is lost are void."""


class KeepingError(Exception):
    """The ledger cannot be rolled, recovered, saved or put back like that; the sentence says what to do."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def line(event: Addressed) -> Line:
    """The event as it is written down."""
    return Line(subject=event.subject, id=event.id, payload=event.payload.decode())


def read(directory: Path) -> Intent | None:
    """What is under way in this house; None when nothing is."""
    path = directory / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Intent)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise KeepingError(
            "KeepingUnreadable",
            f"{path} says how the ledger is to go on, and cannot be read: {error}. Move it away, and run "
            "`virtscale ledger recover`.",
        ) from error


def require_whole(directory: Path) -> None:
    """No ledger is half put back into this house; `KeepingError` when one is.

    Its archive is not all there yet and its keys may be: whoever began a stream now would begin a second history under
    the key of the first.
    """
    if (directory / BEGUN).exists() and not (directory / FILE).exists():
        raise KeepingError(
            "HalfPutBack",
            f"A ledger is being put back into the house {directory}, and that was cut short. Nothing was started. Run "
            "`virtscale ledger restore` or `virtscale ledger import` again as before, which goes on where it stopped; or "
            "remove the directory.",
        )


def write(directory: Path, intent: Intent) -> None:
    """From now on this will be done, whatever happens to this process."""
    durable.write(directory / FILE, msgspec.json.encode(intent))


def forget(directory: Path) -> None:
    """It is done."""
    for name in (BEGUN, FILE):  # in this order: the first alone means that something was cut short
        with suppress(FileNotFoundError):
            (directory / name).unlink()
    durable.sync(directory)
