"""Hypervisors that can carry VMs."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from schemas.intake import Change
from schemas.names import Count, Name, Word
from schemas.request import Key, Reason
from schemas.struct import Value


class HostRegistered(Fact, frozen=True):
    """A waker has a libvirt connection to the host and says what it can hold. Its org is `platform`.

    `memory_mib` is what the host lends to guests, awake or paused: a placement limit, not a contract's.
    """

    host: Name
    uri: Annotated[str, msgspec.Meta(max_length=500)]
    libvirt_version: Count
    substrate: Word
    vcpu: Annotated[int, msgspec.Meta(ge=1)]
    memory_mib: Count
    observed_at: Moment


class HostChangeRequested(Fact, frozen=True):
    """A host shall carry no new VMs, carry them again, be declared dead, or be forgotten. Its org is `platform`."""

    host: Name
    change: Change
    publisher: Name
    key: Key
    actor: Name
    reason: Reason
    received_at: Moment


class HostReconciled(Fact, frozen=True):
    """The waker has looked at every domain of the host since the ledger was recovered, and said what it found.

    `recovered_seq` is the place of the `ledger.recovered` that it answers. Its org is `platform`.
    """

    host: Name
    recovered_seq: Count
    domains: Count
    """How many domains of ours the host has, awake or not."""
    awake: Count
    reconciled_at: Moment


class HostCordoned(Fact, frozen=True):
    """No VM starts or wakes on the host from now on; those awake there stay until they are quiesced."""

    host: Name
    actor: Name
    reason: Reason
    cordoned_at: Moment


class HostAdmitted(Fact, frozen=True):
    """The host may carry VMs again, after it was cordoned or fenced."""

    host: Name
    actor: Name
    reason: Reason
    admitted_at: Moment


class HostFenced(Fact, frozen=True):
    """Somebody answers for it that the host is dead: nothing runs on it, and its VMs count no more.

    An order that starts a VM on it is void while it is fenced. If it lived after all, its waker reports each domain as
    found awake, which counts at once.
    """

    host: Name
    actor: Name
    reason: Reason
    fenced_at: Moment


class HostRemoved(Fact, frozen=True):
    """The host is no longer part of the platform; no VM was awake there. Orders on it are void."""

    host: Name
    actor: Name
    reason: Reason
    removed_at: Moment


class Residency(Value, frozen=True):
    """How long the host's CPUs, all together, were in one idle state, as the kernel counts it."""

    state: Word
    milliseconds: Count


class Energy(Value, frozen=True):
    """What one part of the host drew, as its own meter (RAPL) counts it."""

    zone: Word
    millijoules: Count


class HostIdled(Fact, frozen=True):
    """No VM was awake on the host from `idle_from` to `idle_until`; what the host measured of itself meanwhile.

    Told when it ends, and at the latest every hour, then with `ended` false. Empty where the host measures nothing.
    """

    host: Name
    idle_from: Moment
    idle_until: Moment
    ended: bool
    paused: Count
    """VMs that slept in its RAM at the end."""
    saved: Count
    """VMs that slept on its disk at the end."""
    cpus: Count
    residencies: Annotated[tuple[Residency, ...], msgspec.Meta(max_length=16)]
    energies: Annotated[tuple[Energy, ...], msgspec.Meta(max_length=16)]
