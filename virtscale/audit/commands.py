"""The commands `virtscale ledger verify`, `export`, `prove` and `check-proof`, and where those beside them are put in."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from virtscale.audit import keeping
from virtscale.history import From
from virtscale.invocation import Output

Vkey = Annotated[
    Path | None,
    Parameter(
        name="--vkey", help="file with the public key that you trust; the one beside the archive if absent"
    ),
]


def register(ledger: App) -> None:
    """The commands are in the group `virtscale ledger`."""
    for command in (verify, export, prove):
        ledger.command(command)
    ledger.command(check_proof, name="check-proof")
    keeping.register(ledger)


def verify(
    *,
    from_: From = None,
    checkpoint: Annotated[
        list[Path] | None,
        Parameter(
            help="a checkpoint that somebody kept, or a proof with one, to be of this history; may be said more than once"
        ),
    ] = None,
    vkey: Vkey = None,
    events: Annotated[
        bool, Parameter(help="read every entry as an event as well, at a quarter of the speed", negative="")
    ] = False,
    output: Output = "table",
) -> int:
    """Integrity and completeness of the sealed ledger and of the bus, or with --from of an export alone. Exit 0 when all is well."""
    from virtscale.audit.verifying import show_verdicts

    return show_verdicts(from_, tuple(checkpoint or ()), vkey, output, events=events)


def export(
    target: Annotated[Path, Parameter(name="TARGET", help="a directory, or a file that ends with .tar")],
    /,
    *,
    from_: From = None,
    output: Output = "table",
) -> int:
    """Copy the sealed ledger with its public key, its schemas and a description; goes on where it was interrupted."""
    from virtscale.audit.handing import show_export

    return show_export(target, from_, output)


def prove(
    asked: Annotated[
        str,
        Parameter(
            name="ID", help="an event's id or sequence, or a request's id: then the decision that answered it"
        ),
    ],
    /,
    *,
    from_: From = None,
    to: Annotated[Path, Parameter(help="the directory for the proof and the entry")] = Path(),
    output: Output = "table",
) -> int:
    """Write the proof of one event, for instance of a refusal, as two files for whom it concerns."""
    from virtscale.audit.handing import show_proof

    return show_proof(asked, from_, to, output)


def check_proof(
    file: Annotated[Path, Parameter(name="FILE", help="the proof, SEQ.tlog-proof")],
    /,
    *,
    entry: Annotated[
        Path | None, Parameter(help="the entry; the file SEQ.entry beside the proof if absent")
    ] = None,
    vkey: Vkey = None,
    output: Output = "table",
) -> int:
    """Check a proof offline, and say what it proves."""
    from virtscale.audit.handing import show_checked

    return show_checked(file, entry, vkey, output)
