"""One reading of a sealed ledger, and everything that the engineering page says of it."""

from dataclasses import dataclass

from events.tlog.checkpoint import Checkpoint
from projections.demand.fold import Demand
from replay.figures.answers import Answers
from replay.figures.idle import Idle
from replay.figures.parts import Parts
from replay.figures.sealed import Sealed
from replay.figures.span import MONTH_DAYS, YEAR_DAYS, Span, trailing
from replay.figures.trips import Trips
from replay.history import Told, fold
from replay.source import Source


@dataclass(frozen=True, slots=True)
class Measured:
    """The folds as of the checkpoint's last event, whose stored time ends `month`."""

    checkpoint: Checkpoint
    month: Span
    idle: Idle
    trips: Trips
    answers: Answers
    parts: Parts
    demand: Demand


async def measure(source: Source, checkpoint: Checkpoint, told: Told | None = None) -> Measured:
    """What the events under the checkpoint say, all of which were read and hashed. Raises `SealError`, or as `fold`."""
    sealed = Sealed(source, checkpoint)
    until_ns = await sealed.stored_ns()
    month, year = trailing(until_ns, MONTH_DAYS), trailing(until_ns, YEAR_DAYS)
    measured = Measured(
        checkpoint=checkpoint,
        month=month,
        idle=Idle(month),
        trips=Trips(month),
        answers=Answers(month, year),
        parts=Parts(),
        demand=Demand(),
    )
    folds = (measured.idle, measured.trips, measured.answers, measured.parts, measured.demand)
    await fold(sealed, folds, checkpoint.size, told)
    sealed.check()
    measured.idle.close()
    return measured
