"""What the forecaster asks for, at the intake and under its own name, as any other program does."""

import asyncio
import logging
from typing import Final

import msgspec

from events.bus.outsiders import Tally
from events.bus.port import Bus, UnansweredError
from schemas.intake import Quiesce, Receipt, Rejection, Save, Scale
from schemas.names import FORECAST
from services.forecaster.decide import Request
from services.forecaster.metrics import ASKED, UNHEARD
from services.forecaster.roster import Place

TIMEOUT_SECONDS: Final = 3.0
ATTEMPTS: Final = 3
"""A request that nobody answered is repeated under its key, which asks once; after so often the next tick says what is needed."""

MOST_ASKING: Final = 64
_PAUSE_SECONDS: Final = 0.5

log = logging.getLogger("virtscale.forecaster")
_verbs: Final[dict[type[Request], str]] = {Scale: "scale", Quiesce: "quiesce", Save: "save"}


class Intake:
    """The requests under way: at most one of each pool, and some dozen at a time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._places = asyncio.Semaphore(MOST_ASKING)
        self._under_way: dict[Place, asyncio.Task[None]] = {}
        self._tally = Tally(log.warning)

    def busy(self, place: Place) -> bool:
        """Whether a request of the pool is under way: what it became is not known yet."""
        return place in self._under_way

    def ask(self, tasks: asyncio.TaskGroup, place: Place, request: Request) -> None:
        """The request is on its way. Safe to repeat: its key says which tick and what for, and the same key asks once."""
        task = tasks.create_task(self._ask(place, request), name=f"ask for {'/'.join(place)}")
        self._under_way[place] = task
        task.add_done_callback(lambda _: self._under_way.pop(place, None))

    async def _ask(self, place: Place, request: Request) -> None:
        org, verb = place[0], _verbs[type(request)]
        payload = msgspec.json.encode(request)
        for attempt in range(ATTEMPTS):
            try:
                async with self._places:
                    answer = await self._bus.ask(f"in.{org}.{FORECAST}.{verb}", payload, TIMEOUT_SECONDS)
            except UnansweredError as error:
                self._tally.add("unanswered", f"A {verb} for {'/'.join(place)} is not answered: {error}")
                await asyncio.sleep(_PAUSE_SECONDS * (attempt + 1))
                continue
            refused = _refusal(answer)
            if refused is None:
                ASKED.labels(verb).inc()
                return
            self._tally.add(refused.code, f"A {verb} for {'/'.join(place)} was refused: {refused.text}")
            break
        UNHEARD.labels(verb).inc()


def _refusal(answer: bytes) -> Rejection | None:
    """Why the intake did not take it; None when it did."""
    try:
        msgspec.json.decode(answer, type=Receipt)
    except msgspec.DecodeError:
        pass
    else:
        return None
    try:
        return msgspec.json.decode(answer, type=Rejection)
    except msgspec.DecodeError:
        return Rejection("AnswerUnreadable", "The intake's answer is neither a receipt nor a rejection.")
