"""A pool: VMs of one size and template that scale together."""

import tomllib
from typing import Annotated, Final, Literal

import msgspec

from schemas.capacity import Size
from schemas.dated import PolicyError
from schemas.limits import ProfileName
from schemas.maintenance import Window, chosen, flaw
from schemas.names import Count, Name, Word
from schemas.struct import Value

PoolName = Annotated[Name, msgspec.Meta(max_length=32)]
"""Shorter than other names, because a VM's name is its pool's with a number behind, and must be a name itself."""

Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]


Placement = Literal["fill", "spread"]
"""Where new VMs go: onto the fullest host that has room, so that others stay empty, or onto the emptiest."""


Query = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
"""A PromQL expression that yields one number."""

TriggerKind = Literal["query", "cpu", "queue", "p99"]
"""What a trigger measures, for those who read of it; its query says how."""

Forecasting = Literal["off", "only", "on"]
"""Nothing is predicted; it is predicted and recorded, and nothing is moved; the forecast moves VMs."""

Depth = Literal["paused", "auto"]
"""How a VM sleeps: always in its host's RAM, or also on disk when the forecast does not need it for long."""

Refresh = Literal["agent", "none"]
"""Whether a woken guest's clock is set and its entropy refreshed by the QEMU guest agent before it serves."""

Kind = Literal["scaled", "kept"]
"""Its VMs are alike, and come and go with demand; or each is asked for by name and kept for its own sake."""

Storage = Literal["local", "ceph"]
"""Where disks are: files on the VM's host, or images in a Ceph cluster that every host reaches."""

Backups = Literal["none", "nightly"]
"""Whether kept VMs are copied each night."""

Numa = Literal["free", "pinned"]
"""Where a VM's vCPU and memory are on its host: wherever there is room, or on one node, each vCPU on CPUs of that node alone."""

MOST_TRIGGERS: Final = 8
"""Triggers of one pool: some 200 bytes each in its definition."""


class Trigger(Value, frozen=True):
    """Ask for `add` VMs once `query` was above `above` in `samples` successive samples."""

    query: Query
    above: Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
    samples: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 3
    add: Annotated[int, msgspec.Meta(ge=1, le=128)] = 1
    kind: TriggerKind = "query"


class DemandQuery(Value, frozen=True):
    """What the whole pool has to carry, as `query` yields it, and how much of that one VM carries."""

    query: Query
    per_vm: Annotated[float, msgspec.Meta(gt=0, le=1e300)]


class Pool(Value, frozen=True):
    """How one pool scales. Cooldown, horizon, drain and batch default to the numbers of the platform."""

    org: Name
    name: PoolName
    size: Size
    template: Name
    min_vms: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    max_vms: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100_000
    cooldown_seconds: Seconds = 90
    horizon_seconds: Seconds = 90
    drain_seconds: Seconds = 45
    wake_batch: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    readiness_seconds: Seconds = 20
    """How long a woken guest may take until its probe answers."""
    order_seconds: Seconds = 60
    """How long after the decision a wake may still begin; later it is `order-expired`."""
    boot_seconds: Seconds = 180
    """How long a cold boot may take until its probe answers."""
    triggers: Annotated[tuple[Trigger, ...], msgspec.Meta(max_length=MOST_TRIGGERS)] = ()
    """Any of them may ask."""
    placement: Placement = "fill"
    demand: DemandQuery | None = None
    """What forecasts are made from; without it nothing is forecast."""
    forecast: Forecasting = "only"
    coverage_bp: Annotated[int, msgspec.Meta(ge=5000, le=9999)] = 9900
    """How often the VMs that demand comes to need shall be awake by then, in basis points."""
    quiesce_per_minute: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 8
    """VMs that forecasts may send to sleep in a minute."""
    sleep: Depth = "auto"
    refresh: Refresh = "agent"
    kind: Kind = "scaled"
    storage: Storage = "local"
    profile: ProfileName = "managed"
    """What VMs of a kept pool may be like."""
    disk_bytes: Count = 0
    """What the disk of a kept VM has where nobody says otherwise; 0 for what its template's has."""
    window: Window = Window()
    """When VMs of a kept pool may be worked on."""
    notice: Word | None = None
    """The maintenance policy by name, where it is not the one of its day."""
    grace_seconds: Seconds = 60
    """How long the guest of a kept VM has to shut down by itself before its power is cut."""
    snapshots_kept: Annotated[int, msgspec.Meta(ge=0, le=100)] = 7
    """Snapshots of one kept VM; the oldest goes when there is one more."""
    backups: Backups = "none"
    backups_kept: Annotated[int, msgspec.Meta(ge=1, le=366)] = 14
    numa: Numa = "free"
    ephemeral: bool = False
    """Whether VMs of sizes that have one get a second disk on their host, which is empty at each boot."""


class PoolError(ValueError):
    """A pool file was refused; the sentence says which field and why."""

    code = "PoolUnreadable"


def read(text: str) -> Pool:
    """The pool that a TOML file says, or `PoolError` naming the first field that is wrong."""
    try:
        pool = msgspec.convert(_several(tomllib.loads(text)), Pool, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PoolError(f"The pool file is not valid: {error}. Nothing was stored.") from error
    if pool.min_vms > pool.max_vms:
        raise PoolError(
            f"Pool {pool.org}/{pool.name} wants at least {pool.min_vms} and at most {pool.max_vms} VMs. "
            "Nothing was stored."
        )
    if pool.kind == "scaled" and pool.storage == "ceph":
        raise PoolError(
            f"Pool {pool.org}/{pool.name} scales, and disks of VMs that come and go are files on their hosts: leave `storage` out, or "
            'say kind = "kept". Nothing was stored.'
        )
    objection = flaw(pool.window)
    if objection is not None:
        raise PoolError(f"The pool {pool.org}/{pool.name}: {objection.text} Nothing was stored.")
    if pool.notice is not None:
        try:
            chosen(pool.notice)
        except PolicyError as error:
            raise PoolError(
                f"The pool {pool.org}/{pool.name} has a notice by no policy: {error} Nothing was stored."
            ) from error
    return pool


def says_refresh(text: str) -> bool:
    """Whether the pool file says itself how woken guests are refreshed.

    A pool of before there was a refresh may run from a template without an agent: were it refreshed as new pools are, each of its
    sleepers would wake unfit to serve. So a file that does not say leaves a pool that is defined with `none` as it is.
    """
    return "refresh" in tomllib.loads(text)


def _several(said: dict[str, object]) -> dict[str, object]:
    """A file may say its only trigger as `[trigger]`; several are `[[triggers]]`."""
    if "trigger" in said and "triggers" not in said:
        said["triggers"] = [said.pop("trigger")]
    return said
