"""Names that may stand in a subject: nothing in them can widen, split or end one."""

import re
from typing import Annotated, Final

import msgspec

# `(?![\s\S])` and not `$`: Python's `$` also matches before a trailing newline, which would let "acme\n" through.
_NAME: Final = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?(?![\s\S])"
_TEXT: Final = 1000
_ID: Final = r"^[0-9a-f]{32}(?![\s\S])"

Name = Annotated[
    str, msgspec.Meta(pattern=_NAME, description="lower case letters, digits, inner dashes; 1 to 40 long")
]
"""An org, pool, VM, host, publisher or person id: 1 to 40 of `a-z`, `0-9` and inner `-`."""

Id = Annotated[str, msgspec.Meta(pattern=_ID, description="32 hexadecimal digits")]
"""An event, order or reservation id: 128 bits as 32 lower-case hexadecimal digits."""

Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,63}(?![\s\S])")]
"""A word of an open list, such as a reason code: letters, digits, dots, dashes and underscores, at most 64. Readers show a word
that they do not know; what a fold decides on is never one of these."""

Text = Annotated[str, msgspec.Meta(max_length=_TEXT)]
"""A sentence for people."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A number of things; bounded so that JSON readers in any language keep it exact."""

PLATFORM: Final = "platform"
"""The org of what is nobody's own: hosts, and an operator's word about people. It has no contract and no pools."""

OPERATOR: Final = "operator"
"""The publisher that people of the platform use; only they may have a person erased."""

TRIGGER: Final = "signal"
"""The publisher of what pools' triggers ask; nobody else may ask under this name."""

FORECAST: Final = "forecast"
"""The publisher of what pools' forecasts ask; nobody but the forecaster may ask under this name."""

_name = re.compile(_NAME)


def shorten(text: str) -> str:
    """The text as `Text` allows it."""
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"


def is_name(text: str) -> bool:
    """True when `text` may stand as one token of a subject."""
    return _name.search(text) is not None
