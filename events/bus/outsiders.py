"""How a log speaks of what outsiders do: counted, at most once a minute, and in their words only quoted and cut."""

import asyncio
from collections.abc import Callable
from typing import Final

SILENCE_SECONDS: Final = 60.0
"""Whoever may publish could otherwise fill the log: a line for each of thousands of messages a second."""

SHOWN: Final = 80
"""Characters of an outsider's text; a subject may have four thousand."""


def quoted(text: str) -> str:
    """The text's beginning as one harmless line: no line breaks, no terminal codes."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")


class Tally:
    """Tells the first of a kind at once and then one a minute, with how many there were since.

    What is counted and not yet told is told with the next of its kind, not by itself. The kinds are ours, and few.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said_at: dict[str, float] = {}
        self._since: dict[str, int] = {}

    def add(self, kind: str, sentence: str) -> None:
        """One more of this kind happened."""
        now = asyncio.get_running_loop().time()
        said_at = self._said_at.get(kind)
        if said_at is not None and now - said_at < SILENCE_SECONDS:
            self._since[kind] = self._since.get(kind, 0) + 1
            return
        self._said_at[kind] = now
        more = self._since.pop(kind, 0)
        self._say(
            f"{sentence} There were {more} more like it since this was last said." if more else sentence
        )
