"""What must be so once the faults have stopped and everything has come to rest, and what must be so of the past."""

import copy
import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import NoneType
from typing import Any, Final

import msgspec

from events.copy import CopyDue
from events.deletion import DeletionDue
from events.drift import DomainDrifted
from events.envelope import SUBJECTS, Recorded, address
from events.gate import GateDecided
from events.mail import MailAccepted, MailFailed
from events.maintenance import MaintenanceBegun
from events.person import PersonErased, PersonEraseRequested
from projections.fleet.fold import Fleet, Vm
from projections.fleet.life import ASLEEP, UNDER_ORDER
from projections.usage.fold import Usage
from replay.whatif.asking import retold
from replay.whatif.rules import Rules
from schemas.intake import VERBS, Receipt
from services.announcer.port import backend_name
from services.gate.state import Docket, Wish
from services.waker.port import domain_name
from tests.simulation.foresight import broken_forecasts
from tests.simulation.load import WRONG
from tests.simulation.losses import broken_signals
from tests.simulation.mails import broken_mail, refusals
from tests.simulation.world import World


def unrest(world: World) -> Iterator[str]:
    """What is not yet settled, one sentence each."""
    truth, fleet = world.truth, world.truth.fleet
    for program in world.programs:
        if program.life is None or world.read_by(program.name) != len(truth.stored):
            yield f"{program.name} has not read the whole ledger."
    for org in truth.docket.waiting():
        yield f"Org {org} has unanswered requests."
    for org in fleet.needing():
        for vm in fleet.attention(org):
            yield f"{vm.name} is {vm.state} and waits for the gate."
    for vm in fleet.vms.values():
        yield from _of_vm(world, vm)
    for machine in truth.machines():
        if machine.state == "running" and (machine.org, machine.vm) not in truth.usage.holdings:
            yield f"{machine.name} runs and the ledger does not know."
    yield from _of_mails(world)
    yield from _of_balancer(world)
    if world.living is not None:
        yield from world.living.unrest()


def _of_vm(world: World, vm: Vm) -> Iterator[str]:
    if vm.state in UNDER_ORDER:
        yield f"{vm.org}/{vm.name} is {vm.state} under {vm.order}, without an outcome."
    if (vm.reservation is None) != (vm.state in ASLEEP):
        yield f"{vm.org}/{vm.name} is {vm.state} and holds {vm.reservation}."
    held = world.truth.usage.holdings.get((vm.org, vm.name))
    if (held.reservation if held else None) != vm.reservation:
        yield f"{vm.org}/{vm.name} holds {vm.reservation} in the fleet and {held} in usage."
    running = any(
        (one.org, one.vm, one.host) == (vm.org, vm.name, vm.host) and one.state == "running"
        for one in world.truth.machines()
    )
    on_disk = any(
        (one.org, one.vm) == (vm.org, vm.name) and one.state == "saved" for one in world.truth.machines()
    )
    if vm.state == "saved" and not on_disk:
        yield f"{vm.org}/{vm.name} is saved in the ledger and not on its host."
    if running != (vm.reservation is not None):
        yield f"{vm.org}/{vm.name} is {vm.state} in the ledger and {'runs' if running else 'does not run'}."
    disk = world.truth.volumes.disks.get((vm.org, vm.name))
    if disk is not None and vm.state == "quiesced" and disk.settled < (vm.asleep_since or 0):
        yield f"{vm.org}/{vm.name} sleeps since #{vm.asleep_since}, and nobody said whether its disk is pinned."
    if disk is not None and world.truth.hosts[disk.host].disks.joins(domain_name(vm.org, vm.name)):
        yield f"The former pin of {vm.org}/{vm.name} is being given up, and nobody ends that."
    if vm.reservation is not None and not vm.proven:
        yield f"{vm.org}/{vm.name} is {vm.state} and its waker never said that it runs."


