"""The commands `virtscale ledger roll`, `recover`, `backup`, `restore` and `import`: the ledger through age and disaster."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from schemas.house import FILE
from virtscale.invocation import Output, here, present_house

if TYPE_CHECKING:
    from virtscale.audit.maintenance import Place

Reason = Annotated[
    str, Parameter(help="why, in a few words that name nobody; it stays in the ledger for ever")
]
Actor = Annotated[str | None, Parameter(name="--as", help="who says so; your user name if absent")]


def register(ledger: App) -> None:
    """The commands are in the group `virtscale ledger`."""
    for command in (roll, recover, backup, restore):
        ledger.command(command)
    ledger.command(bring_in, name="import")


def roll(*, reason: Reason, actor: Actor = None, output: Output = "table") -> int:
    """Let the ledger go on in a new, empty stream of the bus; all that came before stays in the archive. The house must be down."""
    from virtscale.audit import going_on
    from virtscale.freezes.standing import actor_of, checked

    done = asyncio.run(going_on.roll(_place(), actor_of(actor), checked(reason)))
    return _show(done, output, ["what", "size", "root"])


def recover(
    *,
    reason: Reason,
    actor: Actor = None,
    new_key: Annotated[
        bool,
        Parameter(
            help="the archive and the key that signed it are lost, and the bus has it all: go on under another key",
            negative="",
        ),
    ] = False,
    output: Output = "table",
) -> int:
    """After a disaster: go on behind the last checkpoint that holds, in a new epoch. The house must be down.

    What the broken store still gives is taken over first; what is lost is named in the ledger. Nothing grows until every
    host was compared with the ledger.
    """
    from virtscale.audit import going_on
    from virtscale.freezes.standing import actor_of, checked

    done = asyncio.run(going_on.recover(_place(), actor_of(actor), checked(reason), new_key=new_key))
    kept = os.path.relpath(done.kept) if done.kept else ""
    done = replace(done, kept=kept)
    return _show(done, output, ["what", "size", "epoch", "lost_first", "lost_last", "kept"])


def backup(
    target: Annotated[Path, Parameter(name="DIR", help="a directory on another disk")],
    /,
    *,
    output: Output = "table",
) -> int:
    """Copy the sealed ledger and the house's private parts, also while it is up; only what is new is written."""
    from virtscale.audit import saving
    from virtscale.show import show

    done = saving.backup(present_house(), target)
    show([{"target": os.path.relpath(target), **msgspec.to_builtins(done)}], output)
    return 0


def restore(
    source: Annotated[Path, Parameter(name="DIR", help="what `virtscale ledger backup` wrote")],
    /,
    *,
    reason: Reason = "restored from a backup",
    actor: Actor = None,
    output: Output = "table",
) -> int:
    """Make a house out of a backup, in the empty directory that $VIRTSCALE_HOUSE names; then `virtscale up`."""
    from virtscale.audit import saving
    from virtscale.freezes.standing import actor_of, checked

    done = asyncio.run(saving.restore(here(), source, actor_of(actor), checked(reason)))
    return _show(done, output, ["what", "size", "root", "epoch"])


def bring_in(
    source: Annotated[
        Path, Parameter(name="SOURCE", help="a directory or .tar that `virtscale ledger export` wrote")
    ],
    /,
    *,
    vkey: Annotated[
        Path | None,
        Parameter(help="file with the public key that you trust; it or --key must be named"),
    ] = None,
    key: Annotated[
        Path | None,
        Parameter(help="file with the secret key that signed it; without, the house signs with a new one"),
    ] = None,
    reason: Reason = "imported from an export",
    actor: Actor = None,
    output: Output = "table",
) -> int:
    """Take an exported ledger into an empty house: sequence, stored time and root stay the same.

    The house will sign it, so one of --vkey and --key says whose it must be.
    """
    from replay.audit.tarred import files_at
    from virtscale.audit import saving
    from virtscale.audit.places import named_key
    from virtscale.freezes.standing import actor_of, checked

    said = (actor_of(actor), checked(reason))
    with files_at(source) as files:
        trusted = None if vkey is None else named_key(vkey)
        done = asyncio.run(saving.bring_in(here(), files, trusted, key, said))
    return _show(done, output, ["what", "size", "root", "epoch"])


def _place() -> "Place":
    """The house here, also when its description is lost and the archive is not: that says whose log it is."""
    from events.tlog.files import DirectoryFiles
    from virtscale.audit.maintenance import Place
    from virtscale.audit.places import claimed_origin

    if not (here() / FILE).exists() and (here() / "audit").is_dir():
        origin = claimed_origin(DirectoryFiles(here() / "audit"))
        return Place.fresh(here()) if origin is None else Place.fresh(here(), origin)
    return Place.of(present_house())


def _show(done: object, output: str, columns: list[str]) -> int:
    from virtscale.show import show

    show([msgspec.to_builtins(done)], "json" if output == "json" else "table", columns=columns)
    return 0
