"""Which samples a computed number comes from: the selectors in its query, and how old the samples that they select are. Pure.

Prometheus says of a computed expression when it was computed, which is whenever somebody asks: one scrape every 15 s, asked about
every 5 s, would look like three samples. So the times of the samples behind it are asked for, by the selectors that the query holds.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

ENDED_SECONDS: Final = 150.0
"""A series whose newest sample is older than this is not waited for: Prometheus shows one that ended without a word for five
minutes more, and all that time nothing would be new. 2.5 times its usual distance of scrapes."""

LABEL: Final = "virtscale_sampled"
"""What the times of samples are told apart by from the number that they are asked for with."""

MOST_SELECTORS: Final = 32
"""Of one query; the times of what a longer one selects beyond these are not asked for."""

_STRING: Final = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`"""
_TOKEN: Final = re.compile(
    rf"(?P<space>\s+|\#[^\n]*)|(?P<text>{_STRING})"
    rf"|(?P<braces>\{{(?:[^{{}}\"'`]|{_STRING})*\}})"
    r"|(?P<range>\[[^\]]*\])|(?P<number>[0-9.][0-9a-zA-Z_.]*)|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<sign>.)",
    re.DOTALL,
)
_OPERATORS: Final = frozenset({"and", "or", "unless", "atan2", "bool", "offset", "inf", "nan"})
_BEFORE_LABELS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})


@dataclass(frozen=True, slots=True)
class Taken:
    """When the newest and the oldest of the samples were taken that a number was computed from, in Unix seconds."""

    newest: float
    oldest: float


@lru_cache(maxsize=100_000)
def selectors_in(query: str) -> tuple[str, ...]:
    """What a PromQL query selects, each once and without its range, offset and `@`; nothing for `42` or `time()`.

    What is no PromQL has selectors as well, or none: Prometheus refuses it, and whoever asks sees that.
    """
    tokens = [
        (kind, found[0])
        for found in _TOKEN.finditer(query)
        if (kind := found.lastgroup) is not None and kind != "space"
    ]
    return tuple(dict.fromkeys(_selectors(tokens)))[:MOST_SELECTORS]


def _selectors(tokens: Sequence[tuple[str, str]]) -> Iterator[str]:
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        after_kind, after = tokens[at + 1] if at + 1 < len(tokens) else ("", "")
        at += 1
        if kind == "braces":
            yield text
        elif kind != "name" or text.lower() in _OPERATORS:
            continue
        elif text.lower() in _BEFORE_LABELS:
            if after == "(":
                at = next((place for place in range(at, len(tokens)) if tokens[place][1] == ")"), len(tokens))
        elif after_kind == "braces":
            at += 1
            yield text + after
        elif after != "(" and after.lower() not in {"by", "without"}:
            yield text


def beside(query: str, selectors: Sequence[str]) -> str:
    """The query, and beside what it yields the newest and the oldest sample of each selector, told apart by a label.

    In one question, since a scrape between two would put its time beside the value of the scrape before.
    """
    times = (
        f'label_replace({bound}, "{LABEL}", "{name}{place}", "", "")'
        for place, selector in enumerate(selectors)
        for name, bound in (
            ("newest", f"max(timestamp({selector}))"),
            ("oldest", f"min(timestamp({selector}) > time() - {ENDED_SECONDS:g})"),
        )
    )
    return f"({query}\n) or {' or '.join(times)}"  # the query may end in a remark


def taken(times: Sequence[float], computed_at: float) -> Taken:
    """The bounds of the times that stood beside a number; where all series are seldom, the newest sample is both.

    Where nothing is selected any more, as in `sum(x) or vector(0)`, there is nothing but the time of the computation.
    """
    newest = max(times, default=computed_at)
    return Taken(newest, min((at for at in times if at > computed_at - ENDED_SECONDS), default=newest))