def _of_mails(world: World) -> Iterator[str]:
    told = {
        request
        for line in world.truth.lines
        if isinstance(line.fact, MailAccepted | MailFailed)
        for request in line.fact.requests
    }
    erased = {line.fact.person for line in world.truth.lines if isinstance(line.fact, PersonErased)}
    for line in world.truth.lines:
        if isinstance(line.fact, PersonEraseRequested) and line.fact.person not in erased:
            yield f"{line.fact.person} was to be erased and is not."
    for person in erased & world.people.addresses.keys():
        yield f"{person} is erased in the ledger and known to the vault."
    for refused in refusals(world):
        if refused.request not in told:
            yield f"The refusal of {refused.request} is in no mail."


def _of_balancer(world: World) -> Iterator[str]:
    serving = {
        (backend_name(vm.org, vm.pool), vm.name): vm.address
        for vm in world.truth.fleet.vms.values()
        if vm.state == "serving"
    }
    ready = {at: one.address for at, one in world.balancer.live.items() if one.state == "ready"}
    if serving != ready:
        yield f"Serving are {sorted(serving.items())}, and the load balancer sends work to {sorted(ready.items())}."


# --------------------------------------------------------------------------------------------------------- the past


def judge(world: World) -> Iterator[str]:
    """What is wrong with the whole story, one sentence each."""
    yield from world.truth.broken
    if world.truth.broken:
        return  # whatever else is wrong follows from that, or from having ended there
    yield from _requests(world)
    yield from _receipts(world)
    yield from broken_mail(world)
    yield from broken_signals(world)
    yield from world.truth.totals()
    yield from _folds(world)
    yield from _decisions(world)
    yield from world.truth.trips.at_rest()
    yield from broken_forecasts(world.truth.lines)
    yield from _lines(world)
    yield from _false_alarms(world)


def _false_alarms(world: World) -> Iterator[str]:
    """Nobody changes a domain by hand here: a size or a disk that is told to be otherwise was taken for so in the middle of a change."""
    for line in world.truth.lines:
        if isinstance(line.fact, DomainDrifted) and line.fact.what in {"size", "disk"}:
            yield f"#{line.seq} says that {line.fact.vm} is {line.fact.found} instead of {line.fact.expected}."


def _requests(world: World) -> Iterator[str]:
    lines = world.truth.lines
    wishes = [line for line in lines if isinstance(line.fact, Wish)]
    asked = (line.id for line in wishes if not isinstance(line.fact, OF_WORKERS))
    for id_, times in Counter(asked).items():
        if times > 1:
            yield f"Request {id_} is in the ledger {times} times."
    answers = Counter(
        (line.fact.org, answer.request_seq, answer.request)
        for line in lines
        if isinstance(line.fact, GateDecided)
        for answer in line.fact.answers
    )
    for line in wishes:
        times = answers.pop((line.fact.org, line.seq, line.id), 0)
        if times != 1:
            yield f"Request {line.id} at #{line.seq} was answered {times} times."
    for foreign in answers:
        yield f"An answer was given to {foreign}, which nobody asked."


def _receipts(world: World) -> Iterator[str]:
    answered = {
        answer.request: answer
        for line in world.truth.lines
        if isinstance(line.fact, GateDecided)
        for answer in line.fact.answers
    }
    others = (*(one.client for one in world.authorities), *(one.client for one in world.tenants))
    for client in (*world.clients, *others):
        for asked in client.asked:
            if not isinstance(asked.answer, Receipt):
                continue
            if (asked.verb, asked.payload) in WRONG:
                yield f"{asked.payload[:60]!r} was accepted."
                continue
            receipt = asked.answer
            line = world.truth.lines[receipt.seq - 1] if receipt.seq <= len(world.truth.lines) else None
            if line is None or line.id != receipt.id:
                yield f"A receipt says #{receipt.seq}, and there stands {line.id if line else 'nothing'}."
                continue
            yield from _same(asked.verb, asked.payload, line)
            if receipt.outcome is not None:
                answer = answered.get(receipt.id)
                if answer is None or (answer.outcome, answer.granted) != (receipt.outcome, receipt.granted):
                    yield f"A client was told {receipt.outcome} about {receipt.id}; decided was {answer}."


OF_WORKERS: Final = (DeletionDue, CopyDue, MaintenanceBegun)
"""Requests that workers say under ids which follow from what they are about: each telling is answered, and the first counts."""

