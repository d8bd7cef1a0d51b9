"""The activation budget: what each step may take, what it took, and both beside each other."""

from collections.abc import Mapping
from typing import Final

from projections.activations.fold import BUDGET_MS
from replay.figures.trips import TOTAL, Quantiles
from replay.page.axis import at, steps
from replay.page.markup import Html, joined, tag

NAMES: Final[dict[str, str]] = {
    "L1": "L1 signal",
    "L2": "L2 gate",
    "L3": "L3 wake",
    "L4": "L4 health",
    "L5": "L5 announce",
    TOTAL: "whole trip",
}

TOTAL_P99_MS: Final = 2300
"""The budget of the whole trip at the 99th percentile; the steps have one of their own at the median only."""

_WIDTH: Final = 360
_LEFT: Final = 82
_RIGHT: Final = 8
_ROW: Final = 26
_BAR: Final = 12
_TICKS: Final = 4


def milliseconds(value: float) -> str:
    """`1,403`, and below a hundred with a tenth: `3.6`."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}"  # noqa: PLR2004 - where the tenth would be a third digit


def table(took: Mapping[str, Quantiles | None]) -> Html:
    """The steps with budget, median, 99th percentile in milliseconds, and how many trips had them."""
    head = ("step", "budget", "p50", "p99", "trips")
    return tag(
        "table",
        tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))),
        tag("tbody", *(_row(step, name, took[step]) for step, name in NAMES.items())),
    )


def picture(took: Mapping[str, Quantiles | None]) -> Html:
    """A bar for each step's median, and a mark where its budget ends."""
    medians = {step: found.p50_ms for step in BUDGET_MS if (found := took[step]) is not None}
    step, top = steps(round(max(*BUDGET_MS.values(), *medians.values())), _TICKS)
    bottom = len(BUDGET_MS) * _ROW + 4
    right = _WIDTH - _RIGHT

    def across(value: float) -> float:
        return _LEFT + value / top * (right - _LEFT)

    def row(place: int, name: str) -> Html:
        begin = place * _ROW + 6
        budget = at(across(BUDGET_MS[name]))
        median = medians.get(name)
        bar = (
            tag(
                "rect",
                class_="took",
                x=_LEFT,
                y=begin,
                width=at(across(median) - _LEFT),
                height=_BAR,
            )
            if median is not None
            else tag("text", "no data", x=_LEFT + 6, y=begin + 10)
        )
        return joined(
            (
                tag("text", NAMES[name], x=0, y=begin + 10),
                bar,
                tag("path", class_="budget", d=f"M{budget} {begin - 4}v{_BAR + 8}"),
            )
        )

    marks = (
        joined(
            (
                tag("path", class_="grid", d=f"M{at(across(mark))} 0V{bottom}"),
                tag(
                    "text",
                    f"{mark:,}" + (" ms" if mark == top else ""),
                    x=at(across(mark)),
                    y=bottom + 14,
                    text_anchor="end" if mark == top else "middle",
                ),
            )
        )
        for mark in range(0, top + 1, step)
    )
    told = "; ".join(
        f"{NAMES[name]} {milliseconds(medians[name]) + ' ms' if name in medians else 'no data'}, budget {budget} ms"
        for name, budget in BUDGET_MS.items()
    )
    return tag(
        "svg",
        tag("title", "Median of each step of an activation beside its budget"),
        tag("desc", f"{told}."),
        joined(marks),
        joined(row(place, name) for place, name in enumerate(BUDGET_MS)),
        tag("path", class_="axis", d=f"M{_LEFT} 0V{bottom}"),
        viewBox=f"0 0 {_WIDTH} {bottom + 20}",
        role="img",
        class_="bars",
    )


def legend() -> Html:
    """What bar and mark are."""
    bar = Html(
        '<svg viewBox="0 0 28 12" aria-hidden="true"><rect class="took" width="28" height="12"/></svg>'
    )
    mark = Html('<svg viewBox="0 0 28 12" aria-hidden="true"><path class="budget" d="M14 0V12"/></svg>')
    return tag("ul", tag("li", bar, "median that was measured"), tag("li", mark, "budget"), class_="legend")


def _row(step: str, name: str, found: Quantiles | None) -> Html:
    budget = BUDGET_MS.get(step, sum(BUDGET_MS.values()))
    cells = (
        f"{budget:,}",
        "-" if found is None else milliseconds(found.p50_ms),
        "-" if found is None else milliseconds(found.p99_ms),
        "0" if found is None else f"{found.count:,}",
    )
    attributes = {"class_": "sum"} if step == TOTAL else {}
    return tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells), **attributes)
