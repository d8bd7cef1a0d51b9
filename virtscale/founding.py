"""What a new house begins with: the org `acme`, its contract, its pool `web`, and its people in the vault."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from events.bus.port import Bus
from events.vault import Vault
from projections.contracts.fold import Contracts
from schemas.contract.document import Role, read, write
from schemas.contract.signing import sign
from schemas.contract.terms import fingerprint
from schemas.house import House
from schemas.intake import RegisterKey, Submit
from schemas.names import PLATFORM
from virtscale.ask import publish
from virtscale.keys import signers

ORG: Final = "acme"
OWNER: Final = "acme-owner"
TECHNICAL: Final = "acme-ops"

_PEOPLE: Final = {OWNER: "owner@acme.example", TECHNICAL: "ops@acme.example"}

# The example envelope of the platform: 100 vCPU and 480 GiB, +10 %, signed on 2025-11-02.
_CONTRACT: Final = """\
format = 2
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

_KEPT: Final = """\
# VMs of this pool are kept for their own sake: `virtscale vm create acme/apps NAME`.
org = "acme"
name = "apps"
kind = "kept"
profile = "lab"
template = "tiny"
forecast = "off"
grace_seconds = 20

[size]
name = "vs.tiny"
vcpu = 1
memory_mib = 96

[window]
zone = "Europe/Berlin"
start = "22:00"
end = "05:00"
"""


_IN_CEPH: Final = """\
# VMs of this pool are kept, and their disks are in the house's Ceph cluster: `virtscale vm create acme/ceph NAME`.
org = "acme"
name = "ceph"
kind = "kept"
storage = "ceph"
profile = "lab"
template = "tiny"
forecast = "off"
grace_seconds = 20

[size]
name = "vs.tiny"
vcpu = 1
memory_mib = 96
"""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Drafts of the org's contract, with places for people and the last day, and of its pool."""

    contract: str = _CONTRACT
    pool: str = _POOL
    kept: str = _KEPT
    """Of a pool that keeps VMs; empty where there is to be none."""
    in_ceph: str = _IN_CEPH
    """Of one that keeps them with their disks in Ceph, for a house that has a cluster."""


USUAL: Final = Beginning()
_NAMED: Final = 'template = "tiny"\n'


def found(house: House, now: dt.datetime, begins: Beginning = USUAL) -> None:
    """The house has a contract, a pool and people; what is there already is kept."""
    contracts, pools = Path(house.contracts), Path(house.pools)
    for directory in (contracts, pools):
        directory.mkdir(parents=True, exist_ok=True)
    contract, pool, kept = contracts / f"{ORG}.toml", pools / f"{ORG}.web.toml", pools / f"{ORG}.apps.toml"
    if not contract.exists():
        vault = Vault(Path(house.vault))
        commitments = {person: vault.put(person, {"mail": mail}) for person, mail in _PEOPLE.items()}
        text = begins.contract.format(
            valid_until=now.replace(year=now.year + 2, month=1, day=1, hour=0, minute=0, second=0).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            ),
            owner=OWNER,
            owner_commitment=commitments[OWNER],
            technical=TECHNICAL,
            technical_commitment=commitments[TECHNICAL],
        )
        signed = read(text.encode())
        sides: tuple[tuple[Role, str], ...] = (("provider", PLATFORM), ("org", ORG))
        for role, org in sides:
            signed = sign(signed, role, _signer(house, org), now)
        _write(contract, write(signed, text))
    if begins.kept and not kept.exists():
        _write(kept, begins.kept)
    in_ceph = pools / f"{ORG}.ceph.toml"
    if begins.in_ceph and house.ceph is not None and not in_ceph.exists():
        _write(in_ceph, begins.in_ceph)
    if not pool.exists():
        # Domains of libvirt's test driver have no agent, so that none of them would ever be refreshed.
        bare = all(host.substrate == "test" for host in house.hosts)
        _write(pool, begins.pool.replace(_NAMED, f'{_NAMED}refresh = "none"\n') if bare else begins.pool)


async def enact(house: House, bus: Bus, contracts: Contracts, say: Callable[[str], None]) -> None:
    """What the house was founded with is in force: both sides' keys, and the contract that they signed.

    Asked for like anything else, through the intake, and only what is missing. Safe to repeat: the same file asks once.
    """
    for org in (PLATFORM, ORG):
        if contracts.keys(org).current is None:
            key = signers.public(_signer(house, org))
            await publish(bus, org, RegisterKey(key=f"founding-{key[:16]}", public_key=key, wait=True))
    if contracts.in_force(ORG) is None:
        document = read((Path(house.contracts) / f"{ORG}.toml").read_bytes())
        request = Submit(key=f"founding-{fingerprint(document.text)[:16]}", document=document, wait=True)
        receipt = await publish(bus, ORG, request)
        say(f"contract of {ORG}: {receipt.text}")


def _signer(house: House, org: str) -> SigningKey:
    """The org's signing key, made where there is none."""
    path = signers.path_of(house.signing_keys, org)
    return signers.read(path) if path.exists() else signers.create(path)


def _write(path: Path, text: str) -> None:
    """The whole text is at `path`, or nothing is: half a contract would stop every later start."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)
