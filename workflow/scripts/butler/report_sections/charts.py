"""The report's charts as Vega-Lite specifications, in each language.

The page draws them with the Vega-Lite bundle that vl-convert carries, so no network is needed.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from butler.decision import JudgedVariant
from butler.errors import ButlerError
from butler.report_sections.findings import Findings
from butler.schemes import BASE, BASELINE
from butler.texts import LANGUAGES, Phrase, phrase, say

Spec = dict[str, Any]
Charts = dict[str, dict[str, Spec]]  # by name and language
Colours = Mapping[str, str]  # of each model, in the models' order
MIB = 2**20
BASE_COLOUR = "#8d949e"
PALETTE = ("#2f5d8a", "#3a9a8b", "#c9822b", "#a8456b", "#7a5195", "#7f8c3a", "#b4451f", "#5b6470")
INK, LINE, BAR = "#1f242b", "#b9c2cc", "#46617a"
CONFIG: Spec = {
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'PingFang SC', 'Microsoft YaHei', "
    "'Noto Sans CJK SC', sans-serif",
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": "#3d434d",
        "titleColor": "#5b6470",
        "gridColor": "#eceef0",
        "domainColor": LINE,
        "tickColor": LINE,
        "titlePadding": 8,
    },
    "legend": {
        "labelFontSize": 12,
        "title": None,
        "orient": "top",
        "symbolSize": 90,
        "columns": 3,  # a row of all models would be cut off
    },
}


@dataclass(frozen=True)
class Point:
    """A variant in the chart: memory in bytes, score 0 to 100, bounds of the score if known."""

    name: str
    memory_bytes: float
    score: float
    low: float | None
    high: float | None


@cache
def library() -> str:
    """Return the JavaScript that draws the charts: Vega, Vega-Lite and Vega-Embed.

    Raises:
        ButlerError: if it could not stand in a page as it is.
    """
    import vl_convert

    text = str(vl_convert.javascript_bundle())
    if "</script" in text.lower() or "<!--" in text:
        raise ButlerError("vl-convert's bundle cannot be put into a page; install the pinned one")
    return text


def colours(findings: Findings) -> dict[str, str]:
    """Return a colour for each model: the palette's by the variant's place, grey before tuning."""
    own = {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(findings.variants)}
    return {BASE: BASE_COLOUR} | own


def in_languages(make: Callable[[Callable[..., str]], Spec]) -> dict[str, Spec]:
    """Return what `make` gives for each language; it is handed the function that says a text."""
    return {language: _framed(make(partial(_tell, language))) for language in LANGUAGES}


def _tell(language: str, text: str | Phrase, **values: Any) -> str:
    """Say the text of that key, or a whole phrase."""
    return say(text if isinstance(text, Phrase) else phrase(text, **values), language)


def points(judged: Iterable[JudgedVariant], findings: Findings, benchmark: str) -> list[Point]:
    """Return the variants of one benchmark with memory, score and the interval around it.

    The score is the baseline's and the change over the questions that both were asked.
    """
    baseline = findings.evaluations[benchmark, BASELINE].average
    found = []
    for one in judged:
        change = one.changes.get(benchmark)
        moved = (change.points, change.low, change.high) if change else (0.0, None, None)
        ends = [None if end is None else baseline + end for end in moved]
        found.append(Point(one.variant, one.memory_bytes, baseline + moved[0], ends[1], ends[2]))
    return found


def pareto(candidates: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in memory and score, by rising memory."""
    front: list[Point] = []
    for point in sorted(candidates, key=lambda p: (p.memory_bytes, -p.score)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return front


def accuracy_against_memory(
    found: Sequence[Point], chosen: str, tokens: int, colours: Colours
) -> dict[str, Spec]:
    """A dot per variant with its interval, and the Pareto front as stairs.

    They go through those that none beats in both, so a single one has them, too.
    """
    order = sorted(found, key=lambda point: point.memory_bytes)
    values = [
        {
            "variant": point.name,
            "memory": round(point.memory_bytes / MIB, 2),
            "score": point.score,
            "low": point.low,
            "high": point.high,
            "chosen": point.name == chosen,
            "above": order.index(point) % 2 == 0,
        }
        for point in found
    ]
    ends = [end for point in found for end in (point.score, point.low, point.high)]
    known = [end for end in ends if end is not None]
    limits = [max(0, min(known) - 1), min(100, max(known) + 1)]
    stairs = _stairs(found, limits[0])
    colour = colour_of({point.name: colours[point.name] for point in found}, legend=False)

    def make(tell: Callable[..., str]) -> Spec:
        x = {"field": "memory", "type": "quantitative", "scale": {"zero": False, "padding": 45}}
        x["axis"] = {"title": tell("chart.memory", tokens=tokens), "tickCount": 5}
        y = {"field": "score", "type": "quantitative", "scale": {"domain": limits}}
        y["axis"] = {"title": tell("chart.score"), "tickCount": 5}
        place = {"field": "place", "type": "quantitative"}
        tooltip = tooltip_of(tell, variant="", memory=",.1f", score=".2f", low=".2f", high=".2f")
        line: Spec = {
            "type": "line",
            "color": LINE,
            "strokeWidth": 1.5,
            "interpolate": "step-after",
        }
        layers = [{"data": {"values": stairs}, **layer_of(line, x=x, y=y, order=place)}]
        layers += _memory_layers(x, y, colour, tooltip)
        if any(point.low is not None for point in found):
            layers += _intervals(x, y, colour)
        return {"height": 240, "data": {"values": values}, "layer": layers}

    return in_languages(make)


def _stairs(found: Sequence[Point], floor: float) -> list[dict[str, float]]:
    """Return the corners: up from the chart's floor to the smallest, and on to the largest."""
    front = pareto(found)
    corners = [(point.memory_bytes, point.score) for point in front]
    corners.insert(0, (front[0].memory_bytes, floor))
    corners.append((max(point.memory_bytes for point in found), front[-1].score))
    return [
        {"memory": round(memory / MIB, 2), "score": score, "place": place}
        for place, (memory, score) in enumerate(corners)
    ]


def _memory_layers(x: Spec, y: Spec, colour: Spec, tooltip: list[Spec]) -> list[Spec]:
    """The dots and their names.

    Names stand right of the dots, clear of the bars; neighbours' above and below, so that they stay
    apart.
    """
    dot: Spec = {"type": "circle", "size": 120, "opacity": 1, "strokeWidth": 2.5}
    ring = {"condition": {"test": "datum.chosen", "value": INK}, "value": "white"}
    name: Spec = {"type": "text", "align": "left", "dx": 13, "fontSize": 12}
    name["dy"] = {"expr": "datum.above ? -10 : 12"}
    return [
        layer_of(dot, x=x, y=y, color=colour, stroke=ring, tooltip=tooltip),
        layer_of(name, x=x, y=y, text={"field": "variant"}, color=colour),
    ]


def _intervals(x: Spec, y: Spec, colour: Spec) -> list[Spec]:
    """A bar from the lower to the upper bound of each score that has them, and its ends.

    They are wider than a dot, which would hide those of a short bar.
    """
    bar: Spec = {"type": "rule", "strokeWidth": 2, "opacity": 0.6}
    tick: Spec = {"type": "tick", "orient": "horizontal", "size": 20, "thickness": 2}
    known = [{"filter": "datum.low !== null"}]
    ends = {"y": {**y, "field": "low"}, "y2": {"field": "high"}}
    return [
        layer_of(bar, known, x=x, **ends, color=colour),
        *(
            layer_of(tick, known, x=x, y={**y, "field": end}, color=colour)
            for end in ("low", "high")
        ),
    ]


@dataclass(frozen=True)
class Dots:
    """A line of a chart: what was asked, how many questions, each model's score, 0 to 100.

    `bounds` are the ends of each score's interval.
    """

    name: str | Phrase
    questions: int
    scores: Sequence[float]
    bounds: Sequence[tuple[float, float]]


def dots(rows: Sequence[Dots], colours: Colours, domain: Sequence[float]) -> dict[str, Spec]:
    """A line per row with a dot and its interval per model; a click in the legend leaves one model.

    `domain` are the ends of the axis: charts that are laid side by side share it.
    """

    def make(tell: Callable[..., str]) -> Spec:
        values = [
            {
                "row": _name(tell, row.name),
                "variant": model,
                "score": round(score, 2),
                "low": round(low, 2),
                "high": round(high, 2),
                "questions": row.questions,
            }
            for row in rows
            for model, score, (low, high) in zip(colours, row.scores, row.bounds, strict=True)
        ]
        x = {"field": "score", "type": "quantitative", "scale": {"domain": list(domain)}}
        x["axis"] = {"title": tell("chart.score"), "tickCount": 5}
        y = {"field": "row", "type": "nominal", "sort": None}
        y["axis"] = {"title": None, "labelLimit": 160, "domain": False, "ticks": False}
        encoding: Spec = {"x": x, "y": y, "color": colour_of(colours)}
        encoding["yOffset"] = {"field": "variant", "type": "nominal", "sort": None}
        encoding["tooltip"] = tooltip_of(
            tell, row="", variant="", score=".2f", low=".2f", high=".2f", questions=",d"
        )
        picked = {"condition": {"param": "picked", "value": 0.9}, "value": 0.07}
        faint = {"condition": {"param": "picked", "value": 0.4}, "value": 0.03}
        point = layer_of({"type": "circle", "size": 70}, opacity=picked)
        select = {"type": "point", "fields": ["variant"]}
        point["params"] = [{"name": "picked", "select": select, "bind": "legend"}]
        ends = {"x": {**x, "field": "low"}, "x2": {"field": "high"}}
        bar = layer_of({"type": "rule", "strokeWidth": 2}, **ends, strokeOpacity=faint)
        height = len(rows) * (8 * len(colours) + 8)
        drawn = {"encoding": encoding, "layer": [bar, point]}
        return {"height": height, "data": {"values": values}, **drawn}

    return in_languages(make)


@dataclass(frozen=True)
class FunnelStep:
    """A step of the corpus stage: records left after it, and those that went in it."""

    name: str | Phrase
    left: int
    gone: int


def funnel(steps: Sequence[FunnelStep]) -> dict[str, Spec]:
    """Records left after each step of the corpus stage, and those that went, lighter."""

    def make(tell: Callable[..., str]) -> Spec:
        values = [
            {
                "row": _name(tell, step.name),
                "left": step.left,
                "gone": step.gone,
                "before": step.left + step.gone,
            }
            for step in steps
        ]
        y = {"field": "row", "type": "nominal", "sort": None}
        y["axis"] = {"title": None, "labelLimit": 170, "domain": False, "ticks": False}
        x = {"field": "left", "type": "quantitative", "axis": {"title": tell("chart.records")}}
        tooltip = tooltip_of(tell, row="", left=",d", gone=",d")
        gone = {**x, "field": "before"}
        label = {"type": "text", "align": "left", "dx": 5, "fontSize": 11, "color": "#5b6470"}
        said = "datum.gone ? '−' + format(datum.gone, ',') : format(datum.left, ',')"
        named_amount = [{"calculate": said, "as": "said"}]
        layers = [
            layer_of({"type": "bar", "color": "#d98b73"}, x=gone, y=y, tooltip=tooltip),
            layer_of({"type": "bar", "color": BAR}, x=x, y=y, tooltip=tooltip),
            layer_of(label, named_amount, x=gone, y=y, text={"field": "said"}),
        ]
        return {"height": 24 * len(values), "data": {"values": values}, "layer": layers}

    return in_languages(make)


def lengths(bins: Sequence[Mapping[str, int]], unit: str) -> dict[str, Spec]:
    """Answers by length; `unit` is characters or tokens."""

    def make(tell: Callable[..., str]) -> Spec:
        x = {"field": "start", "type": "quantitative", "bin": {"binned": True}}
        x["axis"] = {"title": tell(f"chart.{unit}"), "tickCount": min(len(bins), 10)}
        y = {"field": "answers", "type": "quantitative", "axis": {"title": tell("chart.answers")}}
        tooltip = tooltip_of(tell, start=",d", end=",d", answers=",d")
        bars = layer_of({"type": "bar", "color": BAR}, x=x, x2={"field": "end"}, y=y)
        bars["encoding"]["tooltip"] = tooltip
        return {"height": 180, "data": {"values": list(bins)}, **bars}

    return in_languages(make)


def _name(tell: Callable[..., str], name: str | Phrase) -> str:
    """A name of ours is said, one of others stands as it is."""
    return name if isinstance(name, str) else tell(name)


def range_of(rows: Iterable[Dots]) -> list[float]:
    """Return tens around all scores of the rows and their intervals, 0 to 100."""
    ends = [end for row in rows for pair in row.bounds for end in pair]
    low = min(90, max(0, 10 * math.floor(min(ends) / 10)))
    return [low, min(100, max(10 * math.ceil(max(ends) / 10), low + 10))]


def layer_of(mark: Spec, transform: Sequence[Spec] = (), **encoding: Any) -> Spec:
    """Return a layer of a chart."""
    layer: Spec = {"mark": mark, "encoding": encoding}
    return layer | ({"transform": list(transform)} if transform else {})


def colour_of(colours: Colours, legend: bool = True) -> Spec:
    colour: Spec = {"field": "variant", "type": "nominal"}
    colour["scale"] = {"domain": list(colours), "range": list(colours.values())}
    return colour | ({} if legend else {"legend": None})


def tooltip_of(tell: Callable[..., str], **formats: str) -> list[Spec]:
    """Fields of a tooltip; a field with a number format is a number."""
    return [
        {"field": name, "title": tell(f"tip.{name}")}
        | ({"type": "quantitative", "format": form} if form else {"type": "nominal"})
        for name, form in formats.items()
    ]


def _framed(spec: Spec) -> Spec:
    frame = {"width": "container", "config": CONFIG}
    return frame | spec
