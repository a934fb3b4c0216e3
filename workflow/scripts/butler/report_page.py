"""From the results to what the report's template shows."""

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from butler import figures
from butler.decision import BASELINE, Change, Decision
from butler.efficiency import GB, RESERVE_BYTES
from butler.results import Efficiency, Evaluation

TEMPLATES = Path(__file__).resolve().parents[2] / "report"
ANSWERS_SHOWN = 6
MIB = 2**20
_TOOLS = ("xtuner", "lmdeploy", "opencompass", "torch", "transformers", "bitsandbytes")
_MAIN_PACKAGES = ("snakemake", "pandas", "scipy", "matplotlib")
Evaluations = Mapping[tuple[str, str], Evaluation]  # by (benchmark, variant)


@dataclass(frozen=True)
class Capacity:
    """What is asked of cards: chats of `chat_tokens` tokens on each of `cards` GB."""

    cards: Sequence[int]
    chat_tokens: int

    @property
    def reserve_gb(self) -> float:
        """GB of each card that the count leaves free."""
        return RESERVE_BYTES / GB


def summary(
    decision: Decision,
    evaluations: Evaluations,
    efficiencies: Mapping[str, Efficiency],
    capacity: Capacity,
) -> pd.DataFrame:
    """Return the rows of summary.csv: one per variant, base included if it was evaluated.

    Scores are 0 to 100, changes points against fp16 with the bounds of the 95 % interval of the
    paired difference, memory in bytes, speeds in tokens per second, time to first token in s;
    chats_N_gb is how many chats fit a card of N GB.
    """
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in evaluations))
    changes = {verdict.variant: verdict.changes for verdict in decision.verdicts}
    records = []
    for variant in dict.fromkeys(variant for _, variant in evaluations):
        record: dict[str, Any] = {"variant": variant, "chosen": variant == decision.variant}
        for benchmark in benchmarks:
            evaluation = evaluations.get((benchmark, variant))
            change = changes.get(variant, {}).get(benchmark) if variant != BASELINE else None
            record |= _scores(benchmark, evaluation, change)
        if variant in efficiencies:
            efficiency = efficiencies[variant]
            memory = efficiency.memory_bytes(decision.rule.tokens)
            record |= efficiency.values | {"memory_bytes": memory, "engine": efficiency.engine}
            chats = efficiency.chats(capacity.cards, capacity.chat_tokens)
            record |= {f"chats_{card}_gb": count for card, count in chats.items()}
        records.append(record)
    return pd.DataFrame(records)


def _scores(benchmark: str, evaluation: Evaluation | None, change: Change | None) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 2)

    return {
        f"{benchmark}_score": evaluation.average if evaluation else None,
        f"{benchmark}_questions": evaluation.questions if evaluation else None,
        f"{benchmark}_change": rounded(change.points) if change else None,
        f"{benchmark}_change_low": rounded(change.low) if change else None,
        f"{benchmark}_change_high": rounded(change.high) if change else None,
    }


def charts(
    decision: Decision,
    evaluations: Evaluations,
    efficiencies: Mapping[str, Efficiency],
    loss: pd.DataFrame | None,
) -> dict[str, Markup]:
    """Return the charts as SVG that the template may insert as it stands."""
    panels: dict[str, list[figures.Point]] = {}
    for (benchmark, variant), evaluation in evaluations.items():
        if variant not in efficiencies:
            continue
        verdict = next(v for v in decision.verdicts if v.variant == variant)
        change, memory = verdict.changes[benchmark], verdict.memory_bytes
        shift = evaluation.average - change.points
        known = variant != BASELINE and change.low is not None and change.high is not None
        bounds = (shift + change.low, shift + change.high) if known else (None, None)
        point = figures.Point(variant, memory, evaluation.average, *bounds)
        panels.setdefault(benchmark, []).append(point)
    label = f"weights + KV cache for {decision.rule.tokens:,} tokens (MiB)"
    drawn = {"memory": Markup(figures.accuracy_against_memory(panels, decision.variant, label))}
    if loss is not None:
        drawn["loss"] = Markup(figures.loss_curve(loss))
    return drawn


def by_dataset(evaluations: Evaluations, benchmark: str) -> dict[str, Any]:
    """Return a table of scores for one benchmark: data set and metric by variant."""
    chosen = {v: e for (b, v), e in evaluations.items() if b == benchmark}
    first = next(iter(chosen.values())).table
    keys = list(zip(first["dataset"], first["metric"], first["questions"], strict=True))
    scores = {
        variant: evaluation.table.set_index(["dataset", "metric"])["score"]
        for variant, evaluation in chosen.items()
    }
    rows = [
        {
            "dataset": dataset,
            "metric": metric,
            "questions": questions,
            "scores": [float(table[(dataset, metric)]) for table in scores.values()],
        }
        for dataset, metric, questions in keys
    ]
    return {"variants": list(chosen), "rows": rows}


def answers(
    evaluations: Evaluations, benchmark: str, quantised: Sequence[str]
) -> list[dict[str, Any]]:
    """Return questions with every variant's answer, the largest losses against fp16 first.

    At most ANSWERS_SHOWN: those on which one of the `quantised` lost most, then the first ones.
    """
    chosen = {v: e.details for (b, v), e in evaluations.items() if b == benchmark}
    reference = chosen[BASELINE]

    def change(index: int) -> float:
        scores = [chosen[variant][index]["score"] for variant in quantised]
        return min((score - reference[index]["score"] for score in scores), default=0.0)

    order = sorted(range(len(reference)), key=lambda index: (change(index), index))
    return [
        {
            "question": reference[index]["question"],
            "reference": reference[index]["reference"],
            "change": change(index),
            "answers": [
                {
                    "variant": variant,
                    "text": details[index]["prediction"],
                    "score": details[index]["score"],
                    "same": variant in quantised
                    and details[index]["prediction"] == reference[index]["prediction"],
                }
                for variant, details in chosen.items()
            ],
        }
        for index in order[:ANSWERS_SHOWN]
    ]


def versions(locks: Sequence[Path]) -> list[dict[str, str]]:
    """Return what the tools' lock files pin, and the versions of this environment."""
    found = []
    for lock in locks:
        pins = dict(re.findall(r"^([\w.-]+)==([^\s;#\\]+)", lock.read_text("utf-8"), re.MULTILINE))
        listed = [f"{name} {pins[name]}" for name in _TOOLS if name in pins]
        found.append({"environment": lock.stem, "versions": ", ".join(listed)})
    main = [f"{name} {importlib.metadata.version(name)}" for name in _MAIN_PACKAGES if _has(name)]
    return [*found, {"environment": "workflow", "versions": ", ".join(main)}]


def _has(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def render(context: Mapping[str, Any]) -> str:
    """Fill the template; every value is escaped, a missing one is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mib"] = lambda value: f"{value / MIB:,.1f}"
    environment.filters["signed"] = lambda value: f"{value:+.2f}"
    environment.filters["point"] = lambda value: f"{value:+.1f}"
    environment.filters["number"] = _number
    environment.globals["style"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html.j2").render(context)


def _number(value: Any) -> str:
    """Write a measured value for a reader: 4 significant digits, thousands apart."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
