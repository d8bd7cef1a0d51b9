"""The deleter at work: each deletion goes from stage to stage as its instants come, and its alerts are silent meanwhile."""

import asyncio
import logging
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from events.vault import Vault, VaultError
from projections.deletions.fold import Deletion
from services.deleter.decide import Forget, Said, decide
from services.deleter.hush import Hush
from services.deleter.metrics import LATE, SAID, SEED_FAILURES, STANDING
from services.deleter.port import Silences
from services.deleter.state import State

LOOK_SECONDS: Final = 1.0
"""How often the time is looked at: stages begin at midnights, and a second late is not early."""

SEED_PAUSE_SECONDS: Final = 60.0
"""A vault that could not be written is tried again after so long."""

_YIELD: Final = 50  # deletions between which others have their turn

log = logging.getLogger("virtscale.deleter")


class Deleter:
    """One deleter, or two: all that it knows is in the ledger, and the ids of what it says follow from there.

    `silences` is None where there is no Alertmanager: then nobody is to be silenced.
    """

    def __init__(
        self, ledger: Ledger, bus: Bus, clock: Clock, silences: Silences | None, vault: Vault
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._vault = vault
        self._pen = Pen(bus, "deleter", clock)
        self._state = State.of(ledger)
        self._bell = ledger.bell()
        self._silencing = silences is not None
        self._hush = (
            None if silences is None else Hush(silences, self._state, clock.now, self._record, self._ring)
        )
        self._rang = False
        self._forgotten: set[str] = set()
        """Deletions whose seed this life saw gone."""
        self._kept_until: dict[str, float] = {}
        """When the vault may be asked again, by deletion and the event loop's clock."""

    async def work(self) -> None:
        """Whatever is due is said, for ever."""
        await self._ledger.live.wait()
        async with asyncio.TaskGroup() as jobs:
            while True:
                heard = self._state.news.heard
                while await self._look():
                    pass
                await self._wait(heard, jobs)

    def _ring(self) -> None:
        """A call about alerts has ended, and another may begin; no deletion needs a look for that."""
        self._rang = True
        self._bell.ring()

    async def _wait(self, heard: int, jobs: asyncio.TaskGroup) -> None:
        """Something may be to be done: it is so late, or something happened since `heard`. Meanwhile alerts are looked after."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LOOK_SECONDS
        self._rang = True
        while True:
            if self._hush is not None and self._rang:
                self._hush.look(jobs)
            self._rang = False
            if self._state.news.heard != heard or (left := until - loop.time()) <= 0:
                return
            await self._bell.wait(left)

    async def _look(self) -> bool:
        """Each deletion had a step; True when any was taken, which the next look goes on from."""
        taken, late = False, 0.0
        standing = list(self._state.deletions.standing())
        STANDING.set(len(standing))
        for place, deletion in enumerate(standing):
            now = self._clock.now()
            stage = deletion.running or deletion.next
            if stage is not None:
                late = max(late, (now - deletion.instant(stage)).total_seconds())
            step = decide(deletion, self._state, now, silencing=self._silencing, forgotten=self._forgotten)
            match step:
                case Said():
                    await self._record(step)
                    taken = True
                case Forget():
                    taken |= self._forget(step, deletion)
                case None:
                    pass
            if place % _YIELD == _YIELD - 1:
                await asyncio.sleep(0)
        LATE.set(late)
        return taken

    def _forget(self, step: Forget, deletion: Deletion) -> bool:
        """Whether what the VM was told is gone. Safe to repeat: what another VM of that name was told since is another text."""
        now = asyncio.get_running_loop().time()
        if now < self._kept_until.get(step.deletion, now):
            return False
        try:
            self._vault.forget_seed(step.seed.name, step.seed.commitment)
        except (VaultError, OSError) as error:
            SEED_FAILURES.inc()
            self._kept_until[step.deletion] = now + SEED_PAUSE_SECONDS
            # What went wrong is one sentence, and it is tried again.
            log.error(  # noqa: TRY400
                "what %s/%s was told is still in the vault: %s", deletion.org, deletion.vm, error
            )
            return False
        self._kept_until.pop(step.deletion, None)
        self._forgotten.add(step.deletion)
        return True

    async def _record(self, said: Said) -> None:
        """The event is in the ledger and folded; of what another deleter said in its place, that is."""
        kind = type(said.fact).__name__
        SAID.labels(kind).inc()
        log.info("%s of %s", kind, said.fact.org)
        ack = await self._pen.record(said.fact, id=said.id, cause=said.cause, correlation=said.correlation)
        await self._ledger.reach(ack.seq)
