"""The gate at work: read, decide, append on the fence; when the fence moved, read and decide again."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus, FullError, KnownError, StaleError, UnansweredError
from events.clock import Clock
from events.envelope import fence
from events.ids import derive
from events.order import OrderOverdue
from projections.fleet.fold import Vm
from schemas.pool import Pool
from services.gate.decide import decide, define
from services.gate.draft import Decision
from services.gate.rounds import Rounds
from services.gate.state import State
from services.gate.turns import Turns

_LOOK_SECONDS: Final = 1.0  # how often overdue orders are looked for, and addenda whose day has come
_PAUSE_SECONDS: Final = 0.1

log = logging.getLogger("virtscale.gate")


class Gate:
    """One gate; any number of them may run, for the fence lets one decision through at a time."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, name: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._name = name
        self._pen = Pen(bus, "gate", clock)
        self._rounds = Rounds(self._pen)
        self._state = State.of(ledger)
        self._turns = Turns(self._state)
        self._bell = ledger.bell()
        self._attempts = 0
        self._settling: set[str] = set()

    async def work(
        self, pools: Sequence[Pool], unsaid: AbstractSet[tuple[str, str]] = frozenset[tuple[str, str]]()
    ) -> None:
        """The pools are defined; then every request is answered, for ever.

        `unsaid` are org and name of those whose files do not say how woken guests are refreshed.
        """
        await self._ledger.live.wait()
        for org in dict.fromkeys(pool.org for pool in pools):
            bare = {name for of, name in unsaid if of == org}
            while not await self._define(org, [pool for pool in pools if pool.org == org], bare):
                pass
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._raise_alarms(), name="gate: alarms")
            while True:
                for org in self._needing():
                    if org not in self._settling:
                        self._settling.add(org)
                        tasks.create_task(self._settle(org), name=f"gate: {org}")
                await self._bell.wait(_LOOK_SECONDS)

    def _needing(self) -> Iterable[str]:
        """Orgs with a request to answer, a VM to see on or to replace, a breaker to switch, a sleeper to save, or an addendum whose day has come."""
        state = self._state
        now = self._clock.now()
        ripe, failed = state.contracts.ripe(now), state.breakers.needing(now)
        saving = self._turns.due(now, asyncio.get_running_loop().time())
        return dict.fromkeys([*state.docket.waiting(), *state.fleet.needing(), *failed, *ripe, *saving])

    async def _settle(self, org: str) -> None:
        """Rounds for one org until there is nothing left to say; each sees the one before it."""
        while (decision := self._decide(org)) is not None:
            await self._append(decision)
            state = self._state
            waits = org in state.docket.waiting() or org in state.fleet.needing()
            waits = waits or state.breakers.may_need(org) or org in state.saves.orgs()
            if not (waits or decision.facts):
                break  # all is said, which deciding once more would find out at its own price
        # No await since the last look: whatever is folded from here on finds the org at rest.
        self._settling.remove(org)

    def _decide(self, org: str) -> Decision | None:
        now = self._clock.now()
        return decide(org, self._state, now=now, gate=self._name, state_seq=self._ledger.seq)

    async def _define(self, org: str, pools: list[Pool], unsaid: AbstractSet[str]) -> bool:
        """One attempt to have the org's pools defined as its files say; True once they are, as read from the ledger."""
        decision = define(org, pools, self._state, self._clock.now(), self._name, self._ledger.seq, unsaid)
        if decision is None:
            return True
        await self._append(decision)
        return False

    async def _append(self, decision: Decision) -> None:
        """The decision is in the ledger with its facts and folded, or the fence moved first and that is folded instead.

        Nothing is concluded from an error: whatever happened is read back, and the next round decides on it.
        """
        decided = decision.decided
        org = decided.org
        fence_seq = max(decided.follows, self._ledger.noise_on(fence(org)))
        self._attempts += 1
        correlation = decided.answers[0].request if decided.answers else derive("round", org, fence_seq)
        name = derive("gate.decided", org, fence_seq, self._name, self._attempts, decided.now.isoformat())
        cause = correlation if decided.answers else None
        facts = [
            (self._pen.event(fact, id=derive(name, place), cause=cause, correlation=correlation), None)
            for place, fact in enumerate(decision.facts)
        ]
        event = self._pen.event(decided, id=name, cause=cause, correlation=correlation)
        assert event.subject == fence(org), event.subject
        try:
            if facts:
                ack = await self._pen.append_batch([*facts, (event, fence_seq)])
            else:
                ack = await self._rounds.append(event, expect=fence_seq)
            await self._ledger.reach(ack.seq)
        except (UnansweredError, StaleError, KnownError) as error:
            log.info("the decision about %s is uncertain (%s): reading back", org, error.code)
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._ledger.catch_up()
            if isinstance(error, StaleError):
                await self._ledger.look_on(event.subject)
        except FullError as error:
            log.error("nothing is admitted: %s", error)  # noqa: TRY400 - the sentence says it, a trace adds nothing
            await asyncio.sleep(_PAUSE_SECONDS * 10)

    async def _raise_alarms(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            while (vm := next(self._state.fleet.overdue(self._clock.now()), None)) is not None:
                await self._alarm(vm)

    async def _alarm(self, vm: Vm) -> None:
        """An order without an outcome is in the ledger as overdue; what it reserved stays reserved."""
        assert vm.order is not None, vm
        assert vm.due_at is not None, vm
        log.warning(
            "order %s for %s/%s (%s) is overdue since %s", vm.order, vm.org, vm.name, vm.state, vm.due_at
        )
        fact = OrderOverdue(
            org=vm.org,
            vm=vm.name,
            order=vm.order,
            kind=vm.state,
            due_at=vm.due_at,
            observed_at=self._clock.now(),
        )
        ack = await self._pen.record(
            fact, id=derive("order.overdue", vm.order), cause=vm.order, correlation=vm.request or vm.order
        )
        await self._ledger.reach(ack.seq)
