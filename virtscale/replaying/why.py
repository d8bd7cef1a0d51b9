"""The command `virtscale replay why`."""

import datetime as dt
import sys
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from schemas.names import is_name
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE
from virtscale.history import From, opened_source, place
from virtscale.invocation import Output, UsageError
from virtscale.progress import Progress
from virtscale.replaying.loop import run
from virtscale.show import Format, say, show, write_json

if TYPE_CHECKING:  # a command imports what it needs, so that --help stays quick
    from replay.why.event import Step

_MARKS: Final = {"cause": "^", "this": ">", "then": ""}
"""What led there, the thing itself, what followed."""

_MOST_ROWS: Final = 40
"""Events around an instant that a table shows: the last ones."""


def register(app: App) -> None:
    """The command is part of the group."""
    app.command(why)


def why(
    what: Annotated[
        str, Parameter(name="WHAT", help="an id or its first digits, a mail's message id, or ORG/POOL@TIME")
    ],
    /,
    *,
    source: From = None,
    output: Output = "table",
) -> int:
    """Why something happened, or did not: `virtscale replay why 4f2a91`, `why acme/web@2026-11-22T03:14:05Z`.

    An id (of an event, a request, an order, a mail) gives the chain of events that led to it and what followed. A pool at
    an instant, or right behind a sequence, gives what it did around then, and why it did not grow or shrink; an instant
    without a fraction is the whole second.
    """
    return run(lambda: (_pool if "/" in what else _chain)(what, source, output))


async def _chain(text: str, source: From, form: Format) -> int:
    from replay.why.event import why as explain
    from replay.why.named import IdError

    async with opened_source(source) as ledger:
        with Progress("why") as progress:
            try:
                found = await explain(ledger, text, progress)
            except IdError as error:
                say(f"virtscale: {error} [{error.code}]")
                return EXIT_NOT_FOUND if type(error) is IdError else EXIT_USAGE
    if form == "json":
        write_json(found)
        return EXIT_DONE
    for line in found.because:
        _say(line)
    _say("")
    show([_row(step) for step in found.steps], form)
    if found.left_out:
        say(f"{found.left_out} more events of this chain are not shown")
    return EXIT_DONE


async def _pool(text: str, source: From, form: Format) -> int:
    from replay.why.at import PlaceError, pool_at

    whose, at_sign, when = text.partition("@")
    org, _, pool = whose.partition("/")
    if not at_sign or not is_name(org) or not is_name(pool):
        raise UsageError(
            f"{text!a:.80} names no pool at a time: write ORG/POOL@TIME, as acme/web@2026-11-22T03:14:05Z."
        )
    until = place(when)
    whole = isinstance(until, dt.datetime) and "." not in when
    if isinstance(until, dt.datetime) and whole:
        until = until.replace(microsecond=999_999)  # who names a second means all of it
    async with opened_source(source) as ledger:
        with Progress("why") as progress:
            try:
                found = await pool_at(ledger, org, pool, until, progress)
            except PlaceError as error:
                say(f"virtscale: {error} [{error.code}]")
                return EXIT_NOT_FOUND
    if form == "json":
        write_json(found)
        return EXIT_DONE
    then = found.then
    said = f"{then.at:%Y-%m-%d %H:%M:%S}" if whole else f"{then.at:%Y-%m-%d %H:%M:%S.%f}"
    _say(f"{org}/{pool} at {said} UTC, ledger sequence {then.seq}")
    _say(then.grew.because)
    _say(then.shrank.because)
    _say("")
    for one in then.suppositions:
        _say(f"{one.question}: would have been {one.outcome} ({one.code}). {one.text}")
    _say("")
    for line in then.circumstances.sentences:
        _say(f"- {line}")
    if found.ended_at is not None:
        _say(
            f"- the ledger's last event was stored before that, at {found.ended_at:%Y-%m-%d %H:%M:%S.%f} UTC"
        )
    if found.steps:
        _say("")
        shown = [_row(step) for step in found.steps[-_MOST_ROWS:]]
        show(shown, form, columns=list(shown[0])[1:])
        if len(found.steps) > _MOST_ROWS:
            say(f"{len(found.steps) - _MOST_ROWS} earlier events are shown with -o json")
    return EXIT_DONE


def _row(step: "Step") -> dict[str, object]:
    return {
        " ": _MARKS[step.part],
        "seq": step.seq,
        "time": f"{step.at:%Y-%m-%d %H:%M:%S.%f}",
        "writer": step.writer,
        "event": step.event,
        "what": _printable(step.what),
    }


def _say(line: str) -> None:
    """A line of the answer, on standard output."""
    sys.stdout.write(_printable(line) + "\n")


def _printable(text: str) -> str:
    """What publishers and operators wrote, without what a terminal would take for a command."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
