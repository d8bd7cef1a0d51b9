"""One moment of a run, read from the folds of its workers."""

from typing import Final

from events.bus.ledger import Ledger
from projections.fleet.fold import Fleet
from projections.fleet.life import IN_MEMORY, State
from projections.usage.fold import Usage
from replay.figures.clients import Clients
from schemas.reserve import reserve_vms
from virtscale import founding
from virtscale.demo import setting
from virtscale.demo.day import Piece
from virtscale.demo.news import News
from virtscale.demo.screen import Look
from virtscale.demo.units import Units

_LEAVING: Final[frozenset[State]] = frozenset({"draining", "drained", "suspending"})
_PLACE: Final = (founding.ORG, setting.POOL)


def count(ledger: Ledger, piece: Piece, elapsed: float, units: Units) -> None:
    """One more second of the run is counted; to be called once for each."""
    serving = len(ledger.fold(Fleet).members(*_PLACE, "serving"))
    units.look(piece.vms_at(elapsed), serving, _reserve(ledger))


def look(ledger: Ledger, piece: Piece, elapsed: float, units: Units, told: Clients | None) -> Look:
    """The moment; `told` is what users saw so far, where there are any."""
    fleet, news = ledger.fold(Fleet), ledger.fold(News)
    demand = piece.vms_at(elapsed)
    serving = len(fleet.members(*_PLACE, "serving"))
    forecast = news.forecasts.get(_PLACE)
    return Look(
        day_second=piece.day_second(elapsed),
        share=min(1.0, elapsed / piece.seconds),
        left_seconds=piece.seconds - elapsed,
        demand_vms=demand,
        per_second=0.0 if told is None else demand * setting.PER_VM,
        target=None if forecast is None else forecast.target,
        reserve=_reserve(ledger),
        serving=serving,
        rising=fleet.staying(*_PLACE) - serving,
        leaving=fleet.count(*_PLACE, _LEAVING),
        paused=fleet.count(*_PLACE, IN_MEMORY),
        saved=len(fleet.members(*_PLACE, "saved")),
        units=units,
        told=told,
        news=tuple(news.lines),
    )


def _reserve(ledger: Ledger) -> int:
    pool = ledger.fold(Fleet).pools.get(_PLACE)
    contract = ledger.fold(Usage).contracts.get(founding.ORG)
    return 0 if pool is None or contract is None else reserve_vms(contract, pool, 1)
