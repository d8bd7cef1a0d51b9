"""What every event is: something that happened, in an org, to one lasting thing."""

import datetime as dt
from typing import Annotated

import msgspec

from schemas.names import Name
from schemas.struct import Value

Moment = Annotated[dt.datetime, msgspec.Meta(tz=True)]
"""An instant in UTC; a naive datetime is refused."""


class Fact(Value, frozen=True):
    """Something that happened and is never undone; its meaning never changes.

    A field that is wanted later makes a new version of the event, never a new field of this one: the lines
    that are written today must mean the same in ten years.
    """

    org: Name
