"""What every command shares: which house it speaks to, how it answers, and how wrong usage is said."""

import datetime as dt
import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from events.clock import clock_of
from schemas.house import FILE, USUAL, VARIABLE, House, load
from schemas.names import is_name
from virtscale.show import Format

Output = Annotated[Format, Parameter(name=["-o", "--output"], help="table for people, json for programs")]
Deadline = Annotated[
    float, Parameter(help="seconds until the command gives up following; the request goes on")
]


class UsageError(Exception):
    """The command was called wrongly; the sentence says what to call instead."""

    code = "UsageWrong"


def here() -> Path:
    """The directory of the house."""
    return Path(os.environ.get(VARIABLE, USUAL)).resolve()


def present_house() -> House:
    """The house itself; `HouseError` where there is none."""
    return load(here())


def now_in(directory: Path) -> dt.datetime:
    """What time it is for the house there; the machine's time where only its views are, or its archive."""
    return clock_of(load(directory).clock if (directory / FILE).exists() else "").now()


def require_org(org: str) -> str:
    """The name, which may stand in a subject and name a file; `UsageError` for any other."""
    if not is_name(org):
        raise UsageError(
            f"{org!a:.60} is no org: write 1 to 40 of a-z, 0-9 and inner dashes, for example acme."
        )
    return org
