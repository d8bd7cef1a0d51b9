"""`virtscale freeze`, `thaw` and `freezes`: pools stand still for a while, because somebody said so and why."""

import asyncio
import datetime as dt
import getpass
from pathlib import Path
from typing import Final

from events.freeze import ScalingFrozen
from schemas.house import House
from schemas.intake import Freeze, Thaw
from schemas.names import OPERATOR, is_name
from virtscale import views
from virtscale.amounts import said
from virtscale.ask import new_key
from virtscale.exits import EXIT_DONE
from virtscale.invocation import UsageError, now_in
from virtscale.ruled import ruled
from virtscale.show import Format, printable, say, show

MOST_REASON: Final = 200


def freeze(house: House, target: str, seconds: int, reason: str, actor: str | None) -> int:
    """The pools stand still from the gate's decision on; the exit code."""
    org, pool = place(target)
    request = Freeze(key=new_key(), actor=actor_of(actor), reason=checked(reason), seconds=seconds, pool=pool)
    done = asyncio.run(ruled(house, org, request))
    for fact in done.facts:
        if isinstance(fact, ScalingFrozen):
            whose = f"Pool {org}/{pool}" if pool else f"Every pool of {org}"
            say(f"{whose} stands still until {said(fact.until)}; {fact.actor}: {fact.reason}")
            return EXIT_DONE
    say(done.text)
    return done.exit_code


def thaw(house: House, target: str, reason: str, actor: str | None) -> int:
    """The freeze of exactly this pool, or of exactly the whole org, has ended; the exit code."""
    org, pool = place(target)
    request = Thaw(key=new_key(), actor=actor_of(actor), reason=checked(reason), pool=pool)
    done = asyncio.run(ruled(house, org, request))
    whose = f"pool {org}/{pool}" if pool else f"org {org} as a whole"
    if done.answer.code == "NotFrozen":
        say(f"There is no freeze of {whose} to end: `virtscale freezes` lists those that hold.")
    elif done.answer.outcome == "refused":
        say(done.text)
    else:
        say(f"The freeze of {whose} has ended.")
    return done.exit_code


def show_freezes(directory: Path, form: Format) -> int:
    """The freezes that hold now, and who said so."""
    now = now_in(directory).isoformat()
    with views.opened(directory) as base:
        rows = base.rows(views.FREEZES, (now,))
    if form == "table":
        rows = [
            {
                **row,
                "pool": row["pool"] or "(all)",
                "reason": printable(str(row["reason"])),
                "frozen_at": _short(row["frozen_at"]),
                "until": _short(row["until"]),
            }
            for row in rows
        ]
    show(rows, form, columns=["org", "pool", "until", "actor", "reason", "frozen_at"])
    return EXIT_DONE


def show_pools(directory: Path, form: Format) -> int:
    """All pools, and until when each stands still, by its own freeze or its org's."""
    with views.opened(directory) as base:
        rows = base.rows(views.POOLS)
    if form == "table":
        rows = [
            {
                **{name: cell for name, cell in row.items() if name != "frozen_until"},
                "frozen until": _short(row["frozen_until"]),
            }
            for row in rows
        ]
    show(rows, form)
    return EXIT_DONE


def place(target: str) -> tuple[str, str | None]:
    """An org, or a pool of one, from `ORG` or `ORG/POOL`."""
    org, slash, pool = target.partition("/")
    if not is_name(org) or (slash and not is_name(pool)):
        raise UsageError(f"{target!a:.90} names neither an org nor a pool: write acme, or acme/web.")
    return org, pool or None


def actor_of(actor: str | None) -> str:
    """Who says so: the name given, or that of the person who runs the command."""
    if actor is not None and not is_name(actor):
        raise UsageError(f"{actor!a:.60} is no actor: write 1 to 40 of a-z, 0-9 and inner dashes.")
    if actor is not None:
        return actor
    try:
        user = getpass.getuser().lower()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = OPERATOR
    return user if is_name(user) else OPERATOR


def checked(reason: str) -> str:
    """A reason that may stand in the ledger for ever."""
    if not reason.strip() or len(reason) > MOST_REASON or not reason.isprintable():
        raise UsageError(
            f"A reason is 1 to {MOST_REASON} printable characters on one line; this one has {len(reason)}. It stays in "
            "the ledger for ever, so it names nobody."
        )
    return reason


def _short(instant: str | float | None) -> str | None:
    return None if instant is None else said(dt.datetime.fromisoformat(str(instant)))
