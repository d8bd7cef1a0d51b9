"""What every event is: something that happened, in an org, to one lasting thing."""

from schemas.moment import Moment
from schemas.names import Name
from schemas.struct import Value


class Fact(Value, frozen=True):
    """Something that happened and is never undone; its meaning never changes.

    A field that is wanted later makes a new version of the event, never a new field of this one: the lines
    that are written today must mean the same in ten years.
    """

    org: Name


__all__ = ["Fact", "Moment"]
