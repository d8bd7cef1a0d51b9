"""Asking the house for something, and following what becomes of it until it has ended."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec

from events import keys
from events.bus import nats
from events.bus.permissions import inbox
from events.bus.port import Bus
from events.envelope import Recorded, read
from events.gate import DrainOrdered, GateDecided
from events.mail import MailAccepted, MailFailed
from events.person import PersonErased
from events.sentences import sentence
from events.vm import VmQuiesced
from projections.activations.fold import BUDGET_MS, Activation, Activations
from schemas.house import House
from schemas.intake import Erase, Quiesce, Receipt, Rejection, Request, Scale, Stock
from virtscale.exits import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_NOT_FOUND,
    EXIT_REFUSED,
    EXIT_TIMEOUT,
    EXIT_USAGE,
)
from virtscale.show import Format, say, show

_NOT_FOUND: Final = frozenset({"OrgUnknown", "PoolUnknown", "PersonUnknown"})
_ANSWER_SECONDS: Final = 10.0
_MAIL_SECONDS: Final = 30.0  # the promise to the org owner

_VERBS: Final[dict[type[Request], str]] = {Scale: "scale", Quiesce: "quiesce", Stock: "stock", Erase: "erase"}


class TurnedAwayError(Exception):
    """The intake did not take the request; `exit_code` says what kind of no it was."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.text)
        self.code = rejection.code
        self.exit_code = EXIT_NOT_FOUND if rejection.code in _NOT_FOUND else EXIT_USAGE


def new_key() -> str:
    """An idempotency key for one call of the command: repeating the command asks again."""
    return secrets.token_hex(8)


@asynccontextmanager
async def operator(house: House) -> AsyncGenerator[Bus]:
    """A connection to the bus as the operator."""
    bus = await nats.connect(
        house.bus_url,
        "operator",
        seed=keys.read(keys.path_of(house.keys, "operator")),
        inbox=inbox("operator"),
        on_fault=say,
    )
    try:
        yield bus
    finally:
        await bus.close()


async def publish(bus: Bus, org: str, request: Request) -> Receipt:
    """The request is in the ledger; `TurnedAwayError` when the intake refused it."""
    answer = await bus.ask(
        f"in.{org}.operator.{_VERBS[type(request)]}", msgspec.json.encode(request), _ANSWER_SECONDS
    )
    reply = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
    if "seq" in reply:
        return msgspec.json.decode(answer, type=Receipt)
    raise TurnedAwayError(msgspec.json.decode(answer, type=Rejection))


async def events_after(bus: Bus, seq: int) -> AsyncGenerator[Recorded]:
    """Every event after a sequence, once and in order."""
    async for group in bus.tail(seq):
        for stored in group:
            if stored.seq > seq + 1:
                for missed in await bus.read(seq + 1, stored.seq - 1):
                    yield read(missed.seq, missed.stored_ns, missed.payload)
            if stored.seq > seq:
                yield read(stored.seq, stored.stored_ns, stored.payload)
                seq = stored.seq


@dataclass(slots=True)
class _Trip:
    """What a command has seen of its request so far."""

    request: str
    view: Activations = field(default_factory=Activations)
    quiesced: set[str] = field(default_factory=set[str])
    leaving: set[str] = field(default_factory=set[str])
    mail: MailAccepted | MailFailed | None = None

    def apply(self, recorded: Recorded) -> None:
        self.view.apply(recorded)
        match recorded.fact:
            case GateDecided(orders=orders):
                for order in orders:
                    if isinstance(order, DrainOrdered) and order.request == self.request:
                        self.leaving.add(order.vm)
            case VmQuiesced(vm=vm) if vm in self.leaving:
                self.quiesced.add(vm)
            case MailAccepted(requests=requests) | MailFailed(requests=requests) if self.request in requests:
                self.mail = recorded.fact
            case _:
                pass

    @property
    def activations(self) -> list[Activation]:
        return self.view.of(self.request)


async def scale(house: House, org: str, request: Scale | Stock, form: Format, deadline_seconds: float) -> int:
    """The request was followed until its VMs serve, or it was refused and mailed; the exit code."""
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        say(f"request {receipt.id} stored at ledger sequence {receipt.seq}")
        trip = _Trip(receipt.id)
        done = frozenset({"prepared", "failed"} if isinstance(request, Stock) else {"serving", "failed"})
        try:
            async with asyncio.timeout(deadline_seconds):
                await _until_settled(bus, receipt, trip, done)
        except TimeoutError:
            say(f"not ended after {deadline_seconds:g} s; it goes on: virtscale activation {receipt.id}")
            _report(trip, form)
            return EXIT_TIMEOUT
    return _report(trip, form)


