"""The mail about one refusal, which begins an episode: its numbers, who asked, and when a digest follows."""

import datetime as dt
from dataclasses import dataclass

from events.gate import Answer, ContractRef
from events.sentences import binding, sentence, unit
from services.notifier.asked import Wish, asked_at, asker, matter, sample_of
from services.notifier.decide import message_id
from services.notifier.errand import Errand, advice, minute, moment, span


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
    digest_at: dt.datetime
    """When the refusals that follow will be told."""
    digest_seconds: int
    """How long after that the next digest follows."""

    @property
    def place(self) -> str:
        """The refused request's id: nothing else is told in this mail."""
        return self.answer.request

    def errand(self) -> Errand:
        """The mail to the owner."""
        answer = self.answer
        refused = matter(self.wish) or f"{answer.asked} VMs"
        granted = (
            f"granted {answer.granted} of {answer.asked} VMs" if answer.granted else f"refused {refused}"
        )
        where = self.org if answer.pool is None else f"{self.org}/{answer.pool}"
        return Errand(
            place=self.place,
            org=self.org,
            person=self.person,
            name=answer.request,
            message_id=message_id(self.org, answer.request),
            requests=(answer.request,),
            refused_at=self.refused_at,
            digest_at=None,
            subject=f"Virtscale {granted} for {where}: {answer.code}",
            text=self._text(),
        )

    def _text(self) -> str:
        answer, wish = self.answer, self.wish
        lines = [
            sentence(self.org, answer, self.contract),
            "",
            *_numbers(answer),
            *([f"Asked for: {asked}"] if (asked := matter(wish)) is not None else []),
            f"Asked by:  {_asker(wish)}",
            *([f"Asked at:  {moment(asked_at(wish))}"] if wish is not None else []),
            f"Refused:   {moment(self.refused_at)}",
            f"Request:   {answer.request} (ledger sequence {answer.request_seq}, decided in {self.seq})",
            "",
            f"What you can do: {advice(self.org, answer.code, binding(answer), self.contract)}",
            "",
            (
                f"Further refusals until {minute(self.digest_at)} come together, in one digest at that time, and so "
                f"every {span(self.digest_seconds)} while there are more."
            ),
            "",
            "Virtscale wrote this because you own the contract. The ledger holds the same numbers.",
            "",
        ]
        return "\n".join(lines)


def _numbers(answer: Answer) -> list[str]:
    if not answer.evidence:
        return []
    lines = [
        f"  {unit(line)}: {line.used} in use + {line.reserved} reserved + {line.requested} requested = "
        f"{line.projected}; limit {line.limit}" + ("" if line.quota is None else f", quota {line.quota}")
        for line in answer.evidence
    ]
    return [*lines, ""]


def _asker(wish: Wish | None) -> str:
    sample = sample_of(wish)
    if wish is None or sample is None:
        return asker(wish)
    how = "above" if sample.value > sample.above else "rising past"
    return (
        f"{asker(wish)}, for pool {wish.pool}: {sample.value:g} is {how} {sample.above:g} at "
        f"{moment(sample.observed_at)} for {' '.join(sample.query.split())}"
    )
