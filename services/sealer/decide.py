"""When the sealer signs, when it says so in the ledger, and what must be so before anybody may append."""

from typing import Final

from services.sealer.halt import (
    ArchiveMissingError,
    LedgerShorterError,
)
from services.sealer.state import State

SEAL_EVENTS: Final = 256
"""So many new events are sealed at once, however quickly they came."""
SEAL_SECONDS: Final = 1.0
"""No event waits for its checkpoint longer than this, but for the time that the disk takes."""
TELL_SECONDS: Final = 3600.0
"""`ledger.sealed` is appended no oftener: the files are the truth, and the event is a reminder of them in the ledger."""
SCRUB_FIRST_EVENTS: Final = 5_000_000
"""A ledger below this is compared whole before the first permit, at some 200,000 events a second; a larger one after it."""
SCRUB_EVERY_SECONDS: Final = 24 * 3600.0
MOST_UNSEALED_EVENTS: Final = 65_536
"""With more than this unsealed nobody may append: what nobody has signed yet is bounded."""
ALARM_RATIO: Final = 0.7
"""Of the store; from here on somebody should make it larger, or roll the ledger."""


def seal_due(state: State, *, full: bool) -> float | None:
    """When the next checkpoint is due, by the loop's clock; None when there is nothing new.

    A `ledger.sealed` alone is nothing new: sealing it would make the next one, for ever. With `full` nothing more is read
    before a checkpoint, so it is due whatever is new: something else may stand behind thousands of those.
    """
    if full:
        return 0.0
    if state.new_since is None:
        return None
    return state.new_since if state.new >= SEAL_EVENTS else state.new_since + SEAL_SECONDS


def tells(state: State, now_ns: int) -> bool:
    """Whether the ledger itself should say what is sealed: at most hourly, and only of something else than such events."""
    if state.told is None:
        return state.sealed > 0
    return state.sealed > state.told.seq and now_ns - state.told.stored_ns >= TELL_SECONDS * 1e9


def scrubs_first(sealed: int, *, clean: bool) -> bool:
    """Whether all that was sealed is compared before the first permit; else its end is, and the rest afterwards."""
    return not clean or sealed < SCRUB_FIRST_EVENTS


def check_start(sealed: int, first_seq: int, last_seq: int, told_seq: int | None, archive: str) -> None:
    """The stream of the bus goes on where the archive ends, as far as their numbers say it; raises what is wrong.

    `sealed` is the size of the archive's checkpoint, 0 where there is none; `told_seq` the last `ledger.sealed`.
    """
    if sealed == 0 and (told_seq is not None or first_seq > 1):
        why = (
            f"event {told_seq} of the ledger says that it was sealed before"
            if told_seq is not None
            else f"the bus holds events from {first_seq} on only"
        )
        raise ArchiveMissingError(
            f"The archive {archive} is empty, and {why}. Nothing was signed and nobody may append. Put the archive back, "
            "or a backup of it; if it is lost for good, `virtscale ledger recover` begins a new one."
        )
    if first_seq > sealed + 1:
        raise ArchiveMissingError(
            f"The archive {archive} ends with event {sealed} and the bus begins with event {first_seq}: what lies between "
            "is in neither. Nothing was signed and nobody may append. Put the newer archive back, or a backup of it."
        )
    check_end(sealed, last_seq)


def check_end(known: int, last_seq: int) -> None:
    """The stream holds at least what is known to have been stored; else the bus has an older copy."""
    if last_seq < known:
        raise LedgerShorterError(
            f"The bus ends with event {last_seq}, and {known} events were sealed or read: it came back with an older copy "
            "of its store. Nobody may append. Put the newer store back, or run `virtscale ledger recover`."
        )


def may_append(sealed: int, last_seq: int, *, sealing_fails: bool) -> bool:
    """Whether the sealer may say that one may append, apart from what the bus holds: it keeps up, and its disk takes it."""
    return not sealing_fails and last_seq - sealed <= MOST_UNSEALED_EVENTS
