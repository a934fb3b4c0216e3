"""The report: which variant to ship, and the proof. Writes summary.csv, decision.json, report.html.

Reads what the other stages left; runs no model.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from butler.decision import Decision, decide
from butler.errors import ButlerError, run_cli
from butler.report_outputs import add_outputs, write_outputs
from butler.report_sections.accuracy_section import accuracy_section
from butler.report_sections.answers_section import answers_section
from butler.report_sections.charts import colours
from butler.report_sections.corpus_section import corpus_section
from butler.report_sections.decision_section import decision_section
from butler.report_sections.evidence_section import evidence_remarks, evidence_section
from butler.report_sections.findings import Findings, read_findings
from butler.report_sections.html_page import ReportPage, render
from butler.report_sections.remarks import remarks
from butler.report_sections.run_section import read_hashes, run_section
from butler.report_sections.speed_section import speed_section
from butler.report_sections.summary import Capacity, summary
from butler.report_sections.training_section import training_section
from butler.results import (
    Divergence,
    check_same_folders,
    read_check,
    read_divergence,
    read_json,
    read_loss,
)
from butler.schemes import BASELINE, VARIANTS
from butler.settings.judging_stage import DecisionSettings
from butler.texts import say

LARGEST_REPORT = 5 * 2**20  # bytes


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--results", required=True, type=Path, help="folder of the benchmark and efficiency CSVs")
    add("--evaluations", required=True, type=Path, help="folder of {benchmark}_{variant}/")
    add("--variants", required=True, nargs="+", choices=VARIANTS, metavar="NAME")
    add("--benchmarks", required=True, nargs="+", metavar="NAME=LABEL", help="how each is called")
    add("--diverged", required=True, nargs="*", help="variants whose next token was compared")
    add("--rule", required=True, help="JSON of the configuration's `decision`")
    add("--cards", nargs="+", required=True, type=int, help="GB of memory of GPUs to fill")
    add("--chat-tokens", required=True, type=int, help="tokens of a chat on such a card")
    add("--answers", required=True, type=int, help="questions of a benchmark shown with answers")
    add("--checks", required=True, nargs="+", type=Path, help="JSON files of the checks")
    add("--corpus-stats", required=True, type=Path)
    add("--sample-lengths", required=True, type=Path, help="JSON of sample_lengths.py")
    add("--training-log", required=True, type=Path, help="CSV with columns step and loss")
    add("--config", required=True, type=Path, help="YAML of the run's configuration")
    add("--locks", required=True, nargs="+", type=Path, help="lock files of the tools")
    add("--logs", required=True, type=Path, help="folder of Snakemake's benchmark files")
    add("--plan", required=True, type=Path, help="CSV of write_plan.py")
    add("--hashes", required=True, type=Path, help="artefacts' SHA-256, as sha256sum writes them")
    add_outputs(parser)
    return parser.parse_args()


def main() -> None:
    """Read everything, decide, then write; bad input leaves the old files alone."""
    arguments = parse_arguments()
    rule = DecisionSettings.from_argument(arguments.rule, "--rule")
    labels = read_labels(arguments.benchmarks)
    findings = read_findings(arguments.results, arguments.evaluations, labels, arguments.variants)
    candidates = findings.candidates(rule)
    divergences = {name: read_divergence(arguments.results, name) for name in arguments.diverged}
    known = [*remarks(findings, rule), *evidence_remarks(findings, divergences)]
    decision = decide(rule, candidates, labels, known, findings.zero)
    listed = {one.path: one.sha256 for one in read_hashes(arguments.hashes)}
    check_same_folders(arguments.checks, listed)
    capacity = Capacity(arguments.cards, arguments.chat_tokens)
    table = summary(decision, findings, capacity)
    page = render(sections(arguments, decision, findings, divergences, capacity))
    if len(page.encode()) > LARGEST_REPORT:
        raise ButlerError(
            f"the report would be {len(page.encode()):,} bytes and the limit is 5 MiB: show fewer "
            f"answers (report.answers is {arguments.answers})"
        )
    write_outputs(arguments, table, decision.to_json(), page)
    print(say(decision.sentence, "en"))


def read_labels(given: Sequence[str]) -> dict[str, str]:
    """Return the benchmarks' display names by name, from NAME=LABEL.

    Raises:
        ButlerError: if a benchmark has no label or comes twice.
    """
    labels: dict[str, str] = {}
    for one in given:
        name, _, label = one.partition("=")
        if not name or not label or name in labels:
            raise ButlerError(f"--benchmarks takes NAME=LABEL, each NAME once; found {one!r}")
        labels[name] = label
    return labels


def sections(
    arguments: argparse.Namespace,
    decision: Decision,
    findings: Findings,
    divergences: Mapping[str, Divergence],
    capacity: Capacity,
) -> ReportPage:
    """Return everything that the page shows."""
    colour = colours(findings)
    weight_bytes = findings.efficiencies[BASELINE].values["weight_bytes"]
    log, stats = read_loss(arguments.training_log), read_json(arguments.corpus_stats)
    return ReportPage(
        decision=decision_section(decision, findings, capacity, colour),
        accuracy=accuracy_section(findings, colour),
        evidence=evidence_section(findings, divergences),
        speed=speed_section(decision, findings, colour),
        training=training_section(findings, log, [read_check(path) for path in arguments.checks]),
        answers=answers_section(findings, arguments.answers, weight_bytes),
        corpus=corpus_section(stats, read_json(arguments.sample_lengths)),
        run=run_section(
            arguments.checks,
            arguments.logs,
            arguments.locks,
            arguments.config,
            arguments.hashes,
            arguments.plan,
        ),
    )


if __name__ == "__main__":
    run_cli(main)
