"""The house of a demonstration: its contract and its pool, with numbers that suit a day in minutes."""

import datetime as dt
from pathlib import Path
from typing import Final

from schemas.capacity import Size
from schemas.house import House
from schemas.pool import DemandQuery, Pool, Trigger
from virtscale import founding

POOL: Final = "web"
PER_VM: Final = 8.0
"""Requests a second that fill one VM. A guest could take more; eight guests share the machine with everything else."""

MEMORY_MIB: Final = 96
HORIZON_SECONDS: Final = 90
FAST_HORIZON_SECONDS: Final = 180
"""Of a day that is played faster: its week has no pattern at the forecaster's resolution of five minutes, so that ramps are
seen by their slope alone, and a measurement is some 20 s old when it counts. Of the built-in morning at 12 times its speed, taught
one day, 10 of 41 targets were below what was needed 20 s later with 90 s, and none with 180 s."""

_SLOW: Final = 2.0
COOLDOWN_SECONDS: Final = 15
DRAIN_SECONDS: Final = 5

DEMAND: Final = "demand"
EACH: Final = "demand for each VM that serves"
"""Queries of a pool where nothing is real."""

_ALLOWANCE_PERCENT: Final = 20
_PROXY: Final = f'proxy="be_{founding.ORG}_{POOL}"'
_RATE: Final = f"sum(rate(haproxy_backend_http_requests_total{{{_PROXY}}}[5s]))"

_CONTRACT: Final = """\
format = 2
id = "acme-demo"
version = 1
org = "acme"
allowance_bp = 2000            # 20 %
warm_reserve_bp = 500          # 5 %, and at least one VM
price_eur_cents_month = 0
valid_from = 2025-11-02T00:00:00Z
valid_until = {valid_until}

[quota]
vcpu = <vcpu>
memory_mib = <memory_mib>
block_bytes = 10995116277760
object_bytes = 10995116277760

[owner]
person = "{owner}"
commitment = "{owner_commitment}"

[[technical]]
person = "{technical}"
commitment = "{technical_commitment}"
"""

_PLAIN: Final = """\
org = "acme"
name = "web"
template = "tiny"
max_vms = {vms}
cooldown_seconds = {cooldown}
drain_seconds = {drain}

[size]
name = "vs.tiny"
vcpu = 1
memory_mib = {memory_mib}
"""

_FORECAST: Final = """\
org = "acme"
name = "web"
template = "tiny"
min_vms = 1
max_vms = {vms}
cooldown_seconds = {cooldown}
drain_seconds = {drain}
horizon_seconds = {horizon}
forecast = "on"

[size]
name = "vs.tiny"
vcpu = 1
memory_mib = {memory_mib}

# What the pool carries, and what one VM carries: forecasts are made from this.
[demand]
query = '{rate}'
per_vm = {per_vm}

# For what forecasts miss: more requests for each VM that serves than one can carry.
[[triggers]]
query = '{rate} / sum(haproxy_backend_active_servers{{{proxy}}})'
above = {per_vm}
samples = 3
add = 1
"""


def contract_text(vms: int) -> str:
    """The contract's draft: a quota of so many VMs, and what the allowance of 20 % gives on top."""
    filled = _CONTRACT.replace("<vcpu>", str(vms))
    return filled.replace("<memory_mib>", str(vms * MEMORY_MIB))


def signed_text(vms: int, now: dt.datetime) -> str:
    """The draft with people whom nobody knows, for where there is no vault."""
    nobody = "0" * 64
    return contract_text(vms).format(
        valid_until=f"{now.year + 2}-01-01T00:00:00Z",
        owner=founding.OWNER,
        owner_commitment=nobody,
        technical=founding.TECHNICAL,
        technical_commitment=nobody,
    )


def cap_vms(vms: int) -> int:
    """VMs that the contract allows at once."""
    return vms * (100 + _ALLOWANCE_PERCENT) // 100


def found(house: House, vms: int, now: dt.datetime) -> None:
    """The house has its contract, its people, and a pool that nobody forecasts yet."""
    founding.found(house, now, founding.Beginning(contract_text(vms), _plain(vms), kept=""))


def horizon_seconds(speed: float) -> int:
    """How far ahead forecasts look in a day that is played so fast."""
    return HORIZON_SECONDS if speed <= _SLOW else FAST_HORIZON_SECONDS


def foresee(house: House, vms: int, horizon: int) -> None:
    """The pool's file says that its forecast moves it; the gate reads it at its next start."""
    text = _FORECAST.format(
        vms=vms,
        cooldown=COOLDOWN_SECONDS,
        drain=DRAIN_SECONDS,
        horizon=horizon,
        memory_mib=MEMORY_MIB,
        rate=_RATE,
        per_vm=PER_VM,
        proxy=_PROXY,
    )
    path = Path(house.pools) / f"{founding.ORG}.{POOL}.toml"
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


def simulated(vms: int, horizon: int) -> Pool:
    """The same pool where nothing is real: its demand and trigger are asked of a simulated metrics store by name."""
    return Pool(
        org=founding.ORG,
        name=POOL,
        size=Size(name="vs.tiny", vcpu=1, memory_mib=MEMORY_MIB),
        template="tiny",
        min_vms=1,
        max_vms=vms,
        cooldown_seconds=COOLDOWN_SECONDS,
        drain_seconds=DRAIN_SECONDS,
        horizon_seconds=horizon,
        forecast="on",
        demand=DemandQuery(query=DEMAND, per_vm=PER_VM),
        triggers=(Trigger(query=EACH, above=PER_VM),),
    )


def _plain(vms: int) -> str:
    return _PLAIN.format(vms=vms, cooldown=COOLDOWN_SECONDS, drain=DRAIN_SECONDS, memory_mib=MEMORY_MIB)
