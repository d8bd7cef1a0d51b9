"""What mails must have said by the end: each refusal, in its time, and none but in a digest where one was promised."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

from events.contract import ContractTookEffect
from events.gate import GateDecided
from events.mail import MailAccepted, is_of_refusals
from services.notifier.decide import PROMISE_SECONDS, is_refusal, owner_of
from tests.simulation.chance import Plan
from tests.simulation.world import World

_NS: Final = 1_000_000_000

_ROUNDING_NS: Final = _NS // 100

_IN_THE_WAY: Final = (
    "relay_",
    "kill",
    "clocks_off",
    "clock_step",
    "leap",
    "request_lost",
    "ack_lost",
    "stored_late",
    "append_slow",
    "tail_",
    "read_fails",
    "bus_outage",
)
"""Faults that may keep a mail for longer than was promised; in a world without them it comes in time."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal that the owner is told of; `mark_ns` is the digest it waits for, None where it begins an episode."""

    request: str
    person: str
    at_ns: int
    mark_ns: int | None


def refusals(world: World) -> Iterator[Refused]:
    """Every refusal of the ledger with its place in an episode, found in another way than the notifier's."""
    period_ns = world.plan.digest_seconds * _NS
    owners: dict[str, str] = {}
    began: dict[tuple[str, str], int] = {}
    told: dict[tuple[str, str], int] = {}
    for line in world.truth.lines:
        match line.fact:
            case ContractTookEffect() as took:
                owners[took.org] = owner_of(took)
            case GateDecided() as decided:
                for answer in filter(is_refusal, decided.answers):
                    owner, at_ns = (decided.org, owners[decided.org]), line.stored_ns
                    if owner in told and at_ns - told[owner] < period_ns:
                        passed = (at_ns - began[owner]) // period_ns
                        told[owner] = began[owner] + (passed + 1) * period_ns
                        yield Refused(answer.request, owner[1], at_ns, told[owner])
                    else:
                        began[owner] = told[owner] = at_ns
                        yield Refused(answer.request, owner[1], at_ns, None)
            case _:
                pass


def broken_mail(world: World) -> Iterator[str]:
    """Each promise about mails that was not kept."""
    refused = {one.request: one for one in refusals(world)}
    fair = _is_fair(world.plan)
    for line in world.truth.lines:
        mail = line.fact
        if not isinstance(mail, MailAccepted):
            continue
        if mail.message_id not in world.relay.taken:
            yield f"#{line.seq} says that {mail.message_id} was accepted, and the relay never saw it."
        if not is_of_refusals(mail.message_id):
            continue
        for request in mail.requests:
            one = refused[request]
            if one.person != mail.person:
                yield f"The refusal of {request} was {one.person}'s, and {mail.person} was told at #{line.seq}."
            if world.plan.bus_steps:
                continue  # episodes are told apart by the bus's clock, and it goes back and forth
            if one.mark_ns is None and len(mail.requests) > 1:
                yield f"{request} begins an episode, and #{line.seq} names others with it."
            early = one.mark_ns is not None and not world.plan.clock_step_seconds
            if early and one.mark_ns is not None and line.stored_ns < one.mark_ns - _ROUNDING_NS:
                yield f"{request} was to wait for its digest, and was mailed before at #{line.seq}."
            late_ns = line.stored_ns - (one.mark_ns or one.at_ns)
            if fair and late_ns > PROMISE_SECONDS * _NS:
                yield f"{request} was mailed at #{line.seq}, {late_ns / _NS:.0f} s after it was due."


def _is_fair(plan: Plan) -> bool:
    rates = (getattr(plan, one.name) for one in fields(plan) if one.name.startswith(_IN_THE_WAY))
    return not any(rates)
