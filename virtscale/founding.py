"""What a new house begins with: the org `acme`, its contract, its pool `web`, and its people in the vault."""

import datetime as dt
from pathlib import Path
from typing import Final

from events.vault import Vault
from schemas.house import House

OWNER: Final = "acme-owner"
TECHNICAL: Final = "acme-ops"

_PEOPLE: Final = {OWNER: "owner@acme.example", TECHNICAL: "ops@acme.example"}

# The example envelope of the platform: 100 vCPU and 480 GiB, +10 %, signed on 2025-11-02.
_CONTRACT: Final = """\
format = 1
id = "acme-2025"
version = 1
org = "acme"
allowance_bp = 1000            # 10 %: the org may grow to 110 vCPU and 528 GiB, and not further
warm_reserve_bp = 500          # 5 %
price_eur_cents_month = 250000
valid_from = 2025-11-02T00:00:00Z
valid_until = {valid_until}

[quota]
vcpu = 100
memory_mib = 491520            # 480 GiB
block_bytes = 10995116277760   # 10 TiB
object_bytes = 10995116277760

[owner]
person = "{owner}"
commitment = "{owner_commitment}"

[[technical]]
person = "{technical}"
commitment = "{technical_commitment}"
"""

_POOL: Final = """\
org = "acme"
name = "web"
template = "tiny"
drain_seconds = 45
cooldown_seconds = 90

[size]
name = "vs.tiny"
vcpu = 1
memory_mib = 96

# Three samples in a row above 64 sessions on the whole pool ask for one more VM.
[trigger]
query = 'sum(haproxy_backend_current_sessions{proxy="be_acme_web"})'
above = 64.0
samples = 3
add = 1
"""


def found(house: House, now: dt.datetime) -> None:
    """The house has a contract, a pool and people; what is there already is kept."""
    contracts, pools = Path(house.contracts), Path(house.pools)
    for directory in (contracts, pools):
        directory.mkdir(parents=True, exist_ok=True)
    contract, pool = contracts / "acme.toml", pools / "acme.web.toml"
    if not contract.exists():
        vault = Vault(Path(house.vault))
        commitments = {person: vault.put(person, {"mail": mail}) for person, mail in _PEOPLE.items()}
        _write(
            contract,
            _CONTRACT.format(
                valid_until=now.replace(
                    year=now.year + 2, month=1, day=1, hour=0, minute=0, second=0
                ).strftime("%Y-%m-%dT%H:%M:%SZ"),
                owner=OWNER,
                owner_commitment=commitments[OWNER],
                technical=TECHNICAL,
                technical_commitment=commitments[TECHNICAL],
            ),
        )
    if not pool.exists():
        _write(pool, _POOL)


def _write(path: Path, text: str) -> None:
    """The whole text is at `path`, or nothing is: half a contract would stop every later start."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)
