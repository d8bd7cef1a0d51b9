"""What the forecast of a pool was at one instant: the tick that it lies in, and what was last told before. Pure."""

import datetime as dt
from collections.abc import Iterator
from typing import Final

import msgspec

from events.forecast import ForecastMade
from replay.why.ahead import forecast
from replay.why.story import Story
from replay.why.words import moment

TICK: Final = dt.timedelta(seconds=15)
"""How long a tick is: a forecast is made at the end of each."""


class Foresight(msgspec.Struct, frozen=True):
    """The forecast that held at an instant, with its evidence; those of ticks told together have one outlook, the last one's.

    `complete` is False where the tick itself was not told by the end of the reading, which goes on for as long as it may take: then it
    is the last one before it. A higher target would have been told at once, a lower one need not be yet; or the forecaster stood still.
    """

    complete: bool
    made: ForecastMade


def foresight(story: Story, ahead: Story, at: dt.datetime) -> Foresight | None:
    """The forecast in whose ticks the instant lies; the last one before where none was told of it; None where none ever was."""
    told, complete = _told(story, ahead, at)
    return None if told is None else Foresight(complete, told)


def sentences(story: Story, ahead: Story, at: dt.datetime) -> Iterator[str]:
    """The same for people."""
    told, complete = _told(story, ahead, at)
    if told is None:
        return
    if complete:
        yield f"told at {moment(told.made_at)}, {forecast(told)}"
    else:
        yield (
            f"the last forecast before was told at {moment(told.made_at)}, and this tick is not told by the end of the reading, as one "
            f"with a higher target is at once: {forecast(told)}"
        )


def _told(story: Story, ahead: Story, at: dt.datetime) -> tuple[ForecastMade | None, bool]:
    for told in (*story.foreseen, *ahead.foreseen):
        if told.since - TICK <= at < told.made_at:
            return told, True
    before = [told for told in story.foreseen if told.made_at <= at]
    return (before[-1] if before else None), False
