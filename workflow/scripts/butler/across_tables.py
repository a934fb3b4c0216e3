"""The decision over several runs as plain values: runs/decision.json and runs/summary.csv."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from butler.across import Across, Form, Run, RunVerdict
from butler.decision_texts import Labels, verdict_text
from butler.report_sections.across_section import (
    across_remarks,
    across_rule,
    across_sentence,
    across_sure,
    form_outcome,
    run_outcome,
)
from butler.texts import in_both, say
from butler.verdicts import VariantVerdict


def decision_json(across: Across, labels: Labels) -> dict[str, Any]:
    """Return the decision; what is said, in English and as `…_zh`."""
    chosen, remarks = across.chosen, across_remarks(across, labels)
    told = in_both("text", across_rule(across)) | in_both("sure", across_sure(across))
    return {
        "run": chosen and chosen.run,
        "variant": chosen and chosen.variant,
        **in_both("sentence", across_sentence(across)),
        "remarks": [say(remark, "en") for remark in remarks],
        "remarks_zh": [say(remark, "zh") for remark in remarks],
        "rule": across.rule.model_dump() | told | {"claims": across.claims},
        "asked_alike": list(across.asked_alike),
        "runs": [_run(across, one, labels) for one in across.runs],
        "forms": [_form(across, one) for one in across.forms],
    }


def summary_table(across: Across, runs: Sequence[Run]) -> pd.DataFrame:
    """Return the rows of summary.csv, one per variant of each run.

    Scores are 0 to 100, changes points against the run's own fp16 with the bounds of their 95 %
    interval; `verdict` is what is shown over all runs, `least` and `most` the bounds that decide
    it. Memory is in bytes, speed in tokens per second, losses in nats a token.
    """
    by_name = {run.name: run for run in runs}
    records = []
    for form in across.forms:
        run, judged = by_name[form.run], across.run(form.run)
        speed = form.candidate.decode_tokens_per_s
        record: dict[str, Any] = {
            "scenario": form.run,
            "variant": form.variant,
            "chosen": form is across.chosen,
            "may_ship": form.may_ship,
        }
        for benchmark in run.findings.labels:
            record |= _columns(run, form, benchmark)
        record |= {
            "mean_score": round(form.score, 2),
            "run_leads": judged.leads,
            "run_verdict": judged.verdict and judged.verdict.outcome.value,
            "memory_bytes": form.candidate.memory_bytes,
            "decode_tokens_per_s": speed and speed.median,
            "training_loss": run.loss,
            "held_out_nll": run.held_out,
        }
        records.append(record)
    return pd.DataFrame(records)


def _columns(run: Run, form: Form, benchmark: str) -> dict[str, Any]:
    evaluation = run.findings.evaluations[benchmark, form.variant]
    found: dict[str, Any] = {"score": evaluation.average, "questions": evaluation.questions}
    found |= dict.fromkeys(("change", "change_low", "change_high", "verdict", "least", "most"))
    if form.verdict is not None:
        change = form.candidate.changes[benchmark]
        verdict = form.verdict.benchmarks[benchmark]
        found |= {
            "change": round(change.points, 2),
            "change_low": round(change.low, 2),
            "change_high": round(change.high, 2),
            "verdict": verdict.outcome.value,
            "least": round(verdict.low, 2),
            "most": round(verdict.high, 2),
        }
    return {f"{benchmark}_{name}": value for name, value in found.items()}


def _run(across: Across, run: RunVerdict, labels: Labels) -> dict[str, Any]:
    against: dict[str, dict[str, Any]] = {}
    for (other, name), change in run.changes.items():
        assert run.verdict is not None
        verdict = run.verdict.benchmarks[other, name]
        told = in_both("text", verdict_text(verdict, across.rule.max_loss))
        against.setdefault(other, {})[name] = asdict(verdict) | told | {"change": asdict(change)}
    return {
        "run": run.run,
        "leads": run.leads,
        "may_ship": run.may_ship,
        "mean_score": run.score,
        "outcome": _outcome(run.verdict),
        **in_both("text", run_outcome(run, across.rule.max_loss, labels)),
        "against": against,
    }


def _form(across: Across, form: Form) -> dict[str, Any]:
    found: Mapping[str, Any] = {} if form.verdict is None else form.verdict.benchmarks
    return {
        "run": form.run,
        "variant": form.variant,
        "may_ship": form.may_ship,
        "outcome": _outcome(form.verdict),
        **in_both("text", form_outcome(across, form)),
        "mean_score": form.score,
        "memory_bytes": form.candidate.memory_bytes,
        "benchmarks": {
            name: asdict(verdict)
            | in_both("text", verdict_text(verdict, across.rule.max_loss))
            | {"change": asdict(form.candidate.changes[name])}
            for name, verdict in found.items()
        },
    }


def _outcome(verdict: VariantVerdict | None) -> str | None:
    return None if verdict is None else verdict.outcome.value
