"""Following a request until it has ended, for a person who waits: the commands scale, stock, quiesce and erase."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from events.bus.port import Bus, UnansweredError
from events.contract import ContractTookEffect
from events.envelope import Recorded, read
from events.fact import Fact
from events.gate import DrainCancelled, DrainOrdered, GateDecided, SaveOrdered
from events.mail import MailAccepted, MailFailed
from events.person import PersonErased
from events.sentences import sentence
from events.vm import VmQuiesced, VmSaved, VmSaveFailed, VmStopped
from projections.activations.fold import BUDGET_MS, Activation, Activations, Request
from schemas.house import House
from schemas.intake import Erase, Quiesce, Receipt, Save, Scale, Stock
from services.notifier.decide import digest_at, is_refusal, owner_of
from virtscale.ask import events_after, operator, publish
from virtscale.exits import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, EXIT_TIMEOUT
from virtscale.show import Format, say, show

_MAIL_SECONDS: Final = 30.0
"""The promise to the org's owner: the first refusal of an episode is with the relay within this time."""

_REPLACED_SECONDS: Final = 2.0
"""The gate replaces a VM that did not wake within milliseconds, and one whose guest is mute once it is switched off."""

_ARRIVED: Final = frozenset({"serving", "prepared"})

_ERASE_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Trip:
    """What a command has seen of its request so far."""

    org: str
    request: str
    view: Activations = field(default_factory=Activations)
    leaving: set[str] = field(default_factory=set[str])
    left: dict[str, tuple[str, dt.datetime]] = field(default_factory=dict[str, tuple[str, dt.datetime]])
    """VMs that no longer leave: what became of each, and when that was stored."""
    mail: MailAccepted | MailFailed | None = None
    digest_at: dt.datetime | None = None
    """When the digest is due that will name the refusal; None where it has a mail of its own, or nobody knows."""

    def apply(self, recorded: Recorded) -> None:
        """What was seen now includes the event."""
        self.view.apply(recorded)
        match recorded.fact:
            case GateDecided(org=self.org, orders=orders):
                for order in orders:
                    if isinstance(order, DrainOrdered | SaveOrdered) and order.request == self.request:
                        self.leaving.add(order.vm)
                    elif isinstance(order, DrainCancelled):
                        self._end(order.vm, "serves again", recorded)
            case VmQuiesced(org=self.org, vm=vm):
                self._end(vm, "quiesced", recorded)
            case VmSaved(org=self.org, vm=vm, image_bytes=image_bytes):
                self._end(vm, f"saved, {image_bytes / 2**20:.0f} MiB", recorded)
            case VmSaveFailed(org=self.org, vm=vm, code=code, text=text):
                self._end(vm, f"sleeps on in RAM: {code}: {text}", recorded)
            case VmStopped(org=self.org, vm=vm, cause=cause):
                self._end(vm, f"stopped ({cause})", recorded)
            case MailFailed(requests=requests) as mail if self.request in requests:
                self.mail = mail
            case MailAccepted(org=self.org) as mail:
                self.hear_of(mail)
            case _:
                pass

    def _end(self, vm: str, how: str, recorded: Recorded) -> None:
        if vm in self.leaving and vm not in self.left:
            self.left[vm] = (how, recorded.stored_at)

    @property
    def known(self) -> Request | None:
        """The request as it is known, with its answer once there is one."""
        return self.view.requests.get(self.request)

    @property
    def activations(self) -> list[Activation]:
        """The trips that the request led to."""
        return self.view.of(self.request)

    @property
    def lacks(self) -> bool:
        """Whether a VM failed and fewer came than were granted; another may take its place."""
        known, stages = self.known, [activation.stage for activation in self.activations]
        if known is None or known.answer is None or "failed" not in stages:
            return False
        return sum(stage in _ARRIVED for stage in stages) < known.answer.granted

    @property
    def told_of(self) -> bool:
        """Whether the request was refused in a way that its org's owner is told of."""
        known = self.known
        return known is not None and known.answer is not None and is_refusal(known.answer)

    @property
    def awaits_mail(self) -> bool:
        """Whether the owner is to be told and was not yet, and no digest is known that will do it."""
        return self.told_of and self.mail is None and self.digest_at is None

    def hear_of(self, mail: MailAccepted) -> None:
        """It is the mail about this refusal; or one about another may tell of an episode, and with it of the digest for this one."""
        known = self.known
        if self.request in mail.requests:
            self.mail = mail
        elif self.told_of and self.digest_at is None and known is not None and known.decided_at is not None:
            self.digest_at = digest_at(mail, known.decided_at)


