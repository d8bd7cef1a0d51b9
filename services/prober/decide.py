"""The rules of the prober: when to ask a guest again, how long to wait for it, and when to give it up.

Pure. A probe that goes out while the guest sleeps may be answered when it wakes, or be lost with its network card
still down: a single probe then costs its whole timeout (a wake from S3 took timeout + 20 ms, measured). So probes
are short, overlap, and the first good answer wins.
"""

import datetime as dt
from typing import Final

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


def first_pause_seconds(*, cold: bool) -> float:
    """The pause that a fresh schedule begins with: a guest that boots takes seconds, so it is asked seldom."""
    return LONGEST_PAUSE_SECONDS if cold else FIRST_PAUSE_SECONDS


def window_seconds(ready_seconds: int, awake_at: dt.datetime, now: dt.datetime) -> float:
    """How much of the readiness window is left, on the reader's clock.

    It never exceeds what the order allows, however the two clocks differ, and never falls below what a fair
    look takes.
    """
    left = ready_seconds - (now - awake_at).total_seconds()
    return max(LEAST_WINDOW_SECONDS, min(float(ready_seconds), left))


def rebooted(known: str | None, found: str, *, cold: bool) -> bool:
    """Whether a guest that was only resumed answers as another boot than the one that fell asleep."""
    return not cold and known is not None and known != found
