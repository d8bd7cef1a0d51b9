"""The command `virtscale backtest`. It needs no house: a trace in, a score out."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from services.forecaster.parameters import DEFAULT
from virtscale.amounts import basis_points, instant
from virtscale.backtesting.asked import Asked, Wanted, require_whole
from virtscale.invocation import UsageError, require_org

_LEAST_OUTAGE_HOURS: Final = 0.001
_MOST_OUTAGE_HOURS: Final = 24.0 * 3650
"""Ten years: longer than any trace that is read."""


def register(app: App) -> None:
    """The command is part of `virtscale`."""
    app.command(backtest)


def backtest(
    *,
    trace: Annotated[
        Path, Parameter(name="--trace", help="`time,value` or values alone; .gz, .bz2 and .tar of them too")
    ],
    step: Annotated[int, Parameter(help="seconds from one sample to the next")],
    vms: Annotated[int, Parameter(help="VMs of the pool; their size follows from the trace")] = 64,
    policy: Annotated[
        str, Parameter(help="forecast, or a rule to compare it with; `list` names them")
    ] = "forecast",
    knob: Annotated[
        float | None, Parameter(help="the number that the rule takes; its usual one if absent")
    ] = None,
    coverage: Annotated[
        Decimal, Parameter(help="percent of needed VMs that the forecast shall have awake")
    ] = Decimal(99),
    horizon: Annotated[int, Parameter(help="seconds that the forecast looks ahead")] = 90,
    reserve: Annotated[Decimal, Parameter(help="warm reserve in percent of the VMs")] = Decimal(5),
    teach_days: Annotated[int, Parameter(help="days at the trace's begin that teach and are not scored")] = 7,
    begin: Annotated[
        str | None, Parameter(name="--from", help="2026-06-02, or 2026-06-02T00:00:00Z; UTC")
    ] = None,
    end: Annotated[str | None, Parameter(name="--until", help="the first instant that is left out")] = None,
    column: Annotated[
        str | None, Parameter(help="heading or number (from 1) of the values; the second if absent")
    ] = None,
    average: Annotated[
        int | None, Parameter(help="seconds to average samples over before anything else")
    ] = None,
    outage_hours: Annotated[
        float | None, Parameter(help="a run of zeros so long is a gap and is filled")
    ] = None,
    hold_gaps: Annotated[
        bool,
        Parameter(
            help="who decides has no sample in a gap, as it would be live, instead of the line", negative=""
        ),
    ] = False,
    decisions: Annotated[
        Path | None, Parameter(help="write each decision: `t,target`, t in seconds from the start")
    ] = None,
    propose: Annotated[
        bool, Parameter(help="an unsigned contract for such a demand, on standard output", negative="")
    ] = False,
    into: Annotated[
        Path | None, Parameter(help="with --propose: a directory for contract.toml and pool.toml")
    ] = None,
    org: Annotated[str, Parameter(help="with --propose: whose contract")] = "your-org",
    pool: Annotated[str, Parameter(help="with --propose: the pool's name")] = "web",
    vm_vcpu: Annotated[int, Parameter(help="with --propose: vCPU of one VM")] = 2,
    vm_memory_mib: Annotated[int, Parameter(help="with --propose: RAM of one VM")] = 4096,
    json: Annotated[
        bool, Parameter(name="--json", help="one JSON object on standard output", negative="")
    ] = False,
) -> int:
    """Run the forecaster, or another rule, over a trace of demand, and say what it was worth.

    A hit is a VM that was awake when demand came to need it; idle regret is what was awake for nothing, against whoever knew
    the next 90 s; short is the time in which even the reserve did not do. docs/prediction.md has the definition.
    """
    from virtscale.backtesting.running import rules, run

    if policy == "list":
        return rules()
    if into is not None and not propose:
        raise UsageError("--into says where a proposal goes: say --propose too.")
    if outage_hours is not None and not _LEAST_OUTAGE_HOURS <= outage_hours <= _MOST_OUTAGE_HOURS:
        raise UsageError(
            f"An outage of {outage_hours:g} h is none: write {_LEAST_OUTAGE_HOURS:g} to {_MOST_OUTAGE_HOURS:,.0f} hours."
        )
    asked = Asked(
        trace=trace,
        step_seconds=require_whole(step, "step", "s", 1, 86_400),
        vms=require_whole(vms, "number of VMs", "VMs", 1, 10_000),
        policy=policy,
        knob=knob,
        coverage_bp=require_whole(basis_points(coverage, "coverage"), "coverage", "basis points", 5000, 9999),
        horizon_seconds=require_whole(horizon, "horizon", "s", 1, DEFAULT.longest_horizon_seconds),
        reserve_bp=basis_points(reserve, "warm reserve"),
        teach_days=require_whole(teach_days, "time that teaches", "days", 0, 3650),
        begin=None if begin is None else instant(begin, "begin"),
        end=None if end is None else instant(end, "end"),
        column=column,
        average_seconds=None
        if average is None
        else require_whole(average, "time to average over", "s", 1, 86_400),
        outage_hours=outage_hours,
        hold_gaps=hold_gaps,
        decisions=decisions,
        json=json,
    )
    if not propose:
        return run(asked, None)
    wanted = Wanted(
        require_org(org),
        require_org(pool),
        require_whole(vm_vcpu, "size", "vCPU", 1, 1024),
        require_whole(vm_memory_mib, "size", "MiB", 32, 2**24),
        into,
        dt.datetime.now(dt.UTC),
    )
    return run(asked, wanted)
