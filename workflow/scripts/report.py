"""The report: which variant to ship, and the proof. Writes summary.csv, decision.json, report.html.

Reads what the other stages left; runs no model.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from markupsafe import Markup

from butler.decision import BASELINE, Candidate, Change, Decision, Rule, caveats, decide
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_json, atomic_write_text, spreadsheet_safe
from butler.intervals import paired_change
from butler.report import charts
from butler.report import provenance_section as run
from butler.report.corpus_section import section as corpus_section
from butler.report.page import render
from butler.report.side_by_side import answers, flips
from butler.report.summary import Capacity, Evaluations, by_category, by_dataset, summary
from butler.results import (
    Efficiency,
    check_same_questions,
    read_check,
    read_efficiency,
    read_evaluation,
    read_json,
    read_loss,
)
from butler.texts import Phrase, named, phrase, say
from butler.yaml_files import read_yaml

LARGEST_REPORT = 5 * 2**20  # bytes


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--results", required=True, type=Path, help="folder of the benchmark and efficiency CSVs")
    add("--evaluations", required=True, type=Path, help="folder of {benchmark}_{variant}/")
    add("--variants", required=True, help="comma separated, fp16 among them")
    add("--benchmarks", required=True, help="comma separated")
    add("--base", help="name under which the base model was evaluated, if it was")
    add("--max-loss", required=True, type=float, help="points a variant may lose")
    add("--prefer", required=True, help="memory or speed")
    add("--tokens", required=True, type=int, help="cached tokens counted as memory")
    add("--cards", nargs="+", required=True, type=int, help="GB of memory of GPUs to fill")
    add("--chat-tokens", required=True, type=int, help="tokens of a chat on such a card")
    add("--checks", nargs="*", type=Path, default=[], help="JSON files of the checks")
    add("--corpus-stats", type=Path)
    add("--sample-lengths", type=Path, help="JSON of sample_lengths.py")
    add("--training-log", type=Path, help="CSV with columns step and loss")
    add("--config", type=Path, help="YAML of the run's configuration")
    add("--locks", nargs="*", type=Path, default=[], help="lock files of the tools")
    add("--logs", type=Path, help="folder of Snakemake's benchmark files")
    add("--hashes", type=Path, help="SHA-256 of the artefacts, as sha256sum writes them")
    add("--answers", type=int, default=20, help="questions shown with every model's answer")
    add("--summary", required=True, type=Path)
    add("--decision", required=True, type=Path)
    add("--report", required=True, type=Path)
    return parser.parse_args()


def main() -> None:
    """Read everything, decide, then write; bad input leaves the old files alone."""
    arguments = parse_arguments()
    rule = Rule(arguments.max_loss, arguments.prefer, arguments.tokens)
    variants, benchmarks = _names(arguments.variants), _names(arguments.benchmarks)
    evaluations = read_all(arguments, variants, benchmarks)
    efficiencies = {name: read_efficiency(arguments.results, name) for name in variants}
    base_changes = changes_since_base(arguments.base, benchmarks, evaluations)
    scores = {name: evaluations[name, BASELINE].average for name in benchmarks}
    decision = decide(
        rule,
        candidates(rule, variants, benchmarks, evaluations, efficiencies),
        caveats(scores, base_changes),
    )
    capacity = Capacity(arguments.cards, arguments.chat_tokens)
    table = summary(decision, evaluations, efficiencies, capacity)
    page = render(context(arguments, decision, evaluations, efficiencies, table, base_changes))
    if len(page.encode()) > LARGEST_REPORT:
        raise ButlerError(f"the report would be {len(page.encode()):,} bytes; the limit is 5 MiB")
    atomic_write_text(arguments.summary, table.map(spreadsheet_safe).to_csv(index=False))
    atomic_write_json(arguments.decision, decision.to_json())
    atomic_write_text(arguments.report, page)
    print(say(decision.sentence, "en"))


def read_all(
    arguments: argparse.Namespace, variants: list[str], benchmarks: list[str]
) -> Evaluations:
    """Read all evaluations, the base model's first; all must have asked the same questions."""
    names = [arguments.base, *variants] if arguments.base else variants
    found = {}
    for benchmark in benchmarks:
        read = [
            read_evaluation(arguments.results, arguments.evaluations, benchmark, name)
            for name in names
        ]
        check_same_questions(read)
        found |= {(benchmark, evaluation.variant): evaluation for evaluation in read}
    return found


def candidates(
    rule: Rule,
    variants: list[str],
    benchmarks: list[str],
    evaluations: Evaluations,
    efficiencies: dict[str, Efficiency],
) -> list[Candidate]:
    """Return what the decision needs of each variant."""
    if BASELINE not in variants:
        raise ButlerError(f"--variants must name {BASELINE}: the others are compared with it")
    found = []
    for variant in variants:
        changes = {}
        for benchmark in benchmarks:
            own = evaluations[benchmark, variant].by_dataset
            baseline = evaluations[benchmark, BASELINE].by_dataset
            same = variant == BASELINE
            changes[benchmark] = Change(0.0) if same else paired_change(own, baseline)
        efficiency = efficiencies[variant]
        memory, speed = efficiency.memory_bytes(rule.tokens), efficiency.values
        found.append(Candidate(variant, changes, memory, speed["decode_tokens_per_s"]))
    return found


def changes_since_base(
    base: str | None, benchmarks: list[str], evaluations: Evaluations
) -> dict[str, Change]:
    """Return the change of the fine-tuned model against the base, by benchmark."""
    if not base:
        return {}
    return {
        benchmark: paired_change(
            evaluations[benchmark, BASELINE].by_dataset, evaluations[benchmark, base].by_dataset
        )
        for benchmark in benchmarks
    }