async def quiesce(house: House, org: str, request: Quiesce, form: Format, deadline_seconds: float) -> int:
    """The request was followed until its VMs sleep; the exit code."""
    started = time.monotonic()
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        say(f"request {receipt.id} stored at ledger sequence {receipt.seq}")
        trip = _Trip(receipt.id)
        try:
            async with asyncio.timeout(deadline_seconds):
                async for recorded in events_after(bus, receipt.seq - 1):
                    trip.apply(recorded)
                    answer = (
                        trip.view.requests[receipt.id].answer if receipt.id in trip.view.requests else None
                    )
                    if answer is not None and trip.quiesced >= trip.leaving:
                        break
        except TimeoutError:
            say(f"not ended after {deadline_seconds:g} s; it goes on: virtscale vms")
            return EXIT_TIMEOUT
    known = trip.view.requests[receipt.id]
    assert known.answer is not None
    say(sentence(org, known.answer, known.contract))
    rows = [
        {"vm": vm, "state": "quiesced", "seconds": round(time.monotonic() - started, 1)}
        for vm in sorted(trip.quiesced)
    ]
    if rows or form == "json":
        show(rows, form)
    return EXIT_DONE


async def erase(house: House, org: str, request: Erase) -> int:
    """The person's key is destroyed, as the ledger says; the exit code."""
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                async for recorded in events_after(bus, receipt.seq):
                    fact = recorded.fact
                    if isinstance(fact, PersonErased) and fact.person == request.person:
                        known = "erased" if fact.existed else "was not in the vault, or erased before"
                        say(f"{request.person}: {known} (ledger sequence {recorded.seq})")
                        return EXIT_DONE
        except TimeoutError:
            say("the notifier did not answer; the request stands and will be carried out when it is back")
    return EXIT_TIMEOUT


async def _until_settled(bus: Bus, receipt: Receipt, trip: _Trip, done: frozenset[str]) -> None:
    said: set[tuple[str, str]] = set()
    answered = False
    refused_at: float | None = None
    loop = asyncio.get_running_loop()
    async for recorded in events_after(bus, receipt.seq - 1):
        trip.apply(recorded)
        known = trip.view.requests.get(receipt.id)
        if known is None or known.answer is None:
            continue
        if not answered:
            answered = True
            say(sentence(known.org, known.answer, known.contract))
            refused_at = loop.time()
        for activation in trip.activations:
            if (activation.vm, activation.stage) not in said:
                said.add((activation.vm, activation.stage))
                if activation.stage in done:
                    say(
                        f"  {activation.vm} {activation.stage}{': ' + activation.failure if activation.failure else ''}"
                    )
        # The waker's word is off the path: a VM can serve a moment before its L3 is known.
        told = all(one.failure or one.awake_at for one in trip.activations)
        if told and all(activation.stage in done for activation in trip.activations):
            mailed = known.answer.code not in {"CapExceeded", "ContractExpired"} or trip.mail is not None
            assert refused_at is not None
            if mailed or loop.time() - refused_at > _MAIL_SECONDS:
                return


def _report(trip: _Trip, form: Format) -> int:
    known = trip.view.requests.get(trip.request)
    if known is None or known.answer is None:
        return EXIT_FAILED
    answer = known.answer
    if isinstance(trip.mail, MailAccepted):
        took_ms = (trip.mail.accepted_at - trip.mail.refused_at).total_seconds() * 1000
        say(f"mail to {trip.mail.person} accepted {took_ms:.0f} ms after the refusal")
    elif isinstance(trip.mail, MailFailed):
        say(f"mail to {trip.mail.person} failed: {trip.mail.text}")
    if form == "json":
        show([_as_json(trip, known.id)], "json")
    elif trip.activations:
        show_steps(trip.activations)
    if answer.outcome in {"refused", "partial"}:
        return EXIT_REFUSED
    return EXIT_FAILED if any(activation.stage == "failed" for activation in trip.activations) else EXIT_DONE


def _as_json(trip: _Trip, request: str) -> dict[str, object]:
    known = trip.view.requests[request]
    assert known.answer is not None
    return {
        "request": known.id,
        "seq": known.seq,
        "outcome": known.answer.outcome,
        "code": known.answer.code,
        "granted": known.answer.granted,
        "text": sentence(known.org, known.answer, known.contract),
        "evidence": known.answer.evidence,
        "mail": trip.mail.message_id if isinstance(trip.mail, MailAccepted) else None,
        "activations": [
            {
                "order": activation.order,
                "vm": activation.vm,
                "way": activation.way,
                "stage": activation.stage,
                "steps_ms": activation.steps_ms(),
                "total_ms": activation.total_ms(),
                "failure": activation.failure,
            }
            for activation in trip.activations
        ],
    }


def show_steps(activations: list[Activation]) -> None:
    """The five steps of each activation in milliseconds, with the budget in the last line."""
    rows: list[dict[str, object]] = []
    for activation in activations:
        steps = activation.steps_ms()
        rows.append(
            {
                "vm": activation.vm,
                "way": activation.way,
                "stage": activation.stage,
                "L1 signal": steps["L1"],
                "L2 gate": steps["L2"],
                "L3 wake": steps["L3"],
                "L4 health": steps["L4"],
                "L5 announce": steps["L5"],
                "total ms": activation.total_ms(),
            }
        )
    budget = {name: BUDGET_MS[name[:2]] for name in rows[0] if name[:2] in BUDGET_MS}
    rows.append({"vm": "budget", "way": "p50", "stage": "", **budget, "total ms": sum(BUDGET_MS.values())})
    show(rows, "table")
