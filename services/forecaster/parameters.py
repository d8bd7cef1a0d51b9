"""The numbers by which every forecast is made: one set for all pools, whatever their demand looks like."""

import hashlib
from dataclasses import astuple, dataclass
from typing import Final

DAY_SECONDS: Final = 86_400
WEEK_SECONDS: Final = 7 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a forecast depends on beside the samples. Chosen by looking at seven traces (docs/prediction.md) as a whole.

    No half of them was kept unseen while the model took its shape, so their scores say what it does on demand of such kinds, and
    are no proof for demand that nobody looked at.

    None is sensitive: halving or doubling any of them moves no trace by more than a few tenths of a point of idle. They are
    parameters so that a recorded target can name what it was made with, not so that a pool can be tuned.
    """

    hold_seconds: int = 90
    """A VM that served stays so long; what is awake within this time costs nothing more."""
    smooth_seconds: int = 60
    """Demand is judged by its mean over this time."""
    trend_seconds: int = 300
    """The trailing window of the slope."""
    slot_seconds: int = 300
    """The grain of the 7-day baseline; a longer tick is its own slot."""
    fast_seconds: int = 1_800
    """The short memory of the error's size: a restless half hour."""
    slow_seconds: int = 86_400
    """The long memory of the error's size: a whole day, with its quiet and its busy hours."""
    calm_seconds: int = 7_200
    """The short memory of a pool that changes slowly."""
    long_seconds: int = 3 * DAY_SECONDS
    """And its long one."""
    trend_half_life_seconds: int = 5 * DAY_SECONDS
    """After this time a tick counts half in the weights of slope, baseline and burst."""
    ridge: float = 100.0
    """So many ticks of pure noise stand against every weight, so that a new pool trusts its level alone."""
    trial_half_life_seconds: int = 8 * DAY_SECONDS
    """After this time a hit or a miss counts half in the choice of the margin."""
    price: float = 0.8
    """At 99 % coverage: a hundredth of the units missed is worth this many hundredths of the pool's peak, idle all the time."""
    prior_units: float = 30.0
    """So many imagined scale-ups stand against a pool's own, so that three lucky ones do not thin its margin."""
    shortfall_price: float = 3.0
    """What a reading missed beyond the floor costs so many times more: covering too little must not pay."""
    alike: float = 0.04
    """Readings whose cost differs by less than this share from the cheapest one's are as good: their mean is taken."""
    peak_half_life_seconds: int = 14 * DAY_SECONDS
    """The pool's peak is forgotten by half after this time."""
    longest_horizon_seconds: int = 600
    """A longer horizon is taken as this one."""

    def name(self) -> str:
        """Twelve hex digits that differ when a number differs: recorded beside each target."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:12]


DEFAULT: Final = Parameters()
