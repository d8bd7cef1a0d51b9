"""Documents and keys, folded from the ledger: what a new document is judged by, and which one's day has come."""

import datetime as dt
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, takewhile
from typing import Final

from events.contract import ContractAccepted, ContractTookEffect, ContractVoided
from events.envelope import Recorded
from events.fact import Fact
from events.key import KeyRegistered, KeyRevoked
from schemas.contract.acceptance import Accepted, Keys, Standing, void
from schemas.contract.document import terms
from schemas.names import PLATFORM


@dataclass(slots=True)
class _File:
    """One org's documents in the order in which they build on each other: the one in force first, then those to come."""

    in_force: Accepted | None = None
    to_come: list[Accepted] = field(default_factory=list[Accepted])
    ids: frozenset[str] = frozenset()
    """Of all contracts that were ever accepted with signatures."""

    def know(self, document: Accepted) -> Accepted:
        """The document's id is taken."""
        if document.signed.signatures:
            self.ids |= {document.contract.id}
        return document


class Contracts:
    """Every org's documents and keys; the provider's keys are those of the org `platform`."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {ContractAccepted, ContractTookEffect, ContractVoided, KeyRegistered, KeyRevoked}
    )

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._keys: dict[str, Keys] = {}
        self._coming: dict[str, None] = {}
        self._calendar: list[tuple[dt.datetime, str, str]] = []
        """Instant, org and fingerprint of each addendum to come, in order: many take effect on the first of a month."""
        self._doubtful: dict[str, None] = {}
        """Orgs with an addendum that a key signed which was revoked since: to be looked at, whatever the time."""

    def keys(self, org: str) -> Keys:
        """The keys by which the org signs or signed."""
        return self._keys.get(org, Keys())

    def in_force(self, org: str) -> Accepted | None:
        """The document that is the authority over the org's capacity, whether valid at this time or not."""
        return self._files[org].in_force if org in self._files else None

    def to_come(self, org: str) -> tuple[Accepted, ...]:
        """Accepted addenda that have not taken effect, in order."""
        return tuple(self._files[org].to_come) if org in self._files else ()

    def standing(self, org: str) -> Standing:
        """What a new document of the org is judged by."""
        coming, present = self.to_come(org), self.in_force(org)
        newest = coming[-1] if coming else present
        ids = self._files[org].ids if org in self._files else frozenset[str]()
        return Standing(org, self.keys(PLATFORM), self.keys(org), newest, ids)

    def ripe(self, now: dt.datetime) -> Iterator[str]:
        """Orgs with an addendum whose day has come, or that will never come because a key was revoked.

        Asked at each turn of the gate, so that it looks only at orgs where there is something to find.
        """
        lost = (org for org in self._doubtful if self.lost(org))
        ripe = takewhile(lambda entry: entry[0] <= now, self._calendar)
        return chain(lost, dict.fromkeys(org for _, org, _ in ripe))

    def due(self, org: str, now: dt.datetime) -> Accepted | None:
        """The next addendum of the org, if its day has come."""
        coming = self._files[org].to_come if org in self._files else []
        return coming[0] if coming and coming[0].effective_at <= now else None

    def lost(self, org: str) -> tuple[Accepted, ...]:
        """Addenda to come that a revoked key signed, and those that build on them."""
        coming, standing = self.to_come(org), self.standing(org)
        first = next((place for place, one in enumerate(coming) if void(one.signed, standing)), len(coming))
        return coming[first:]

    def apply(self, recorded: Recorded) -> None:
        """The contracts now include the event."""
        match recorded.fact:
            case KeyRegistered(org=org, public_key=key, former=former):
                present = self.keys(org)
                replaced = present.replaced | {former} if former is not None else present.replaced
                self._keys[org] = replace(present, current=key, replaced=replaced)
            case KeyRevoked(org=org, public_key=key):
                present = self.keys(org)
                current = None if present.current == key else present.current
                self._keys[org] = replace(present, current=current, revoked=present.revoked | {key})
                touched = self._coming if org == PLATFORM else [org]
                # Only those that lost something: the rest would be looked at for nothing at each turn of the gate.
                self._doubtful.update(dict.fromkeys(one for one in touched if self.lost(one)))
            case ContractAccepted(org=org, document=document, fingerprint=name, effective_at=effective_at):
                file = self._files.setdefault(org, _File())
                file.to_come.append(file.know(Accepted(document, terms(document), name, effective_at)))
                self._coming[org] = None
                insort(self._calendar, (effective_at, org, name))
                if self.lost(org):  # its acceptance crossed the word that the provider's key is revoked
                    self._doubtful[org] = None
            case ContractTookEffect(org=org, document=document, fingerprint=name, took_effect_at=at):
                file = self._files.setdefault(org, _File())
                file.in_force = file.know(Accepted(document, terms(document), name, at))
                self._drop(org, name)
            case ContractVoided(org=org, fingerprint=name):
                self._drop(org, name)
            case _:
                pass

    def _drop(self, org: str, name: str) -> None:
        """The document is not to come any more."""
        file = self._files.setdefault(org, _File())
        dropped = [one for one in file.to_come if one.fingerprint == name]
        file.to_come = [one for one in file.to_come if one.fingerprint != name]
        if not file.to_come:
            self._coming.pop(org, None)
        if org in self._doubtful and not self.lost(org):
            self._doubtful.pop(org)
        for one in dropped:
            del self._calendar[bisect_left(self._calendar, (one.effective_at, org, name))]
