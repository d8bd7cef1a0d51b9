"""The life of a VM, as its waker, prober and announcer saw it. Outcomes name the reservation they end."""

from typing import Literal

from events.fact import Fact, Moment
from schemas.capacity import Size
from schemas.names import Count, Id, Name

Sleep = Literal["paused", "off", "missing"]
"""How a domain does not run: asleep in RAM, shut off, or not defined at all."""


class VmDefined(Fact, frozen=True):
    """The domain exists on its host; guests of it answer at `address`. Safe to repeat: the uuid is the same."""

    vm: Name
    pool: Name
    host: Name
    size: Size
    domain: str
    uuid: str
    address: str
    reservation: Id


class VmResumed(Fact, frozen=True):
    """The paused domain runs again; the times are those around the libvirt call on the waker's clock."""

    vm: Name
    host: Name
    reservation: Id
    started_at: Moment
    resumed_at: Moment
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
    `domain-lost`.
    """

    vm: Name
    host: Name
    reservation: Id
    code: Literal["order-expired", "wake-refused", "template-missing", "domain-lost"]
    text: str
    found: Sleep
    observed_at: Moment


class VmReady(Fact, frozen=True):
    """The guest answered its readiness probe; for a wake it is the same boot as before it slept."""

    vm: Name
    reservation: Id
    boot_id: str
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
    code: Literal["probe-timeout", "clock-off"]
    text: str
    observed_at: Moment
    probes: Count


class VmAnnounced(Fact, frozen=True):
    """The load balancer sends the VM new work since `announced_at`."""

    vm: Name
    pool: Name
    reservation: Id
    order: Id
    """The wake, boot or drain-cancelled order that this ends."""
    backend: str
    address: str
    announced_at: Moment


class VmAnnounceFailed(Fact, frozen=True):
    """The load balancer did not take the VM within the time allowed."""

    vm: Name
    reservation: Id
    order: Id
    code: Literal["balancer-unreachable", "balancer-refused"]
    text: str
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
    cause: Literal["ordered", "found"]
    quiesced_at: Moment


class VmStopped(Fact, frozen=True):
    """The domain does not run: off, crashed or gone. Without a reservation it slept before."""

    vm: Name
    host: Name
    reservation: Id | None
    cause: Literal["ordered", "crashed", "shut-down", "found"]
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
