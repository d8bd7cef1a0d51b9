"""What a view keeps in SQLite: a table, and which of its rows an event may have changed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar, runtime_checkable

from events.envelope import Recorded
from events.fact import Fact
from events.fold import Fold

F = TypeVar("F", bound=Fold)

Key = tuple[str, ...]
Cell = str | int | float | None

ALL: Final[Key] = ()
"""Every row of a table."""


@runtime_checkable
class Settling(Protocol):
    """A fold that can forget what never changes again; see `Activations`."""

    def settle(self) -> None:
        """All of that is forgotten: its rows are in the hands of whoever says so."""
        ...


@dataclass(frozen=True, slots=True)
class Table(Generic[F]):
    """One table of one view. `columns` begin with the key's; times are ISO 8601 in UTC.

    `touched` names the rows that an event may have changed, from the event alone, so that the fold needs no
    memory of what is written; `row` gives the row as the fold has it now, or None when there is none any more.

    A key that is shorter than the key's columns names all rows that begin with it, and `ALL` every row: for the few
    events that change rows they do not name. Such rows are written anew from `keys`, which lists those there are; in a
    table with `same`, whose rows stay, those that may have changed.
    """

    name: str
    fold: type[F]
    columns: tuple[str, ...]
    key_columns: int
    touched: Callable[[Recorded], Iterable[Key]]
    row: Callable[[F, Key], tuple[Cell, ...] | None]
    keys: Callable[[F, Key], Iterable[Key]] | None = None
    takes: frozenset[type[Fact]] | None = None
    """The events that touch any row, where the table says so; `touched` is asked about no other."""
    beside: Callable[[F, Key], Iterable[Key]] | None = None
    """The whole keys of rows that may have changed with a touched one, and that only the fold can name."""
    same: str | None = None
    """A column that tells things under one key apart, where a fold forgets: the first row of a key stays, for ever.

    Such a table grows with the ledger, and its rows lie in the order in which they came: by keys, which are hashes, each
    would be written to another page than the one before.
    """

    @property
    def create(self) -> str:
        """The statement that makes the table."""
        key = ", ".join(f'"{name}"' for name in self.columns[: self.key_columns])
        laid = " WITHOUT ROWID" if self.same is None else ""
        return f'CREATE TABLE "{self.name}" ({self._names}, PRIMARY KEY ({key})){laid}'

    @property
    def upsert(self) -> str:
        """The statement that writes a row over its former self."""
        marks = ", ".join("?" * len(self.columns))
        if self.same is None:
            return f'INSERT OR REPLACE INTO "{self.name}" ({self._names}) VALUES ({marks})'  # noqa: S608 - our own names
        key = ", ".join(f'"{name}"' for name in self.columns[: self.key_columns])
        rest = ", ".join(f'"{name}" = excluded."{name}"' for name in self.columns[self.key_columns :])
        return (
            f'INSERT INTO "{self.name}" ({self._names}) VALUES ({marks}) '  # noqa: S608 - our own names
            f'ON CONFLICT ({key}) DO UPDATE SET {rest} WHERE "{self.same}" = excluded."{self.same}"'
        )

    @property
    def ordered(self) -> str:
        """The query for all rows in the order of the key, compared as bytes."""
        key = ", ".join(f'"{name}"' for name in self.columns[: self.key_columns])
        return f'SELECT {self._names} FROM "{self.name}" ORDER BY {key}'  # noqa: S608 - our own names

    def delete(self, columns: int) -> str:
        """The statement that removes the rows whose first key columns, so many of them, have given values."""
        where = " AND ".join(f'"{name}" = ?' for name in self.columns[:columns])
        return f'DELETE FROM "{self.name}"' + (f" WHERE {where}" if where else "")  # noqa: S608 - our own names

    def listed(self, fold: F, key: Key) -> Iterable[Key]:
        """The whole keys that a touched one stands for."""
        if len(key) == self.key_columns:
            return (key,) if self.beside is None else dict.fromkeys((key, *self.beside(fold, key)))
        assert self.keys is not None, f"{self.name} is touched by {key}, and cannot list its rows"
        return self.keys(fold, key)

    @property
    def _names(self) -> str:
        return ", ".join(f'"{name}"' for name in self.columns)
