"""Moments that are told of as past and are still to come: by a clock that was wrong. Pure."""

import datetime as dt
from typing import Final

AHEAD: Final = dt.timedelta(seconds=60)
"""So far the clocks of two programs may differ. What was told of a later moment than this from now was told by a wrong clock."""


def is_to_come(moment: dt.datetime, now: dt.datetime) -> bool:
    """Whether a moment that somebody told of as present is still to come: a clock was wrong then, or is now.

    What lasts from such a moment on holds nobody back: an hour by which a clock was ahead for a second would be an hour for all.
    """
    return moment > now + AHEAD
