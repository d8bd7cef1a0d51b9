"""A statement as plain values: each number with its unit and what it is, the same for a table and for JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from replay.metering import hours, moment_of, rounded
from replay.statement.accounts import Accounts, Paper
from schemas.capacity import ENFORCED

Row = dict[str, object]

_DIGITS: Final = 3
_CENTS: Final = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One number; None where there is none, such as a share of nothing."""

    part: str
    name: str
    value: str | None
    unit: str
    means: str


def document(accounts: Accounts) -> Row:
    """All of it; decimal numbers as text, so that no reader rounds them."""
    return {
        "org": accounts.org,
        "month": accounts.month.name,
        "timezone": accounts.month.timezone,
        "from": moment_of(accounts.month.begin_ns),
        "until": moment_of(accounts.until_ns),
        "complete": accounts.complete,
        "seq": accounts.seq,
        "contracts": [_paper(accounts, name, paper) for name, paper in accounts.papers.items()],
        "numbers": lines(accounts),
        "minima": [
            {"pool": pool, "share_percent": _share(one.kept_ns, one.defined_ns)}
            for pool, one in sorted(accounts.minima.items())
        ],
        "refusals": accounts.refusals,
    }


def price(accounts: Accounts) -> Fraction:
    """EUR for the time accounted for: each document's price for the part of the month in which it was in force and valid."""
    length = accounts.month.end_ns - accounts.month.begin_ns
    return sum(
        (
            Fraction(paper.contract.price_eur_cents_month * paper.covered_ns, 100 * length)
            for paper in accounts.papers.values()
        ),
        Fraction(0),
    )


def lines(accounts: Accounts) -> list[Line]:
    """The numbers in the order in which they are read."""
    return [
        *_committed(accounts),
        *_used(accounts),
        *_overage(accounts),
        *_answers(accounts),
        *_ready(accounts),
    ]


def _committed(accounts: Accounts) -> Iterator[Line]:
    sums = accounts.sums
    yield Line(
        "committed",
        "vCPU-hours",
        _hours(sums.committed_vcpu_ns),
        "vCPU h",
        "quota times the time it was in force and valid",
    )
    yield Line("committed", "MiB-hours", _hours(sums.committed_memory_mib_ns), "MiB h", "the same, of RAM")
    yield Line(
        "committed",
        "EUR",
        rounded(price(accounts), _CENTS),
        "EUR",
        "the contracts' monthly prices, each by its share of the month to the nanosecond; rounded once, half to even",
    )


def _used(accounts: Accounts) -> Iterator[Line]:
    sums = accounts.sums
    yield Line(
        "used",
        "VM-hours",
        _hours(sums.vm_ns),
        "VM h",
        "VMs that counted: from the decision that reserved each to the proof that it did not run",
    )
    yield Line("used", "vCPU-hours", _hours(sums.vcpu_ns), "vCPU h", "their vCPU")
    yield Line("used", "MiB-hours", _hours(sums.memory_mib_ns), "MiB h", "their RAM while awake")
    yield Line(
        "used",
        "of committed",
        _share(sums.vcpu_ns, sums.committed_vcpu_ns),
        "%",
        "vCPU-hours used by those committed",
    )
    yield Line("used", "most vCPU", str(sums.most_vcpu), "vCPU", "the most that counted at once")
    yield Line("used", "most RAM", str(sums.most_memory_mib), "MiB", "the most that counted at once")


def _overage(accounts: Accounts) -> Iterator[Line]:
    sums = accounts.sums
    yield Line(
        "overage",
        "hours",
        _hours(sums.over_ns),
        "h",
        "time above quota, within the allowance, in vCPU or RAM",
    )
    yield Line(
        "overage",
        "vCPU-hours",
        _hours(sums.over_vcpu_ns),
        "vCPU h",
        "what counted above quota, times its time",
    )
    yield Line("overage", "MiB-hours", _hours(sums.over_memory_mib_ns), "MiB h", "the same, of RAM")
    yield Line("overage", "EUR", None, "EUR", "the contract names no price for it")
    yield Line(
        "overage",
        "without contract",
        _hours(sums.uncovered_vcpu_ns),
        "vCPU h",
        "what counted while no contract was in force and valid",
    )


def _answers(accounts: Accounts) -> Iterator[Line]:
    total = sum(accounts.outcomes.values())
    yield Line("refusals", "requests", str(total), "", "requests for VMs that were answered in the month")
    yield Line(
        "refusals", "refused", str(len(accounts.refusals)), "", "of them, those of which nothing was granted"
    )
    yield Line(
        "refusals",
        "partial",
        str(accounts.outcomes["partial"]),
        "",
        "of them, those of which a part was granted",
    )


def _ready(accounts: Accounts) -> Iterator[Line]:
    trips = accounts.trips
    yield Line(
        "availability", "activations", str(trips.ordered), "", "wakes and boots ordered to serve in the month"
    )
    yield Line(
        "availability",
        "carried over",
        str(trips.carried),
        "",
        "those ordered before the month whose time to serve was not up when it began",
    )
    yield Line("availability", "served", str(trips.served), "", "of both, those that served within the month")
    yield Line(
        "availability",
        "in time",
        str(trips.in_time),
        "",
        "of them, those that served within the pool's readiness time (boot time for a boot), from the decision on",
    )
    yield Line("availability", "failed", str(trips.failed), "", "those that ended without serving")
    yield Line("availability", "open", str(trips.open), "", "those without an outcome by the end")
    yield Line("availability", "open too long", str(trips.late), "", "of them, those whose time was up")
    yield Line(
        "availability",
        "share in time",
        _share(trips.in_time, trips.judged),
        "%",
        "in time, of those that served, failed, or were open too long",
    )
    defined = sum(one.defined_ns for one in accounts.minima.values())
    kept = sum(one.kept_ns for one in accounts.minima.values())
    yield Line(
        "availability",
        "share at minimum",
        _share(kept, defined),
        "%",
        "time in which a pool with a minimum had that many VMs serving, over all such pools",
    )


def _paper(accounts: Accounts, fingerprint: str, paper: Paper) -> Row:
    contract, length = paper.contract, accounts.month.end_ns - accounts.month.begin_ns
    share = Fraction(contract.price_eur_cents_month * paper.covered_ns, 100 * length)
    return {
        "id": contract.id,
        "version": contract.version,
        "fingerprint": fingerprint,
        "quota": {name: contract.quota.of(name) for name in ENFORCED},
        "limit": {name: contract.limit.of(name) for name in ENFORCED},
        "allowance_bp": contract.allowance_bp,
        "hours": _hours(paper.covered_ns),
        "price_eur_month": rounded(Fraction(contract.price_eur_cents_month, 100), _CENTS),
        "eur": rounded(share, _CENTS),
    }


def _hours(amount_ns: int) -> str:
    return rounded(hours(amount_ns), _DIGITS)


def _share(part: int, whole: int) -> str | None:
    """In percent, rounded down: 100 is said of the whole alone."""
    if not whole:
        return None
    scaled = part * 100 * 10**_DIGITS // whole
    return rounded(Fraction(scaled, 10**_DIGITS), _DIGITS)
