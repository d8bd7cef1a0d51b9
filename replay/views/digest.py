"""The digest of a file of views: equal for two rebuilds, and for the live file at the same sequence.

Of a table it is the SHA-256 over its rows in the order of the key, compared as bytes: each row as a JSON array of its cells
in the order of the columns, without blanks, and a line feed. Of the file it is the SHA-256 over one line for each table, in the
order of their names: the name, the columns with commas between, the table's digest in hexadecimal, with blanks between.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

_ROWS: Final = 1000
_OURS: Final = frozenset({"progress", "snapshot"})
"""Tables that say how far the file has come, and belong to no view."""


class ViewsError(Exception):
    """A file is no file of views."""

    code = "ViewsUnreadable"


@dataclass(frozen=True, slots=True)
class TableDigest:
    """One table: how many rows it has, and their digest in hexadecimal."""

    table: str
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Digest:
    """The whole file: the sequence that it includes, and its digest in hexadecimal."""

    seq: int
    digest: str
    tables: tuple[TableDigest, ...]


def digest_of(path: Path) -> Digest:
    """The digest of the file as it stands; one that is written to meanwhile is read as of one moment.

    Raises `ViewsError` for what is no file of views.
    """
    if not path.is_file():
        raise ViewsError(f"There is no file {path}.")
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5, isolation_level=None)
    try:
        base.execute("BEGIN")
        return digest(base)
    except sqlite3.DatabaseError as error:
        raise ViewsError(f"{path} is no file of views: {error}.") from error
    finally:
        base.close()


def digest(base: sqlite3.Connection) -> Digest:
    """The digest of an open file."""
    names = [
        name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    whole, tables = hashlib.sha256(), list[TableDigest]()
    for name in names:
        if name in _OURS:
            continue
        info = base.execute(f'PRAGMA table_info("{name}")').fetchall()
        key = [
            column for *_, column in sorted((place, f'"{column}"') for _, column, *_, place in info if place)
        ]
        one, rows = hashlib.sha256(), 0
        for lines, count in _lines(base, f'SELECT * FROM "{name}" ORDER BY {", ".join(key)}'):  # noqa: S608 - our own names
            one.update(lines)
            rows += count
        tables.append(TableDigest(name, rows, one.hexdigest()))
        whole.update(f"{name} {','.join(column for _, column, *_ in info)} {one.hexdigest()}\n".encode())
    (seq,) = base.execute("SELECT seq FROM progress").fetchone()
    return Digest(seq, whole.hexdigest(), tuple(tables))


def _lines(base: sqlite3.Connection, query: str) -> Iterator[tuple[bytes, int]]:
    encode = msgspec.json.Encoder().encode_lines
    found = base.execute(query)
    while rows := found.fetchmany(_ROWS):
        yield encode(rows), len(rows)
