"""The table `usage`: each org and dimension against its contract."""

from collections.abc import Iterable

from events.contract import ContractTookEffect
from events.drift import DomainDrifted, DomainSettled
from events.envelope import Recorded
from events.gate import GateDecided
from events.host import HostFenced
from events.vm import (
    VmBooted,
    VmFoundAwake,
    VmPlugFailed,
    VmPlugged,
    VmQuiesced,
    VmRebootFailed,
    VmResumed,
    VmStopped,
    VmWakeFailed,
)
from projections.table import ALL, Cell, Key, Table
from projections.usage.fold import Usage
from schemas.capacity import ENFORCED, Dimension

_CHANGES = (
    ContractTookEffect,
    DomainDrifted,
    DomainSettled,
    GateDecided,
    VmBooted,
    VmFoundAwake,
    VmPlugFailed,
    VmPlugged,
    VmQuiesced,
    VmRebootFailed,
    VmResumed,
    VmStopped,
    VmWakeFailed,
)


def _touched(recorded: Recorded) -> Iterable[Key]:
    fact = recorded.fact
    if isinstance(fact, HostFenced):
        return (ALL,)  # what its VMs counted is released, in orgs that the event does not name
    if isinstance(fact, _CHANGES):
        return [(fact.org, dimension) for dimension in ENFORCED]
    return ()


def _rows(usage: Usage, prefix: Key) -> Iterable[Key]:
    keys = ((org, dimension) for org in usage.contracts for dimension in ENFORCED)
    return [key for key in keys if key[: len(prefix)] == prefix]


def _row(usage: Usage, key: Key) -> tuple[Cell, ...] | None:
    org, name = key
    contract = usage.contracts.get(org)
    if contract is None:
        return None
    dimension: Dimension = next(known for known in ENFORCED if known == name)
    used, reserved = usage.used(org).of(dimension), usage.reserved(org).of(dimension)
    return (
        org,
        dimension,
        used,
        reserved,
        contract.quota.of(dimension),
        contract.limit.of(dimension),
        contract.allowance_bp,
        contract.id,
        contract.version,
        contract.owner.person,
        contract.valid_until.isoformat(),
    )


TABLES = (
    Table(
        "usage",
        Usage,
        (
            "org",
            "dimension",
            "used",
            "reserved",
            "quota",
            "limit",
            "allowance_bp",
            "contract",
            "version",
            "owner",
            "valid_until",
        ),
        2,
        _touched,
        _row,
        _rows,
        takes=frozenset({*_CHANGES, HostFenced}),
    ),
)
"""One row per org and enforced dimension."""
