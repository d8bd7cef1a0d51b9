"""The rules of the prober: when to ask a guest again, how long to wait for it, and when to give it up.

Pure. A probe that goes out while the guest sleeps may be answered when it wakes, or be lost with its network card
still down: a single probe then costs its whole timeout (a wake from S3 took timeout + 20 ms, measured). So probes
are short, overlap, and the first good answer wins.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final, Literal

from services.prober.port import Pulse
from services.prober.state import Trip

FIRST_PAUSE_SECONDS: Final = 0.02
"""Until the second probe; each later pause is twice as long as the one before."""

LONGEST_PAUSE_SECONDS: Final = 0.25

FIRST_PATIENCE_SECONDS: Final = 0.25
"""How long the first probe is waited for; each later one is waited for a quarter longer."""

LONGEST_PATIENCE_SECONDS: Final = 1.0
"""With the longest pause, this is what `MOST_IN_FLIGHT` probes bridge without a gap."""

MOST_IN_FLIGHT: Final = 4

LEAST_WINDOW_SECONDS: Final = 2.0
"""A prober that comes back late still asks for this long before it gives a guest up."""


def pause_seconds(step: int) -> float:
    """The pause after probe number `step`, from 0: 20, 40, 80, 160, 250, 250 ms and so on."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(step, 16))


def patience_seconds(step: int) -> float:
    """How long probe number `step`, from 0, is waited for; a busy host must not starve every probe alike."""
    return min(LONGEST_PATIENCE_SECONDS, FIRST_PATIENCE_SECONDS * 1.25 ** min(step, 16))


def first_pause_seconds(*, seldom: bool) -> float:
    """The pause that a fresh schedule begins with; a guest that boots takes seconds, so it is asked seldom."""
    return LONGEST_PAUSE_SECONDS if seldom else FIRST_PAUSE_SECONDS


def window_seconds(ready_seconds: int, awake_at: dt.datetime, now: dt.datetime) -> float:
    """How much of the readiness window is left, on the reader's clock.

    It never exceeds what the order allows, however the two clocks differ, and never falls below what a fair
    look takes.
    """
    left = ready_seconds - (now - awake_at).total_seconds()
    return max(LEAST_WINDOW_SECONDS, min(float(ready_seconds), left))


MOST_OFF_MS: Final = 500
"""How far a woken guest's clock may be from ours before it serves (the platform's contract)."""

ENOUGH_ANSWERS: Final = 3
"""So many answers with a clock that is off are believed: one may have been late on its way."""

Verdict = Literal["ready", "again", "wait", "rebooted", "not-refreshed", "clock-off"]
"""It serves; it is asked once more; its waker must speak first; or it does not serve, and why."""


def offset_ms(pulse: Pulse, now_ms: int) -> tuple[int | None, int]:
    """The guest's clock minus ours, where it tells it to the millisecond; and how far it is off at least.

    A clock that is told to the second may be anywhere in that second: what counts is its nearest moment to ours.
    """
    if pulse.clock_ms is not None:
        return pulse.clock_ms - now_ms, abs(pulse.clock_ms - now_ms)
    if pulse.clock_second is None:
        return None, 0
    first_ms = pulse.clock_second * 1000
    return None, max(first_ms - now_ms, now_ms - first_ms - 999, 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a good answer of a guest shows: whether another boot than the one that slept gave it, and how far its clock is off."""

    other_boot: bool
    off_ms: int


def judge(trip: Trip, seen: Seen | None, off_answers: int) -> Verdict:
    """What is known of the guest by now; `off_answers` of those given since it is known awake had a clock that was off.

    A guest that was booted is ready when it answers, and what answers as the boot before is the guest that is being shut down: a reboot
    is ordered while that still runs. One that was woken goes on where it slept: with the clock of then and the
    randomness of then, until its agent has seen to both. Where its pool wants nobody refreshed, it sees to its clock itself: it
    has its whole window for that, and does not serve before, where it tells its clock. Whether it was woken or booted its
    waker says, and until then neither its clock nor that another boot answers means that it does not serve.
    """
    awake, woken = trip.awake_at is not None, not trip.cold
    if awake and woken and trip.refreshes and not trip.refreshed:
        return "not-refreshed"
    if seen is None:
        return "again"
    if not woken and not seen.other_boot:
        return "again" if awake else "wait"
    is_off = seen.off_ms > MOST_OFF_MS
    if not awake and (trip.refreshes or (woken and (seen.other_boot or is_off))):
        return "wait"
    if woken and seen.other_boot:
        return "rebooted"
    if not woken or not is_off:
        return "ready"
    if not trip.refreshes:
        return "again"
    return "clock-off" if off_answers >= ENOUGH_ANSWERS else "again"


def complaint(verdict: Verdict, trip: Trip, where: str, seen: Seen | None, probes: int) -> tuple[str, str]:
    """Why a guest does not serve, as a code and as a sentence; without a verdict against it, it was silent for too long."""
    who = f"The guest of {trip.org}/{trip.vm} {where}"
    ends = "It counts until it is stopped, and boots cold when it is needed."
    match verdict:
        case "not-refreshed":
            text = (
                f"{who} was woken, and its agent did not set its clock and refresh its entropy in time. {ends} A pool whose "
                'guests have no agent says `refresh = "none"`.'
            )
            return verdict, text
        case "rebooted":
            return verdict, f"{who} was woken, and answers as another boot than the one that slept. {ends}"
        case "again" | "wait" if seen is not None and trip.cold and not seen.other_boot:
            # What was heard is the guest that was shut down: the one that was started never spoke.
            text = (
                f"{who} answered as the boot before, and gave no proper answer since: {probes} probes within {trip.ready_seconds} s of being "
                "awake. It counts until it is stopped."
            )
            return "probe-timeout", text
        case "clock-off" | "again" if seen is not None:
            when = (
                "after it was set"
                if trip.refreshes
                else 'and it did not set it itself, as guests of a pool with `refresh = "none"` must'
            )
            text = f"{who} was woken, and its clock is {seen.off_ms} ms off, {when}; at most {MOST_OFF_MS} are allowed. {ends}"
            return "clock-off", text
        case _:
            text = (
                f"{who} gave no proper answer to {probes} probes within {trip.ready_seconds} s of being awake. It counts until "
                "it is stopped."
            )
            return "probe-timeout", text


def is_other_boot(known: str | None, found: str) -> bool:
    """Whether it is not known to be the boot that slept. Of one that fell asleep before it ever answered nobody knows."""
    return known != found
