"""The verdicts as a forest plot: what stands in it, and what one sees of it."""

from typing import Any

from butler.report_sections.forest import forest
from test_decision import FP16, LABELS, candidate, decide


def drawn(*candidates: Any) -> dict[str, Any]:
    found = forest(decide([FP16, *candidates]), LABELS)
    assert found is not None
    return found


def rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return spec["data"]["values"]


def axis(spec: dict[str, Any]) -> list[float]:
    (domain,) = {
        tuple(layer["encoding"]["x"]["scale"]["domain"])
        for layer in spec["layer"]
        if "scale" in layer["encoding"]["x"]
    }
    return list(domain)


def test_a_row_for_each_variant_and_benchmark_says_what_is_shown() -> None:
    made = drawn(candidate("kv8", {"ceval": 0, "recipe": 0}, 300),
                 candidate("w4", {"ceval": 40, "recipe": 100}, 200))  # fmt: skip
    assert [(row["row"], row["outcome"]) for row in rows(made["en"])] == [
        ("kv8 · C-Eval  +0.0", "within"),
        ("kv8 · recipes  +0.0", "within"),
        ("w4 · C-Eval  -2.0", "undecided"),
        ("w4 · recipes  -5.0", "over"),
    ]
    said = [row["said"] for row in rows(made["en"])]
    assert said[0] == "shown to lose at most 2 points" and said[3].endswith("more than 2 points")
    assert rows(made["zh"])[0]["said"] == "已证实最多损失 2 分"


def test_the_limit_and_every_bound_lie_on_the_axis() -> None:
    made = drawn(candidate("kv8", 0, 300), candidate("w4", 60, 200))["en"]
    low, high = axis(made)
    for row in rows(made):
        assert all(low < row[end] < high for end in ("least", "low", "change", "high", "most"))
        assert not row["beyond"]
    limits = [
        layer for layer in made["layer"] if layer.get("data", {}).get("values") == [{"at": -2}]
    ]
    assert len(limits) == 2 and low < -2 < high


def test_a_broken_variant_does_not_hide_the_others() -> None:
    """w4 loses 40 points: at the axis' end, with an arrow and its change in words."""
    made = drawn(candidate("kv8", 4, 300), candidate("w4", 800, 200))["en"]
    kv8, w4 = rows(made)
    assert w4["beyond"] and w4["change"] == -40 and "-40.0" in w4["row"]
    assert not kv8["beyond"] and -10 < axis(made)[0] < kv8["least"]


def test_the_baseline_alone_has_no_plot() -> None:
    assert forest(decide([FP16]), LABELS) is None
