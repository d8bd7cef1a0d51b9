"""The commands `freeze`, `thaw` and `freezes`."""

from typing import Annotated

from cyclopts import App, Parameter

from virtscale.invocation import Output, here, present_house

Target = Annotated[str, Parameter(help="an org, or a pool as ORG/POOL", name="TARGET")]
Reason = Annotated[
    str, Parameter(help="why, in a few words that name nobody: they stay in the ledger for ever")
]
Actor = Annotated[str | None, Parameter(name="--as", help="who says so; your user name if absent")]


def freeze(
    target: Target,
    /,
    *,
    duration: Annotated[str, Parameter(name="--for", help="how long: 90s, 15m, 2h, 3d; at most 30 days")],
    reason: Reason,
    actor: Actor = None,
) -> int:
    """Let a pool, or every pool of an org, stand still: it neither grows nor shrinks, whoever asks.

    A freeze always has an end. It lifts no limit: there is no override of the signed cap, here or anywhere.
    """
    from virtscale.amounts import seconds
    from virtscale.freezes import standing as freezes

    return freezes.freeze(present_house(), target, seconds(duration), reason, actor)


def thaw(target: Target, /, *, reason: Reason, actor: Actor = None) -> int:
    """End a freeze before its time. The signed cap holds as before: nothing overrides it."""
    from virtscale.freezes import standing as freezes

    return freezes.thaw(present_house(), target, reason, actor)


def freezes(*, output: Output = "table") -> int:
    """Freezes that hold now: who said so, why, and until when."""
    from virtscale.freezes.standing import show_freezes

    return show_freezes(here(), output)


def register(app: App) -> None:
    """The three commands are part of the application."""
    for command in (freeze, thaw, freezes):
        app.command(command)