async def scale(house: House, org: str, request: Scale | Stock, form: Format, deadline_seconds: float) -> int:
    """The request was followed until its VMs serve, or it was refused and mailed; the exit code."""
    done = frozenset({"prepared", "failed"} if isinstance(request, Stock) else {"serving", "failed"})
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        trip = _begin(org, receipt)
        events = events_after(bus, receipt.seq - 1)
        try:
            async with asyncio.timeout(deadline_seconds):
                await _until_settled(events, trip, done)
                while trip.lacks and await _another_comes(events, trip):
                    await _until_settled(events, trip, done)
        except TimeoutError:
            say(f"not ended after {deadline_seconds:g} s; it goes on: virtscale activation {receipt.id}")
            _report(trip, form)
            return EXIT_TIMEOUT
        await _look_for_episode(bus, trip)
        await _hear_of_mail(events, trip)
    return _report(trip, form)


async def quiesce(
    house: House, org: str, request: Quiesce | Save, form: Format, deadline_seconds: float
) -> int:
    """The request was followed until each of its VMs sleeps, or as deep as it shall, or serves again because demand came back."""
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        trip = _begin(org, receipt)
        try:
            async with asyncio.timeout(deadline_seconds):
                await _until_left(events_after(bus, receipt.seq - 1), trip)
        except TimeoutError:
            say(f"not ended after {deadline_seconds:g} s; it goes on: virtscale vms")
            return EXIT_TIMEOUT
    known = trip.known
    assert known is not None
    assert known.answer is not None
    assert known.decided_at is not None
    say(sentence(org, known.answer, known.contract))
    rows = [
        {"vm": vm, "state": how, "seconds": round((at - known.decided_at).total_seconds(), 1)}
        for vm, (how, at) in sorted(trip.left.items())
    ]
    if rows or form == "json":
        show(rows, form)
    return EXIT_REFUSED if known.answer.outcome in {"refused", "partial"} else EXIT_DONE


async def erase(house: House, org: str, request: Erase) -> int:
    """The person's key is destroyed, as the ledger says; the exit code."""
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        try:
            async with asyncio.timeout(_ERASE_SECONDS):
                async for recorded in events_after(bus, receipt.seq):
                    fact = recorded.fact
                    if isinstance(fact, PersonErased) and fact.person == request.person:
                        known = "erased" if fact.existed else "was not in the vault, or erased before"
                        say(f"{request.person}: {known} (ledger sequence {recorded.seq})")
                        return EXIT_DONE
        except TimeoutError:
            say("the notifier did not answer; the request stands and will be carried out when it is back")
    return EXIT_TIMEOUT


def _begin(org: str, receipt: Receipt) -> _Trip:
    say(f"request {receipt.id} stored at ledger sequence {receipt.seq}")
    return _Trip(org, receipt.id)


