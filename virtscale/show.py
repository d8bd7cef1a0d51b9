"""How answers look: a table for people, JSON for programs."""

import os
import select
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

Format = Literal["table", "json"]


def show(rows: Sequence[Mapping[str, object]], form: Format, *, columns: Sequence[str] | None = None) -> None:
    """The rows on standard output; a table has the given columns, JSON always has all of them."""
    if form == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(list(rows)), indent=2).decode() + "\n")
        return
    names = list(columns if columns is not None else rows[0] if rows else ())
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [
        max(len(name), *(len(line[at]) for line in cells)) if cells else len(name)
        for at, name in enumerate(names)
    ]
    for line in [[name.upper() for name in names], *cells]:
        sys.stdout.write(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        )


def write_json(value: object) -> None:
    """The value on standard output as one JSON document, for answers that are no list of rows."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def is_unread() -> bool:
    """Whether whoever read standard output (`| head`) has left."""
    reader = select.poll()
    reader.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in reader.poll(0))


def end() -> None:
    """All of the output is with its reader; if that one has left, the rest goes nowhere, and quietly."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value)


def printable(text: str) -> str:
    """The same without control characters: what came from outside may hold any, and a terminal is shown none."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def say(text: str) -> None:
    """A line for the person, on standard error, so that standard output stays data."""
    sys.stderr.write(text + "\n")
