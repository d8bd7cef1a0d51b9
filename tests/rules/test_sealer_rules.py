"""When the sealer signs and speaks, what a start must find, and the key that it signs with."""

from pathlib import Path

import pytest

from services.sealer import decide, key
from services.sealer.halt import (
    ArchiveMissingError,
    LedgerShorterError,
    SealKeyError,
)
from services.sealer.state import State, Told

HOUR_NS = 3600 * 10**9
ORIGIN = "ledger.example/east"


def read(state: State, count: int, *, own: bool = False, now: float = 0.0) -> State:
    for _ in range(count):
        state = state.after_reading(state.read + 1, state.read + 1, own=own, now=now)
    return state


def due(state: State) -> float | None:
    return decide.seal_due(state, full=False)


def test_nothing_new_is_never_due_and_the_sealers_own_event_is_nothing_new() -> None:
    assert due(State(10, 10)) is None
    own = read(State(10, 10), 3, own=True)
    assert due(own) is None
    assert decide.seal_due(own, full=True) == 0, "what stands behind them could not be read otherwise"


def test_the_first_new_event_waits_a_second_and_the_256th_for_nobody() -> None:
    state = read(State(0, 0), 255, now=7.0)
    assert due(state) == 8.0
    assert due(read(state, 1, now=7.9)) == 7.0


def test_what_was_read_while_a_checkpoint_was_written_waits_its_own_second() -> None:
    state = read(State(0, 0), 10, now=7.0).after_sealing(8, new_left=2, now=9.0)
    assert due(state) == 10.0
    assert due(state.after_sealing(10, new_left=0, now=9.5)) is None


@pytest.mark.parametrize(
    ("sealed", "told", "now_ns", "tells"),
    [
        (0, None, 0, False),
        (5, None, 0, True),
        (7, Told(6, 0), HOUR_NS - 1, False),
        (7, Told(6, 0), HOUR_NS, True),
        (6, Told(6, 0), HOUR_NS, False),
        (5, Told(6, 0), HOUR_NS, False),
    ],
    ids=["nothing sealed", "never said", "said lately", "said long ago", "only that is new", "not even that"],
)
def test_the_ledger_is_told_hourly_of_something_else_than_the_telling(
    sealed: int, told: Told | None, now_ns: int, *, tells: bool
) -> None:
    assert decide.tells(State(sealed, 10, told=told), now_ns) is tells


@pytest.mark.parametrize(
    ("sealed", "first", "last", "told", "why"),
    [
        (0, 1, 9, 4, "is empty, and event 4 of the ledger says that it was sealed before"),
        (0, 5, 9, None, "is empty, and the bus holds events from 5 on only"),
        (3, 5, 9, None, "ends with event 3 and the bus begins with event 5"),
    ],
)
def test_an_archive_that_is_missing_or_ends_too_early_halts_the_sealer(
    sealed: int, first: int, last: int, told: int | None, why: str
) -> None:
    with pytest.raises(ArchiveMissingError, match=why):
        decide.check_start(sealed, first, last, told, "/audit")


def test_a_bus_that_ends_before_the_archive_halts_the_sealer_with_both_numbers_and_the_way_out() -> None:
    with pytest.raises(
        LedgerShorterError, match=r"ends with event 8, and 9 events were sealed.*virtscale ledger recover"
    ):
        decide.check_start(9, 1, 8, 5, "/audit")


@pytest.mark.parametrize(
    ("sealed", "first", "last", "told"),
    [(0, 1, 0, None), (0, 1, 5, None), (5, 1, 5, 3), (5, 1, 9, 6), (5, 6, 5, 3), (5, 6, 7, 3), (5, 3, 7, 3)],
)
def test_a_stream_that_goes_on_where_the_archive_ends_is_in_order(
    sealed: int, first: int, last: int, told: int | None
) -> None:
    decide.check_start(sealed, first, last, told, "/audit")


def test_nobody_may_append_while_the_disk_takes_nothing_or_too_much_is_unsealed() -> None:
    assert decide.may_append(5, 5 + decide.MOST_UNSEALED_EVENTS, sealing_fails=False)
    assert not decide.may_append(5, 6 + decide.MOST_UNSEALED_EVENTS, sealing_fails=False)
    assert not decide.may_append(5, 5, sealing_fails=True)


def test_only_a_large_ledger_that_was_left_in_order_is_compared_later() -> None:
    large = decide.SCRUB_FIRST_EVENTS
    assert decide.scrubs_first(large - 1, clean=True)
    assert decide.scrubs_first(large, clean=False)
    assert not decide.scrubs_first(large, clean=True)


def test_the_key_is_made_at_the_first_start_for_its_owner_alone_and_kept_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "audit-key" / "log.ed25519"
    made = key.opened(path, ORIGIN, first=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert key.opened(path, ORIGIN, first=True).vkey == made.vkey
    assert key.opened(path, ORIGIN, first=False).vkey == made.vkey
    assert [one.name for one in path.parent.iterdir()] == ["log.ed25519"]


def test_a_key_that_is_missing_later_is_never_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.ed25519"
    with pytest.raises(SealKeyError, match="is missing, and the log was sealed with it before"):
        key.opened(path, ORIGIN, first=False)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_could_read_signs_nothing(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "log.ed25519"
    key.opened(path, ORIGIN, first=True)
    path.chmod(mode)
    with pytest.raises(SealKeyError, match=f"can be read by others.*chmod 600 {path}"):
        key.opened(path, ORIGIN, first=False)


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33])
def test_a_file_that_holds_no_key_is_said_so_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.ed25519"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SealKeyError, match="holds no ed25519 key") as refused:
        key.opened(path, ORIGIN, first=False)
    assert text not in str(refused.value) or text in ("", "00")
