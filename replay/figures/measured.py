"""One reading of a sealed ledger, and everything that the engineering page says of it."""

from dataclasses import dataclass

from events.tlog.checkpoint import Checkpoint
from projections.demand.fold import Demand
from replay.figures.answers import Answers
from replay.figures.draw import Draw
from replay.figures.foresight import Foresight
from replay.figures.idle import Idle
from replay.figures.parts import Parts
from replay.figures.sealed import Sealed
from replay.figures.span import MONTH_DAYS, YEAR_DAYS, Span, trailing
from replay.figures.trips import Trips
from replay.history import Told, fold
from replay.source import Source


@dataclass(frozen=True, slots=True)
class Measured:
    """The folds as of the checkpoint's last event, whose stored time ends `month`.

    Of an empty ledger all instants are 0.
    """

    checkpoint: Checkpoint
    began_ns: int
    """When the ledger's first event was stored."""
    month: Span
    idle: Idle
    trips: Trips
    answers: Answers
    parts: Parts
    demand: Demand
    foresight: Foresight
    draw: Draw


async def measure(source: Source, checkpoint: Checkpoint, told: Told | None = None) -> Measured:
    """What the events under the checkpoint say, all of which were read and hashed. Raises `SealError`, or as `fold`."""
    sealed = Sealed(source, checkpoint)
    until_ns = await sealed.stored_ns()
    month, year = trailing(until_ns, MONTH_DAYS), trailing(until_ns, YEAR_DAYS)
    idle, trips, answers = Idle(month), Trips(month), Answers(month, year)
    parts, demand = Parts(), Demand()
    foresight, draw = Foresight(month), Draw(month)
    folds = (idle, trips, answers, parts, demand, foresight, draw)
    await fold(sealed, folds, checkpoint.size, told)
    sealed.check()
    idle.close()
    return Measured(checkpoint, sealed.began_ns, month, *folds)
