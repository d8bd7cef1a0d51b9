"""The sealer at work: it reads what the bus stored, signs it, and says twice a second that one may append."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from events.bus.ledger import Bell
from events.bus.pen import Pen
from events.bus.permit import EVERY_SECONDS
from events.bus.port import Bus, BusError, Grant, Store, Stored, UnansweredError
from events.clock import Clock, machine
from events.ids import derive
from events.ledger import LedgerSealed
from events.tlog.files import Files
from events.tlog.note import Signer
from events.tlog.writer import TilesUnwrittenError
from schemas.names import PLATFORM
from services.sealer import decide, metrics
from services.sealer.alarm import Alarm
from services.sealer.archive import SealedArchive, is_empty
from services.sealer.aside import Aside
from services.sealer.compare import compare_end, scrub
from services.sealer.cosigning import keep_asking
from services.sealer.halt import ArchiveUnreachableError
from services.sealer.reading import follow, standing
from services.sealer.state import State, Told
from services.sealer.telling import OWN, is_own, last_said
from services.sealer.witness import Witness

MOST_WAITING: Final = 8192
"""Messages that were read and are not sealed: beyond that the reading waits for the disk."""
MOST_WAITING_BYTES: Final = 8 * 1024 * 1024
"""Of what is in them."""

_RETRY_SECONDS: Final = (
    1.0  # after a disk that did not take a file, and after a `ledger.sealed` that nobody took
)

log = logging.getLogger("virtscale.sealer")

Key = Callable[[bool], Signer]
"""The key of the log, made now if this is its first start; raises `SealKeyError`."""


class Sealer:
    """The one sealer of a ledger; whoever makes it holds the archive's lock."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        files: Files,
        key: Key,
        aside: Aside,
        *,
        witnesses: Sequence[Witness] = (),
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        """`every_seconds` is how often it says that one may append."""
        self._bus = bus
        self._clock = clock
        self._files = files
        self._key = key
        self._aside = aside
        self._every_seconds = every_seconds
        self._pen = Pen(bus, "sealer", clock)
        self._bus_clock = machine(clock)
        """What the bus's times are compared with."""
        self._waiting: list[Stored] = []
        """What was read and is not sealed, in order."""
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._scrub_due = asyncio.Event()
        self._looked_at: Store | None = None
        """The server and stream whose end was compared with what was sealed."""
        self._scrubbed_at: float | None = None
        self._failing = False
        self._alarm = Alarm()
        self._own_seq = 0
        """Of the last message that stands where `ledger.sealed` does, noise included."""
        self._bells: list[Bell] = []
        """Rung whenever there is a new checkpoint."""
        self._witnesses = witnesses
        self.archive: SealedArchive
        self.state: State

    async def work(self) -> None:
        """The ledger is sealed and appends are permitted, for ever; a `SealerError` says why they are no more."""
        metrics.PERMITTED.set(0)
        await self._open()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(), name="sealer: read")
                tasks.create_task(self._seal(), name="sealer: seal")
                tasks.create_task(self._permit(), name="sealer: permit")
                tasks.create_task(self._scrub(), name="sealer: scrub")
                tasks.create_task(self._tell(), name="sealer: tell")
                for witness in self._witnesses:
                    asking = keep_asking(witness, self.archive, self._aside, self._bell())
                    tasks.create_task(asking, name=f"sealer: {witness.url}")
        except asyncio.CancelledError:
            self._leave()
            raise
        finally:
            metrics.PERMITTED.set(0)

    # ---------------------------------------------------------------------------------------------------- the start

    async def _open(self) -> None:
        """Archive and bus are what they should be, as far as a start looks: docs/adr/0014-sealer-and-permits.md."""
        store = await standing(self._bus)
        said = await last_said(self._bus, store.first_seq)
        self._own_seq = said.newest_seq
        told = Told(said.sealed.seq, said.sealed.stored_ns) if said.sealed is not None else None
        try:
            first = is_empty(self._files)
            if first:  # before a key is made: a log that has lost its archive must not get a new key as well
                self._check_start(0, store, told)
            self.archive = SealedArchive(self._files, self._key(first))
            left = self.archive.left()
        except OSError as error:
            raise ArchiveUnreachableError(
                f"The archive {self._files} could not be opened: {error.strerror or error} ({error.filename}). Nothing was signed "
                "and nobody may append. Mend its disk, or give the sealer its rights."
            ) from error
        sealed = self.archive.last.size
        self._check_start(sealed, store, told)
        if said.fact is not None:
            self.archive.expect(said.fact.checkpoint)
        self._scrubbed_at = left.scrubbed_at if left is not None else None
        self.state = State(sealed, sealed, told=told)
        if decide.scrubs_first(sealed, clean=left is not None):
            await scrub(self._bus, self.archive.reader(), store.first_seq, background=False)
            self._scrubbed_at = self._clock.now().timestamp()
        else:
            self._scrub_due.set()
        await self._look(store)
        log.info("%s: %d events sealed under %s", self._files, sealed, self.archive.last.root.hex())

    def _check_start(self, sealed: int, store: Store, told: Told | None) -> None:
        seq = told.seq if told is not None else None
        decide.check_start(sealed, store.first_seq, store.last_seq, seq, str(self._files))

    def _leave(self) -> None:
        """What was read is sealed, and the archive is marked as left in order; whoever is killed comes never here."""
        self._aside.end()
        if self._failing or self.archive.behind:
            return
        try:
            if decide.seal_due(self.state, full=self._full()) is not None:
                self.archive.seal(self._waiting)
            self.archive.leave(self._scrubbed_at)
        except OSError as error:
            log.warning("the archive was not left in order, and will be compared whole: %s", error)

    # ---------------------------------------------------------------------------------------------------- the reading

    async def _read(self) -> None:
        """Every message waits to be sealed, in order."""
        loop = asyncio.get_running_loop()
        async for group in follow(self._bus, self.state.read):
            for stored in group:
                if stored.subject == OWN:
                    self._own_seq = stored.seq
                self.state = self.state.after_reading(
                    stored.seq, stored.stored_ns, own=is_own(stored), now=loop.time()
                )
                self._waiting_bytes += len(stored.payload)
            self._waiting += group
            metrics.UNSEALED.set(self.state.read - self.state.sealed)
            self._news.set()
            while self._full():
                self._room.clear()
                await self._room.wait()

    def _full(self) -> bool:
        """Whether the reading waits until some of what was read is sealed."""
        return len(self._waiting) > MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES

    # ---------------------------------------------------------------------------------------------------- the sealing

    async def _seal(self) -> None:
        """Whatever is new is sealed, each second or as soon as there is a lot of it."""
        while True:
            await self._due()
            batch = list(self._waiting)
            try:
                await self._seal_now(batch)
            except TilesUnwrittenError as error:
                self._fail(str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._failing = False

    async def _due(self) -> None:
        """A checkpoint is due, or a `ledger.sealed`."""
        loop = asyncio.get_running_loop()
        while True:
            due = decide.seal_due(self.state, full=self._full())
            if due is not None and due <= loop.time():
                return
            self._news.clear()
            try:
                async with asyncio.timeout_at(due):
                    await self._news.wait()
            except TimeoutError:
                return

    async def _seal_now(self, batch: Sequence[Stored]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        reached = await self._aside.call(partial(self.archive.seal, batch))
        del self._waiting[: len(batch)]
        self._waiting_bytes = sum(len(stored.payload) for stored in self._waiting)
        left = sum(not is_own(stored) for stored in self._waiting)
        self.state = self.state.after_sealing(reached.size, new_left=left, now=loop.time())
        self._room.set()
        for bell in self._bells:
            bell.ring()
        metrics.SEALED.inc()
        metrics.SIZE.set(reached.size)
        metrics.UNSEALED.set(self.state.read - self.state.sealed)
        metrics.SEAL_SECONDS.observe(loop.time() - began)

    def _fail(self, sentence: str) -> None:
        metrics.UNWRITTEN.inc()
        if not self._failing:
            log.error("nobody may append: %s", sentence)
        self._failing = True

    async def _tell(self) -> None:
        """The ledger itself says what is sealed whenever that is due; what nobody takes is said with a later checkpoint."""
        bell = self._bell()
        while True:
            await bell.wait()
            now, last = self._clock.now(), self.archive.last
            if not decide.tells(self.state, round(self._bus_clock.now().timestamp() * 1e9)):
                continue
            name = derive("ledger.sealed", self.archive.origin, last.size)
            fact = LedgerSealed(
                org=PLATFORM,
                origin=self.archive.origin,
                size=last.size,
                root=last.root.hex(),
                checkpoint=last.note,
                sealed_at=now,
            )
            event = self._pen.event(fact, id=name, cause=None, correlation=name)
            assert event.subject == OWN, event.subject
            try:
                await self._pen.append(event, expect=self._own_seq)
            except BusError as error:  # whatever it is: the files are the truth
                log.info("the ledger does not say yet that %d events are sealed: %s", last.size, error)
            await asyncio.sleep(_RETRY_SECONDS)  # by then it was read, if it was stored

    def _bell(self) -> Bell:
        bell = Bell()
        self._bells.append(bell)
        return bell

    # ----------------------------------------------------------------------------------------------------- the permit

    async def _permit(self) -> None:
        """Twice a second, while all is well, everybody hears that one may append."""
        while True:
            granted = False
            with suppress(UnansweredError):  # the bus is away, and with it everybody who might append
                granted = await self._granted()
            metrics.PERMITTED.set(granted)
            now, scrubbed_at = self._clock.now().timestamp(), self._scrubbed_at
            metrics.SCRUB_AGE.set(-1 if scrubbed_at is None else now - scrubbed_at)
            await asyncio.sleep(self._every_seconds)

    async def _granted(self) -> bool:
        """The stream was looked at, and if it holds all that was sealed and read, one may append to it."""
        read_before = self.state.read
        store = await self._bus.store()
        assert self._looked_at is not None
        self._alarm.measure(store)
        decide.check_end(read_before, store.last_seq)
        if store.server_id != self._looked_at.server_id:
            log.warning(
                "the bus was restarted: its end is compared with what was sealed before anybody may append"
            )
            store = await self._look(store)
            self._scrub_due.set()
        if self.archive.behind or not decide.may_append(
            self.state.sealed, store.last_seq, sealing_fails=self._failing
        ):
            return False
        last = self.archive.last
        await self._bus.permit(Grant(store.server_id, store.created, last.size, last.root.hex()))
        return True

    async def _look(self, store: Store) -> Store:
        """The end of the stream is what was sealed and read, on one server from the first look to the last."""
        while True:
            await compare_end(self._bus, self.archive.reader(), store.first_seq, list(self._waiting))
            now = await standing(self._bus)
            if now.server_id == store.server_id:
                self._looked_at = now
                return now
            store = now

    # ------------------------------------------------------------------------------------------------------ the scrub

    async def _scrub(self) -> None:
        """All that is sealed is compared with what the bus holds: when the start put it off, after a restart, and daily."""
        while True:
            try:
                async with asyncio.timeout(decide.SCRUB_EVERY_SECONDS):
                    await self._scrub_due.wait()
            except TimeoutError:
                pass  # a day has gone by
            self._scrub_due.clear()
            archive, store = self.archive.reader(), await standing(self._bus)
            await scrub(self._bus, archive, store.first_seq, background=True)
            self._scrubbed_at = self._clock.now().timestamp()
            log.info("%d sealed events were compared with the bus, and are the same", archive.size)
