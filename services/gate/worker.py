"""The gate at work: read, decide, append on the fence; when the fence moved, read and decide again."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus, FullError, KnownError, StaleError, UnansweredError
from events.clock import Clock
from events.envelope import Addressed, fence
from events.gate import GateDecided
from events.ids import derive
from events.order import OrderOverdue
from projections.fleet.fold import Fleet, Vm
from projections.usage.fold import Usage
from schemas.contract import Contract
from schemas.pool import Pool
from services.gate.decide import RULES, decide, take_effect
from services.gate.state import Docket

_LOOK_SECONDS: Final = 1.0  # how often overdue orders are looked for
_PAUSE_SECONDS: Final = 0.1

log = logging.getLogger("virtscale.gate")


class Gate:
    """One gate; any number of them may run, for the fence lets one decision through at a time."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, name: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._name = name
        self._pen = Pen(bus, "gate", clock)
        self._docket = ledger.fold(Docket)
        self._usage = ledger.fold(Usage)
        self._fleet = ledger.fold(Fleet)
        self._bell = ledger.bell()
        self._attempts = 0
        self._settling: set[str] = set()

    async def work(self, contracts: Sequence[Contract], pools: Sequence[Pool]) -> None:
        """The contracts and pools take effect; then every request is answered, for ever."""
        await self._ledger.live.wait()
        known = {contract.org for contract in contracts}
        for pool in pools:
            if pool.org not in known:
                log.error("pool %s/%s has no contract file and is not defined", pool.org, pool.name)
        for contract in contracts:
            self._compare(contract)
            own = [pool for pool in pools if pool.org == contract.org]
            while not await self._adopt(contract, own):
                pass
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._raise_alarms(), name="gate: alarms")
            while True:
                for org in dict.fromkeys([*self._docket.waiting(), *self._fleet.needing()]):
                    if org not in self._settling:
                        self._settling.add(org)
                        tasks.create_task(self._settle(org), name=f"gate: {org}")
                await self._bell.wait()

    async def _settle(self, org: str) -> None:
        """Rounds for one org until there is nothing left to say; each sees the one before it."""
        while (decided := self._decide(org)) is not None:
            await self._append([], decided)
        # No await since the last look: whatever is folded from here on finds the org at rest.
        self._settling.remove(org)

    def _decide(self, org: str) -> GateDecided | None:
        return decide(
            org,
            self._docket,
            self._usage,
            self._fleet,
            now=self._clock.now(),
            gate=self._name,
            state_seq=self._ledger.seq,
        )

    def _compare(self, contract: Contract) -> None:
        present = self._usage.contracts.get(contract.org)
        if present is not None and present != contract and contract.version <= present.version:
            log.error(
                "the contract file of %s has version %s and differs from version %s in force: it does not take effect",
                contract.org,
                contract.version,
                present.version,
            )

    async def _adopt(self, contract: Contract, pools: list[Pool]) -> bool:
        """One attempt to put a contract and its pools in force; True once they are, as read from the ledger."""
        org, now = contract.org, self._clock.now()
        facts = take_effect(contract, pools, self._usage, self._fleet, now)
        if not facts:
            return True
        decided = GateDecided(
            org=org,
            gate=self._name,
            through=self._docket.through(org),
            follows=self._docket.fence_seq(org),
            state_seq=self._ledger.seq,
            now=now,
            contract=None,
            rules=RULES,
            answers=(),
            orders=(),
        )
        cause = derive(
            contract.id, contract.version, self._docket.fence_seq(org), self._name, now.isoformat()
        )
        events = [
            self._pen.event(fact, id=derive(cause, number, fact.org), cause=None, correlation=cause)
            for number, fact in enumerate(facts)
        ]
        await self._append(events, decided)
        return False

    async def _append(self, before: list[Addressed], decided: GateDecided) -> None:
        """The decision is in the ledger and folded, or the fence moved first and that is folded instead.

        Nothing is concluded from an error: whatever happened is read back, and the next round decides on it.
        """
        org = decided.org
        fence_seq = max(decided.follows, self._ledger.noise_on(fence(org)))
        self._attempts += 1
        correlation = decided.answers[0].request if decided.answers else derive("round", org, fence_seq)
        event = self._pen.event(
            decided,
            id=derive("gate.decided", org, fence_seq, self._name, self._attempts, decided.now.isoformat()),
            cause=correlation if decided.answers else None,
            correlation=correlation,
        )
        assert event.subject == fence(org), event.subject
        try:
            if before:
                ack = await self._pen.append_batch([*((fact, None) for fact in before), (event, fence_seq)])
            else:
                ack = await self._pen.append(event, expect=fence_seq)
            await self._ledger.reach(ack.seq)
        except (UnansweredError, StaleError, KnownError) as error:
            log.info("the decision about %s is uncertain (%s): reading back", org, error.code)
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._ledger.catch_up()
        except FullError as error:
            log.error("nothing is admitted: %s", error)  # noqa: TRY400 - the sentence says it, a trace adds nothing
            await asyncio.sleep(_PAUSE_SECONDS * 10)

    async def _raise_alarms(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            while (vm := next(self._fleet.overdue(self._clock.now()), None)) is not None:
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
