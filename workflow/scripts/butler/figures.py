"""Charts of the report as SVG text, drawn by matplotlib without a display."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = {
    "svg.fonttype": "none",  # letters stay text: small, searchable, in the page's own font
    "svg.hashsalt": "recipe-butler",  # the same figures give the same bytes
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#3d434d",
    "xtick.color": "#3d434d",
    "ytick.color": "#3d434d",
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
}
ACCENT, PLAIN, LINE = "#b4451f", "#46617a", "#b9c2cc"
MIB = 2**20


@dataclass(frozen=True)
class Point:
    """A variant in the chart: memory in bytes, score 0 to 100, bounds of the score if known."""

    name: str
    memory_bytes: float
    score: float
    low: float | None
    high: float | None


def accuracy_against_memory(
    panels: Mapping[str, Sequence[Point]], chosen: str, memory_label: str
) -> str:
    """One panel per benchmark, a dot per variant; the line joins those that none beats in both."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(panels), 3.2), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)
        for axis, (benchmark, points) in zip(axes[0], panels.items(), strict=True):
            _memory_panel(axis, points, chosen)
            axis.set_title(benchmark, loc="left", fontsize=11, color="#1f242b")
            axis.set_xlabel(memory_label)
            axis.set_ylabel("score")
        return svg(figure)


def loss_curve(table: pd.DataFrame) -> str:
    """Training loss by step."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 2.6), layout="constrained")
        axis = figure.subplots()
        axis.plot(table["step"], table["loss"], color=PLAIN, linewidth=1.5)
        axis.set_xlabel("optimiser step")
        axis.set_ylabel("loss (nats per token)")
        axis.set_xlim(left=0)
        return svg(figure)


def pareto(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in memory and score, by rising memory."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.memory_bytes, -p.score)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return front


def _memory_panel(axis: Axes, points: Sequence[Point], chosen: str) -> None:
    front = pareto(points)
    x = [point.memory_bytes / MIB for point in front]
    axis.plot(x, [point.score for point in front], color=LINE, linewidth=1.2, zorder=1)
    for number, point in enumerate(points):
        colour = ACCENT if point.name == chosen else PLAIN
        at = point.memory_bytes / MIB, point.score
        if point.low is not None and point.high is not None:
            axis.vlines(at[0], point.low, point.high, color=colour, alpha=0.45, linewidth=1.5)
        axis.scatter(*at, color=colour, s=42, zorder=2)
        below = number % 2 == 1
        axis.annotate(
            point.name,
            at,
            textcoords="offset points",
            xytext=(6, -13 if below else 6),
            color=colour,
            weight="bold" if point.name == chosen else "normal",
        )
    axis.margins(x=0.18, y=0.15)


def svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element that fits the width it is given."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
