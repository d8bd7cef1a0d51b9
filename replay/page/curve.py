"""A pool's last day as a picture: what it needed over what it had, in VMs, in windows of five minutes."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from projections.demand.fold import WINDOW_SECONDS, Point
from replay.page.axis import at, steps
from replay.page.markup import Html, joined, tag

DAY: Final = dt.timedelta(hours=24)
_WINDOW: Final = dt.timedelta(seconds=WINDOW_SECONDS)
_TICK: Final = dt.timedelta(hours=6)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

# In the picture's own units: a phone that is 360 pixels wide shows them in 302, and 12 of them as letters of 10.
_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 6, 26, 24
_TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class Curve:
    """One pool and its points of the 24 hours up to `until`, the oldest first."""

    org: str
    pool: str
    until: dt.datetime
    points: tuple[Point, ...]


def end_of(newest: dt.datetime) -> dt.datetime:
    """The end of the window that the newest event lies in: where the pictures end."""
    return _EPOCH + -(-(newest - _EPOCH) // _WINDOW) * _WINDOW


def figure(curve: Curve) -> Html:
    """The pool's picture with its name above it and its numbers beneath."""
    name = f"{curve.org}/{curve.pool}"
    if not curve.points:
        return tag(
            "figure",
            tag("h3", name),
            tag("p", "no data", class_="value none"),
            tag("figcaption", "Nobody looked at this pool in these 24 hours."),
        )
    told = caption(curve)
    return tag("figure", tag("h3", name), _picture(curve, name, told), tag("figcaption", told))


def legend() -> Html:
    """What the lines and areas are."""
    line = '<svg viewBox="0 0 28 12" aria-hidden="true"><path class="{}" d="M1 6H27"/></svg>'
    area = '<svg viewBox="0 0 28 12" aria-hidden="true"><rect class="{}" x="1" y="1" width="26" height="10"/></svg>'
    entries = (
        (line.format("serving"), "capacity: VMs serving"),
        (area.format("awake"), "VMs awake"),
        (line.format("demand"), "demand, mean of five minutes"),
        (area.format("most"), "up to its highest sample"),
    )
    return tag("ul", *(tag("li", Html(drawn), what) for drawn, what in entries), class_="legend")


def caption(curve: Curve) -> str:
    """The picture in words: the peaks, how often demand was above capacity, and how much of the day was seen."""
    points = curve.points
    serving = [point.serving for point in points]
    words = [f"VMs serving: {_span(serving)}. VMs awake: {_span([point.awake for point in points])}."]
    needed = [(point.mean_milli_vms, point) for point in points if point.mean_milli_vms is not None]
    if needed:
        most, when = max(needed, key=lambda one: (one[0], -_since(one[1].window_from)))
        short = sum(milli > point.serving * 1000 for milli, point in needed)
        words.append(
            f"Demand: at most {_vms(most)} VMs, at {when.window_from:%H:%M}; above capacity in {short} of "
            f"{len(needed)} windows."
        )
    else:
        words.append("Demand: no data, since no trigger of the pool had a sample while a VM served.")
    words.append(f"Seen: {len(points)} of {DAY // _WINDOW} windows.")
    return " ".join(words)