_SAID: Final = (
    *("pool", "person", "key", "add", "want", "count", "vms", "paused"),
    *("document", "public_key", "former", "endorsement", "host", "change", "seconds", "actor", "reason"),
)
"""What an event must say as its request did, each where a request has it."""


def _same(verb: str, payload: bytes, line: Recorded) -> Iterator[str]:
    asked = msgspec.json.decode(payload, type=VERBS[verb])
    for name in _SAID:
        if hasattr(asked, name) and getattr(asked, name) != getattr(line.fact, name, None):
            yield f"#{line.seq} says {line.fact}, and what was accepted for it is {asked}."
            return


def _folds(world: World) -> Iterator[str]:
    """A fold's copy in the middle, gone on with, is the whole; so is the one of every program that lives."""
    lines = world.truth.lines
    cut = len(lines) // 2
    whole: dict[Any, Any] = {}
    for kind, fold in ((Usage, world.truth.usage), (Fleet, world.truth.fleet), (Docket, world.truth.docket)):
        prefix = kind()
        for line in lines[:cut]:
            prefix.apply(line)
        rest = copy.deepcopy(prefix)
        for line in lines[cut:]:
            rest.apply(line)
        whole[kind] = _state(fold)
        if _state(rest) != whole[kind]:
            yield f"{kind.__name__}: a prefix and the rest are not the whole."
    for name, ledger in world.ledgers.items():
        for kind, fold in ledger._folds.items():
            if kind not in whole:
                fresh: Any = kind()
                for line in lines:
                    fresh.apply(line)
                whole[kind] = _state(fresh)
            if _state(fold) != whole[kind]:
                yield f"{name}: its live {kind.__name__} is not the one that its ledger gives."


def _decisions(world: World) -> Iterator[str]:
    """Each decision follows the one before, and is made again from the ledger up to what it had folded."""
    last = dict[str, int]()
    for line in world.truth.lines:
        if isinstance(fact := line.fact, GateDecided):
            before = last.get(fact.org, 0)
            if fact.follows != before:
                yield f"Decision #{line.seq} about {fact.org} follows #{fact.follows}, and the one before is #{before}."
                return
            last[fact.org] = line.seq
    unlike = retold(world.truth.lines, Rules()).unlike
    if unlike is not None:
        fact = unlike.recorded.fact
        yield f"Decision #{unlike.recorded.seq} is not what the rules say: {unlike.told} and {fact} are not {unlike.again}."


def _is_frozen(kind: Any) -> bool:
    """Whether the dataclass is a value, and as such equal to another with the same content."""
    return kind.__dataclass_params__.frozen and kind.__dataclass_params__.eq


_PLAIN: Final = frozenset({str, int, bool, float, NoneType, dt.datetime})


def _state(value: Any) -> Any:
    """A fold as plain values that can be compared; what is frozen compares itself."""
    kind = type(value)
    if kind in _PLAIN or issubclass(kind, msgspec.Struct):
        return value
    if isinstance(value, dict):
        return {key: _state(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_state(one) for one in value]
    if is_dataclass(kind) and _is_frozen(kind):
        return value
    if hasattr(value, "__dict__"):
        return {name: _state(one) for name, one in vars(value).items()}
    if hasattr(value, "__slots__"):
        return {name: _state(getattr(value, name)) for name in value.__slots__ if hasattr(value, name)}
    return value


def _lines(world: World) -> Iterator[str]:
    """Each event is written again to the very bytes that stand in the ledger, on the subject where it stands."""
    for stored, line in zip(world.truth.stored, world.truth.lines, strict=True):
        again = address(
            line.fact,
            writer=line.writer,
            id=line.id,
            time=line.time,
            cause=line.cause,
            correlation=line.correlation,
        )
        if (again.subject, again.id, again.payload) != (stored.subject, stored.id, stored.payload):
            yield f"#{stored.seq} is not written as it is read: {stored.subject}."
        if not stored.subject.startswith(SUBJECTS.removesuffix(">")):
            yield f"#{stored.seq} stands on {stored.subject}."
