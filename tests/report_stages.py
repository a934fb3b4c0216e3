"""What the stages leave for the report, made up, and the report run on it."""

import csv
import io
import json
import runpy
import subprocess
import zlib
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

from butler.checks import conclude

REPORT = Path(__file__).resolve().parents[1] / "workflow" / "scripts" / "report.py"
VARIANTS = ("fp16", "kv8", "w4", "w4kv8")
# share of questions right, weight bytes, KV bytes per token, decoding tokens per second
MADE: dict[str, tuple[float, int, int, float]] = {
    "base": (0.2, 0, 0, 0),
    "fp16": (0.8, 32_000_000, 2048, 90.0),
    "kv8": (0.8, 32_000_000, 1088, 85.0),
    "w4": (0.78, 11_000_000, 2048, 70.0),
    "w4kv8": (0.4, 11_000_000, 1088, 68.0),
}


def write_csv(path: Path, header: list[str], lines: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *lines])


def right(share: float, key: str) -> bool:
    """Say whether a question is answered right; the easier ones are right in every variant."""
    return zlib.crc32(key.encode()) % 1000 < share * 1000


def write_evaluation(folder: Path, benchmark: str, variant: str, share: float) -> None:
    datasets = {"ceval": ["law", "tax"], "recipe": ["recipe"]}[benchmark]
    low, high = {"ceval": (0.0, 100.0), "recipe": (10.0, 90.0)}[benchmark]
    records = [
        {
            "dataset": dataset,
            "index": index,
            "question": f"{dataset}的做法{index} <b>&",
            "reference": "您需要准备以下食材:\n盐\n白菜\n按以下方法制作:\n拌匀",
            "prediction": f"{variant}的答案\n<script>alert(1)</script>",
            "finish": "stop",
            "score": high if right(share, f"{dataset}{index}") else low,
        }
        for dataset in datasets
        for index in range(25)
    ]
    write_records(folder, benchmark, variant, records)


def write_records(
    folder: Path, benchmark: str, variant: str, records: list[Any], metric: str | None = None
) -> None:
    """Write the table and the details of the questions in `records`."""
    metric = metric or {"ceval": "accuracy", "recipe": "ingredient_f1"}[benchmark]
    scores: dict[str, list[float]] = {}
    for record in records:
        scores.setdefault(record["dataset"], []).append(record["score"])
    means = {dataset: sum(own) / len(own) for dataset, own in scores.items()}
    average = sum(means.values()) / len(means)
    rows = [(name, mean, len(scores[name])) for name, mean in means.items()]
    rows.append(("average", average, len(records)))
    header = ["benchmark", "variant", "dataset", "metric", "score", "questions", "cut"]
    # The recipes' scorer has several metrics for its one data set, in lines of their own.
    metrics = [metric, "step_order"] if benchmark == "recipe" else [metric]
    lines = [
        [benchmark, variant, name, one, f"{mean:.2f}", count, "0.00"]
        for name, mean, count in rows
        for one in (metrics if name != "average" else [metric])
    ]
    write_csv(folder / "results" / f"{benchmark}_{variant}.csv", header, lines)
    details = folder / "evaluate" / f"{benchmark}_{variant}" / "details.jsonl"
    details.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    details.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def write_efficiency(
    folder: Path, variant: str, made: tuple[float, int, int, float] | None = None
) -> None:
    _, weights, per_token, _ = made or MADE[variant]
    values = {
        "weight_bytes": weights,
        "kv_bytes_per_token": per_token,
        "peak_memory_bytes": 400_000_000,
    }
    machine = "2 threads, some CPU"
    lines = [[variant, name, value, "?", "reference", machine] for name, value in values.items()]
    header = ["variant", "metric", "value", "unit", "engine", "machine"]
    write_csv(folder / "results" / f"efficiency_{variant}.csv", header, lines)


def write_checks(folder: Path) -> None:
    """Write what the stages do of their tables, as these are now."""
    for table in (folder / "results").glob("*.csv"):
        details = folder / "evaluate" / table.stem / "details.jsonl"
        name = table.stem if table.stem.startswith("efficiency_") else f"evaluation_{table.stem}"
        wrote = [path for path in (table, details) if path.exists()]
        conclude(folder / f"results/checks/{name}.json", name, True, "done", {}, {}, wrote)