def _picture(curve: Curve, name: str, told: str) -> Html:
    begins = curve.until - DAY
    tops = [point.awake * 1000 for point in curve.points]
    tops += [point.most_milli_vms or 0 for point in curve.points]
    step, top = steps(-(-max(tops) // 1000), _TICKS)
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT

    def across(moment: dt.datetime) -> float:
        return _LEFT + (moment - begins) / DAY * (right - _LEFT)

    def up(milli_vms: int) -> float:
        return bottom - milli_vms / (top * 1000) * (bottom - _TOP)

    runs = list(_runs(curve.points))
    needed = list(_runs([point for point in curve.points if point.mean_milli_vms is not None]))
    return tag(
        "svg",
        tag("title", f"Demand and capacity of {name} in the 24 hours to {curve.until:%Y-%m-%d %H:%M} UTC"),
        tag("desc", told),
        joined(_area(run, across, up, lambda point: point.awake * 1000, "awake") for run in runs),
        joined(_band(run, across, up) for run in needed),
        joined(_levels(step, top, up, right)),
        joined(_hours(begins, curve.until, across, bottom)),
        joined(_stairs(run, across, up) for run in runs),
        joined(_line(run, across, up) for run in needed),
        tag("path", class_="axis", d=f"M{_LEFT} {bottom}H{right}"),
        tag("text", "VMs", x=0, y=12),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
    )


_Across = Callable[[dt.datetime], float]
_Up = Callable[[int], float]


def _levels(step: int, top: int, up: _Up, right: int) -> Iterable[Html]:
    for level in range(0, top + 1, step):
        height = up(level * 1000)
        if level:
            yield tag("path", class_="grid", d=f"M{_LEFT} {at(height)}H{right}")
        yield tag("text", f"{level:,}", x=_LEFT - 5, y=at(height + 4), text_anchor="end")


def _hours(begins: dt.datetime, until: dt.datetime, across: _Across, bottom: int) -> Iterable[Html]:
    moment = _EPOCH + -(-(begins - _EPOCH) // _TICK) * _TICK
    while moment <= until:
        x = across(moment)
        # A name at the rim stays within the picture.
        anchor = "middle"
        if x > _WIDTH - 20:
            anchor = "end"
        elif x < _LEFT + 10:
            anchor = "start"
        yield tag("path", class_="axis", d=f"M{at(x)} {bottom}v4")
        yield tag("text", f"{moment:%H:%M}", x=at(x), y=bottom + 16, text_anchor=anchor)
        moment += _TICK
    yield tag("text", "UTC", x=0, y=bottom + 16)


def _runs(points: Sequence[Point]) -> Iterable[list[Point]]:
    """Windows that follow each other without a hole, together."""
    run: list[Point] = []
    for point in points:
        if run and run[-1].window_until != point.window_from:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _steps(run: Sequence[Point], across: _Across, up: _Up, value: Callable[[Point], int]) -> str:
    """A line that is level through each window and goes straight up or down between two."""
    path: list[str] = []
    last: str | None = None
    for point in run:
        height = at(up(value(point)))
        if height != last:
            path.append(f"V{height}")
            last = height
        path.append(f"H{at(across(point.window_until))}")
    # Level stretches are one, since only their end counts.
    return "".join(
        part
        for part, following in zip(path, [*path[1:], "V"], strict=True)
        if not (part.startswith("H") and following.startswith("H"))
    )


def _area(run: Sequence[Point], across: _Across, up: _Up, value: Callable[[Point], int], class_: str) -> Html:
    begin, ground = at(across(run[0].window_from)), at(up(0))
    return tag("path", class_=class_, d=f"M{begin} {ground}{_steps(run, across, up, value)}V{ground}Z")


def _stairs(run: Sequence[Point], across: _Across, up: _Up) -> Html:
    def value(point: Point) -> int:
        return point.serving * 1000

    first = at(up(value(run[0])))
    path = _steps(run, across, up, value).removeprefix(f"V{first}")
    return tag("path", class_="serving", d=f"M{at(across(run[0].window_from))} {first}{path}")


def _line(run: Sequence[Point], across: _Across, up: _Up) -> Html:
    spots = _spots(run, across, up, lambda point: point.mean_milli_vms or 0)
    return tag("path", class_="demand", d=f"M{'L'.join(spots)}")


def _band(run: Sequence[Point], across: _Across, up: _Up) -> Html:
    """From the mean of each window up to its highest sample."""
    upper = _spots(run, across, up, lambda point: point.most_milli_vms or 0)
    lower = _spots(run, across, up, lambda point: point.mean_milli_vms or 0)
    return tag("path", class_="most", d=f"M{'L'.join([*upper, *reversed(lower)])}Z")


def _spots(run: Sequence[Point], across: _Across, up: _Up, value: Callable[[Point], int]) -> list[str]:
    """The middle of each window, and the outer ends of the first and the last."""
    spots = [(run[0].window_from, run[0])]
    spots += [(point.window_from + _WINDOW / 2, point) for point in run]
    spots.append((run[-1].window_until, run[-1]))
    return [f"{at(across(moment))} {at(up(value(point)))}" for moment, point in spots]


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _vms(milli: int) -> str:
    return f"{milli // 1000:,}.{milli % 1000 // 100}"


def _since(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // _WINDOW
