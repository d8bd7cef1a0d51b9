"""The intake at work: every message is answered, with its place in the ledger or with why it has none."""

import asyncio
import hashlib
import logging
from typing import Final

import msgspec

from events.bus.ledger import Ledger
from events.bus.outsiders import Tally, quoted
from events.bus.pen import Pen
from events.bus.permissions import INTAKE
from events.bus.port import Bus, BusError, DeniedError, Outgoing, UnansweredError
from events.bus.telemetry import Telemetry
from events.clock import Clock
from events.ids import derive
from events.problems import problem
from events.sentences import sentence
from projections.contracts.fold import Contracts
from projections.copies.fold import Copies
from projections.directory.fold import Directory
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.intake import DeadLetter, Receipt, Rejection
from schemas.names import is_name
from services.signal.decide import MOST_BYTES, Asked, judge, read
from services.signal.known import ImageOf, Known, lab_image
from services.signal.limits import Limits
from services.signal.losses import Losses
from services.signal.metrics import PUSHED, REJECTED
from services.signal.observer import Observer
from services.signal.port import Metrics
from services.signal.receiver import Receiver
from services.signal.remote_write import Pushed
from services.signal.series import Groups
from services.signal.state import Intake
from services.signal.store import Store
from services.signal.telling import tell
from services.signal.ticks import Ticks
from services.signal.triggers import Triggers

QUEUE: Final = "signal"
"""Intakes that run side by side share the messages."""

WAIT_SECONDS: Final = 5.0
"""Whoever waits for the gate's decision waits so long, and then has the receipt alone."""

OVERTAKEN: Final = frozenset({"CopyExists", "CopiesFull", "DiskShrinks", "VmUnknown", "DeletionTooSoon"})
"""What stands against a request because it was carried out, or because time went by: whoever asks again under its key, since no
answer came, has its receipt."""

NOT_KEPT: Final = frozenset({"Overloaded", "TooManyRequests", "LedgerFull"})
"""Nothing is wrong with these messages, and keeping them would add to what is wrong here."""

_SUBJECT_KEPT: Final = 512
_OPEN_PAUSE_SECONDS: Final = 0.2

log = logging.getLogger("virtscale.signal")


