"""Round numbers beside a picture, and coordinates that come out the same on every machine."""

from typing import Final

_ROUND: Final = (1, 2, 5)


def steps(most: int, ticks: int) -> tuple[int, int]:
    """The step between round numbers, and the first of them that is not below `most`; at most so many steps.

    Whole numbers, so that an axis of VMs names no half of one.
    """
    most = max(most, 1)
    power = 1
    while True:
        for times in _ROUND:
            step = times * power
            top = -(-most // step) * step
            if top <= step * ticks:
                return step, top
        power *= 10


def at(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")
