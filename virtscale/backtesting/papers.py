"""A proposal as documents: an unsigned contract and a pool file, with the reason beside each number."""

import datetime as dt
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from replay.backtest.propose import Proposal
from schemas import pool as pools
from schemas.capacity import Capacity, Size
from schemas.contract import document
from schemas.contract.terms import Contract, Override, Person
from virtscale.contracts.wording import commented

_COOLDOWN_SECONDS: Final = 90
_HORIZON_SECONDS: Final = 90
_DRAIN_SECONDS: Final = 45
_DISK_BYTES: Final = 20 * 1024**3
"""Of each VM; a trace says nothing of disks, so whoever signs looks at this number."""

_WIDTH: Final = 110

NOBODY: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Names:
    """Who and what it is for; a trace does not know, so they may be filled in afterwards."""

    org: str
    pool: str
    size: Size
    trace: str


@dataclass(frozen=True, slots=True)
class Papers:
    """Two files, each valid as it stands: the contract is signed next, the pool file created after it is in force."""

    contract: str
    pool: str


def papers(proposal: Proposal, names: Names, now: dt.datetime) -> Papers:
    """The documents; both were read back by the code that takes them in."""
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    contract = Contract(
        format=2,
        id=f"{names.org[:30].rstrip('-')}-{begin.year}",
        version=1,
        org=names.org,
        quota=names.size.compute * proposal.quota_vms
        + Capacity(block_bytes=_DISK_BYTES * proposal.quota_vms),
        allowance_bp=_allowance(proposal.allowance_bp),
        warm_reserve_bp=proposal.reserve_bp,
        price_eur_cents_month=0,
        owner=Person(person=f"{names.org[:34].rstrip('-')}-owner", commitment=NOBODY),
        technical=(),
        valid_from=begin,
        valid_until=begin + dt.timedelta(days=365),
        pools={names.pool: Override(_COOLDOWN_SECONDS, _HORIZON_SECONDS, _DRAIN_SECONDS)},
    )
    text = "\n".join((*_reasons(proposal, names, contract), commented(contract)))
    document.read(text.encode())
    pool = "\n".join(_pool(proposal, names)) + "\n"
    pools.read(pool)
    return Papers(text, pool)


def as_comment(pool: str) -> str:
    """The pool file behind a contract, where only one document can be given."""
    return "".join(
        f"# {line}".rstrip() + "\n" for line in ("", "The pool, a file of its own:", *pool.splitlines())
    )


def _allowance(allowance_bp: int) -> Literal[500, 1000, 2000]:
    return 500 if allowance_bp == 500 else 1000 if allowance_bp == 1000 else 2000  # noqa: PLR2004


def _reasons(proposal: Proposal, names: Names, contract: Contract) -> Iterator[str]:
    reasons = proposal.reasons
    quota = contract.quota
    yield f"# Proposed from the demand in {names.trace}; unsigned, and nobody is bound by it. Why these numbers:"
    disks = f"{_DISK_BYTES // 1024**3} GiB a VM, no object storage: a trace says nothing of either. Put your own numbers"
    size = f"{names.size.vcpu} vCPU and {names.size.memory_mib} MiB; {reasons['per_vm']}"
    for what, why in (
        ("a VM", size),
        *((what, reasons[what]) for what in ("quota", "headroom", "allowance", "reserve")),
        ("storage", disks),
    ):
        yield from textwrap.wrap(
            f"{why}.", _WIDTH, initial_indent=f"#   {what:<10} ", subsequent_indent="#              "
        )
    yield "# The owner stands for nobody yet. The same terms with a person whose address is in the vault:"
    yield (
        f"#   virtscale contract new {contract.org} --owner PERSON=MAIL --allowance {contract.allowance_bp / 100:g} "
        f"--reserve {contract.warm_reserve_bp / 100:g} \\"
    )
    yield (
        f"#     --quota vcpu={quota.vcpu},memory={quota.memory_mib}MiB,block={quota.block_bytes // 1024**3}GiB,"
        f"object={quota.object_bytes}B"
    )
    yield "#"


def _pool(proposal: Proposal, names: Names) -> Iterator[str]:
    reasons = proposal.reasons
    yield f"# The pool for the demand in {names.trace}, with its quiesce profile. Fill in template and query."
    yield f'org = "{names.org}"'
    yield f'name = "{names.pool}"'
    yield 'template = "template"'
    yield f"min_vms = {proposal.min_vms}  # {reasons['min_vms']}"
    yield f"max_vms = {proposal.most_vms}  # what the limit of the contract holds"
    yield f"cooldown_seconds = {_COOLDOWN_SECONDS}  # a VM that served is held so long; the score was made with it"
    yield f"horizon_seconds = {_HORIZON_SECONDS}  # how far the forecast looks: wakes and their probes fit into it"
    yield f"drain_seconds = {_DRAIN_SECONDS}  # what open requests get before a VM sleeps"
    yield f"wake_batch = {proposal.wake_batch}  # {reasons['wake_batch']}"
    yield f"quiesce_per_minute = {proposal.quiesce_per_minute}  # {reasons['quiesce_per_minute']}"
    yield 'forecast = "only"  # it predicts, records, and moves nothing; "on" when a week of that looks right'
    yield "coverage_bp = 9900  # more covers more misses and lets fewer VMs sleep"
    yield 'sleep = "auto"  # long sleeps go to disk and cost their host no RAM'
    yield ""
    yield "[size]"
    yield f'name = "{names.size.name}"'
    yield f"vcpu = {names.size.vcpu}"
    yield f"memory_mib = {names.size.memory_mib}"
    yield ""
    yield "[demand]"
    yield 'query = "sum(rate(http_requests_total[1m]))"  # whatever yields what the trace holds'
    yield f"per_vm = {float(proposal.per_vm)!r}  # {reasons['per_vm']}"
