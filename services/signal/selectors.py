"""Which queries can be answered from pushed series alone: plain selectors, and the sum, mean, highest or lowest of one. Pure.

Everything else is PromQL, which Prometheus reckons and this worker does not.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

Reckoning = Callable[[Collection[float]], float]


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


_FUNCTIONS: Final[dict[str, Reckoning]] = {"sum": sum, "avg": _mean, "max": max, "min": min}

_STRING: Final = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_LABEL: Final = re.compile(rf"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*({_STRING})\s*(?:,|$)")
_QUERY: Final = re.compile(
    r"\s*(?:(?P<function>sum|avg|max|min)\s*\(\s*)?"
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*"
    rf"(?:\{{(?P<labels>(?:[^{{}}\"']|{_STRING})*)\}})?\s*"
    r"(?P<end>\)?)\s*"
)
_ESCAPES: Final = {"\\\\": "\\", '\\"': '"', "\\'": "'", "\\n": "\n"}
_ESCAPE: Final = re.compile(r"\\.", re.DOTALL)
_NUMBERS: Final = frozenset({"inf", "nan"})
_COUNTERS: Final = ("_total", "_count", "_sum", "_bucket")
"""A counter rises until its process restarts: what it stands at says nothing, and how fast it rises is for `rate` to say."""


@dataclass(frozen=True)
class Selector:
    """Series of one name whose labels have these values, and what is made of several; None where there must be one."""

    name: str
    labels: tuple[tuple[str, str], ...]
    reckoning: Reckoning | None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of this name is meant. A label that it lacks is an empty one, as in PromQL."""
        return all(labels.get(name, "") == value for name, value in self.labels)


@lru_cache(maxsize=100_000)
def selector_of(query: str) -> Selector | None:
    """What the query selects; None for one that must be asked for, which a counter's must as well."""
    found = _QUERY.fullmatch(query)
    if found is None or (found["function"] is None) != (found["end"] == ""):
        return None
    name = found["name"]
    if name.lower() in _NUMBERS or name.endswith(_COUNTERS):
        return None
    labels = _labels(found["labels"] or "")
    if labels is None:
        return None
    return Selector(name, labels, _FUNCTIONS.get(found["function"] or ""))


def _labels(text: str) -> tuple[tuple[str, str], ...] | None:
    """The labels between the braces; None where there is another comparison than `=`, or a string that we do not read."""
    place, found = 0, list[tuple[str, str]]()
    end = len(text.rstrip())
    while place < end:
        label = _LABEL.match(text, place)
        if label is None:
            return None
        value = label[2][1:-1]
        if any(escape not in _ESCAPES for escape in _ESCAPE.findall(value)):
            return None
        found.append((label[1], _ESCAPE.sub(lambda one: _ESCAPES[one[0]], value)))
        place = label.end()
    return tuple(found)
