"""Hypervisors that can carry VMs."""

from typing import Annotated, Literal

import msgspec

from events.fact import Fact, Moment
from schemas.names import Count, Name


class HostRegistered(Fact, frozen=True):
    """A waker has a libvirt connection to the host and says what it can hold. Its org is `platform`.

    `memory_mib` is what the host lends to guests, awake or paused: a placement limit, not a contract's.
    """

    host: Name
    uri: str
    libvirt_version: Count
    substrate: Literal["kvm", "tcg", "test"]
    vcpu: Annotated[int, msgspec.Meta(ge=1)]
    memory_mib: Count
    observed_at: Moment
