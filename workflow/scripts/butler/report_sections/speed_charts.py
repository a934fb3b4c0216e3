"""TurboMind's speed as charts: by requests at a time, and throughput against the waits for it."""

from collections.abc import Callable, Mapping
from typing import Literal

from butler.efficiency.speed import LoadSpeed, Speed, Waits
from butler.report_sections.charts import (
    Colours,
    Spec,
    colour_of,
    in_languages,
    layer_of,
    tooltip_of,
)

Wait = Literal["first", "between"]
SHOWN = 90  # the percentile that service targets go by
MILLISECONDS = 1000


def speed_by_concurrency(speeds: Mapping[str, Speed], colours: Colours) -> dict[str, Spec] | None:
    """New tokens per second by requests at a time, bars from the slowest repeat to the fastest.

    None where fewer than two loads were tried.
    """
    values = [
        {
            "variant": name,
            "requests": count,
            "speed": round(load.tokens_per_s.median, 1),
            "slowest": round(load.tokens_per_s.low, 1),
            "fastest": round(load.tokens_per_s.high, 1),
        }
        for name, speed in speeds.items()
        for count, load in speed.loads.items()
    ]
    if len({value["requests"] for value in values}) < 2:
        return None

    def make(tell: Callable[..., str]) -> Spec:
        x = {"field": "requests", "type": "quantitative", "scale": {"type": "log", "base": 2}}
        counts = sorted({value["requests"] for value in values})
        x["axis"] = {"title": tell("chart.requests"), "values": counts, "format": ",d"}
        y = {"field": "speed", "type": "quantitative", "axis": {"title": tell("chart.speed")}}
        picked = {"condition": {"param": "picked", "value": 1}, "value": 0.1}
        mark = {"type": "line", "point": {"size": 70, "filled": True}, "strokeWidth": 2}
        shared = {"x": x, "color": colour_of({name: colours[name] for name in speeds})}
        line = layer_of(mark, **shared, y=y, opacity=picked)
        line["encoding"]["tooltip"] = tooltip_of(
            tell, variant="", requests=",d", speed=",.1f", slowest=",.1f", fastest=",.1f"
        )
        select = {"type": "point", "fields": ["variant"]}
        line["params"] = [{"name": "picked", "select": select, "bind": "legend"}]
        ends = {"y": {**y, "field": "slowest"}, "y2": {"field": "fastest"}}
        bars = layer_of({"type": "rule", "strokeWidth": 2}, **shared, **ends, opacity=picked)
        return {"height": 240, "data": {"values": values}, "layer": [line, bars]}

    return in_languages(make)


def speed_against_wait(
    speeds: Mapping[str, Speed], wait: Wait, colours: Colours
) -> dict[str, Spec] | None:
    """New tokens per second against the p90 of a wait: a line per variant, a dot per load.

    A load whose waits were too few for a p90 is left out; None where fewer than two are left.
    """
    values = [
        {
            "variant": name,
            "requests": count,
            "speed": round(load.tokens_per_s.median, 1),
            "wait": round(MILLISECONDS * _waits(load, wait).percentiles[SHOWN], 3),
        }
        for name, speed in speeds.items()
        for count, load in sorted(speed.loads.items())
        if SHOWN in _waits(load, wait).percentiles
    ]
    if len({value["requests"] for value in values}) < 2:
        return None

    def make(tell: Callable[..., str]) -> Spec:
        x = {"field": "speed", "type": "quantitative", "axis": {"title": tell("chart.speed")}}
        y = {"field": "wait", "type": "quantitative", "scale": {"zero": True}}
        y["axis"] = {"title": tell(f"chart.wait_{wait}", percentile=SHOWN)}
        picked = {"condition": {"param": "picked", "value": 1}, "value": 0.1}
        shared = {"x": x, "y": y, "color": colour_of({name: colours[name] for name in speeds})}
        mark = {"type": "line", "point": {"size": 70, "filled": True}, "strokeWidth": 2}
        order = {"field": "requests", "type": "quantitative"}
        line = layer_of(mark, **shared, order=order, opacity=picked)
        line["encoding"]["tooltip"] = tooltip_of(
            tell, variant="", requests=",d", speed=",.1f", wait=",.1f"
        )
        select = {"type": "point", "fields": ["variant"]}
        line["params"] = [{"name": "picked", "select": select, "bind": "legend"}]
        text = {"type": "text", "dy": -10, "fontSize": 11}
        said = layer_of(text, **shared, text={**order, "format": ",d"}, opacity=picked)
        return {"height": 240, "data": {"values": values}, "layer": [line, said]}

    return in_languages(make)


def _waits(load: LoadSpeed, wait: Wait) -> Waits:
    return load.first_token if wait == "first" else load.between_tokens
