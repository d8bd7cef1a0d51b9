"""The requests of one connection that wait for an answer, and every way in which they end."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nats.aio.msg import Msg

from events.bus.port import BusError, DeniedError, UnansweredError


@dataclass(slots=True)
class _Waiting:
    subjects: dict[str, str]
    """By their lower case, in which the client hands on what the server denies."""
    done: Callable[[Msg], bool]
    answer: "asyncio.Future[list[Msg]]"
    parts: list[Msg] = field(default_factory=list[Msg])


class Answers:
    """Who waits for what; all answers of a connection come in on one wildcard subscription."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0
        self._waiting: dict[str, _Waiting] = {}

    @contextmanager
    def expect(
        self, subjects: list[str], done: Callable[[Msg], bool]
    ) -> "Generator[tuple[str, asyncio.Future[list[Msg]]]]":
        """A token for the reply subject, and a future of all the parts up to the one that is `done`."""
        self._count += 1
        token = str(self._count)
        by_lower = {subject.lower(): subject for subject in subjects}
        waiting = _Waiting(by_lower, done, asyncio.get_running_loop().create_future())
        self._waiting[token] = waiting
        try:
            yield token, waiting.answer
        finally:
            del self._waiting[token]

    def take(self, message: Msg) -> None:
        """The message reaches whoever waits for it; nobody does when the request was given up."""
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None or waiting.answer.done():
            return
        waiting.parts.append(message)
        if waiting.done(message):
            waiting.answer.set_result(waiting.parts)

    def deny(self, subject: str) -> bool:
        """Whoever published on `subject`, given in lower case, hears that it may not; False for nobody.

        The server names the subject and not the message, so all that wait on it hear it: what is denied to
        one is denied to all.
        """
        asked = [waiting for waiting in self._waiting.values() if subject in waiting.subjects]
        for waiting in asked:
            _fail(waiting, DeniedError(self.denial(waiting.subjects[subject])))
        return bool(asked)

    def denial(self, subject: str) -> str:
        """The sentence for a publish that the server did not take."""
        return f"The bus does not let {self._name} publish on {subject}; nothing was stored."

    def break_off(self, why: str) -> None:
        """Nothing that is under way will be answered."""
        for waiting in self._waiting.values():
            subjects = ", ".join(waiting.subjects.values())
            _fail(waiting, UnansweredError(f"{self._name} has no answer on {subjects}: {why}."))


def _fail(waiting: _Waiting, error: BusError) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
