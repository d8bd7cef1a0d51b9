"""The nine figures, in words: what each is, what it came to, and exactly how it was reckoned."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from projections.activations.fold import BUDGET_MS
from replay.figures.answers import CAP, GROWING
from replay.figures.clients import Clients
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


def figures(measured: Measured, clients: Clients | None = None) -> tuple[Figure, ...]:
    """All nine, in the order of the page. What users waited is known to `clients` alone."""
    return (
        _idle(measured),
        *_reactivation(measured),
        _ahead(measured),
        _tax(clients),
        _draw(measured),
        _refused(measured),
        _horizon(measured),
        _substrate(measured),
    )


def _idle(measured: Measured) -> Figure:
    ratio = measured.idle.ratio()
    pools = measured.idle.pools.values()
    asleep = sum(held.asleep_ns for held in pools)
    on_disk = sum(held.on_disk_ns for held in pools)
    held = asleep + sum(held.awake_ns for held in pools)
    return Figure(
        name="Mean idle ratio",
        value=None if ratio is None else f"{rounded(ratio * 100, 1)} %",
        note="No pool held a VM in these days."
        if ratio is None
        else f"{_hours(asleep)} of {_hours(held)} vCPU-hours: {_hours(asleep - on_disk)} asleep in their hosts' memory, "
        f"{_hours(on_disk)} on disk.",
        what=(
            "vCPU \u00d7 time for which VMs were asleep, divided by vCPU \u00d7 time for which they were asleep or awake, over "
            f"all pools and {MONTH_DAYS} days; so each pool weighs what it held. A VM that is off is neither. It is the sleep of "
            "VMs; what idle states the hosts' CPUs reached in it stands under the draw."
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
    granted, foresight = measured.answers.granted, measured.foresight
    ahead, all_ = granted["forecast"], sum(granted[origin] for origin in GROWING)
    moved = bool(ahead or foresight.moving_ticks)
    if moved:
        note = f"{ahead:,} of {all_:,} VMs" if all_ else "Neither forecasts nor triggers were granted a VM"
        note += f"; {foresight.moving_ticks:,} ticks of {_count(len(foresight.moving), 'pool')} were forecast"
        note += f", {foresight.lost_ticks:,} of them without a signal." if foresight.lost_ticks else "."
    else:
        note = f"No forecaster asked for a VM in these days; {all_:,} VMs were granted to triggers, after demand had come."
        if foresight.watching:
            note += f" {_count(len(foresight.watching), 'pool')} had forecasts that only watch."
    return Figure(
        name="Pre-warm hit rate",
        value=f"{rounded(Fraction(ahead * 100, all_), 1)} %" if moved and all_ else None,
        note=note,
        what=(
            f"VMs granted to forecasts, divided by VMs granted to forecasts and triggers, in {MONTH_DAYS} days. Requests "
            "of people and programs are not in it."
        ),
        made="scale.requested, gate.decided, forecast.made; replay/figures/answers.py, foresight.py",
    )


def _tax(clients: Clients | None) -> Figure:
    what = (
        "Time that requests of users spent waiting because capacity was still on its way, as their clients saw it: the mean of "
        "what requests to VMs that had just been woken took beyond the median of all others."
    )
    if clients is None:
        return Figure(
            name="Request latency tax",
            value=None,
            note="No worker writes down how long requests waited for a VM that was waking: clients must count it.",
            what=what,
            made="no event; `--clients FILE`",
        )
    note = f"{clients.waited:,} of {clients.requests:,} requests waited more than {clients.wait_ms:g} ms, {clients.failed:,} failed. "
    if clients.tax_ms is None:
        note += "None met a VM that had just been woken."
    else:
        note += (
            f"{clients.fresh:,} met a VM within {clients.fresh_seconds} s of its wake; the median of all others is "
            f"{milliseconds(clients.steady_p50_ms or 0.0)} ms."
        )
    return Figure(
        name="Request latency tax",
        value=None if clients.tax_ms is None else f"{_signless(clients.tax_ms)} ms",
        note=note,
        what=what,
        made=f"counted by clients from {clients.began_at:%Y-%m-%d %H:%M} UTC on, and sealed by nobody: {clients.source}",
    )


def _draw(measured: Measured) -> Figure:
    draw = measured.draw
    milliwatts = draw.milliwatts
    if not draw.hosts:
        note = "No host said that all of its VMs slept."
    else:
        note = f"{_count(draw.hosts, 'host')} had no VM awake for {rounded(Fraction(draw.idle_ms, 3_600_000), 1)} h"
        deepest = [f"{state} {rounded(share * 100, 1)} %" for state, share in draw.residency().items()][:3]
        note += f", CPUs in {', '.join(deepest)}. " if deepest else ". "
        note += (
            "The most that they draw awake is not in the ledger."
            if milliwatts is not None
            else "None measures energy."
        )
    return Figure(
        name="Pool draw at idle",
        value=None if milliwatts is None else f"{rounded(Fraction(milliwatts, 1000), 1)} W",
        note=note,
        what=(
            f"Mean power that one host's own meters (RAPL) counted while every VM on it slept, in {MONTH_DAYS} days, and how deep "
            "its CPUs slept meanwhile as its kernel counts it. What meters do not see, such as disks and fans, is not in it."
        ),
        made="host.idled; replay/figures/draw.py",
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
            if measured.foresight.moving_ticks or measured.foresight.watching_ticks
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


def _signless(tax_ms: float) -> str:
    """Tenths of a millisecond; less than nothing is what chance makes of nothing."""
    return f"{max(0.0, tax_ms):.1f}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
