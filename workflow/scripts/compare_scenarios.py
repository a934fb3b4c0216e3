"""The report across runs: which run to ship, in which form. Writes a page, a table and a decision.

Reads the folders of the runs, as a plain run leaves its own; runs no model.
"""

import argparse
from pathlib import Path

from butler.across import Run, decide_across
from butler.across_tables import decision_json, summary_table
from butler.errors import run_cli
from butler.report_outputs import add_outputs, write_outputs
from butler.report_sections.across_section import across_page, across_sentence
from butler.report_sections.findings import read_findings
from butler.report_sections.html_page import render
from butler.results import check_of, read_check, read_loss
from butler.schemes import BASELINE
from butler.settings.judging_stage import DecisionSettings
from butler.settings.run import read_settings
from butler.texts import say
from butler.yaml_files import read_yaml


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--runs", required=True, nargs="+", type=Path, help="folders of the runs")
    add("--rule", required=True, help="JSON of the configuration's `decision`")
    add_outputs(parser)
    return parser.parse_args()


def main() -> None:
    """Read all runs, decide over them, then write; bad input leaves the old files alone."""
    arguments = parse_arguments()
    rule = DecisionSettings.from_argument(arguments.rule, "--rule")
    runs = [read_run(folder) for folder in arguments.runs]
    across = decide_across(rule, runs)
    labels = {name: label for run in runs for name, label in run.findings.labels.items()}
    page = render(across_page(across, runs))
    decision = decision_json(across, labels)
    write_outputs(arguments, summary_table(across, runs), decision, page)
    print(say(across_sentence(across), "en"))


def read_run(folder: Path) -> Run:
    """Return what is known of the run in a folder, whose name is the run's.

    Raises:
        ButlerError: if a file is missing or broken.
    """
    results = folder / "results"
    settings = read_settings(read_yaml(results / "config.yaml"))
    labels = {one.name: one.label or one.name for one in settings.benchmarks}
    findings = read_findings(results, folder / "build" / "evaluate", labels, settings.variants)
    loss = float(read_loss(folder / "build" / "train" / "loss.csv")["loss"].iloc[-1])
    measured = read_check(check_of(results, "training")).measured
    answers = frozenset(
        (folder / "build" / "evaluate" / f"{name}_{BASELINE}" / "details.jsonl").resolve()
        for name in labels
    )
    return Run(folder.name, settings, findings, loss, measured.get("nll_merged"), answers)


if __name__ == "__main__":
    run_cli(main)
