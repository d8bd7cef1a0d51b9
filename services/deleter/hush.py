"""Alerts of VMs that are deleted are silenced, and let sound again where that is cancelled; beside the deletions, which never wait long."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final

from events.deletion import SilenceEnded, SilenceFailed, SilenceSet
from events.ids import derive
from projections.deletions.fold import Deletion
from schemas.names import shorten
from services.deleter.decide import REFUSED, Said, silence_of
from services.deleter.metrics import SILENCE_FAILURES
from services.deleter.port import Silence, SilenceError, Silences
from services.deleter.state import State

AWAY: Final = "AlertmanagerAway"
FAILED: Final = "SilenceFailed"

MOST_AT_ONCE: Final = 4
"""Calls at the same time: the Alertmanager is others' too."""

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 300.0

SURE: Final = dt.timedelta(minutes=15)
"""What was set is looked at again after so long: an Alertmanager that was killed may have forgotten it."""

UNHEARD: Final = dt.timedelta(minutes=1)
"""So long after a cancellation no call of another deleter's, that was under way by then, can land any more."""

log = logging.getLogger("virtscale.deleter")


@dataclass(slots=True)
class _Try:
    """How often a deletion's calls failed, and when the next may be made, by the event loop's clock."""

    pause_seconds: float = FIRST_PAUSE_SECONDS
    not_before: float = 0.0


class Hush:
    """Calls to the Alertmanager, one at a time for each deletion. What it remembers is an economy: all calls are safe to repeat."""

    def __init__(
        self,
        silences: Silences,
        state: State,
        now: Callable[[], dt.datetime],
        record: Callable[[Said], Awaitable[None]],
        ring: Callable[[], None],
    ) -> None:
        self._silences = silences
        self._state = state
        self._now = now
        self._record = record
        self._ring = ring
        self._running: set[str] = set()
        self._tries: dict[str, _Try] = {}
        self._sure: dict[str, tuple[str, int, dt.datetime]] = {}
        """The silence that was last seen as it should be, how many stages had begun then, and when that was."""
        self._ended: dict[str, dt.datetime] = {}
        """When it was last seen that a cancelled deletion has no silence."""

    def look(self, jobs: asyncio.TaskGroup) -> None:
        """Whatever is to be called is under way, or waits for its turn."""
        self._forget()
        for id_, call in self._wanted():
            if len(self._running) >= MOST_AT_ONCE:
                call.close()
                return
            self._running.add(id_)
            jobs.create_task(self._tried(id_, call)).add_done_callback(self._over(id_))

    def _forget(self) -> None:
        """What is remembered of deletions that were carried out is gone."""
        for id_ in [*self._sure, *self._tries]:
            deletion = self._state.deletions.get(id_)
            if deletion is None or deletion.over == "recycled":
                self._sure.pop(id_, None)
                self._tries.pop(id_, None)

    def _over(self, id_: str) -> Callable[[asyncio.Task[None]], None]:
        def over(_: asyncio.Task[None]) -> None:
            self._running.discard(id_)
            self._ring()

        return over

    def _wanted(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        now = self._now()
        for deletion in list(self._state.deletions.standing()):
            if not self._may(deletion.id) or self._is_sure(deletion, now):
                continue
            silence = silence_of(deletion, now)
            if silence is not None:
                yield deletion.id, self._set(deletion, silence)
        for id_, cancelled_at in list(self._state.desk.cancelled.items()):
            deletion = self._state.deletions.get(id_)
            if deletion is None or now >= deletion.schedule.recycle or not self._may(id_):
                continue
            seen = self._ended.get(id_)
            again = seen is None or seen < cancelled_at + UNHEARD <= now
            if deletion.silence is not None or again:
                yield id_, self._end(deletion)

    def _may(self, id_: str) -> bool:
        known = self._tries.get(id_)
        paused = known is not None and asyncio.get_running_loop().time() < known.not_before
        return id_ not in self._running and not paused

    def _is_sure(self, deletion: Deletion, now: dt.datetime) -> bool:
        if deletion.silence is None:
            return False
        silence, begun, seen = self._sure.get(deletion.id, ("", 0, now))
        # Another deleter that asked in the same moment may have made another silence: of both one is to stay.
        is_same = (silence, begun) == (deletion.silence, len(deletion.begun))
        return is_same and seen <= now < seen + SURE

    async def _tried(self, id_: str, call: Coroutine[Any, Any, None]) -> None:
        try:
            await call
        except SilenceError as error:
            await self._failed(id_, error)
        else:
            self._tries[id_] = _Try(not_before=asyncio.get_running_loop().time() + FIRST_PAUSE_SECONDS)

    async def _set(self, deletion: Deletion, silence: Silence) -> None:
        """The silence stands, and the ledger knows its id. Safe to repeat: the port finds what a former call made."""
        set_as = await self._silences.set(silence)
        self._sure[deletion.id] = set_as, len(deletion.begun), self._now()
        present = self._state.deletions.get(deletion.id)
        known = deletion.silence if present is None else present.silence
        if set_as != known:
            fact = SilenceSet(
                org=deletion.org,
                vm=deletion.vm,
                deletion=deletion.id,
                silence=set_as,
                starts_at=silence.starts_at,
                ends_at=silence.ends_at,
                set_at=self._now(),
            )
            await self._say(fact, derive("silence.set", deletion.id, set_as, known or ""), deletion)

    async def _end(self, deletion: Deletion) -> None:
        """No silence of the deletion is left, and the ledger knows. Safe to repeat: what is over stays so."""
        seen = self._now()
        ended = [found.id for found in await self._silences.find(deletion.org, deletion.vm, deletion.id)]
        for silence in ended:
            await self._silences.end(silence)
        self._ended[deletion.id] = seen
        self._sure.pop(deletion.id, None)
        known = [deletion.silence] if deletion.silence is not None else []
        for silence in dict.fromkeys([*known, *ended]):
            fact = SilenceEnded(
                org=deletion.org, vm=deletion.vm, deletion=deletion.id, silence=silence, ended_at=self._now()
            )
            # Behind the last word of one that was set: another deleter may tell of its own only after this one ended it.
            since = self._state.desk.silenced.get(deletion.id, "")
            await self._say(fact, derive("silence.ended", deletion.id, silence, since), deletion)

    async def _failed(self, id_: str, error: SilenceError) -> None:
        """The failure is told once for each code, and the next try waits, longer each time."""
        code = REFUSED if error.final else AWAY if error.lost else FAILED
        SILENCE_FAILURES.labels(code).inc()
        known = self._tries.setdefault(id_, _Try())
        if error.final:
            known.pause_seconds = LONGEST_PAUSE_SECONDS
        known.not_before = asyncio.get_running_loop().time() + known.pause_seconds
        known.pause_seconds = min(known.pause_seconds * 2, LONGEST_PAUSE_SECONDS)
        deletion = self._state.deletions.get(id_)
        if deletion is None or code in self._state.desk.told.get(id_, ()):
            return
        log.warning("alerts of %s/%s: %s", deletion.org, deletion.vm, error)
        fact = SilenceFailed(
            org=deletion.org,
            vm=deletion.vm,
            deletion=id_,
            code=code,
            text=shorten(str(error)),
            observed_at=self._now(),
        )
        await self._say(fact, derive("silence.failed", id_, code), deletion)

    async def _say(
        self, fact: SilenceSet | SilenceEnded | SilenceFailed, id: str, deletion: Deletion
    ) -> None:
        await self._record(Said(fact, id, self._state.desk.last.get(deletion.id), deletion.id))
