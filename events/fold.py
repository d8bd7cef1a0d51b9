"""What a fold is, and where those of one reader are kept."""

from typing import Protocol, TypeVar

from events.envelope import Recorded


class Fold(Protocol):
    """A state that grows by one event at a time; total, and without a clock or a socket.

    It may name in `TAKES`, a `frozenset[type[Fact]]`, all that ever changes it: it is then given nothing else.
    """

    def apply(self, recorded: Recorded) -> None:
        """The state now includes the event."""
        ...


F = TypeVar("F", bound=Fold)


class FoldsOfReader(Protocol):
    """Where the folds of one reader are kept: each kind once."""

    def fold(self, kind: type[F]) -> F:
        """The one fold of this kind."""
        ...
