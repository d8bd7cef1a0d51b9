"""The one table of events: which there are, who writes them, and about what.

From it come the decoder, JSON Schema, AsyncAPI and the permissions of the bus. An event is in the ledger for
ever, so a row is never removed or redefined: a new shape is a new row with the next version, and an upcaster
from the one before.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from events import upcast, v1, v2, v3, v4
from events.breaker import BreakerClosed, BreakerOpened
from events.contract import ContractAccepted, ContractSubmitted, ContractTookEffect, ContractVoided
from events.copy import (
    CopyDropped,
    CopyDropRequested,
    CopyDue,
    CopyFailed,
    CopyMade,
    CopyRequested,
    CopyRestored,
    CopyRestoreFailed,
    RestoreRequested,
)
from events.deletion import (
    BackupsErased,
    DeletionBegun,
    DeletionCancelled,
    DeletionCancelRequested,
    DeletionCompleted,
    DeletionDue,
    DeletionRequested,
    DeletionScheduled,
    EraseFailed,
    SilenceEnded,
    SilenceFailed,
    SilenceSet,
    VmUndefined,
    VolumeErased,
)
from events.drift import DomainDrifted, DomainSettled, VmOomKilled, VolumeDrifted, VolumeSettled
from events.fact import Fact
from events.forecast import ForecastMade
from events.freeze import FreezeRequested, ScalingFrozen, ScalingThawed, ThawRequested
from events.gate import GateDecided
from events.host import (
    HostAdmitted,
    HostChangeRequested,
    HostCordoned,
    HostFenced,
    HostIdled,
    HostReconciled,
    HostRegistered,
    HostRemoved,
)
from events.keep import (
    VmAdopted,
    VmAdoptFailed,
    VmAdoptRequested,
    VmChangeRequested,
    VmCreated,
    VmCreateRequested,
    VmProtected,
    VmResized,
    VmResizeRequested,
    VmUnprotected,
)
from events.key import KeyRegistered, KeyRegisterRequested, KeyRevoked, KeyRevokeRequested
from events.ledger import LedgerRecovered, LedgerRolled, LedgerSealed
from events.mail import MailAccepted, MailFailed
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceCancelled,
    MaintenanceChangeRequested,
    MaintenanceDeclined,
    MaintenanceEnded,
    MaintenanceRequested,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from events.order import OrderOverdue
from events.permission import PermissionChangeRequested, PermissionGranted, PermissionRevoked
from events.person import PersonErased, PersonEraseRequested
from events.pool import PoolDefined, PoolObserved
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from events.signal import SignalFound, SignalLost
from events.stock import StockRequested
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmBooted,
    VmDefined,
    VmDrained,
    VmFoundAwake,
    VmPlugFailed,
    VmPlugged,
    VmQuiesced,
    VmReady,
    VmRebooted,
    VmRebootFailed,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from events.volume import (
    SnapshotFailed,
    SnapshotTaken,
    VolumeAdopted,
    VolumeAdoptFailed,
    VolumeCreated,
    VolumeFailed,
    VolumeGrowFailed,
    VolumeGrown,
    VolumeReleased,
)

Kind = Literal["org", "pool", "vm", "host", "person"]
"""The lasting thing an event is about. Never a request or a mail: subjects cost the server memory for ever."""

Writer = Literal[
    "signal",
    "gate",
    "waker",
    "prober",
    "announcer",
    "storage",
    "forecaster",
    "steward",
    "deleter",
    "notifier",
    "sealer",
]


@dataclass(frozen=True, slots=True)
class Row:
    """One version of one event: its name, struct, writer, the kind of thing it is about, and how to raise it.

    `per_host` writers are many: `waker` writes as `waker-<host>`.
    """

    name: str
    version: int
    struct: type[Fact]
    writer: Writer
    kind: Kind
    upcast: Callable[[Fact], Fact] | None = None
    written: bool = True
    """False for a version that this program understands and does not write yet. Readers are deployed before writers: a version
    is only read for one release, in which the one before it is still written (tests/logs/test_readers_first.py)."""

    @property
    def tag(self) -> str:
        """The wire type: `scale.requested.v1`."""
        return f"{self.name}.v{self.version}"

    @property
    def per_host(self) -> bool:
        """Whether each host has a writer of its own."""
        return self.writer == "waker"

    def entity(self, fact: Fact) -> str:
        """The id of the thing the event is about."""
        return str(getattr(fact, self.kind))


ROWS: Final[tuple[Row, ...]] = (
    Row("scale.requested", 1, ScaleRequested, "signal", "pool"),
    Row("quiesce.requested", 1, QuiesceRequested, "signal", "pool"),
    Row("stock.requested", 1, StockRequested, "signal", "pool"),
    Row("save.requested", 1, SaveRequested, "signal", "pool"),
    Row("pool.observed", 1, v1.PoolObserved, "signal", "pool", upcast.pool_observed_v1),
    Row("pool.observed", 2, PoolObserved, "signal", "pool"),
    Row("signal.lost", 1, SignalLost, "signal", "pool"),
    Row("signal.found", 1, SignalFound, "signal", "pool"),
    Row("vm.create-requested", 1, VmCreateRequested, "signal", "vm"),
    Row("vm.change-requested", 1, VmChangeRequested, "signal", "vm"),
    Row("vm.resize-requested", 1, VmResizeRequested, "signal", "vm"),
    Row("maintenance.requested", 1, MaintenanceRequested, "signal", "vm"),
    Row("maintenance.change-requested", 1, MaintenanceChangeRequested, "signal", "vm"),
    Row("copy.requested", 1, CopyRequested, "signal", "vm"),
    Row("copy.drop-requested", 1, CopyDropRequested, "signal", "vm"),
    Row("restore.requested", 1, RestoreRequested, "signal", "vm"),
    Row("deletion.requested", 1, DeletionRequested, "signal", "vm"),
    Row("deletion.cancel-requested", 1, DeletionCancelRequested, "signal", "vm"),
    Row("vm.adopt-requested", 1, VmAdoptRequested, "signal", "vm"),
    Row("permission.change-requested", 1, PermissionChangeRequested, "signal", "org"),
    Row("person.erase-requested", 1, PersonEraseRequested, "signal", "person"),
    Row("contract.submitted", 1, ContractSubmitted, "signal", "org"),
    Row("key.register-requested", 1, KeyRegisterRequested, "signal", "org"),
    Row("key.revoke-requested", 1, KeyRevokeRequested, "signal", "org"),
    Row("freeze.requested", 1, FreezeRequested, "signal", "org"),
    Row("thaw.requested", 1, ThawRequested, "signal", "org"),
    Row("host.change-requested", 1, HostChangeRequested, "signal", "host"),
    Row("contract.accepted", 1, ContractAccepted, "gate", "org"),
    Row("contract.took-effect", 1, v1.ContractTookEffect, "gate", "org", upcast.contract_took_effect_v1),
    Row("contract.took-effect", 2, ContractTookEffect, "gate", "org"),
    Row("contract.voided", 1, ContractVoided, "gate", "org"),
    Row("key.registered", 1, KeyRegistered, "gate", "org"),
    Row("key.revoked", 1, KeyRevoked, "gate", "org"),
    Row("scaling.frozen", 1, ScalingFrozen, "gate", "org"),
    Row("scaling.thawed", 1, ScalingThawed, "gate", "org"),
    Row("host.cordoned", 1, HostCordoned, "gate", "host"),
    Row("host.admitted", 1, HostAdmitted, "gate", "host"),
    Row("host.fenced", 1, HostFenced, "gate", "host"),
    Row("host.removed", 1, HostRemoved, "gate", "host"),
    Row("pool.defined", 1, v1.PoolDefined, "gate", "pool", upcast.pool_defined_v1),
    Row("pool.defined", 2, v2.PoolDefined, "gate", "pool", upcast.pool_defined_v2),
    Row("pool.defined", 3, v3.PoolDefined, "gate", "pool", upcast.pool_defined_v3),
    Row("pool.defined", 4, v4.PoolDefined, "gate", "pool", upcast.pool_defined_v4),
    Row("pool.defined", 5, PoolDefined, "gate", "pool"),
    Row("gate.decided", 1, v1.GateDecided, "gate", "org", upcast.gate_decided_v1),
    Row("gate.decided", 2, v2.GateDecided, "gate", "org", upcast.gate_decided_v2),
    Row("gate.decided", 3, v3.GateDecided, "gate", "org", upcast.gate_decided_v3),
    Row("gate.decided", 4, GateDecided, "gate", "org"),
    Row("vm.created", 1, VmCreated, "gate", "vm"),
    Row("vm.resized", 1, VmResized, "gate", "vm"),
    Row("vm.protected", 1, VmProtected, "gate", "vm"),
    Row("vm.unprotected", 1, VmUnprotected, "gate", "vm"),
    Row("deletion.scheduled", 1, DeletionScheduled, "gate", "vm"),
    Row("deletion.begun", 1, DeletionBegun, "gate", "vm"),
    Row("deletion.cancelled", 1, DeletionCancelled, "gate", "vm"),
    Row("permission.granted", 1, PermissionGranted, "gate", "org"),
    Row("permission.revoked", 1, PermissionRevoked, "gate", "org"),
    Row("breaker.opened", 1, BreakerOpened, "gate", "pool"),
    Row("breaker.closed", 1, BreakerClosed, "gate", "pool"),
    Row("order.overdue", 1, OrderOverdue, "gate", "vm"),
    Row("host.registered", 1, HostRegistered, "waker", "host"),
    Row("host.reconciled", 1, HostReconciled, "waker", "host"),
    Row("host.idled", 1, HostIdled, "waker", "host"),
    Row("vm.defined", 1, VmDefined, "waker", "vm"),
    Row("vm.resumed", 1, v1.VmResumed, "waker", "vm", upcast.vm_resumed_v1),
    Row("vm.resumed", 2, VmResumed, "waker", "vm"),
    Row("vm.booted", 1, VmBooted, "waker", "vm"),
    Row("vm.wake-failed", 1, v1.VmWakeFailed, "waker", "vm", upcast.vm_wake_failed_v1),
    Row("vm.wake-failed", 2, VmWakeFailed, "waker", "vm"),
    Row("vm.quiesced", 1, VmQuiesced, "waker", "vm"),
    Row("vm.saved", 1, VmSaved, "waker", "vm"),
    Row("vm.save-failed", 1, VmSaveFailed, "waker", "vm"),
    Row("vm.stopped", 1, VmStopped, "waker", "vm"),
    Row("vm.found-awake", 1, VmFoundAwake, "waker", "vm"),
    Row("vm.plugged", 1, VmPlugged, "waker", "vm"),
    Row("vm.plug-failed", 1, VmPlugFailed, "waker", "vm"),
    Row("vm.reboot-failed", 1, VmRebootFailed, "waker", "vm"),
    Row("vm.rebooted", 1, VmRebooted, "waker", "vm"),
    Row("vm.undefined", 1, VmUndefined, "waker", "vm"),
    Row("vm.adopted", 1, VmAdopted, "waker", "vm"),
    Row("vm.adopt-failed", 1, VmAdoptFailed, "waker", "vm"),
    Row("vm.oom-killed", 1, VmOomKilled, "waker", "vm"),
    Row("domain.drifted", 1, DomainDrifted, "waker", "vm"),
    Row("domain.settled", 1, DomainSettled, "waker", "vm"),
    Row("vm.ready", 1, VmReady, "prober", "vm"),
    Row("vm.unready", 1, VmUnready, "prober", "vm"),
    Row("vm.announced", 1, VmAnnounced, "announcer", "vm"),
    Row("vm.announce-failed", 1, VmAnnounceFailed, "announcer", "vm"),
    Row("vm.drained", 1, VmDrained, "announcer", "vm"),
    Row("volume.created", 1, VolumeCreated, "storage", "vm"),
    Row("volume.failed", 1, VolumeFailed, "storage", "vm"),
    Row("volume.grown", 1, VolumeGrown, "storage", "vm"),
    Row("volume.grow-failed", 1, VolumeGrowFailed, "storage", "vm"),
    Row("volume.released", 1, VolumeReleased, "storage", "vm"),
    Row("snapshot.taken", 1, SnapshotTaken, "storage", "vm"),
    Row("snapshot.failed", 1, SnapshotFailed, "storage", "vm"),
    Row("copy.due", 1, CopyDue, "storage", "vm"),
    Row("copy.made", 1, CopyMade, "storage", "vm"),
    Row("copy.failed", 1, CopyFailed, "storage", "vm"),
    Row("copy.dropped", 1, CopyDropped, "storage", "vm"),
    Row("copy.restored", 1, CopyRestored, "storage", "vm"),
    Row("copy.restore-failed", 1, CopyRestoreFailed, "storage", "vm"),
    Row("volume.adopted", 1, VolumeAdopted, "storage", "vm"),
    Row("volume.adopt-failed", 1, VolumeAdoptFailed, "storage", "vm"),
    Row("volume.erased", 1, VolumeErased, "storage", "vm"),
    Row("volume.drifted", 1, VolumeDrifted, "storage", "vm"),
    Row("volume.settled", 1, VolumeSettled, "storage", "vm"),
    Row("backups.erased", 1, BackupsErased, "storage", "vm"),
    Row("erase.failed", 1, EraseFailed, "storage", "vm"),
    Row("forecast.made", 1, ForecastMade, "forecaster", "pool"),
    Row("maintenance.scheduled", 1, MaintenanceScheduled, "steward", "vm"),
    Row("maintenance.rescheduled", 1, MaintenanceRescheduled, "steward", "vm"),
    Row("maintenance.cancelled", 1, MaintenanceCancelled, "steward", "vm"),
    Row("maintenance.begun", 1, MaintenanceBegun, "steward", "vm"),
    Row("maintenance.ended", 1, MaintenanceEnded, "steward", "vm"),
    Row("maintenance.declined", 1, MaintenanceDeclined, "steward", "vm"),
    Row("deletion.due", 1, DeletionDue, "deleter", "vm"),
    Row("deletion.completed", 1, DeletionCompleted, "deleter", "vm"),
    Row("silence.set", 1, SilenceSet, "deleter", "vm"),
    Row("silence.ended", 1, SilenceEnded, "deleter", "vm"),
    Row("silence.failed", 1, SilenceFailed, "deleter", "vm"),
    Row("mail.accepted", 1, MailAccepted, "notifier", "person"),
    Row("mail.failed", 1, MailFailed, "notifier", "person"),
    Row("person.erased", 1, PersonErased, "notifier", "person"),
    Row("ledger.sealed", 1, LedgerSealed, "sealer", "org"),
    Row("ledger.rolled", 1, LedgerRolled, "sealer", "org"),
    Row("ledger.recovered", 1, LedgerRecovered, "sealer", "org"),
)

BY_TAG: Final[dict[str, Row]] = {row.tag: row for row in ROWS}

NEWEST: Final[dict[type[Fact], Row]] = {row.struct: row for row in ROWS if row.upcast is None}
"""The rows of what `decode` answers: every event in its newest version."""


def newest_written(rows: Iterable[Row]) -> dict[type[Fact], Row]:
    """How to write a fact: of each event the newest version that is written, and no other. `rows` are in order of versions."""
    return {row.struct: row for row in {row.name: row for row in rows if row.written}.values()}


WRITTEN: Final = newest_written(ROWS)

_BY_NAME_VERSION: Final = {(row.name, row.version): row for row in ROWS}


class UnknownEventError(Exception):
    """The ledger holds an event that this program does not know or cannot read: whoever folds it must stop."""

    code = "UnknownEvent"


def decode(tag: str, data: msgspec.Raw | bytes) -> Fact:
    """The fact in its newest version; `UnknownEventError` when the tag or a field is not in the registry."""
    row = BY_TAG.get(tag)
    if row is None:
        raise UnknownEventError(f"The ledger holds an event of type {tag}, which this version does not know.")
    try:
        fact = msgspec.json.decode(data, type=row.struct)
    except msgspec.DecodeError as error:
        raise UnknownEventError(f"The ledger holds a {tag} that cannot be read: {error}.") from error
    while row.upcast is not None:
        fact = row.upcast(fact)
        row = _BY_NAME_VERSION[row.name, row.version + 1]
    return fact
