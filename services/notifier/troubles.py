"""What befell single VMs and nobody ordered: which of it the technical contacts are told, once, and when it is over.

A disk or domain of a kept VM that is otherwise than the ledger has it, where no worker puts it right alone or one VM is at two places;
a night without a backup; guests that ran out of memory; guests that rebooted. What is told twice in the ledger is told once here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from events.copy import CopyDue, CopyFailed, CopyMade
from events.deletion import DeletionCompleted, VmUndefined, VolumeErased
from events.drift import DomainDrifted, DomainSettled, VmOomKilled, VolumeDrifted, VolumeSettled
from events.envelope import Recorded
from events.gate import Answer, CopyOrdered, GateDecided
from events.host import HostRemoved
from events.keep import VmCreated
from events.vm import VmRebooted
from schemas.codes import MEANING
from services.notifier.bulletins import Bulletin, Bulletins
from services.notifier.decide import is_refusal
from services.notifier.errand import moment
from services.notifier.misfortune import MOST_NAMED, Misfortune, clipped

LAST_TRY: Final = 3
"""After so many, storage asks for no backup of that night any more."""

_NO_LONGER: Final = frozenset({"VmUnknown", "BeingDeleted"})
"""Refusals of a backup that nobody misses: its VM went between the question and the answer."""

OOM_NS: Final = 24 * 3600 * 1_000_000_000
"""A guest that runs out of memory is told of at most so often."""

OfTrouble = (
    VmCreated
    | DomainDrifted
    | DomainSettled
    | VolumeDrifted
    | VolumeSettled
    | CopyDue
    | CopyMade
    | CopyFailed
    | VmOomKilled
    | VmRebooted
    | VmUndefined
    | VolumeErased
    | DeletionCompleted
    | HostRemoved
)

Spot = tuple[str, str, str, str, str]
"""Org, VM, host, whether it is the domain or the disk, and what about it."""


class Troubles:
    """What the technical contacts were not told of yet."""

    def __init__(self, period_seconds: int, contacts: Mapping[str, tuple[str, ...]]) -> None:
        self._contacts = contacts
        """Who is told, by org, as it is now."""
        self._bulletins = Bulletins[Misfortune]("troubles", period_seconds)
        self._kept: set[tuple[str, str]] = set()
        self._standing: dict[Spot, tuple[str, str, str]] = {}
        """What was told and is not settled: what was expected, found, and how it is put right."""
        self._due: dict[str, CopyDue] = {}
        """Last tries of a night, by the id of the request, until the gate answers."""
        self._tried: dict[str, CopyDue] = {}
        """The same, by the order, until it ends."""
        self._killed_ns: dict[tuple[str, str], int] = {}
        """When a guest's want of memory was told last."""
        self._rebooted: dict[tuple[str, str], VmRebooted] = {}

    def take(self, fact: OfTrouble, recorded: Recorded) -> None:
        """Whoever is to hear of it has a mail that waits."""
        match fact:
            case VmCreated(org=org, vm=vm):
                self._kept.add((org, vm))
            case DomainDrifted():
                self._drifted(fact, "domain", recorded)
            case VolumeDrifted():
                self._drifted(fact, "disk", recorded)
            case DomainSettled():
                self._settled(fact, "domain", recorded)
            case VolumeSettled():
                self._settled(fact, "disk", recorded)
            case CopyDue() if fact.attempt >= LAST_TRY:
                self._due[recorded.id] = fact
            case CopyMade(order=order):
                self._tried.pop(order, None)
            case CopyFailed():
                self._failed(fact, recorded)
            case VmOomKilled():
                self._starved(fact, recorded)
            case VmRebooted():
                self._restarted(fact, recorded)
            case VmUndefined(org=org, vm=vm, host=host):
                self._drop(lambda spot: spot[:4] == (org, vm, host, "domain"))
            case VolumeErased(org=org, vm=vm):
                self._drop(lambda spot: (*spot[:2], spot[3]) == (org, vm, "disk"))
            case HostRemoved(host=host):
                self._drop(lambda spot: spot[2] == host)
            case DeletionCompleted(org=org, vm=vm, stage="recycle"):
                self._kept.discard((org, vm))
                self._killed_ns.pop((org, vm), None)
                self._rebooted.pop((org, vm), None)
            case _:
                pass

    def decide(self, decided: GateDecided, recorded: Recorded) -> None:
        """Which order is a last try of a night, and which last try is refused; the fence was passed."""
        if not self._due:
            return
        for order in decided.orders:
            if isinstance(order, CopyOrdered) and order.request in self._due:
                self._tried[order.id] = self._due[order.request]
        for answer in decided.answers:
            due = self._due.pop(answer.request, None)
            if due is not None and answer.outcome == "refused" and not is_refusal(answer):
                self._refused(due, answer, decided, recorded)

    def tell(self, org: str, person: str, ids: Iterable[str]) -> None:
        """A mail to the person named these, or failed for good."""
        self._bulletins.tell(org, person, ids)

    def due(self, now_ns: int, latest_ns: int) -> Iterable[tuple[str, list[Bulletin[Misfortune]]]]:
        """The mails whose time has come, of each org that has one."""
        return self._bulletins.due(now_ns, latest_ns)

    def times(self) -> Iterator[int]:
        """When mails are due."""
        return self._bulletins.times()

    def _drifted(self, fact: DomainDrifted | VolumeDrifted, part: str, recorded: Recorded) -> None:
        spot = fact.org, fact.vm, fact.host, part, fact.what
        if (fact.org, fact.vm) not in self._kept or not (fact.repair == "none" or fact.what == "elsewhere"):
            return
        now = fact.expected, fact.found, fact.repair
        if self._standing.get(spot) == now:
            return
        self._standing[spot] = now
        becomes = {
            "none": "no worker puts it right",
            "stop": "its power is cut there, before both write to one disk",
        }.get(fact.repair, f"put right: {fact.repair}")
        self._wait(
            fact.org,
            recorded,
            Misfortune(
                "drift",
                fact.vm,
                f"its {part} is not as the ledger has it ({fact.what})",
                (
                    f"The {part} of {fact.org}/{fact.vm} on host {fact.host} is not as the ledger has it ({fact.what}). Expected: "
                    f"{clipped(fact.expected)}. Found: {clipped(fact.found)}."
                ),
                f"seen at {moment(fact.observed_at)}; {becomes}",
                recorded.stored_ns,
            ),
        )

    def _settled(self, fact: DomainSettled | VolumeSettled, part: str, recorded: Recorded) -> None:
        if self._standing.pop((fact.org, fact.vm, fact.host, part, fact.what), None) is None:
            return
        self._wait(
            fact.org,
            recorded,
            Misfortune(
                "drift",
                fact.vm,
                f"its {part} is as the ledger has it again ({fact.what})",
                f"The {part} of {fact.org}/{fact.vm} on host {fact.host} is as the ledger has it again ({fact.what}).",
                f"seen at {moment(fact.settled_at)}",
                recorded.stored_ns,
            ),
        )

    def _failed(self, fact: CopyFailed, recorded: Recorded) -> None:
        due = self._tried.pop(fact.order, None)
        if due is None:
            return
        self._wait(
            fact.org,
            recorded,
            Misfortune(
                "backup",
                fact.vm,
                f"no backup of the night of {due.night.isoformat()}",
                (
                    f"There is no backup of {fact.org}/{fact.vm} of the night of {due.night.isoformat()}. Try {due.attempt}, the last "
                    f"of that night, failed on host {fact.host}: {clipped(fact.text)}."
                ),
                f"failed at {moment(fact.observed_at)} ({fact.code})",
                recorded.stored_ns,
            ),
        )

    def _refused(self, due: CopyDue, answer: Answer, decided: GateDecided, recorded: Recorded) -> None:
        """What the contract is the reason for, its owner is told."""
        if answer.code in _NO_LONGER:
            return
        why = clipped(MEANING.get(answer.code, answer.code))
        self._wait(
            due.org,
            recorded,
            Misfortune(
                "backup",
                due.vm,
                f"no backup of the night of {due.night.isoformat()}",
                (
                    f"There is no backup of {due.org}/{due.vm} of the night of {due.night.isoformat()}. Try {due.attempt}, the last "
                    f"of that night, was refused: {why}."
                ),
                f"refused at {moment(decided.now)} ({answer.code})",
                recorded.stored_ns,
            ),
        )

    def _starved(self, fact: VmOomKilled, recorded: Recorded) -> None:
        key, at_ns = (fact.org, fact.vm), recorded.stored_ns
        last_ns = self._killed_ns.get(key)
        # One that seems to be from before that is of a clock that was set back; it may be of any day, and is told.
        if last_ns is not None and last_ns <= at_ns < last_ns + OOM_NS:
            return
        self._killed_ns[key] = at_ns
        killed = "1 process" if fact.kills == 1 else f"{fact.kills:,} processes"
        self._wait(
            fact.org,
            recorded,
            Misfortune(
                "memory",
                fact.vm,
                "its kernel killed processes for want of memory",
                (
                    f"The kernel of {fact.org}/{fact.vm} on host {fact.host} killed {killed} for want of memory; it has "
                    f"{fact.memory_mib:,} MiB. {clipped(fact.advice)}."
                ),
                f"seen at {moment(fact.observed_at)}",
                at_ns,
            ),
        )

    def _restarted(self, fact: VmRebooted, recorded: Recorded) -> None:
        key = fact.org, fact.vm
        if self._rebooted.get(key) == fact:
            return
        self._rebooted[key] = fact
        self._wait(
            fact.org,
            recorded,
            Misfortune(
                "reboot",
                fact.vm,
                "rebooted, and nobody ordered it",
                f"The guest of {fact.org}/{fact.vm} on host {fact.host} started anew, and nobody ordered it.",
                f"seen at {moment(fact.observed_at)}",
                recorded.stored_ns,
            ),
        )

    def _wait(self, org: str, recorded: Recorded, one: Misfortune) -> None:
        people = self._contacts.get(org, ())
        self._bulletins.wait(org, people, recorded.id, one, MOST_NAMED)

    def _drop(self, gone: Callable[[Spot], bool]) -> None:
        """What is gone is no longer otherwise, and nobody is told that it is as it should be."""
        for spot in [spot for spot in self._standing if gone(spot)]:
            del self._standing[spot]
