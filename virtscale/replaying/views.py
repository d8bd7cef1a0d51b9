"""The commands `virtscale replay rebuild`, `at`, `diff` and `digest`."""

import datetime as dt
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from virtscale.exits import EXIT_DONE
from virtscale.history import From, opened_source, place
from virtscale.invocation import Output, UsageError, here
from virtscale.progress import Progress
from virtscale.replaying.loop import run as run_long
from virtscale.replaying.outputs import require_file, writing
from virtscale.show import Format, say, show

if TYPE_CHECKING:  # a command imports what it needs, so that --help stays quick
    from projections.table import Table
    from replay.views.digest import Digest

_REBUILT: Final = "views.rebuilt.db"
_WIDEST: Final = 100
_LONGEST: Final = 60


def register(app: App) -> None:
    """The commands are part of the group."""
    for command in (rebuild, at, diff, digest):
        app.command(command)


def rebuild(
    *views: Annotated[str, Parameter(help="names of tables; all where none is named")],
    until: Annotated[
        str | None, Parameter(help="stop at this sequence or instant; at the end if absent")
    ] = None,
    source: From = None,
    output: Annotated[
        Path | None, Parameter(name="--output", help=f"the file to write; {_REBUILT} in the house if absent")
    ] = None,
    form: Annotated[
        Format, Parameter(name=["-o", "--format"], help="table for people, json for programs")
    ] = "table",
) -> int:
    """Build the views anew from the ledger, into a new file, and say its digest.

    Interrupted, it goes on where it was when it is called again.
    """
    from events.lock import hold
    from replay.views.rebuild import rebuild as build
    from virtscale.crew import VIEWS

    path = (output or here() / _REBUILT).resolve()
    tables, goal = _tables(views), None if until is None else place(until)
    require_file(path)

    shown = os.path.relpath(path)

    async def run() -> int:
        with ExitStack() as held:
            if path == (here() / VIEWS).resolve():
                held.enter_context(hold(here() / "up.lock", f"The house {here()} is up and writes {VIEWS}"))
            with writing(path):
                held.enter_context(hold(path.with_name(f"{path.name}.lock"), f"{path} is being rebuilt"))
            async with opened_source(source) as ledger:
                progress = held.enter_context(Progress("rebuild"))
                built = await build(ledger, path, tables, goal, progress)
        say(f"{shown} holds the views as of sequence {built.seq}")
        _show_digest(built, form)
        return EXIT_DONE

    return run_long(run)


def at(
    moment: Annotated[
        str, Parameter(name="AT", help="a ledger sequence, or an instant: 2026-11-22T03:14:05Z")
    ],
    view: Annotated[str | None, Parameter(help="the name of one table; all if absent")] = None,
    /,
    *,
    source: From = None,
    output: Output = "table",
) -> int:
    """Show the views as they were: `virtscale replay at 2026-11-22T03:14:05Z vms`."""
    from replay.views.at import standing

    tables, goal = _tables([view] if view else []), place(moment)

    async def run() -> int:
        async with opened_source(source) as ledger:
            with Progress("at") as progress:
                async with standing(ledger, tables, goal, progress) as stood:
                    rows = {table.name: stood.rows(table) for table in tables}
        say(f"as of sequence {stood.seq}")
        if view is not None:
            show(rows[view], output, columns=tables[0].columns)
        elif output == "json":
            _write_json({"seq": stood.seq, "views": rows})
        else:
            for table in tables:
                say(f"\n{table.name}")
                show(rows[table.name], output, columns=table.columns)
        return EXIT_DONE

    return run_long(run)


def diff(
    first: Annotated[str, Parameter(help="a ledger sequence, or an instant")],
    second: Annotated[str, Parameter(help="a later one")],
    view: Annotated[str | None, Parameter(help="the name of one table; all if absent")] = None,
    /,
    *,
    source: From = None,
    output: Output = "table",
) -> int:
    """Show what came, went and changed in the views between two moments."""
    from replay.views.diff import between

    tables, begin, end = _tables([view] if view else []), place(first), place(second)
    if _is_before(end, begin):
        raise UsageError(f"{second} lies before {first}: write the earlier one first.")

    async def run() -> int:
        async with opened_source(source) as ledger:
            with Progress("diff") as progress:
                async with between(ledger, tables, begin, end, progress) as states:
                    found = list(states.differences())
        say(f"from sequence {states.first} to {states.second}")
        if output == "json":
            _write_json({"first": states.first, "second": states.second, "differences": found})
            return EXIT_DONE
        rows = [
            {
                "view": one.table,
                "change": one.change,
                "key": "/".join(str(part) for part in one.key),
                "what": _what(one.before, one.after),
            }
            for one in found
        ]
        if rows:
            show(rows, output)
        else:
            say("nothing differs")
        return EXIT_DONE

    return run_long(run)


def digest(
    file: Annotated[Path | None, Parameter(help="a file of views; the running house's own if absent")] = None,
    /,
    *,
    output: Output = "table",
) -> int:
    """Say the digest of a file of views; two rebuilds at one sequence have the same, and so has the live file."""
    from replay.views.digest import digest_of
    from virtscale.crew import VIEWS

    _show_digest(digest_of(file or here() / VIEWS), output)
    return EXIT_DONE


def _tables(views: Sequence[str]) -> "tuple[Table[Any], ...]":
    from projections.keeper import TABLES

    by_name = {table.name: table for table in TABLES}
    for name in views:
        if name not in by_name:
            raise UsageError(f"{name!a:.60} is no view: choose of {', '.join(by_name)}.")
    return tuple(by_name[name] for name in dict.fromkeys(views)) or TABLES


def _is_before(one: int | dt.datetime, other: int | dt.datetime) -> bool:
    """Whether that can be said without the ledger; a sequence and an instant cannot be compared."""
    if isinstance(one, int):
        return isinstance(other, int) and one < other
    return isinstance(other, dt.datetime) and one < other


def _show_digest(digested: "Digest", form: Format) -> None:
    if form == "json":
        _write_json(digested)
        return
    rows = [{"view": one.table, "rows": one.rows, "sha256": one.digest} for one in digested.tables]
    show(
        [*rows, {"view": "all", "rows": sum(one.rows for one in digested.tables), "sha256": digested.digest}],
        form,
    )
    say(f"as of sequence {digested.seq}")


def _what(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """Columns that changed with both values, or all that are not empty of a row that came or went."""
    if before and after:
        return ", ".join(f"{name}: {_said(before[name])} -> {_said(after[name])}" for name in before)
    whole = ", ".join(
        f"{name}={_said(value)}" for name, value in (before or after).items() if value is not None
    )
    return whole if len(whole) <= _WIDEST else f"{whole[:_WIDEST]}..."


def _said(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _write_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
