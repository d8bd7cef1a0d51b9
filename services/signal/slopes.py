"""Whether a trigger's measurements rise so that they pass its limit soon; pure, and never because of one sample.

The samples of the trailing five minutes are halved in the order of their times, and each of the first half is paired with its
counterpart in the second: every sample is in one pair, and each pair has a slope. The median of these is the slope of the window
(Theil and Sen's with a pair for each sample, after Cox and Stuart). The newer half has one as well, and the lower of the two
counts: what rose and stands still, or has fallen back, rises no more. The newest quarter of the samples, each carried to the
end along this slope, has a median, too: the level.

One sample moves one of the slopes of each kind and one of the levels. So of each the value one place below the median is taken,
which is no higher than the median would be with any one sample replaced by any other.
"""

from collections.abc import Sequence
from typing import Final

WINDOW_SECONDS: Final = 300.0
"""The trailing window: what demand did before says more about the time of day than about now."""

FEWEST_SAMPLES: Final = 12
"""Six pairs in all and three in the newer half, of each of which one is left out. With scrapes every 30 s or less often there are
never so many: then streaks alone ask."""

SHORTEST_SECONDS: Final = 60.0
"""Samples over less than this tell what happened in a minute, which is no trend however many they are."""

_STEEPEST: Final = 1e303
"""A slope beyond this says nothing more, and times nothing it would be no number."""

Point = tuple[float, float]
"""When a sample was taken, in seconds, and its value. Values are finite."""


def expected(points: Sequence[Point], horizon_seconds: float) -> float | None:
    """What the measurements come to within the horizon as they rise now, with any one of them left out of account.

    None where they do not rise, and where there are too few to say. `points` are in the order of their times, no two at once.
    """
    return _expected(points, horizon_seconds, below=1)


def plainly(points: Sequence[Point], horizon_seconds: float) -> float | None:
    """The same by the medians themselves: what `expected` never passes, whatever one of the samples is replaced by."""
    return _expected(points, horizon_seconds, below=0)


def _expected(points: Sequence[Point], horizon_seconds: float, *, below: int) -> float | None:
    if len(points) < FEWEST_SAMPLES or points[-1][0] - points[0][0] < SHORTEST_SECONDS:
        return None
    newer = points[len(points) // 2 :]
    slope = min(_slope(points, below), _slope(newer, below))
    if slope <= 0:
        return None
    end = points[-1][0]
    levels = sorted(value + slope * (end - at) for at, value in points[-max(4, len(points) // 4) :])
    return levels[(len(levels) - 1) // 2 - below] + slope * horizon_seconds


def _slope(points: Sequence[Point], below: int) -> float:
    """The value so many places below the median of the pairs' slopes."""
    half = len(points) // 2
    pairs = zip(points[:half], points[len(points) - half :], strict=True)
    slopes = sorted((later[1] - early[1]) / (later[0] - early[0]) for early, later in pairs)
    return min(max(slopes[(half - 1) // 2 - below], -_STEEPEST), _STEEPEST)