def context(
    arguments: argparse.Namespace,
    decision: Decision,
    evaluations: Evaluations,
    efficiencies: dict[str, Efficiency],
    table: pd.DataFrame,
    base_changes: dict[str, Change],
) -> dict[str, Any]:
    """Return everything the template shows."""
    benchmarks = _names(arguments.benchmarks)
    quantised = [name for name in efficiencies if name != BASELINE]
    stats = read_json(arguments.corpus_stats) if arguments.corpus_stats else None
    lengths = read_json(arguments.sample_lengths) if arguments.sample_lengths else {}
    baseline = efficiencies[BASELINE]
    shown = {
        "decision": decision,
        "verdicts": {verdict.variant: verdict for verdict in decision.verdicts},
        "baseline": BASELINE,
        "base": arguments.base,
        "base_changes": base_changes,
        "forgetting": forgetting(arguments.base, base_changes, evaluations),
        "benchmarks": benchmarks,
        "main_metrics": {name: evaluations[name, BASELINE].metric for name in benchmarks},
        "evaluations": evaluations,
        "efficiencies": efficiencies,
        "rows": table.astype(object).where(table.notna(), None).to_dict("records"),
        "memory": baseline.memory_bytes(decision.rule.tokens),
        "speed": baseline.values["decode_tokens_per_s"],
        "capacity": Capacity(arguments.cards, arguments.chat_tokens),
        "cards": list(baseline.chats(arguments.cards, arguments.chat_tokens)),
        "loads": sorted({count for one in efficiencies.values() for count in one.loads()}),
        "machines": sorted({e.machine for e in efficiencies.values()}),
        "on_reference": any(e.engine == "reference" for e in efficiencies.values()),
        "datasets": {name: by_dataset(evaluations, name) for name in benchmarks},
        "compared": [BASELINE, *quantised],
        "flips": {name: flips(evaluations, name, quantised) for name in benchmarks},
        "answers": (
            answers(evaluations, "recipe", quantised, arguments.answers)
            if "recipe" in benchmarks
            else []
        ),
        "corpus": corpus_section(stats, lengths) if stats else None,
        "library": Markup(charts.library()),
    }
    shown["subject_categories"] = by_category(shown["datasets"].get("ceval"))
    shown |= provenance(arguments)
    shown["charts"] = drawings(arguments, shown)
    shown["sections"] = [name for name, there in _sections(shown).items() if there]
    return shown


def forgetting(
    base: str | None, changes: dict[str, Change], evaluations: Evaluations
) -> dict[str, Phrase]:
    """Say in a sentence, for each benchmark, what fine-tuning did to it."""
    said = {}
    for name, change in changes.items():
        fell = "lost" if change.points < 0 else "gained"
        how = {None: "unknown", True: "noise", False: fell}[change.within_noise]
        said[name] = phrase(
            f"forgetting.{how}",
            benchmark=named("name", name),
            before=evaluations[name, str(base)].average,
            after=evaluations[name, BASELINE].average,
            points=change.points,
        )
    return said


def provenance(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the run was: checks, stages, versions, settings and hashes."""
    return {
        "checks": [read_check(path) for path in sorted(arguments.checks)],
        "stages": run.stages(arguments.logs) if arguments.logs else [],
        "versions": run.versions(arguments.locks),
        "commit": run.commit(),
        "config": _config(arguments.config) if arguments.config else None,
        "hashes": run.read_hashes(arguments.hashes) if arguments.hashes else [],
    }


def drawings(arguments: argparse.Namespace, shown: dict[str, Any]) -> dict[str, Any]:
    """Return the charts by name, each in both languages."""
    decision, efficiencies = shown["decision"], shown["efficiencies"]
    drawn: dict[str, Any] = {}
    for name in shown["benchmarks"]:
        found = charts.points(decision, shown["evaluations"], name, efficiencies)
        tokens = decision.rule.tokens
        drawn[f"memory_{name}"] = charts.accuracy_against_memory(found, decision.variant, tokens)
    if groups := shown["subject_categories"]:
        variants = shown["datasets"]["ceval"]["variants"]
        rows = [{**group, "name": group["category"]} for group in groups]
        drawn["categories"] = charts.dots(rows, variants, "named:category")
        for group in groups:
            rows = [{**row, "name": row["dataset"]} for row in group["rows"]]
            drawn[f"subjects_{group['category']}"] = charts.dots(rows, variants, "subject")
    if loads := charts.speed_by_concurrency(efficiencies):
        drawn["loads"] = loads
    if arguments.training_log:
        drawn["loss"] = charts.loss_curve(read_loss(arguments.training_log))
    if corpus := shown["corpus"]:
        drawn["funnel"] = charts.funnel(corpus["funnel"])
        for name, bins in corpus["histograms"].items():
            drawn[f"lengths_{name}"] = charts.lengths(bins, name)
    return drawn


def _sections(shown: dict[str, Any]) -> dict[str, bool]:
    """Say which sections of the page there are, in their order."""
    return {
        "decision": True,
        "accuracy": True,
        "speed": True,
        "training": bool(shown["base"] or "loss" in shown["charts"]),
        "answers": bool(shown["answers"]),
        "corpus": bool(shown["corpus"]),
        "run": True,
    }


def _config(path: Path) -> str:
    """Return the configuration as block YAML, keys in the order given."""
    return yaml.safe_dump(read_yaml(path), allow_unicode=True, sort_keys=False, width=100)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    run_cli(main)
