"""What the fleet is folded from."""

from typing import Final

from events.deletion import DeletionCompleted
from events.drift import DomainDrifted, DomainSettled
from events.fact import Fact
from events.gate import GateDecided
from events.host import HostAdmitted, HostCordoned, HostFenced, HostRegistered, HostRemoved
from events.order import OrderOverdue
from events.pool import PoolDefined
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmBooted,
    VmDefined,
    VmDrained,
    VmFoundAwake,
    VmPlugged,
    VmQuiesced,
    VmReady,
    VmRebootFailed,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)

_OF_HOSTS: Final = (HostRegistered, HostCordoned, HostAdmitted, HostFenced, HostRemoved)
_BEGINNINGS: Final = (VmDefined, VmResumed, VmBooted, VmReady, VmAnnounced, VmFoundAwake)
_OUTCOMES: Final = (
    VmUnready,
    VmAnnounceFailed,
    VmDrained,
    VmQuiesced,
    VmSaved,
    VmSaveFailed,
    VmWakeFailed,
    VmStopped,
    VmPlugged,
    VmRebootFailed,
)

TAKEN: Final[frozenset[type[Fact]]] = frozenset(
    (
        PoolDefined,
        GateDecided,
        OrderOverdue,
        DomainDrifted,
        DomainSettled,
        DeletionCompleted,
        *_OF_HOSTS,
        *_BEGINNINGS,
        *_OUTCOMES,
    )
)
"""Any other event changes nothing in the fleet."""