async def _until_settled(events: AsyncIterator[Recorded], trip: _Trip, done: frozenset[str]) -> None:
    """The request is answered, and each of its VMs has arrived or failed; each of these was said."""
    said: set[str] = set()
    answered = False
    async for recorded in events:
        trip.apply(recorded)
        known = trip.known
        if known is None or known.answer is None:
            continue
        if not answered:
            answered = True
            say(sentence(known.org, known.answer, known.contract))
        for activation in trip.activations:
            if activation.stage in done and activation.order not in said:
                said.add(activation.order)
                say(
                    f"  {activation.vm} {activation.stage}{f': {activation.failure}' if activation.failure else ''}"
                )
        # The waker's word is off the path: a VM can serve a moment before its L3 is known.
        told = all(one.failure or one.awake_at or one.way == "return" for one in trip.activations)
        if told and all(activation.stage in done for activation in trip.activations):
            return


async def _another_comes(events: AsyncIterator[Recorded], trip: _Trip) -> bool:
    """Whether the gate orders one more VM for the request soon: it does so once for each that failed to wake."""
    if trip.awaits_mail:
        return False  # the events are wanted for that, and who stops waiting ends them
    known = len(trip.activations)
    try:
        async with asyncio.timeout(_REPLACED_SECONDS):
            async for recorded in events:
                trip.apply(recorded)
                if len(trip.activations) > known:
                    return True
    except TimeoutError:
        pass
    return False


async def _until_left(events: AsyncIterator[Recorded], trip: _Trip) -> None:
    """The request is answered, and nothing that it sent away is still on its way."""
    async for recorded in events:
        trip.apply(recorded)
        known = trip.known
        if known is not None and known.answer is not None and trip.left.keys() >= trip.leaving:
            return


async def _look_for_episode(bus: Bus, trip: _Trip) -> None:
    """The last mail to the org's owner was looked at: it tells whether the refusal waits for a digest."""
    if not trip.awaits_mail:
        return
    try:
        took = await _last(bus, f"vs.{trip.org}.gate.org.{trip.org}.contract.took-effect")
        if not isinstance(took, ContractTookEffect):
            return
        mail = await _last(bus, f"vs.{trip.org}.notifier.person.{owner_of(took)}.mail.accepted")
    except UnansweredError:
        return  # the next mail tells it too, and is waited for
    if isinstance(mail, MailAccepted):
        trip.hear_of(mail)


async def _last(bus: Bus, subject: str) -> Fact | None:
    stored = await bus.last_on(subject)
    return None if stored is None else read(stored.seq, stored.stored_ns, stored.payload, subject).fact


async def _hear_of_mail(events: AsyncIterator[Recorded], trip: _Trip) -> None:
    """The owner's mail was accepted or failed, its digest is known, or the time is over, which is said."""
    try:
        async with asyncio.timeout(_MAIL_SECONDS):
            while trip.awaits_mail:
                trip.apply(await anext(events))
    except TimeoutError:
        say(
            f"the mail to the org's owner was not accepted within {_MAIL_SECONDS:g} s; it is tried on, or the next "
            "digest names the refusal"
        )


def _report(trip: _Trip, form: Format) -> int:
    known = trip.known
    if known is None or known.answer is None:
        return EXIT_FAILED
    answer = known.answer
    if isinstance(trip.mail, MailAccepted):
        took_ms = (trip.mail.accepted_at - trip.mail.refused_at).total_seconds() * 1000
        say(f"mail to {trip.mail.person} accepted {took_ms:.0f} ms after the refusal")
    elif isinstance(trip.mail, MailFailed):
        say(f"mail to {trip.mail.person} failed: {trip.mail.text}")
    elif trip.digest_at is not None:
        say(
            "the org's owner was mailed about an earlier refusal; this one will be named in the digest at "
            f"{trip.digest_at:%H:%M} UTC"
        )
    if form == "json":
        show([_as_json(trip, known.id)], "json")
    elif trip.activations:
        show_steps(trip.activations)
    if answer.outcome in {"refused", "partial"}:
        return EXIT_REFUSED
    return EXIT_FAILED if trip.lacks else EXIT_DONE


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
        "digest_at": trip.digest_at if trip.mail is None else None,
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
