"""Work on one VM, and the maintenance that it is done in: what is asked, when, and how far it has come."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec

from schemas.maintenance import Slot, Window
from schemas.moment import Moment
from schemas.names import Count, Id, Name, Text, Word
from schemas.pool import PoolName
from schemas.struct import Value

Kind = Literal["reboot", "cold-reboot", "resize", "image-update", "deletion-notice", "other"]
"""What is done. A deletion notice is an entry in the calendar alone: at its instant nothing is run for it."""

Impact = Literal["none", "reboot", "cold-reboot"]
"""What the guest feels: nothing, its own reboot, or being switched off and on again as a new domain."""

IMPACTS: Final[tuple[Impact, ...]] = ("none", "reboot", "cold-reboot")
"""From the weakest to the strongest: a cold reboot does all that a reboot does."""

Stage = Literal["planned", "announced", "due", "running", "ended", "postponed", "cancelled"]

Result = Literal["done", "failed", "refused"]
"""How it ended: as it should, not as it should, or the gate did not order it."""

MOST_ACTIVITIES: Final = 32
"""Activities of one maintenance: more is work for another night."""

Estimate = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
"""Seconds that work takes, as far as one knows."""


class Change(Value, frozen=True):
    """One thing about a VM that becomes another: `vcpu` from 2 to 4, in words as they are shown."""

    what: Word
    before: Annotated[str, msgspec.Meta(max_length=100)]
    after: Annotated[str, msgspec.Meta(max_length=100)]


class Activity(Value, frozen=True):
    """One piece of work, under the id of the request that asked for it."""

    id: Id
    kind: Kind
    estimate_seconds: Estimate
    impact: Impact = "none"
    significant: bool = False
    """Whether contacts must hear of it a full notice before, even where the VM is worked on anyway."""
    changes: Annotated[tuple[Change, ...], msgspec.Meta(max_length=16)] = ()
    summary: Text = ""

    @property
    def reboots(self) -> bool:
        """Whether the guest is interrupted."""
        return self.impact != "none"


class Maintenance(Value, frozen=True):
    """One entry of the calendar: all that is done to one VM in one window.

    What is asked is kept as it was asked; what is then done is worked out anew each time, since a reboot that a resize made
    unnecessary is needed again when the resize is taken back.
    """

    id: Id
    org: Name
    vm: Name
    pool: PoolName | None
    stage: Stage
    asked: Annotated[tuple[Activity, ...], msgspec.Meta(max_length=MOST_ACTIVITIES)]
    slot: Slot
    window: Window
    policy: Word
    """The version of the policy by which the slot was chosen."""
    revision: Count = 0
    """Raised by whatever contacts are told anew; a calendar's SEQUENCE (RFC 5545)."""
    moves: Count = 0
    """How often it was announced and then moved to another time."""
    announced_at: Moment | None = None
    """Since when contacts know of it as it is; None while they do not, or no longer."""
    announced: Count = 0
    """How many of what is asked contacts had a full notice of; what came after is small beside these."""
    told: bool = False
    """Whether contacts ever heard of it, so that they must hear when nothing comes of it."""
    begun_at: Moment | None = None
    ended_at: Moment | None = None
    result: Result | None = None
    reason: Text = ""
    """Why it was last moved, postponed or cancelled."""


class Usual(Value, frozen=True):
    """What is assumed of work of a kind when nobody says otherwise."""

    estimate_seconds: Estimate
    impact: Impact
    significant: bool


USUAL: Final = MappingProxyType[Kind, Usual](
    {
        "reboot": Usual(300, "reboot", significant=True),
        "cold-reboot": Usual(600, "cold-reboot", significant=True),
        "resize": Usual(600, "cold-reboot", significant=True),
        "image-update": Usual(900, "reboot", significant=True),
        "deletion-notice": Usual(60, "none", significant=True),
        "other": Usual(600, "none", significant=False),
    }
)
"""CPU and memory are read when a domain is started, so that a resize needs a cold reboot and a guest's own does not do."""


def activity(
    key: str,
    kind: Kind,
    *,
    estimate_seconds: int | None = None,
    impact: Impact | None = None,
    significant: bool | None = None,
    changes: Iterable[Change] = (),
    summary: str = "",
) -> Activity:
    """Work of a kind as it usually is, but for what is said."""
    usual = USUAL[kind]
    return Activity(
        id=key,
        kind=kind,
        estimate_seconds=usual.estimate_seconds if estimate_seconds is None else estimate_seconds,
        impact=usual.impact if impact is None else impact,
        significant=usual.significant if significant is None else significant,
        changes=tuple(changes),
        summary=summary,
    )
