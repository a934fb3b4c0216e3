"""The verdicts as a forest plot: a row for each variant and benchmark, the limit as a line."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from butler.comparisons import Change
from butler.decision import Decision
from butler.decision_texts import Labels, verdict_text
from butler.report_sections.charts import INK, LINE, Spec, in_languages, layer_of, tooltip_of
from butler.schemes import BASELINE
from butler.verdicts import BenchmarkVerdict, Outcome

ROW = 48  # pixels: a line or two of words above, the interval below
NARROW = 520  # pixels of width: with less, what is shown stands under the name, not beside it
FAR = 2  # times the width of what matters: losses beyond stand at the end of the axis
LIMIT = "#b3261e"
LOOK = {  # colour and symbol of each outcome
    Outcome.WITHIN: ("#2f7d4f", "circle"),
    Outcome.OVER: ("#b3261e", "cross"),
    Outcome.UNDECIDED: ("#8a6d1d", "diamond"),
}


def forest(decision: Decision, labels: Labels) -> dict[str, Spec] | None:
    """Return the plot in each language; None where there is nothing beside the baseline."""
    return forest_of(
        [
            (f"{one.variant} · {labels[name]}", one.changes[name], verdict)
            for one in decision.judged
            for name, verdict in (one.verdict.benchmarks.items() if one.verdict else ())
        ],
        decision.rule.max_loss,
    )


def forest_of(
    shown: Sequence[tuple[str, Change, BenchmarkVerdict]],
    max_loss: float,
    axis: str = "chart.change",
) -> dict[str, Spec] | None:
    """Return the plot of changes with their names and verdicts; None where there is none.

    `axis` is the text below it.
    """
    rows: list[dict[str, Any]] = [
        {
            "place": place,
            "row": f"{name}  {round(change.points, 1) + 0:+.1f}",
            "outcome": verdict.outcome.value,
            "said": verdict_text(verdict, max_loss),
            "change": round(change.points, 2),
            "least": round(verdict.low, 2),
            "most": round(verdict.high, 2),
            "low": round(change.low, 2),
            "high": round(change.high, 2),
            "questions": change.questions,
        }
        for place, (name, change, verdict) in enumerate(shown)
    ]
    if not rows:
        return None
    limit = -max_loss
    domain = _domain(rows, limit)
    for row in rows:
        row["beyond"] = row["change"] < domain[0]

    def make(tell: Callable[..., str]) -> Spec:
        values = [row | {"said": tell(row["said"])} for row in rows]
        x = {"field": "change", "type": "quantitative", "scale": {"domain": domain, "clamp": True}}
        title = tell(axis, baseline=BASELINE)
        x["axis"] = {"title": title, "tickCount": 7, "grid": False}
        y = {"field": "place", "type": "quantitative", "axis": None}
        y["scale"] = {"domain": [0, len(rows)], "reverse": True, "nice": False}
        said = tell("chart.limit", limit=limit)
        layers = [*_lines(x, limit, said), *_intervals(x, y, tell), *_words(y)]
        return {"height": ROW * len(rows), "data": {"values": values}, "layer": layers}

    return in_languages(make)


def _domain(rows: Sequence[Mapping[str, Any]], limit: float) -> list[float]:
    """Return the ends of the axis: whole points around every line that is drawn.

    A variant that loses far more than the others may be stands at the left end, with an arrow:
    else nothing could be seen of those that matter.
    """
    ends = [row[end] for row in rows for end in ("least", "most", "low", "high")]
    open_ends = [row["least"] for row in rows if row["outcome"] != Outcome.OVER]
    furthest = FAR * min(2 * limit, *open_ends, -1.0)
    return [math.floor(max(min(*ends, limit), furthest)) - 0.5, math.ceil(max(*ends, 0.0)) + 0.5]


def _lines(x: Spec, limit: float, said: str) -> list[Spec]:
    """No change at all, and the limit with its name above."""
    zero = {"type": "rule", "color": LINE}
    dashed = {"type": "rule", "color": LIMIT, "strokeDash": [5, 4], "strokeWidth": 1.5}
    name = {"type": "text", "color": LIMIT, "fontSize": 12, "dy": -9}
    places = [{"values": [{"at": at}]} for at in (0, limit, limit)]
    at = {**x, "field": "at"}
    return [
        {"data": places[0], **layer_of(zero, x=at)},
        {"data": places[1], **layer_of(dashed, x=at)},
        {"data": places[2], **layer_of(name, x=at, y={"value": 0}, text={"value": said})},
    ]


def _intervals(x: Spec, y: Spec, tell: Callable[..., str]) -> list[Spec]:
    """Thick: the 95 % interval; thin, with ends: the bounds that decide; and the change itself."""
    shift = ROW - 13
    thick = {"type": "rule", "strokeWidth": 9, "opacity": 0.3, "yOffset": shift}
    thin = {"type": "rule", "strokeWidth": 1.5, "yOffset": shift}
    end = {"type": "tick", "orient": "vertical", "size": 11, "thickness": 1.5, "yOffset": shift}
    dot = {"type": "point", "filled": True, "size": 110, "opacity": 1, "yOffset": shift}
    dot |= {"stroke": INK, "strokeWidth": 0.5}
    kinds = [one.value for one in LOOK]
    colour, shape = (
        {"field": "outcome", "type": "nominal", "legend": None}
        | {"scale": {"domain": kinds, "range": [look[place] for look in LOOK.values()]}}
        for place in (0, 1)
    )
    arrow = {"type": "text", "text": "◂", "dx": 12, "dy": shift, "fontSize": 14}
    numbers = {name: ".2f" for name in ("change", "least", "most", "low", "high")}
    tooltip = tooltip_of(tell, row="", said="", **numbers, questions=",d")
    ends = {name: {**x, "field": name} for name in ("low", "least", "most")}
    shown = {"y": y, "color": colour, "tooltip": tooltip}
    return [
        layer_of(thick, x=ends["low"], x2={"field": "high"}, **shown),
        layer_of(thin, x=ends["least"], x2={"field": "most"}, **shown),
        layer_of(end, x=ends["least"], **shown),
        layer_of(end, x=ends["most"], **shown),
        layer_of(dot, x=x, shape=shape, **shown),
        layer_of(arrow, [{"filter": "datum.beyond"}], x=x, **shown),
    ]


def _words(y: Spec) -> list[Spec]:
    """The name at the left, and what is shown at the right or, on a phone, below."""
    narrow = f"width < {NARROW}"
    name = {"type": "text", "align": "left", "fontSize": 12.5, "fontWeight": "bold", "dy": 8}
    name |= {"color": INK, "limit": {"expr": f"{narrow} ? width : width / 2"}}
    size = {"expr": f"{narrow} ? 11 : 12"}
    said = {"type": "text", "fontSize": size, "align": {"expr": f"{narrow} ? 'left' : 'right'"}}
    said |= {"dy": {"expr": f"{narrow} ? 22 : 8"}, "limit": {"expr": "width"}}
    kinds = [one.value for one in LOOK]
    scale = {"domain": kinds, "range": [look[0] for look in LOOK.values()]}
    colour = {"field": "outcome", "type": "nominal", "scale": scale, "legend": None}
    right = {"value": {"expr": f"{narrow} ? 0 : width"}}
    halo = said | {"stroke": "white", "strokeWidth": 4}  # the lines do not cross the words
    return [
        layer_of(name, x={"value": 0}, y=y, text={"field": "row"}),
        layer_of(halo, x=right, y=y, text={"field": "said"}),
        layer_of(said, x=right, y=y, text={"field": "said"}, color=colour),
    ]
