"""A digest: the refusals of one period of an episode, collected while they happen, and the mails that name them.

A storm can be long, so a refusal is kept as the one line that will be read, and little more.
"""

import textwrap
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from events.gate import Answer, ContractRef, Evidence
from events.ids import derive
from events.sentences import binding, unit
from services.notifier.asked import Wish, asker, matter, sample_of
from services.notifier.decide import message_id
from services.notifier.errand import Errand, advice, minute, moment, span, when

MOST_NAMED: Final = 1000
"""Requests in one mail: so many may stand in one `mail.accepted`."""

MOST_BYTES: Final = 140_000
"""Of lines in one mail, all ASCII: in the worst encoding, base64, they stay below 200 KB. 1,000 usual lines are 75 KB."""

_WIDTH: Final = 76
_MOST_QUERY: Final = 60


@dataclass(frozen=True, slots=True)
class Line:
    """One refused request as its owner will read it."""

    group: str
    """Pool, asker and reason: lines that share them stand together."""
    text: str
    at_ns: int


@dataclass(slots=True)
class Digest:
    """What was refused in one period, in parts of a mail each, and what all of it comes to."""

    org: str
    person: str
    mark_ns: int
    """When it is due, in the bus's time."""
    period_seconds: int
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    worst: dict[str, Evidence | None] = field(default_factory=dict[str, Evidence | None])
    """By code, the line of evidence that was furthest past its limit."""
    contract: ContractRef | None = None
    parts: dict[int, dict[str, Line]] = field(default_factory=dict[int, dict[str, Line]])
    """By number, the requests that no mail names yet. Which part a request is in follows from the ledger alone, so
    that after a restart a part is the same mail again."""
    _named: int = 0
    _bytes: int = 0
    _part: int = 0
    _groups: set[str] = field(default_factory=set[str])

    def add(self, answer: Answer, contract: ContractRef | None, wish: Wish | None, at_ns: int) -> int:
        """The refusal waits for its digest; the number of the part that will name it."""
        line = _line(self.org, answer, wish, at_ns)
        length = len(line.text) + (0 if line.group in self._groups else len(line.group) + 20)
        if self._named == MOST_NAMED or self._bytes + length > MOST_BYTES:
            self._part += 1
            self._named = self._bytes = 0
            self._groups.clear()
            length = len(line.text) + len(line.group) + 20
        self._named += 1
        self._bytes += length
        self._groups.add(line.group)
        self.parts.setdefault(self._part, {})[answer.request] = line
        self.first_ns = min(self.first_ns, at_ns) if self.count else at_ns
        self.last_ns = max(self.last_ns, at_ns)
        self.count += 1
        self.contract = contract or self.contract
        self.worst[answer.code] = _worse(self.worst.get(answer.code), binding(answer))
        return self._part

    def tell(self, part: int, request: str) -> None:
        """A mail named the request, or failed for good."""
        left = self.parts[part]
        del left[request]
        if not left:
            del self.parts[part]

    def errand(self, part: int) -> Errand:
        """The mail that names the requests of this part."""
        lines = self.parts[part]
        name = derive("digest", *lines)
        since = when(self.mark_ns - self.period_seconds * 1_000_000_000)
        number = f", part {part + 1} of {self._part + 1}" if self._part else ""
        return Errand(
            place=self.place(part),
            org=self.org,
            person=self.person,
            name=name,
            message_id=message_id(self.org, name, self.mark_ns),
            requests=tuple(lines),
            refused_at=when(min(line.at_ns for line in lines.values())),
            digest_at=when(self.mark_ns),
            subject=(
                f"Virtscale refused {_requests(self.count)} of {self.org}: digest {since:%H:%M} to "
                f"{minute(when(self.mark_ns))}{number}"
            ),
            text=self._text(part, lines),
        )

    def place(self, part: int) -> Hashable:
        """What an errand with this part is about."""
        return self.org, self.person, self.mark_ns, part

    def _text(self, part: int, lines: dict[str, Line]) -> str:
        said = [
            (
                f"Virtscale refused {_requests(self.count)} of {self.org}, in whole or in part, from "
                f"{moment(when(self.first_ns))} to {moment(when(self.last_ns))}."
            )
        ]
        for code, worst in self.worst.items():
            if worst is not None:
                said.append(
                    f"{code}: the largest would have taken {self.org} to {worst.projected} {unit(worst)}; the limit "
                    f"is {worst.limit}."
                )
        if self._part:
            said.append(f"This is part {part + 1} of {self._part + 1}; it names {len(lines)} of them.")
        said += [
            "",
            (
                "A line is a request, when it was refused (UTC), the VMs granted of those asked for or what else was asked, and "
                "what all of it would have taken the org to of the limit."
            ),
        ]
        groups: dict[str, list[str]] = {}
        for line in lines.values():
            groups.setdefault(line.group, []).append(line.text)
        for group, texts in groups.items():
            said += ["", f"{group}: {_requests(len(texts))}", "", *texts]
        said.append("")
        said += (
            f"What you can do ({code}): {advice(self.org, code, worst, self.contract)}"
            for code, worst in self.worst.items()
        )
        following = when(self.mark_ns + self.period_seconds * 1_000_000_000)
        said += [
            "",
            (
                f"Refusals until {minute(following)} come in one digest then. If there are none, the next refusal is mailed "
                f"at once, and what follows it within {span(self.period_seconds)} in a digest."
            ),
            "",
            "Virtscale wrote this because you own the contract. The ledger holds the same numbers.",
            "",
        ]
        return "\n".join(_fold(line) for line in said)


def _line(org: str, answer: Answer, wish: Wish | None, at_ns: int) -> Line:
    over, wanted = binding(answer), matter(wish) or f"{answer.granted} of {answer.asked} VMs"
    numbers = "" if over is None else f"  {over.projected} of {over.limit} {unit(over)}"
    return Line(
        group=f"{org if answer.pool is None else f'{org}/{answer.pool}'}, asked by {_asker(wish)}, {answer.code}",
        text=f"  {answer.request}  {when(at_ns):%H:%M:%S}  {wanted}{numbers}",
        at_ns=at_ns,
    )


def _asker(wish: Wish | None) -> str:
    sample = sample_of(wish)
    if sample is None:
        return asker(wish)
    query = " ".join(sample.query.encode("ascii", "replace").decode().split())
    query = query if len(query) <= _MOST_QUERY else f"{query[: _MOST_QUERY - 3]}..."
    return f"{asker(wish)} ({query} above {sample.above:g})"


def _worse(one: Evidence | None, other: Evidence | None) -> Evidence | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda line: line.projected / max(1, line.limit))


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count:,} requests"


def _fold(line: str) -> str:
    """A sentence in lines that a mail carries as they are; a line of the list stays one."""
    if line.startswith("  ") or len(line) <= _WIDTH:
        return line
    return textwrap.fill(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
