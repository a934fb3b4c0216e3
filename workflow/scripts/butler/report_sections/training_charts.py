"""A training as curves over its updates: loss, learning rate, gradient's norm, tokens/s."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from butler.report_sections.charts import BAR, Charts, Spec, in_languages, layer_of, tooltip_of

LOSS = "loss"
# What may be drawn beside the loss, where it was logged: the formats of the pointer and the axis.
CURVES = {
    "learning_rate": (".2e", ".1e"),
    "gradient_norm": (".4g", ".3~g"),
    "tokens_per_second": (",.0f", ",~s"),
}
MOST_POINTS = 600  # of a curve: more is not seen, and costs space
HELD_OUT = "#b4451f"


@dataclass(frozen=True)
class HeldOutLoss:
    """Mean NLL of the held-out answers before and after the training, in nats a token."""

    base: float
    merged: float


def training_charts(log: pd.DataFrame, held_out: HeldOutLoss | None = None) -> Charts:
    """Return the loss with the held-out answers' beside it, and each curve that was logged."""
    drawn = {LOSS: loss_curve(log, held_out)}
    for name in CURVES:
        if name in log and pd.to_numeric(log[name], errors="coerce").notna().any():
            drawn[name] = curve(log, name)
    return drawn


def loss_curve(log: pd.DataFrame, held_out: HeldOutLoss | None = None) -> dict[str, Spec]:
    """Training loss by update; diamonds are the held-out answers before the first, after the last.

    The pointer reads off the nearest update.
    """
    values = _values(log, LOSS)
    before_and_after = []
    if held_out is not None:
        ends = ((0, "base", held_out.base), (int(log["step"].iloc[-1]), "merged", held_out.merged))
        before_and_after = [
            {"step": step, "loss": round(nll, 4), "model": name, "first": step == 0}
            for step, name, nll in ends
        ]

    def make(tell: Callable[..., str]) -> Spec:
        x, y = _axes(tell, LOSS, tell("chart.loss"), ".3~g")
        layers = _line(tell, x, y, LOSS, ".4f")
        marked = [
            one | {"said": tell(f"held_out.point.{one['model']}", nll=one["loss"])}
            for one in before_and_after
        ]
        if marked:
            layers += _diamonds(x, y, marked)
        return {"height": 200, "data": {"values": values}, "layer": layers}

    return in_languages(make)


def curve(log: pd.DataFrame, name: str) -> dict[str, Spec]:
    """Return one of CURVES by update, small, without the updates that have no value."""
    values = _values(log, name)
    pointer, ticks = CURVES[name]

    def make(tell: Callable[..., str]) -> Spec:
        x, y = _axes(tell, name, None, ticks)
        layers = _line(tell, x, y, name, pointer)
        return {"height": 120, "data": {"values": values}, "layer": layers}

    return in_languages(make)


def _values(log: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    """Return step and value of each point, to five digits."""
    known = pd.DataFrame({"step": log["step"], name: pd.to_numeric(log[name], errors="coerce")})
    known = known.dropna()
    every = -(-len(known) // MOST_POINTS)
    return [
        {"step": int(step), name: float(f"{value:.5g}")}
        for step, value in known.iloc[::every].itertuples(index=False)
    ]


def _axes(tell: Callable[..., str], name: str, title: str | None, ticks: str) -> tuple[Spec, Spec]:
    x = {"field": "step", "type": "quantitative", "axis": {"title": tell("chart.step")}}
    x["axis"] |= {"format": ",d", "tickMinStep": 1, "tickCount": 8}
    x["scale"] = {"nice": False}
    y = {"field": name, "type": "quantitative"}
    y["axis"] = {"title": title, "tickCount": 5, "format": ticks}
    return x, y


def _line(tell: Callable[..., str], x: Spec, y: Spec, name: str, pointer: str) -> list[Spec]:
    """The curve, and a dot at the update that is nearest to the pointer."""
    near = {"type": "point", "on": "pointerover", "clear": "pointerout", "nearest": True}
    seen = {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0}
    dots = layer_of({"type": "circle", "size": 60, "color": BAR}, x=x, y=y, opacity=seen)
    dots["encoding"]["tooltip"] = tooltip_of(tell, step=",d", **{name: pointer})
    dots["params"] = [{"name": "near", "select": near}]
    return [layer_of({"type": "line", "color": BAR, "strokeWidth": 1.8}, x=x, y=y), dots]


def _diamonds(x: Spec, y: Spec, marked: Sequence[dict[str, Any]]) -> list[Spec]:
    """The held-out answers' NLL before and after, named inwards so that nothing is cut off."""
    data = {"values": list(marked)}
    diamond = {"type": "point", "shape": "diamond", "filled": True, "size": 130, "opacity": 1}
    layers = [layer_of(diamond | {"color": HELD_OUT}, x=x, y=y)]
    # One above and one below: side by side on a phone they would cover each other.
    for first, align, dx, dy in ((True, "left", 9, -10), (False, "right", -9, 14)):
        name = {"type": "text", "align": align, "dx": dx, "dy": dy}
        name |= {"color": HELD_OUT, "fontSize": 12}
        own = [{"filter": f"datum.first === {str(first).lower()}"}]
        layers.append(layer_of(name, own, x=x, y=y, text={"field": "said"}))
    return [{"data": data} | layer for layer in layers]
