"""Hypervisors that can carry VMs."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from schemas.names import Count, Name, Word


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
