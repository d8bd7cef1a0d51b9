"""A trace of demand on an even grid: one value per step, gaps filled, and a count of everything that was not in order."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.backtest import rows as rows_of
from replay.backtest.rows import MOST_ROWS, Rows, TraceError

_SPARSE: Final = 10
"""With so many steps for each row there is more gap than trace; one wrong year in a file does that."""

_OWN_STEP: Final = 0.75
_FEW: Final = 10_000
_COUNTED: Final = 100
"""A counter is told by so many steps at least, of which one in as many may be its reset."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a file held that had to be decided about, as counts; the rules stand at `gridded`."""

    rows: int = 0
    headers: int = 0
    unreadable: int = 0
    absent: int = 0
    negative: int = 0
    duplicate: int = 0
    out_of_order: int = 0
    merged: int = 0
    gaps: int = 0
    gap_samples: int = 0
    longest_gap_seconds: int = 0
    counts_up: bool = False
    """It rises, and falls only to begin anew, as a counter does that its process resets."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Demand in the file's own unit. `start_seconds` is the first sample's Unix time, 0 where the file has no times.

    `measured` is false in gaps, whose demand is invented: for its length, whoever decides on it is told a little of what comes.
    """

    name: str
    step_seconds: int
    start_seconds: int
    demand: NDArray[np.float64]
    found: Found
    measured: NDArray[np.bool_]

    @property
    def days(self) -> float:
        """How long it is, in days of 24 hours."""
        return len(self.demand) * self.step_seconds / 86_400

    def between(self, begin: dt.datetime | None, end: dt.datetime | None) -> "Trace":
        """The samples from `begin` up to, not including, `end`.

        Raises:
            TraceError: fewer than two samples lie there.
        """
        first = 0 if begin is None else self._place(begin)
        last = len(self.demand) if end is None else self._place(end)
        if last - first < 2:  # noqa: PLR2004 - a rise needs two
            stop = self.start_seconds + len(self.demand) * self.step_seconds
            raise TraceError(
                f"Of {self.name} ({_said(self.start_seconds)} to {_said(stop)}) fewer than two samples are left."
            )
        return Trace(
            self.name,
            self.step_seconds,
            self.start_seconds + first * self.step_seconds,
            self.demand[first:last],
            self.found,
            self.measured[first:last],
        )

    def _place(self, at: dt.datetime) -> int:
        offset = int(at.timestamp()) - self.start_seconds
        return min(len(self.demand), max(0, -(-offset // self.step_seconds)))

    def averaged(self, step_seconds: int) -> "Trace":
        """The means of whole steps of so many seconds; what is left over at the end is dropped.

        A step counts as measured where all of it was, for else its mean knows of the gap's end.

        Raises:
            TraceError: the new step is no multiple of the present one.
        """
        times, rest = divmod(step_seconds, self.step_seconds)
        if rest or not times:
            raise TraceError(
                f"{self.name} has a step of {self.step_seconds} s, of which {step_seconds} s are no whole number.",
                "TraceStepWrong",
            )
        whole = len(self.demand) // times * times
        means = self.demand[:whole].reshape(-1, times).mean(axis=1)
        measured = self.measured[:whole].reshape(-1, times).min(axis=1).astype(np.bool_)
        return Trace(self.name, step_seconds, self.start_seconds, means, self.found, measured)


def load(
    path: Path, step_seconds: int, *, column: str | None = None, outage_hours: float | None = None
) -> Trace:
    """The file as a trace with this step.

    Raises:
        TraceError: the file is none, its rows are farther apart than the step, or it is mostly gaps.
    """
    return gridded(path.name, rows_of.read(path, column), step_seconds, outage_hours)


def gridded(name: str, rows: Rows, step_seconds: int, outage_hours: float | None = None) -> Trace:
    """Rows on an even grid that begins with the first of them.

    Unreadable rows, and values that are absent, infinite or negative, are no samples. Rows out of order are put in order.
    Of rows with one and the same time the first counts. Rows closer together than the step are averaged. What no row covers
    is a gap, and filled along a straight line; with `outage_hours`, so is every run of zeros that is at least so long.
    Values without times are one step apart each, and a bad one among them leaves a gap of one step.
    """
    values = np.array(rows.values, dtype=np.float64)
    if not np.isfinite(values).any():
        raise TraceError(
            f"{name} has no sample among its {len(values) + rows.unreadable + rows.headers:,} lines or words: "
            "write one a line, as `time,value` or as a value alone, or say which --column it is."
        )
    if 2 * rows.unreadable > rows.all:
        raise TraceError(
            f"Of the {rows.all:,} rows of {name} {rows.unreadable:,} cannot be read, so the others are no trace either. Write one "
            "sample a line, as `time,value` or as a value alone, or say which --column it is.",
            "TraceMostlyUnreadable",
        )
    duplicate = out_of_order = merged = 0
    start = 0.0
    if rows.times:
        times = np.array(rows.times, dtype=np.float64)
        out_of_order = int((times < np.maximum.accumulate(times)).sum())
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        fresh = np.concatenate((np.ones(1, np.bool_), np.diff(times) > 0))
        duplicate = int(len(times) - fresh.sum())
        times, values = times[fresh], values[fresh]
        start = float(times[0])
        if start < 0:
            raise TraceError(
                f"{name} begins {-start:,.0f} s before 1970, and times are read from there on. If they count from something else, "
                "add a week or a year to each; if they do not matter, leave them out.",
                "TraceTooOld",
            )
        values, merged = _placed(name, times, values, step_seconds)
    if outage_hours is not None:
        values = _without_outages(values, max(1, round(outage_hours * 3600 / step_seconds)))
    seen = np.isfinite(values)
    begins, lengths = _runs(~seen)
    found = Found(
        rows=rows.all,
        headers=rows.headers,
        unreadable=rows.unreadable,
        absent=rows.absent,
        negative=rows.negative,
        duplicate=duplicate,
        out_of_order=out_of_order,
        merged=merged,
        gaps=len(begins),
        gap_samples=int(lengths.sum()),
        longest_gap_seconds=int(lengths.max(initial=0)) * step_seconds,
        counts_up=_counts_up(values[seen]),
    )
    if not seen.any():
        raise TraceError(f"{name} has no demand outside of its outages.")
    places = np.arange(len(values))
    filled = np.interp(places, places[seen], values[seen])
    return Trace(name, step_seconds, int(start // 1), filled, found, seen)


def _placed(
    name: str, times: NDArray[np.float64], values: NDArray[np.float64], step_seconds: int
) -> tuple[NDArray[np.float64], int]:
    """Values at their steps, NaN where there is none, and how many rows shared a step with another."""
    if len(times) < 2:  # noqa: PLR2004 - a rise needs two
        raise TraceError(f"{name} has samples at one time only; a trace needs at least two.")
    apart = float(np.median(np.diff(times)))
    if apart > step_seconds / _OWN_STEP:
        raise TraceError(
            f"The rows of {name} are {apart:g} s apart, farther than the step of {step_seconds} s: what lies between them "
            f"would be invented. Say --step {apart:.0f}.",
            "TraceStepWrong",
        )
    # Where rows are as far apart as the step, one that came a little early still belongs to its own step.
    nearest = 0.5 if apart > step_seconds * _OWN_STEP else 0.0
    steps = np.floor((times - times[0]) / step_seconds + nearest)
    if steps[-1] >= min(_SPARSE * len(times) + _FEW, 2 * MOST_ROWS):
        raise TraceError(
            f"{name} has {len(times):,} rows for {steps[-1]:,.0f} steps of {step_seconds} s, from {_said(times[0])} to "
            f"{_said(times[-1])}: nearly all of it is gap. Is a date wrong, or the step?",
            "TraceMostlyGaps",
        )
    places = steps.astype(np.int64)
    kept = np.isfinite(values)
    size = int(places[-1]) + 1
    count = np.bincount(places[kept], minlength=size)
    summed = np.bincount(places[kept], weights=values[kept], minlength=size)
    means = np.full(size, np.nan)
    np.divide(summed, count, out=means, where=count > 0)
    return means, int((count - 1)[count > 1].sum())


def _without_outages(values: NDArray[np.float64], least: int) -> NDArray[np.float64]:
    cleared = values.copy()
    for begin, length in zip(*_runs(values == 0), strict=True):
        if length >= least:
            cleared[begin : begin + length] = np.nan
    return cleared


def _counts_up(values: NDArray[np.float64]) -> bool:
    """Whether it looks like a counter: it nearly always rises, and where it falls, seldom, it falls to less than half."""
    changes = np.diff(values)
    if len(changes) < _COUNTED:
        return False
    falls = np.flatnonzero(changes < 0)
    seldom = len(falls) * _COUNTED <= len(changes)
    return seldom and bool(
        2 * (changes > 0).sum() > len(changes) and (2 * values[falls + 1] < values[falls]).all()
    )


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of true begins, and how long it is."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return edges[::2].astype(np.int64), (edges[1::2] - edges[::2]).astype(np.int64)


def _said(seconds: float) -> str:
    try:
        return dt.datetime.fromtimestamp(float(seconds), dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s"
