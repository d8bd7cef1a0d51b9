"""The command `virtscale replay what-if`: recorded requests, answered by other rules."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from cyclopts import App, Parameter

from virtscale.exits import EXIT_DONE
from virtscale.history import opened_source, place
from virtscale.invocation import Output
from virtscale.progress import Progress
from virtscale.replaying.loop import run
from virtscale.show import Format, say, show, write_json

if TYPE_CHECKING:  # a command imports what it needs, so that --help stays quick
    from replay.whatif.asking import WhatIf

_SHOWN: Final = 50
"""Changed answers in a table; JSON has them all."""


def register(app: App) -> None:
    """The command is part of the group."""
    app.command(what_if, name="what-if")


def what_if(
    *,
    settings: Annotated[
        list[str] | None,
        Parameter(
            name="--set",
            negative="",
            help="acme.allowance=20%, acme.quota.vcpu=128, web.cooldown=30s, acme/web.max_vms=20; may be said more than "
            "once; with none the ledger's own answers are checked",
        ),
    ] = None,
    first: Annotated[str, Parameter(name="--from", help="a ledger sequence, or an instant")] = "1",
    last: Annotated[
        str | None, Parameter(name="--to", help="a sequence, or an instant; the end of the ledger if absent")
    ] = None,
    archive: Annotated[
        Path | None,
        Parameter(help="an export, or a sealer's directory, to read instead of the running bus"),
    ] = None,
    output: Output = "table",
) -> int:
    """Decide recorded requests again by other rules: which answers change, and what that would have cost.

    The rules of the gate themselves decide. Nothing is written: it may be broken off at any time.
    """
    from replay.whatif.asking import what_if as ask
    from replay.whatif.wording import document
    from virtscale.replaying.settings import rules

    words = tuple(settings or ())
    others, begin, end = rules(words), place(first), None if last is None else place(last)

    async def work() -> int:
        async with opened_source(archive) as ledger:
            with Progress("what-if") as progress:
                told = await ask(ledger, others, begin, end, progress)
        if output == "json":
            write_json(document(told, words))
        else:
            _show(told, output, checked=not words)
        return EXIT_DONE

    return run(work)


def _show(told: "WhatIf", form: Format, *, checked: bool) -> None:
    from replay.whatif import wording
    from replay.whatif.costs import rate

    again = f", {told.same} of them to the same bytes" if checked else ""
    say(
        f"from #{told.first_seq} to #{told.last_seq}: {told.answers} answers in {told.rounds} rounds, decided again{again}"
    )
    for version, rounds in told.foreign.items():
        say(f"rounds decided by the rules {version} then, and by {wording.RULES} here: {rounds}")
    if told.foreign and not checked:
        say("what those differ in by that alone is said when nothing is set")
    if checked and told.unlike is not None:
        say(f"#{told.unlike.recorded.seq} is the first that is not what these rules decide")
    rows = wording.changed(told)
    if rows:
        show([_line(row) for row in rows[:_SHOWN]], form)
        if len(rows) > _SHOWN:
            say(f"and {len(rows) - _SHOWN} more: `-o json` has them all")
    avoided = sum(one.effect == "refusal avoided" for one in told.changed)
    refused = sum(one.effect == "newly refused" for one in told.changed)
    say(
        f"answers that change: {len(rows)}; refusals avoided: {avoided}, new: {refused}; refused then: {told.refused_then}, "
        f"now: {told.refused_now}; the same by other numbers: {told.renumbered}"
    )
    if told.refused_apart:
        say(
            f"refused then, and in neither number because undecidable or not answered now: {told.refused_apart}"
        )
    if told.unanswered:
        say(f"requests that would not have been answered within the window: {told.unanswered}")
    if checked:
        return
    for note in wording.notes(told):
        say(note)
    if told.undecidable:
        say(f"\nundecidable requests, for they lost their cause: {len(told.undecidable)}")
        show([_lost(row) for row in wording.undecidable(told)[:_SHOWN]], form)
    if told.models:
        say("\nmodelled outcomes: these VMs never did it, and are taken to have succeeded")
        show(wording.modelled(told), form)
    say("\nhours awake, from the decision that reserves a VM to the proof that it does not run")
    show(wording.pools(told), form)
    if any(rate(contract) for contract in told.contracts.values()):
        say("EUR: the contract's price for its quota, by the vCPU-hour; it names no price for more")


def _line(row: dict[str, object]) -> dict[str, object]:
    then, now = cast("dict[str, Any]", row["then"]), cast("dict[str, Any]", row["now"])
    return {
        "seq": row["seq"],
        "pool": f"{row['org']}/{row['pool'] or ''}",
        "effect": row["effect"],
        "then": _gist(then),
        "now": _gist(now),
        "outcome": row["outcome_now"],
    }


def _gist(said: dict[str, Any]) -> str:
    granted = f" {said['granted']} of {said['asked']}" if said["asked"] else ""
    numbers = f" ({said['numbers']})" if said["numbers"] else ""
    return f"{said['code']}{granted}{numbers}"


def _lost(row: dict[str, object]) -> dict[str, object]:
    then = cast("dict[str, Any] | None", row["then"])
    return {
        "seq": row["seq"],
        "pool": f"{row['org']}/{row['pool']}",
        "then": _gist(then) if then else "-",
        "why": row["why"],
    }
