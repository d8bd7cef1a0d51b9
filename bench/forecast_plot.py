"""What each rule misses against what it keeps awake for nothing: a curve per rule, a panel per trace, both axes logarithmic."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Curve = Sequence[tuple[float, float]]
"""Points of (idle regret in points, missed units in percent)."""

_LEAST_MISSED: Final = 0.01
_LEAST_REGRET: Final = 0.1
_ACROSS: Final = 3
_COLOURS: Final = {
    "forecast": "#b3001b",
    "headroom": "#8c8c8c",
    "spare": "#bdb76b",
    "noise": "#1f77b4",
    "slope": "#17becf",
    "seed": "#9467bd",
    "knative": "#ff7f0e",
    "hpa": "#2ca02c",
    "hourly": "#8c564b",
    "seasonal-naive": "#e377c2",
    "mstl": "#bcbd22",
}


def draw(panels: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """The picture is written. Lower and further left is better: fewer misses for less idle capacity."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    plots: Any = importlib.import_module("matplotlib.pyplot")
    down = -(-len(panels) // _ACROSS)
    figure, axes = plots.subplots(down, _ACROSS, figsize=(5 * _ACROSS, 4.2 * down), squeeze=False)
    for place, (trace, curves) in enumerate(panels.items()):
        axis = axes[place // _ACROSS][place % _ACROSS]
        for name, curve in curves.items():
            ours = name == "forecast"
            points = sorted(
                (max(_LEAST_REGRET, regret), max(_LEAST_MISSED, missed)) for regret, missed in curve
            )
            axis.plot(
                [regret for regret, _ in points],
                [missed for _, missed in points],
                color=_COLOURS.get(name, "#000000"),
                linewidth=2.4 if ours else 1.1,
                marker="o" if ours else ".",
                markersize=5 if ours else 4,
                label=name,
                zorder=3 if ours else 2,
            )
        axis.set(xscale="log", yscale="log", title=trace)
        axis.set_xlabel("idle regret, points")
        axis.set_ylabel("missed, % of scale-up units")
        axis.set_ylim(_LEAST_MISSED * 0.8, 100)
        axis.grid(visible=True, which="both", linewidth=0.3, alpha=0.6)
    for place in range(len(panels), down * _ACROSS):
        axes[place // _ACROSS][place % _ACROSS].set_axis_off()
    shown: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    figure.legend(shown.values(), shown.keys(), loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.14 / down, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plots.close(figure)
