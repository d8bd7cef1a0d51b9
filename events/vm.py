"""The life of a VM, as its waker, prober and announcer saw it. Outcomes name the reservation they end."""

from typing import Annotated, Literal

import msgspec

from events.fact import Fact, Moment
from schemas.capacity import Size
from schemas.names import Count, Id, Name, Text, Word
from schemas.struct import Value

Sleep = Literal["paused", "off", "missing"]
"""How a domain does not run: asleep in RAM, shut off, or not defined at all."""

Rest = Literal["paused", "saved", "off", "missing"]
"""The same, and asleep on disk."""

Depth = Literal["paused", "saved"]
"""Whether a VM slept in its host's RAM or on disk."""


class Refreshed(Value, frozen=True):
    """The guest agent set the guest's clock to the host's, and wrote fresh randomness into its pool."""

    took_ms: Count
    entropy_bytes: Count


class VmDefined(Fact, frozen=True):
    """The domain exists on its host; guests of it answer at `address`. Safe to repeat: the uuid is the same."""

    vm: Name
    pool: Name
    host: Name
    size: Size
    domain: Annotated[str, msgspec.Meta(max_length=200)]
    uuid: Annotated[str, msgspec.Meta(max_length=200)]
    address: Annotated[str, msgspec.Meta(max_length=200)]
    reservation: Id


class VmResumed(Fact, frozen=True):
    """The sleeping domain runs again; the times are those around the libvirt call on the waker's clock.

    `refreshed` is None where the pool does not want it, or the agent did not do it in time: whoever needs it finds out here.
    """

    vm: Name
    host: Name
    reservation: Id
    depth: Depth
    started_at: Moment
    resumed_at: Moment
    refreshed: Refreshed | None
    attempts: Count


class VmBooted(Fact, frozen=True):
    """The domain was started cold and runs."""

    vm: Name
    host: Name
    reservation: Id
    started_at: Moment
    booted_at: Moment
    attempts: Count


class VmWakeFailed(Fact, frozen=True):
    """The order ended and the domain is proven not to run; its reservation is released.

    `code`: `order-expired` (nothing was tried), `wake-refused` (libvirt said no), `template-missing`,
    `domain-lost`, and others to come.
    """

    vm: Name
    host: Name
    reservation: Id
    code: Word
    text: Text
    found: Rest
    observed_at: Moment


class VmReady(Fact, frozen=True):
    """The guest answered its readiness probe; for a wake it is the same boot as before it slept."""

    vm: Name
    reservation: Id
    boot_id: Annotated[str, msgspec.Meta(max_length=64)]
    rebooted: bool
    """The boot id differs from the last one known although the VM was resumed, not booted."""
    clock_offset_ms: int | None
    """Guest clock minus ours, where the guest tells its time."""
    probe_started_at: Moment
    answered_at: Moment
    probes: Count


class VmUnready(Fact, frozen=True):
    """The guest did not answer within its readiness window; it counts as awake until it is stopped."""

    vm: Name
    reservation: Id
    code: Word
    text: Text
    observed_at: Moment
    probes: Count


class VmAnnounced(Fact, frozen=True):
    """The load balancer sends the VM new work since `announced_at`."""

    vm: Name
    pool: Name
    reservation: Id
    order: Id
    """The wake, boot or drain-cancelled order that this ends."""
    backend: Annotated[str, msgspec.Meta(max_length=200)]
    address: Annotated[str, msgspec.Meta(max_length=200)]
    announced_at: Moment


class VmAnnounceFailed(Fact, frozen=True):
    """The load balancer did not take the VM within the time allowed."""

    vm: Name
    reservation: Id
    order: Id
    code: Word
    text: Text
    observed_at: Moment


class VmDrained(Fact, frozen=True):
    """The VM gets no new work and its sessions ended, or were cut when the drain time was over."""

    vm: Name
    reservation: Id
    drain: Id
    sessions_cut: Count
    drained_at: Moment


class VmQuiesced(Fact, frozen=True):
    """The domain is paused: it takes no CPU, keeps its RAM on the host, and counts no compute.

    `cause` is `ordered`, or `found` when it was discovered paused without an order.
    """

    vm: Name
    host: Name
    reservation: Id
    cause: Word
    quiesced_at: Moment


class VmSaved(Fact, frozen=True):
    """The sleeping VM's RAM is on disk, in `image_bytes`, and its host has the memory back. It sleeps on."""

    vm: Name
    host: Name
    order: Id
    asleep_since: Count
    image_bytes: Count
    saved_at: Moment


class VmSaveFailed(Fact, frozen=True):
    """The sleeping VM stays in its host's RAM: the order to save it has ended."""

    vm: Name
    host: Name
    order: Id
    asleep_since: Count
    code: Word
    text: Text
    observed_at: Moment


class VmStopped(Fact, frozen=True):
    """The domain does not run: off, crashed or gone.

    One that slept has no reservation; `asleep_since` is then the ledger sequence at which it fell asleep, so that a
    late copy of this is not taken for the end of a later sleep. `cause`: `ordered`, `crashed`, `shut-down`, `found`.
    """

    vm: Name
    host: Name
    reservation: Id | None
    asleep_since: Count | None
    cause: Word
    found: Sleep
    stopped_at: Moment


class VmFoundAwake(Fact, frozen=True):
    """The domain runs although nobody ordered it; it counts at once, stops growth, and will be suspended.

    The event's own `reservation` is what it is counted under until it sleeps.
    """

    vm: Name
    pool: Name
    host: Name
    size: Size
    reservation: Id
    observed_at: Moment


class VmPlugged(Fact, frozen=True):
    """The VM that runs has more vCPU, by this order; until its next boot it has them as plugged in."""

    vm: Name
    host: Name
    reservation: Id
    order: Id
    size: Size
    plugged_at: Moment


class VmPlugFailed(Fact, frozen=True):
    """The VM runs on with what it had: the order to plug in more has ended."""

    vm: Name
    host: Name
    reservation: Id
    order: Id
    code: Word
    text: Text
    observed_at: Moment


class VmRebootFailed(Fact, frozen=True):
    """The VM was not rebooted and runs on as it did, with `size`; the order has ended, and its reservation goes on."""

    vm: Name
    host: Name
    reservation: Id
    size: Size
    code: Word
    text: Text
    observed_at: Moment


class VmRebooted(Fact, frozen=True):
    """The guest started anew under the same reservation, which nobody ordered: an ordered reboot has a reservation of its own."""

    vm: Name
    host: Name
    reservation: Id
    observed_at: Moment
