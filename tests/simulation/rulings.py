"""What was ruled, and the laws over it: freezes, documents, keys and hosts, kept apart from the folds that gates use."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from events.contract import ContractAccepted, ContractTookEffect, ContractVoided
from events.envelope import Recorded
from events.freeze import ScalingFrozen, ScalingThawed
from events.gate import BootOrdered, DrainCancelled, DrainOrdered, GateDecided, WakeOrdered
from events.host import HostAdmitted, HostCordoned, HostFenced, HostRegistered, HostRemoved
from events.key import KeyRegistered, KeyRevoked
from events.vm import VmBooted, VmResumed
from schemas.contract.document import Signed, terms

GHOST_SECONDS: Final = 60.0
"""A step that began before its host was fenced is over by then: it waits for a slot, a look and a definition."""

_OVER: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
"""The end of a freeze that was thawed: it holds at no time."""

DEAD: Final = frozenset({"fenced", "removed"})


@dataclass(slots=True)
class _Paper:
    """One accepted document."""

    document: Signed
    effective_at: dt.datetime
    over: str = ""
    """What became of it: it took effect, or never will."""


@dataclass(slots=True)
class Rulings:
    """Every ruling of the ledger with its place, so that a decision is held against what it had read."""

    sound: set[str] = field(default_factory=set[str])
    """Fingerprints of documents that may be accepted, keys that may be registered: all else was made to be refused."""
    lies: set[str] = field(default_factory=set[str])
    """Hosts that somebody called dead although they live."""
    void: dict[str, str] = field(default_factory=dict[str, str])
    """Orders that were given on a host that was dead by then, and the host."""
    _freezes: dict[tuple[str, str | None], list[tuple[int, dt.datetime]]] = field(default_factory=dict)
    _hosts: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    _papers: dict[tuple[str, str], _Paper] = field(default_factory=dict)
    _in_force: dict[str, Signed] = field(default_factory=dict)
    _revoked: dict[str, tuple[str, int]] = field(default_factory=dict)
    _took: list[tuple[int, ContractTookEffect]] = field(default_factory=list)
    """What took effect since the last decision: that decision says what its gate had read."""

    def fold(self, line: Recorded) -> Iterator[str]:
        """The ruling is known; what is wrong with it, one sentence each. All begins with a past that nobody decided."""
        fact, seq = line.fact, line.seq
        match fact:
            case GateDecided():
                yield from self._decided(fact, seq)
            case ScalingFrozen(org=org, pool=pool, until=until):
                self._freezes.setdefault((org, pool), []).append((seq, until))
            case ScalingThawed(org=org, pool=pool):
                self._freezes.setdefault((org, pool), []).append((seq, _OVER))
            case HostRegistered(host=host):
                if self.host(host) in {"unknown", "removed"}:
                    self._hosts.setdefault(host, []).append((seq, "ready"))
            case HostCordoned(host=host):
                self._hosts[host].append((seq, "cordoned"))
            case HostAdmitted(host=host):
                self._hosts[host].append((seq, "ready"))
            case HostFenced(host=host):
                self._hosts[host].append((seq, "fenced"))
            case HostRemoved(host=host):
                self._hosts[host].append((seq, "removed"))
            case KeyRegistered(org=org, public_key=key):
                if key not in self.sound:
                    yield f"The key {key[:8]} of {org} was registered at #{seq}, and nobody vouched for it."
            case KeyRevoked(org=org, public_key=key):
                self._revoked[key] = org, seq
            case ContractAccepted():
                yield from self._accepted(fact, seq)
            case ContractTookEffect():
                yield from self._took_effect(fact, seq)
            case ContractVoided(org=org, fingerprint=name):
                yield from self._end(org, name, "was voided", seq)
            case VmBooted(reservation=order) | VmResumed(reservation=order):
                if order in self.void:
                    yield f"{fact.vm} runs since #{seq} by {order[:8]}, which is void: {self.void[order]} was dead."
            case _:
                pass

    # ------------------------------------------------------------------------------------------------------- hosts

    def host(self, host: str, seq: int | None = None) -> str:
        """What the host was at a place of the ledger, or is at its end."""
        known = (state for at, state in reversed(self._hosts.get(host, ())) if seq is None or at <= seq)
        return next(known, "unknown")

    def was_dead(self, host: str) -> bool:
        """Whether somebody ever called the host dead, or removed it."""
        return any(state in DEAD for _, state in self._hosts.get(host, ()))

    # --------------------------------------------------------------------------------------------------- decisions

    def _decided(self, decided: GateDecided, seq: int) -> Iterator[str]:
        org, read = decided.org, decided.state_seq
        for order in decided.orders:
            if isinstance(order, WakeOrdered | BootOrdered | DrainOrdered | DrainCancelled):
                until = self._frozen(org, order.pool, read)
                kept = isinstance(order, WakeOrdered | BootOrdered) and order.purpose == "keep"
                if until is not None and decided.now < until and not kept:
                    yield f"{order.vm} was to move at #{seq} ({order.id[:8]}), and {org}/{order.pool} is frozen until {until}."
            if isinstance(order, WakeOrdered | BootOrdered):
                if (state := self.host(order.host, read)) != "ready":
                    yield f"{order.vm} was placed on {order.host} at #{seq}, which was {state} at #{read}."
                if self.host(order.host) in DEAD:
                    self.void[order.id] = order.host
        for at, took in self._took:
            paper = terms(took.document)
            if paper.amends is not None and decided.now < paper.amends.effective_from:
                yield f"{paper.id} version {paper.version} took effect at #{at}, before its instant."
            for one in took.document.signatures:
                whose, revoked = self._revoked.get(one.key, ("", seq))
                if revoked <= read or whose == org:
                    yield f"{paper.id} version {paper.version} took effect at #{at}; its key was revoked at #{revoked}."
        self._took.clear()
        for answer in decided.answers:
            if answer.code == "Frozen" and answer.pool is not None:
                until = self._frozen(org, answer.pool, read)
                if until is None or decided.now >= until:
                    yield f"{org}/{answer.pool} was told at #{seq} that it is frozen, and it was thawed."

    def _frozen(self, org: str, pool: str, read: int) -> dt.datetime | None:
        """Until when the pool stands still, as it stood at a place of the ledger."""
        ends = [
            next((until for seq, until in reversed(self._freezes.get(key, ())) if seq <= read), None)
            for key in ((org, pool), (org, None))
        ]
        return max((one for one in ends if one is not None), default=None)

    # --------------------------------------------------------------------------------------------------- documents

    def _accepted(self, fact: ContractAccepted, seq: int) -> Iterator[str]:
        key, paper = (fact.org, fact.fingerprint), terms(fact.document)
        if fact.fingerprint not in self.sound:
            yield f"{paper.id} version {paper.version} was accepted at #{seq}, and it was made to be refused."
        if key in self._papers:
            yield f"{paper.id} version {paper.version} was accepted at #{seq} once more."
        present = self._in_force.get(fact.org)
        if paper.amends is None and present is not None and fact.accepted_at < terms(present).valid_until:
            yield f"{paper.id} was accepted at #{seq}, and another contract is in force."
        self._papers[key] = _Paper(fact.document, fact.effective_at)

    def _took_effect(self, fact: ContractTookEffect, seq: int) -> Iterator[str]:
        paper = self._papers.get((fact.org, fact.fingerprint))
        if paper is None or paper.document != fact.document:
            yield f"The limits of {fact.org} changed at #{seq} by {fact.fingerprint[:8]}, which was never accepted."
            return
        if fact.took_effect_at < paper.effective_at:
            yield f"{fact.fingerprint[:8]} took effect at #{seq}, before {paper.effective_at}."
        yield from self._end(fact.org, fact.fingerprint, "took effect", seq)
        self._in_force[fact.org] = fact.document
        self._took.append((seq, fact))

    def _end(self, org: str, name: str, how: str, seq: int) -> Iterator[str]:
        paper = self._papers.get((org, name))
        if paper is None or paper.over:
            yield f"{name[:8]} {how} at #{seq}, and it {paper.over if paper else 'was never accepted'}."
            return
        paper.over = f"{how} at #{seq}"
