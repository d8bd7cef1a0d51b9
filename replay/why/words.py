"""One sentence for each event, for a person who asks why: what happened, with its numbers."""

import datetime as dt
from typing import Final

from events.contract import ContractAccepted, ContractSubmitted, ContractTookEffect, ContractVoided
from events.fact import Fact
from events.freeze import FreezeRequested, ScalingFrozen, ScalingThawed, ThawRequested
from events.gate import (
    AdoptOrdered,
    Answer,
    BootOrdered,
    ContractRef,
    CopyOrdered,
    DrainCancelled,
    DrainOrdered,
    DropOrdered,
    EraseOrdered,
    Evidence,
    GateDecided,
    GrowOrdered,
    Order,
    PlugOrdered,
    RebootOrdered,
    RestoreOrdered,
    SaveOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.host import (
    HostAdmitted,
    HostChangeRequested,
    HostCordoned,
    HostFenced,
    HostReconciled,
    HostRegistered,
    HostRemoved,
)
from events.key import KeyRegistered, KeyRegisterRequested, KeyRevoked, KeyRevokeRequested
from events.ledger import LedgerRecovered, LedgerRolled, LedgerSealed
from events.mail import (
    MailAccepted,
    MailFailed,
    is_of_deletion,
    is_of_maintenance,
    is_of_signals,
    is_of_trouble,
)
from events.order import OrderOverdue
from events.permission import PermissionChangeRequested, PermissionGranted, PermissionRevoked
from events.person import PersonErased, PersonEraseRequested
from events.pool import PoolDefined, PoolObserved, Reading
from events.quiesce import QuiesceRequested
from events.scale import Origin, Sample, ScaleRequested
from events.sentences import percent, sentence, unit
from events.stock import StockRequested
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmBooted,
    VmDefined,
    VmDrained,
    VmFoundAwake,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from replay.why.ahead import of_readiness
from replay.why.disks import of_disk
from replay.why.kept import of_kept

_SHOWN_DIGITS: Final = 12
_WHO: Final[dict[Origin, str]] = {
    "person": "a person as {}",
    "program": "the program {}",
    "trigger": "the pool's trigger",
    "forecast": "a forecast",
}


def moment(when: dt.datetime) -> str:
    """An instant in a sentence, to the second."""
    return f"{when.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def short(id_: str) -> str:
    """The first digits of an id, enough to ask for it again."""
    return id_[:_SHOWN_DIGITS]


def number(vms: int, *, more: bool = False) -> str:
    """So many VMs, in the singular for one."""
    return f"{vms}{' more' if more else ''} VM{'' if vms == 1 else 's'}"


def answered(org: str, answer: Answer, contract: ContractRef | None) -> str:
    """What was answered, with the arithmetic that decided it where the sentence itself does not have it.

    Of several lines those past their limit, or the one that came nearest to it.
    """
    said = sentence(org, answer, contract)
    if answer.code == "CapExceeded" or not answer.evidence:
        return said
    over = [line for line in answer.evidence if line.projected > line.limit]
    shown = over or [max(answer.evidence, key=lambda line: line.projected / max(1, line.limit))]
    return f"{said} Projected: {'; '.join(arithmetic(line, contract) for line in shown)}."


def arithmetic(line: Evidence, contract: ContractRef | None) -> str:
    """`6 of 11 vCPU (4 in use + 0 reserved + 2 requested; quota 10 + 10 %, contract acme-2026 version 1)`."""
    whose = ""
    if line.quota is not None and contract is not None:
        whose = (
            f"; quota {line.quota} + {percent(contract.allowance_bp)}, contract {contract.id} "
            f"version {contract.version}"
        )
    return (
        f"{line.projected} {'>' if line.projected > line.limit else 'of'} {line.limit} {unit(line)} "
        f"({line.used} in use + {line.reserved} reserved + {line.requested} requested{whose})"
    )


def by_rules(decided: GateDecided) -> str:
    """By which rules and clock, and from how much of the ledger, it was decided."""
    return (
        f"Decided by {decided.gate} at {moment(decided.now)} by rules {decided.rules} from the ledger up to "
        f"sequence {decided.state_seq}."
    )


def tag_of(order: Order) -> str:
    """The order's name, `wake.ordered`: an event in its own right, inside a decision."""
    return str(order.__struct_config__.tag)


def ordered(order: Order) -> str:
    """What a worker was told to do."""
    match order:
        case WakeOrdered():
            return f"wake {order.vm} on {order.host}, to begin by {moment(order.begin_by)}"
        case BootOrdered():
            why = " to be prepared and put to sleep" if order.purpose == "stock" else ""
            return f"boot {order.vm} on {order.host}{why}, to begin by {moment(order.begin_by)}"
        case DrainOrdered():
            return f"drain {order.vm} for at most {order.drain_seconds} s"
        case DrainCancelled():
            return f"let {order.vm} serve again: demand came back before it slept"
        case SuspendOrdered():
            return f"suspend {order.vm} on {order.host}"
        case SaveOrdered():
            return f"write the RAM of {order.vm} on {order.host} to disk, while it sleeps"
        case StopOrdered(grace_seconds=0):
            return f"stop {order.vm} on {order.host}"
        case StopOrdered():
            return f"stop {order.vm} on {order.host}, its guest having {order.grace_seconds} s to shut down"
        case RebootOrdered():
            size = f"{order.size.vcpu} vCPU and {order.size.memory_mib} MiB"
            return f"reboot {order.vm} on {order.host} with {size}, to begin by {moment(order.begin_by)}"
        case PlugOrdered():
            return f"plug vCPU into {order.vm} on {order.host}, so that it has {order.size.vcpu}"
        case GrowOrdered():
            return f"grow the disk of {order.vm} to {order.size_bytes} bytes"
        case CopyOrdered() | DropOrdered() | RestoreOrdered() | EraseOrdered() | AdoptOrdered():
            return of_disk(order)


def sampled(sample: Sample | None) -> str:
    """The measurement behind a request, if there is one, to stand at the end of its sentence."""
    if sample is None:
        return ""
    how = (
        f", above {sample.above:g}," if sample.value > sample.above else f" and rising past {sample.above:g}"
    )
    return f", because {sample.query} was {sample.value:g}{how} at {moment(sample.observed_at)}"


def happened(fact: Fact) -> str:
    """What happened, in one sentence without a full stop."""
    match fact:
        case ScaleRequested() as wish:
            what = (
                number(wish.add, more=True)
                if wish.add is not None
                else f"{number(wish.want or 0)} awake in all"
            )
            who = _WHO[wish.origin].format(wish.publisher)
            return f"{who} asked for {what} in {wish.org}/{wish.pool}{sampled(wish.sample)}"
        case QuiesceRequested() as wish:
            who = _WHO[wish.origin].format(wish.publisher)
            return f"{who} asked to put {number(wish.count)} of {wish.org}/{wish.pool} to sleep{sampled(wish.sample)}"
        case StockRequested() as wish:
            return f"{wish.publisher} asked that {wish.org}/{wish.pool} holds at least {number(wish.vms)}"
        case GateDecided():
            words = [answered(fact.org, answer, fact.contract) for answer in fact.answers]
            words += [f"Ordered: {ordered(order)}." for order in fact.orders]
            return " ".join([*words, by_rules(fact)])
        case OrderOverdue():
            return f"{fact.vm} ({fact.kind}) had no outcome by {moment(fact.due_at)}; what it reserves stays reserved"
        case _:
            return (
                _of_vm(fact)
                or _of_terms(fact)
                or _of_house(fact)
                or of_readiness(fact)
                or of_kept(fact)
                or f"an event about {fact.org}"
            )


def _of_vm(fact: Fact) -> str | None:
    match fact:
        case VmDefined():
            return f"{fact.vm} is defined on {fact.host}; its guest answers at {fact.address}"
        case VmResumed():
            return f"{fact.host} resumed {fact.vm}{_took(fact.started_at, fact.resumed_at, fact.attempts)}"
        case VmBooted():
            return f"{fact.host} booted {fact.vm}{_took(fact.started_at, fact.booted_at, fact.attempts)}"
        case VmWakeFailed():
            return f"{fact.vm} did not wake on {fact.host} and is {fact.found}: {fact.code}: {fact.text}"
        case VmReady():
            again = ", as another boot than before" if fact.rebooted else ""
            return f"the guest of {fact.vm} answered probe {fact.probes}{again}"
        case VmUnready():
            return f"the guest of {fact.vm} did not answer: {fact.code}: {fact.text}"
        case VmAnnounced():
            return f"the load balancer sends {fact.vm} work, as {fact.backend} at {fact.address}"
        case VmAnnounceFailed():
            return f"the load balancer did not take {fact.vm}: {fact.code}: {fact.text}"
        case VmDrained():
            return f"{fact.vm} gets no more work; {fact.sessions_cut} sessions were cut"
        case VmQuiesced():
            return f"{fact.vm} sleeps on {fact.host} ({fact.cause}) and counts no more"
        case VmStopped():
            return f"{fact.vm} does not run on {fact.host} ({fact.cause}): the domain is {fact.found}"
        case VmFoundAwake():
            return f"{fact.vm} runs on {fact.host} although nobody ordered it; it counts, and growth waits until it sleeps"
        case _:
            return None


def _took(began: dt.datetime, ended: dt.datetime, attempts: int) -> str:
    took_ms = max(0.0, (ended - began) / dt.timedelta(milliseconds=1))
    return f" in {took_ms:.0f} ms{f' and {attempts} attempts' if attempts > 1 else ''}"


def _of_terms(fact: Fact) -> str | None:
    """Contracts, keys, freezes and pools."""
    match fact:
        case ContractSubmitted():
            return f"{fact.publisher} handed in the document {short(fact.fingerprint)} for {fact.org}"
        case ContractAccepted():
            return f"{fact.contract} version {fact.version} is accepted and takes effect at {moment(fact.effective_at)}"
        case ContractTookEffect():
            return f"the document {short(fact.fingerprint)} is in force for {fact.org}"
        case ContractVoided():
            return f"{fact.contract} version {fact.version} will not take effect: {fact.code}"
        case KeyRegisterRequested():
            return f"{fact.publisher} asked that {fact.org} signs by the key {short(fact.public_key)}"
        case KeyRevokeRequested():
            return (
                f"{fact.actor} asked that the key {short(fact.public_key)} is trusted no more: {fact.reason}"
            )
        case KeyRegistered():
            return f"{fact.org} signs by the key {short(fact.public_key)}"
        case KeyRevoked():
            return f"the key {short(fact.public_key)} is trusted no more; {fact.actor}: {fact.reason}"
        case FreezeRequested():
            return f"{fact.actor} asked that {_whose(fact.org, fact.pool)} stands still for {fact.seconds} s: {fact.reason}"
        case ThawRequested():
            return f"{fact.actor} asked that {_whose(fact.org, fact.pool)} moves again: {fact.reason}"
        case ScalingFrozen():
            return f"{_whose(fact.org, fact.pool)} stands still until {moment(fact.until)}; {fact.actor}: {fact.reason}"
        case ScalingThawed():
            return f"the freeze of {_whose(fact.org, fact.pool)} has ended; {fact.actor}: {fact.reason}"
        case PermissionChangeRequested():
            return f"{fact.actor} asked to {fact.change} {fact.permission} for {fact.holder}: {fact.reason}"
        case PermissionGranted():
            return f"{fact.holder} has the permission {fact.permission}; {fact.actor}: {fact.reason}"
        case PermissionRevoked():
            return f"{fact.holder} has the permission {fact.permission} no more; {fact.actor}: {fact.reason}"
        case PoolDefined():
            pool = fact.definition
            return (
                f"{fact.org}/{fact.pool} is defined: {pool.min_vms} to {pool.max_vms} VMs of {pool.size.vcpu} vCPU "
                f"and {pool.size.memory_mib} MiB, cooldown {pool.cooldown_seconds} s"
            )
        case PoolObserved():
            return observed(fact)
        case _:
            return None


def observed(fact: PoolObserved) -> str:
    """What signal saw of a pool in one window: how often its trigger's limit was passed, and by how much."""
    seen = (
        f"from {fact.window_from:%H:%M} to {fact.window_until:%H:%M} {fact.org}/{fact.pool} had "
        f"{fact.vms.serving} VMs serving, {fact.vms.awake} awake, {fact.vms.asleep} asleep"
    )
    if not fact.readings:
        return f"{seen}, and no trigger"
    return f"{seen}; {'; '.join(_read(one, alone=len(fact.readings) == 1) for one in fact.readings)}"


def _read(reading: Reading, *, alone: bool) -> str:
    """One query in one window."""
    if reading.source == "demand":
        whose = "its demand"
        passed = f"what one VM carries, {reading.above:g}"
    else:
        whose = "its trigger" if alone else f"its trigger at {reading.above:g}"
        passed = f"its trigger's {reading.above:g}"
    if reading.level is None:
        return f"{whose} heard nothing"
    level = reading.level
    return (
        f"{reading.over} of {reading.samples} samples were above {passed} "
        f"(mean {level.mean:g}, maximum {level.maximum:g})"
    )


def _whose(org: str, pool: str | None) -> str:
    return f"pool {org}/{pool}" if pool is not None else f"every pool of {org}"


def _of_house(fact: Fact) -> str | None:
    """Hosts, people, mail and the ledger itself."""
    match fact:
        case HostRegistered():
            return f"{fact.host} lends {fact.memory_mib} MiB to guests"
        case HostChangeRequested():
            return f"{fact.actor} asked to {fact.change} {fact.host}: {fact.reason}"
        case HostCordoned():
            return f"nothing starts on {fact.host} any more; {fact.actor}: {fact.reason}"
        case HostAdmitted():
            return f"{fact.host} carries VMs again; {fact.actor}: {fact.reason}"
        case HostFenced():
            return f"{fact.host} is declared dead, and its VMs count no more; {fact.actor}: {fact.reason}"
        case HostRemoved():
            return f"{fact.host} is no longer part of the platform; {fact.actor}: {fact.reason}"
        case HostReconciled():
            return f"{fact.host} was looked through: {fact.awake} of {fact.domains} domains awake"
        case PersonEraseRequested():
            return f"{fact.publisher} asked that the values of {fact.person} are made unreadable"
        case PersonErased():
            return f"the values of {fact.person} are unreadable for good"
        case MailAccepted():
            took_ms = (fact.accepted_at - fact.refused_at) / dt.timedelta(milliseconds=1)
            which = "it" if len(fact.requests) == 1 else "the first of them"
            return (
                f"the relay took the mail to {fact.person} about {_told(fact)}, "
                f"{took_ms:.0f} ms after {which}"
            )
        case MailFailed():
            return f"the mail to {fact.person} about {_told(fact)} was given up: {fact.code}: {fact.text}"
        case LedgerSealed():
            return f"the ledger is sealed up to sequence {fact.size}"
        case LedgerRolled():
            return (
                f"the ledger goes on in a new stream behind sequence {fact.size}; {fact.actor}: {fact.reason}"
            )
        case LedgerRecovered():
            return f"the ledger goes on from sequence {fact.size}, epoch {fact.epoch}; {fact.actor}: {fact.reason}"
        case _:
            return None


def _told(mail: MailAccepted | MailFailed) -> str:
    """What a mail names, by its number."""
    if is_of_maintenance(mail.message_id):
        return "maintenance"
    if is_of_deletion(mail.message_id):
        return "a deletion"
    if is_of_trouble(mail.message_id):
        return "what befell VMs"
    number_of, what = len(mail.requests), "lost signal" if is_of_signals(mail.message_id) else "refusal"
    return f"one {what}" if number_of == 1 else f"{number_of} {what}s"
