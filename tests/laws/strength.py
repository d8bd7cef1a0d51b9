"""How hard the laws are tried: `VIRTSCALE_LAWS` is unset for every day, `few` for mutants, `many` for a long run."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

TIMES: Final = {"few": 0.1, "daily": 1.0, "many": 20.0}
STRENGTH: Final = os.environ.get("VIRTSCALE_LAWS", "daily")


def examples(daily: int, *, steps: int = 50) -> settings:
    """So many examples on a usual day. Few ones are the same in every run, so that a mutant dies in each or in none."""
    house = settings()
    same = STRENGTH == "few" or house.derandomize
    return settings(
        max_examples=max(5, int(daily * TIMES[STRENGTH])),
        stateful_step_count=steps,
        deadline=None,
        derandomize=same,
        database=None if same else house.database,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
