"""Trailing and leading windows over a whole trace at once: their largest value, and their mean."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.int32, np.float64)


def largest_of_last(values: NDArray[Number], samples: int) -> NDArray[Number]:
    """`result[t]` is the largest of `values[t - samples + 1 .. t]`; near the start, of what there is.

    Windows are doubled, so that a window of 90 samples costs seven passes and not ninety.
    """
    result = values.copy()
    width = 1
    while width < samples:
        more = min(width, samples - width)
        # The right side is a copy: written in place, an element would be compared with one that was already raised.
        result[more:] = np.maximum(result[more:], result[:-more].copy())
        width += more
    return result


def largest_of_next(values: NDArray[Number], samples: int) -> NDArray[Number]:
    """`result[t]` is the largest of `values[t .. t + samples - 1]`; near the end, of what there is."""
    return largest_of_last(values[::-1], samples)[::-1]


def mean_of_last(values: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """`result[t]` is the mean of the last so many values; near the start, of what there is."""
    if samples <= 1:
        return values.copy()
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - samples)
    summed = np.concatenate((np.zeros(1), np.cumsum(values)))
    return (summed[ends] - summed[begins]) / (ends - begins)
