"""What the notifier must know: which refusals nobody has been told of, and who is to be erased."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from events.contract import ContractTookEffect
from events.envelope import Recorded
from events.fences import Fences
from events.gate import Answer, ContractRef, GateDecided
from events.mail import MailAccepted, MailFailed
from events.person import PersonErased, PersonEraseRequested
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from services.notifier.decide import Wish, is_refusal


@dataclass(frozen=True, slots=True)
class Refusal:
    """One request that met the contract's limit, and everything that its owner must be told."""

    org: str
    person: str
    """The owner by the contract that was in force when it was decided."""
    answer: Answer
    contract: ContractRef | None
    wish: Wish | None
    seq: int
    """Where the decision stands in the ledger."""
    refused_at: dt.datetime
    """When the decision was stored."""

    @property
    def request(self) -> str:
        """The refused request's id."""
        return self.answer.request


@dataclass(frozen=True, slots=True)
class Erasure:
    """Somebody asked that a person be erased."""

    org: str
    person: str
    request: str


class Post:
    """Refusals without a mail and people without an end, folded from the ledger."""

    def __init__(self) -> None:
        self._fences = Fences()
        self._owners: dict[str, str] = {}
        self._open: dict[str, Wish] = {}
        self._unsent: dict[str, dict[str, Refusal]] = {}
        self._erasures: dict[tuple[str, str], Erasure] = {}

    def by_org(self) -> Iterable[tuple[str, Iterable[Refusal]]]:
        """Refusals that no mail tells of yet, of each org that has one, its oldest first."""
        return ((org, ours.values()) for org, ours in self._unsent.items())

    def erasures(self) -> Iterable[Erasure]:
        """People who are to be erased and are not yet, oldest first."""
        return self._erasures.values()

    def apply(self, recorded: Recorded) -> None:
        """The post now includes the event."""
        match recorded.fact:
            case ContractTookEffect(org=org, contract=contract):
                self._owners[org] = contract.owner.person
            case ScaleRequested() | QuiesceRequested() | StockRequested() as wish:
                self._open[recorded.id] = wish
            case GateDecided() as decided:
                if self._fences.pass_on(recorded, decided):
                    self._close(decided, recorded)
            case MailAccepted(org=org, requests=requests) | MailFailed(org=org, requests=requests):
                for request in requests:
                    self._unsent.get(org, {}).pop(request, None)
                if not self._unsent.get(org, True):
                    del self._unsent[org]
            case PersonEraseRequested(org=org, person=person):
                self._erasures.setdefault((org, person), Erasure(org, person, recorded.id))
            case PersonErased(org=org, person=person):
                self._erasures.pop((org, person), None)
            case _:
                pass

    def _close(self, decided: GateDecided, recorded: Recorded) -> None:
        for answer in decided.answers:
            wish = self._open.pop(answer.request, None)
            owner = self._owners.get(decided.org)
            if owner is not None and is_refusal(answer):
                self._unsent.setdefault(decided.org, {})[answer.request] = Refusal(
                    decided.org, owner, answer, decided.contract, wish, recorded.seq, recorded.stored_at
                )
