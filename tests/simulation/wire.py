"""The bus of a world: appends that are lost, doubled or stored when nobody expects it, tails in disorder."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from events.bus.faults import Delivery, Passage
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import Permit
from events.bus.port import Ack, BusError, Grant, Outgoing, Store, Stored, UnansweredError
from tests.simulation.chance import Chance, Plan
from tests.simulation.sealing import Sealing

TIMED: Final = ("waker", "storage", "gate")
"""Who says what it saw under an id that has the moment in it: another moment is another event, whatever clock was set."""


class Trouble:
    """What the wire does to messages; `events.bus.faults.Faults`."""

    def __init__(self, plan: Plan, chance: Chance) -> None:
        self._plan = plan
        self._chance = chance
        self.sent: Callable[[str, Sequence[Outgoing]], None] | None = None
        """Hears of each append as it is sent."""
        self.breaks: Callable[[str], None] = lambda _: None
        self._said: dict[str, bytes] = {}
        """By id: what those said in whose ids there is a moment."""
        self.lands_at = 0.0
        """The loop's time when the last message is stored that somebody sent and heard nothing of."""

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        """An append's fate."""
        if self.sent is not None:
            self.sent(name, messages)
        if name.startswith(TIMED):
            for message in messages:
                if message.subject.endswith(".order.overdue"):
                    continue  # whoever says it first: it is one event, however many gates see it
                if self._said.setdefault(message.id, message.payload) != message.payload:
                    self.breaks(f"{name} says two things under the id {message.id}, on {message.subject}.")
        plan, chance = self._plan, self._chance
        there, back = chance.seconds(0.0002, 0.002), chance.seconds(0.0001, 0.001)
        # A broken connection is known at once, a lost message after the client's own timeout.
        patience = 0.0 if chance.rng.random() < 0.5 else None
        if chance.strikes(plan.request_lost):
            return Passage("request-lost", patience_seconds=patience)
        if chance.strikes(plan.ack_lost):
            return Passage("ack-lost", request_seconds=there, patience_seconds=patience)
        if chance.strikes(plan.stored_late):
            late = chance.seconds(0.0, 45.0)
            self.lands_at = max(self.lands_at, asyncio.get_running_loop().time() + late)
            return Passage("stored-late", late_seconds=late, patience_seconds=patience)
        if chance.strikes(plan.append_slow):
            there, back = chance.seconds(0.0, 4.0), chance.seconds(0.0, 4.0)
        return Passage(request_seconds=there, ack_seconds=back)

    def after(self, name: str, messages: Sequence[Outgoing], answer: Ack | BusError) -> None:
        """Kills strike elsewhere."""

    def deliver(self, name: str, group: tuple[Stored, ...]) -> Sequence[Delivery]:
        """A group's way to one reader."""
        plan, chance = self._plan, self._chance
        if chance.strikes(plan.tail_dropped):
            return ()
        if len(group) > 1 and chance.strikes(plan.tail_reordered):
            messages = list(group)
            chance.rng.shuffle(messages)
            group = tuple(messages)
        delay = chance.seconds(0.0002, 0.002)
        if chance.strikes(plan.tail_delayed):
            delay = chance.seconds(0.0, 3.0)
        deliveries = [Delivery(group, delay)]
        if chance.strikes(plan.tail_duplicated):
            deliveries.append(Delivery(group, chance.seconds(0.0, 3.0)))
        return deliveries


class WatchedServer(MemoryServer):
    """A server that tells what it stores, in order, before anybody else hears of it."""

    stored: Callable[[Stored], None] | None = None
    sealing: Sealing | None = None

    def put(self, messages: Sequence[Outgoing], *, batch: bool) -> Ack:
        """The messages are stored, and told."""
        before = self.ledger.last
        ack = super().put(messages, batch=batch)
        if self.stored is not None:
            for message in self.ledger.read(before + 1, self.ledger.last):
                self.stored(message)
        return ack


class Connection(MemoryBus):
    """One program's connection; questions may go unanswered too."""

    def __init__(
        self, server: WatchedServer, permit: Permit, plan: Plan, chance: Chance, **named: Any
    ) -> None:
        super().__init__(server, permit, **named)
        self._watched = server
        self._plan = plan
        self._chance = chance

    async def store(self) -> Store:
        """Where the ledger's stream stands."""
        self._trouble()
        return await super().store()

    async def permit(self, grant: Grant) -> None:
        """The sealer's word; it may be lost, as all that nobody acknowledges."""
        sealing = self._watched.sealing
        assert sealing is not None
        if self._chance.strikes(self._plan.request_lost):
            return
        sealing.grant(grant)
        await super().permit(grant)

    async def last(self) -> int:
        """The ledger's last sequence."""
        self._trouble()
        return await super().last()

    async def last_on(self, subject: str) -> Stored | None:
        """The last message on a subject."""
        self._trouble()
        return await super().last_on(subject)

    async def read(self, first: int, last: int) -> list[Stored]:
        """Messages by sequence."""
        self._trouble()
        return await super().read(first, last)

    async def read_ahead(self, first: int, last: int) -> list[Stored]:
        """Messages by sequence, as many as come at once."""
        self._trouble()
        return await super().read_ahead(first, last)

    def _trouble(self) -> None:
        if self._chance.strikes(self._plan.read_fails):
            raise UnansweredError("The question was lost.")