class Signal:
    """The only way from outside into the ledger. Any number may run: each subject's last sequence keeps them apart."""

    def __init__(
        self,
        ledger: Ledger,
        bus: Bus,
        clock: Clock,
        metrics: Metrics,
        *,
        remote_write: str = "",
        image_of: ImageOf = lab_image,
    ) -> None:
        """`remote_write` is where samples may be pushed, as host:port; nothing is opened without it."""
        self._ledger = ledger
        self._bus = bus
        self._clock = clock
        self._known = Known(
            ledger.fold(Usage),
            ledger.fold(Fleet),
            ledger.fold(Contracts),
            ledger.fold(Directory),
            ledger.fold(Copies),
            image_of,
        )
        self._intake = ledger.fold(Intake)
        self._bell = ledger.bell()
        pen = Pen(bus, "signal", clock)
        self._store = Store(ledger, bus, pen)
        self._limits = Limits()
        self._observer = Observer(ledger, pen)
        self._losses = Losses(ledger, pen)
        self._ticks = Ticks()
        self._telemetry = Telemetry(bus)
        self._triggers = Triggers(
            ledger,
            clock,
            metrics,
            self._store,
            self._limits,
            observer=self._observer,
            ticks=self._ticks,
            losses=self._losses,
        )
        self._groups = Groups()
        self._kept: object = None
        self._receiver = Receiver(remote_write, self._wanted, self._pushed) if remote_write else None
        self._tally = Tally(log.warning)
        self._awaited: dict[str, list[asyncio.Future[None]]] = {}

    async def work(self) -> None:
        """Requests of outsiders and of triggers are in the ledger once each, for ever."""
        await self._ledger.live.wait()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._store.work())
            parts.create_task(self._tell())
            parts.create_task(self._triggers.work())
            parts.create_task(self._observer.work())
            parts.create_task(self._losses.work())
            parts.create_task(tell(self._ticks, self._clock, self._telemetry))
            if self._receiver is not None:
                parts.create_task(self._receiver.work())
            await self._open()

    def _wanted(self) -> frozenset[bytes]:
        """The names of series that a pool's query can be answered from."""
        queries = self._triggers.queries
        if queries is not self._kept:
            self._kept = queries
            self._groups.keep(queries)
        return self._groups.names

    def _pushed(self, series: list[Pushed]) -> None:
        """What was pushed is heard, and counted."""
        found, counted = self._groups.take(series, self._clock.now())
        for outcome, samples in counted.items():
            PUSHED.labels(outcome).inc(samples)
        for query, measured in found.items():
            self._triggers.pushed(query, measured)

    async def _open(self) -> None:
        """The intake is served; a bus that is away just now is waited for."""
        while True:
            try:
                await self._bus.serve(INTAKE, QUEUE, self.answer)
                return
            except UnansweredError as error:
                log.warning("the intake is not open yet: %s", error)
                await asyncio.sleep(_OPEN_PAUSE_SECONDS)

    async def answer(self, subject: str, payload: bytes) -> bytes:
        """The reply to one intake message: a `Receipt` or a `Rejection`, as JSON."""
        _, org, publisher, *_ = [*subject.split(".", 3), "", ""]
        with self._limits.entered(org, publisher, asyncio.get_running_loop().time()) as refused:
            if refused is not None:
                return await self._reject(subject, payload, refused)
            return await self._answer(subject, payload)

    async def _answer(self, subject: str, payload: bytes) -> bytes:
        asked = read(subject, payload)
        if isinstance(asked, Rejection):
            return await self._reject(subject, payload, asked)
        fact = judge(asked, self._known, self._clock.now())
        if isinstance(fact, Rejection):
            known = self._intake.known(asked.id) if fact.code in OVERTAKEN else None
            if known is None:
                return await self._reject(subject, payload, fact)
            receipt = Receipt(asked.id, known.seq, repeated=True)
            return msgspec.json.encode(await self._decided(asked, receipt) if asked.waits else receipt)
        receipt = await self._store.offer(fact, asked.id)
        if isinstance(receipt, Rejection):
            return await self._reject(subject, payload, receipt)
        return msgspec.json.encode(await self._decided(asked, receipt) if asked.waits else receipt)

    async def _decided(self, asked: Asked, receipt: Receipt) -> Receipt:
        """The receipt with the gate's answer, or as it is when there is none in time."""
        if self._intake.settled(receipt.id) is None:
            settled = asyncio.get_running_loop().create_future()
            waiting = self._awaited.setdefault(receipt.id, [])
            waiting.append(settled)
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await settled
            except TimeoutError:
                return receipt
            finally:
                waiting.remove(settled)
                if not waiting:
                    self._awaited.pop(receipt.id, None)
        found = self._intake.settled(receipt.id)
        if found is None:
            return receipt
        return msgspec.structs.replace(
            receipt,
            outcome=found.answer.outcome,
            code=found.answer.code,
            granted=found.answer.granted,
            text=sentence(asked.org, found.answer, found.contract),
            problem=problem(asked.org, found.answer, found.contract, found.decided_at),
        )

    async def _tell(self) -> None:
        """Whoever waits for a decision is woken once it is folded."""
        while True:
            await self._bell.wait()
            for request, waiting in self._awaited.items():
                if self._intake.settled(request) is not None:
                    for settled in waiting:
                        if not settled.done():
                            settled.set_result(None)

    async def _reject(self, subject: str, payload: bytes, rejection: Rejection) -> bytes:
        """The message is kept in the dead-letter stream with the reason, as well as the bus allows."""
        REJECTED.labels(rejection.code).inc()
        if rejection.code not in NOT_KEPT:
            now = self._clock.now()
            letter = DeadLetter(
                subject=subject[:_SUBJECT_KEPT],
                code=rejection.code,
                text=rejection.text,
                received_at=now,
                payload=payload[:MOST_BYTES],
            )
            place = _dead_subject(subject)
            name = derive("dead", subject, hashlib.sha256(payload).hexdigest(), now.isoformat())
            try:
                await self._bus.append(Outgoing(place, name, msgspec.json.encode(letter)))
            except DeniedError:
                raise
            except BusError as error:  # the reply still says why, and the counter has risen
                self._tally.add("lost", f"A rejected message on {quoted(subject)} is not kept: {error}")
        return msgspec.json.encode(rejection)


def _dead_subject(subject: str) -> str:
    """Where the message is kept: only names become tokens, since whatever is sent here may say anything."""
    tokens = [*subject.split("."), "", ""][1:3]
    org, publisher = (token if is_name(token) else "unknown" for token in tokens)
    return f"dead.{org}.{publisher}"
