"""The nine figures, in words: what each is, what it came to, and exactly how it was reckoned."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from projections.activations.fold import BUDGET_MS
from replay.figures.answers import CAP, GROWING
from replay.figures.measured import Measured
from replay.figures.span import MONTH_DAYS, YEAR_DAYS
from replay.figures.trips import TOTAL
from replay.metering import HOUR_NS, rounded
from replay.page.budget import TOTAL_P99_MS, milliseconds

_TRIP: Final = (
    "From the sample behind the request, or the stored request where there is none, to the moment at which the load balancer "
    f"took the VM: trips that began asleep in memory and arrived in these {MONTH_DAYS} days. "
)
_RANK: Final = "Nearest rank: the value is one of those that were measured."


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `value` is None where the ledger cannot say it, and `note` then says why."""

    name: str
    value: str | None
    note: str
    what: str
    """The definition."""
    made: str
    """Which events it is folded from, and by what."""


def figures(measured: Measured) -> tuple[Figure, ...]:
    """All nine, in the order of the page."""
    return (
        _idle(measured),
        *_reactivation(measured),
        _ahead(measured),
        _tax(),
        _draw(),
        _refused(measured),
        _horizon(measured),
        _substrate(measured),
    )


def _idle(measured: Measured) -> Figure:
    ratio = measured.idle.ratio()
    pools = measured.idle.pools.values()
    asleep = sum(held.asleep_ns for held in pools)
    held = asleep + sum(held.awake_ns for held in pools)
    return Figure(
        name="Mean idle ratio",
        value=None if ratio is None else f"{rounded(ratio * 100, 1)} %",
        note="No pool held a VM in these days."
        if ratio is None
        else f"{_hours(asleep)} of {_hours(held)} vCPU-hours.",
        what=(
            "vCPU \u00d7 time for which VMs were asleep, divided by vCPU \u00d7 time for which they were asleep or awake, over "
            f"all pools and {MONTH_DAYS} days; so each pool weighs what it held. A VM that is off is neither. It is the sleep of "
            "VMs: what C-states the hosts reached is not in the ledger."
        ),
        made="gate.decided, vm.*, host.fenced, host.removed; replay/figures/idle.py",
    )


def _reactivation(measured: Measured) -> tuple[Figure, Figure]:
    took = measured.trips.quantiles(TOTAL)
    made = "scale.requested, gate.decided, vm.resumed, vm.ready, vm.announced; projections/activations"
    none = f"No VM came from asleep to serving in these {MONTH_DAYS} days."
    budget = sum(BUDGET_MS.values())
    booted = f"{measured.trips.booted:,} cold boots and {measured.trips.failed:,} trips that did not arrive are not in it."
    return (
        Figure(
            name="Reactivation p50",
            value=None if took is None else f"{milliseconds(took.p50_ms)} ms",
            note=none if took is None else f"Of {took.count:,} trips. The budget is {budget:,} ms.",
            what=f"{_TRIP}{_RANK} {booted}",
            made=made,
        ),
        Figure(
            name="Reactivation p99",
            value=None if took is None else f"{milliseconds(took.p99_ms)} ms",
            note=none if took is None else f"Of {took.count:,} trips. The budget is {TOTAL_P99_MS:,} ms.",
            what=f"{_TRIP}{_RANK} {booted}",
            made=made,
        ),
    )


def _ahead(measured: Measured) -> Figure:
    granted = measured.answers.granted
    ahead, all_ = granted["forecast"], sum(granted[origin] for origin in GROWING)
    return Figure(
        name="Pre-warm hit rate",
        value=f"{rounded(Fraction(ahead * 100, all_), 1)} %" if ahead else None,
        note=(
            f"{ahead:,} of {all_:,} VMs."
            if ahead
            else f"No forecaster asked for a VM in these days; {all_:,} VMs were granted to triggers, after demand had come."
        ),
        what=(
            f"VMs granted to forecasts, divided by VMs granted to forecasts and triggers, in {MONTH_DAYS} days. Requests "
            "of people and programs are not in it."
        ),
        made="scale.requested, gate.decided; replay/figures/answers.py",
    )


def _tax() -> Figure:
    return Figure(
        name="Request latency tax",
        value=None,
        note="No worker writes down how long requests waited for a VM that was waking.",
        what="Time that requests of users spent waiting because capacity was still on its way, as their clients saw it.",
        made="no event yet",
    )


def _draw() -> Figure:
    return Figure(
        name="Pool draw at idle",
        value=None,
        note="No host reports its energy to the ledger.",
        what="Power that hosts drew while every VM on them slept, divided by the most that they drew in these days.",
        made="no event yet",
    )


def _refused(measured: Measured) -> Figure:
    refused = measured.answers.refused
    others = ", ".join(f"{code} {count:,}" for code, count in sorted(refused.items()) if code != CAP)
    return Figure(
        name="429 events / month",
        value=f"{refused[CAP]:,}",
        note=f"{measured.answers.capped_in_year:,} in {YEAR_DAYS} days.",
        what=(
            f"Requests in {MONTH_DAYS} days of which the gate refused all or a part because the org would have been past "
            f"its signed cap ({CAP}). Refused for other reasons: {others or 'none'}."
        ),
        made="gate.decided; replay/figures/answers.py",
    )


def _horizon(measured: Measured) -> Figure:
    seconds = measured.parts.horizons_seconds()
    span = f"{seconds[0]} s" if seconds and seconds[0] == seconds[-1] else None
    if seconds and span is None:
        span = f"{seconds[0]} to {seconds[-1]} s"
    return Figure(
        name="Prediction horizon",
        value=span,
        note="No pool is defined."
        if span is None
        else f"As defined for {_count(len(seconds), 'pool')}. "
        + (
            "Forecasts were made by it."
            if measured.answers.granted["forecast"]
            else "No forecaster used it in these days."
        ),
        what=(
            "How far ahead demand is predicted: the horizon of each pool as it is now, the contract's own number before the "
            "pool's."
        ),
        made="pool.defined, contract.took-effect; replay/figures/parts.py",
    )


def _substrate(measured: Measured) -> Figure:
    substrates = measured.parts.substrates()
    return Figure(
        name="Substrate version",
        value="; ".join(substrates) or None,
        note="No host is registered."
        if not substrates
        else f"On {_count(len(measured.parts.hosts), 'host')}.",
        what=(
            "What each host runs guests with and the version of its libvirt, as its waker found it when it last began. "
            "Hosts that were removed are not in it."
        ),
        made="host.registered, host.removed; replay/figures/parts.py",
    )


def _hours(vcpu_ns: int) -> str:
    hours = Fraction(vcpu_ns, HOUR_NS)
    return f"{round(hours):,}" if hours >= 100 else rounded(hours, 1)  # noqa: PLR2004 - as `milliseconds`


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
