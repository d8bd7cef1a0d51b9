"""How the next level differs from the newest: a line through slope, local means, baseline and bursts, learned per pool.

The weights are those of least squares over the past days, each tick divided by the size its error had then, and drawn towards
zero: a pool whose past teaches nothing is told to expect what it has. Nothing here can carry a forecast away: each input is
limited to twenty times the error's usual size, and the sum to the level itself.
"""

from dataclasses import dataclass

import numpy as np

from services.forecaster.model.columns import Flags, Floats

INPUTS = 7
_MOST_INPUT = 20.0
_MOST_ERROR = 8.0
_SMALL = 1e-6
_SLOW_SHARE = 0.01


@dataclass(slots=True)
class Lead:
    """The sums of least squares, and what was expected of this tick."""

    squares: Floats
    """(inputs, inputs, pools)"""
    products: Floats
    """(inputs, pools)"""
    inputs: Floats
    """(inputs, pools): of the tick before, in units of the error's size."""
    size: Floats
    """That size, in VMs."""
    plain: Floats
    """The next level if nothing changes, as it was told in the tick before."""
    fast: Floats
    """Mean square of what `plain` missed by, over two hours."""
    slow: Floats
    """The same over a day."""
    learned: Floats
    """Ticks that it learned from, decaying with none."""

    @classmethod
    def fresh(cls, pools: int) -> "Lead":
        """Pools of which nothing was seen."""
        return cls(
            np.zeros((INPUTS, INPUTS, pools)),
            np.zeros((INPUTS, pools)),
            np.zeros((INPUTS, pools)),
            np.ones(pools),
            np.zeros(pools),
            np.zeros(pools),
            np.zeros(pools),
            np.zeros(pools),
        )


def learn(
    lead: Lead, level: Floats, known: Flags, apart: Floats, *, keep: float, fast: float, slow: float
) -> Floats:
    """Compare the level that came with the one that was expected. Returns the difference from the plain one, in VMs.

    A sample that stands for `apart` ticks moves the memories as far as so many do, or they would last so many times longer.
    """
    missed = np.where(known, level - lead.plain, 0.0)
    outcome = np.minimum(np.maximum(missed / lead.size, -_MOST_ERROR), _MOST_ERROR)
    inputs = np.where(known, lead.inputs, 0.0)
    lead.squares *= keep
    lead.squares += inputs[:, None, :] * (inputs * apart)[None, :, :]
    lead.products *= keep
    lead.products += inputs * apart * outcome
    lead.learned = lead.learned + known
    square = missed * missed
    share = 1.0 / np.maximum(lead.learned, 1.0)
    lead.fast = np.where(
        known, lead.fast + np.maximum(share, np.minimum(fast * apart, 1.0)) * (square - lead.fast), lead.fast
    )
    lead.slow = np.where(
        known, lead.slow + np.maximum(share, np.minimum(slow * apart, 1.0)) * (square - lead.slow), lead.slow
    )
    return missed


def expect(lead: Lead, plain: Floats, raw: Floats, ridge: float) -> Floats:
    """The next level, in VMs. `raw` are the inputs in VMs, one row each; what is expected is kept, to be learned from."""
    lead.size = np.sqrt(lead.fast + _SLOW_SHARE * lead.slow + _SMALL)
    lead.plain = plain
    lead.inputs = np.minimum(np.maximum(raw / lead.size, -_MOST_INPUT), _MOST_INPUT)
    weights = _solved(lead.squares, lead.products, ridge)
    change = np.zeros_like(plain)
    for row in range(INPUTS):
        change = change + weights[row] * lead.inputs[row]
    change = np.minimum(np.maximum(change * lead.size, -0.5 * plain), plain + 1.0)
    return plain + change


def _solved(squares: Floats, products: Floats, ridge: float) -> Floats:
    """(squares + ridge) weights = products, by Cholesky's columns: for all pools at once, and each as if it were alone."""
    rest = squares.copy()
    half = products.copy()
    for row in range(INPUTS):
        rest[row, row] += ridge
    for row in range(INPUTS):
        rest[row, row] = np.sqrt(np.maximum(rest[row, row], _SMALL))
        half[row] /= rest[row, row]
        below = rest[row + 1 :, row]
        below /= rest[row, row]
        rest[row + 1 :, row + 1 :] -= below[:, None] * below[None, :]
        half[row + 1 :] -= below * half[row]
    for row in reversed(range(INPUTS)):
        half[row] /= rest[row, row]
        half[:row] -= rest[row, :row] * half[row]
    return half