def make_stages(tmp_path: Path) -> Path:
    """Fill a folder with what all the stages leave, the numbers made up."""
    for variant, (share, *_) in MADE.items():
        for benchmark in ("ceval", "recipe"):
            write_evaluation(tmp_path, benchmark, variant, share)
        if variant != "base":
            write_efficiency(tmp_path, variant)
    write_rest(tmp_path)
    write_checks(tmp_path)
    return tmp_path


def write_rest(folder: Path) -> None:
    """Write what a run leaves beside tables and answers."""
    write_csv(folder / "loss.csv", ["step", "loss"], [[n, 4 / n + 1] for n in range(1, 40)])
    stats = {"read": 2000, "kept": 1500, "train": 1440, "test": 60, "rejected": 500,
             "reasons": {"duplicate": 300, "too_short": 200},
             "characters": {"0": 500, "100": 1000}, "group_sizes": {"duplicate": {"2": 300}},
             "examples": {"too_short": [{"name": "<i>汤</i>", "detail": "1 step"}]},
             "contamination": {"test": {"records": 1, "texts": 1, "examples": {"豆腐汤": 1}}},
             "doubt": {"all": 0.18, "sample": 0.046},
             "damaged": {"b.gz": "breaks off"}}  # fmt: skip
    (folder / "stats.json").write_text(json.dumps(stats))
    lengths = {"records": 1440, "median": 210.0, "p95": 390.0, "longest": 640, "max_length": 512,
               "cut": 7, "trained_share": 0.6, "tokens": {"0": 90, "600": 7}}  # fmt: skip
    (folder / "lengths.json").write_text(json.dumps(lengths))
    conclude(folder / "merge.json", "merge", True, "logits agree", {"d": 1e-4}, {"d": 0.02})
    (folder / "config.yaml").write_text("seed: 42\ncorpus:\n  system: 厨师\n", encoding="utf-8")
    (folder / "lmdeploy.lock").write_text("lmdeploy==0.7.3\ntorch==2.13.0\n")
    (folder / "logs").mkdir()
    (folder / "plan.csv").write_text("stage,jobs,host,seconds\ntrain,1,1000,60\n")
    (folder / "sha256.txt").write_text(f"{'0' * 64}  results/config.yaml\n")


def options_of(folder: Path) -> dict[str, str | list[str]]:
    """Return the command line's options for what `make_stages` left."""
    return {
        "results": str(folder / "results"),
        "evaluations": str(folder / "evaluate"),
        "variants": list(VARIANTS),
        "benchmarks": ["ceval=C-Eval", "recipe=Dishes & more"],
        "rule": json.dumps({"max_loss": 20, "prefer": "memory", "tokens": 16384}),
        "cards": "24",
        "chat-tokens": "2048",
        "answers": "20",
        "diverged": [],
        "checks": str(folder / "merge.json"),
        "corpus-stats": str(folder / "stats.json"),
        "sample-lengths": str(folder / "lengths.json"),
        "training-log": str(folder / "loss.csv"),
        "config": str(folder / "config.yaml"),
        "locks": str(folder / "lmdeploy.lock"),
        "logs": str(folder / "logs"),
        "plan": str(folder / "plan.csv"),
        "hashes": str(folder / "sha256.txt"),
        "summary": str(folder / "out" / "summary.csv"),
        "decision": str(folder / "out" / "decision.json"),
        "report": str(folder / "out" / "report.html"),
    }


def run(
    folder: Path, edited: bool = False, **changes: str | list[str]
) -> subprocess.CompletedProcess[str]:
    """Run the script on what `make_stages` left, with other options or more of them.

    The tables are those of their stages, unless they were `edited` since.
    """
    if not edited:
        write_checks(folder)
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    return report(arguments_of(options_of(folder) | named))


def arguments_of(options: Mapping[str, str | list[str]]) -> list[str]:
    """Return the words of a command line."""
    words = []
    for name, value in options.items():
        words += [f"--{name}", *([value] if isinstance(value, str) else value)]
    return words


def report(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run report.py as `python report.py` does, but in this process, which has loaded pandas."""
    command, code = [str(REPORT), *arguments], 0
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), mock.patch("sys.argv", command):
        try:
            runpy.run_path(str(REPORT), run_name="__main__")
        except SystemExit as stop:
            code = int(stop.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


class Page(HTMLParser):
    """Collects what a browser would fetch, the elements, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "action") and value:
                self.addresses.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data
