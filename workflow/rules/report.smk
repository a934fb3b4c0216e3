# What the owner reads: which variant to ship, and the proof.
#
# Needs the tables and answers of every variant and of the base, the checks, the corpus's counts
# and the losses.
# Makes results/summary.csv, results/decision.json, results/report.html, results/sha256.txt and
# results/provenance.json.


report: "../report/workflow.rst"


CHECKS = sorted(
    {check for variant in MODELS for check in checks(variant)}
    | set(
        expand(
            "results/checks/evaluation_{benchmark}_{variant}.json",
            benchmark=BENCHMARKS,
            variant=MODELS,
        )
    )
    | set(expand("results/checks/efficiency_{variant}.json", variant=settings.variants))
    | set(expand("results/checks/divergence_{variant}.json", variant=DIVERGED))
)
LOCKS = [lock for tool in TOOLS for lock in locks(tool)]
SCORES = expand("results/{benchmark}_{variant}.csv", benchmark=BENCHMARKS, variant=MODELS)
EFFICIENCY = expand("results/efficiency_{variant}.csv", variant=settings.variants)
ANSWERS = expand(
    "build/evaluate/{benchmark}_{variant}/details.jsonl", benchmark=BENCHMARKS, variant=MODELS
)

# What a page is made of beside our code.
PAGE = sorted(
    str(path) for path in (ROOT / "workflow" / "report").iterdir() if path.suffix != ".rst"
)
# What a report across runs reads of each.
COMPARED = [
    *SCORES,
    *EFFICIENCY,
    *ANSWERS,
    *CHECKS,
    "build/train/loss.csv",
    "results/config.yaml",
]
# What a run is asked for.
WANTED = [
    *(f"results/{name}" for name in ("report.html", "summary.csv", "decision.json")),
    "results/provenance.json",
    *SCORES,
    *EFFICIENCY,
    *DIVERGENCE,
    *CHECKS,
    *expand("workspaces/{variant}", variant=MODELS),
]
# What needs a network, and what can be read of the benchmarks before anything is trained.
PREPARED = [
    *STAMPS,
    "build/base",
    *(f"build/benchmarks/{name}.jsonl" for name in BENCHMARKS if not held_out(name)),
]


rule run_config:
    """Keep the configuration of this run beside its results."""
    input:
        code=code("keep_config.py"),
    output:
        report(
            "results/config.yaml",
            caption="../report/config.rst",
            category="Run",
            labels={"file": "configuration"},
        ),
    log:
        "logs/run_config.log",
    benchmark:
        "logs/run_config.tsv"
    resources:
        mem_mb=memory("run_config"),
    params:
        config=settings.to_argument(),
    shell:
        "python {input.code[0]:q} --config {params.config:q} --out {output} > {log} 2>&1"


rule planned:
    """Write down what the plan gave each stage, before any of it is made."""
    input:
        code=code("write_plan.py"),
        base="build/base",
        corpus=corpus_files(),
    output:
        report(
            "results/plan.csv",
            caption="../report/plan.rst",
            category="Run",
            labels={"file": "plan"},
        ),
    log:
        "logs/planned.log",
    benchmark:
        "logs/planned.tsv"
    resources:
        mem_mb=memory("planned"),
    params:
        config=settings.to_argument(),
        repository=lambda w: str(ROOT),
        on_gpu=flag("--on-gpu", GPUS),
        tools=len(TOOLS),
    shell:
        "python {input.code[0]:q} --config {params.config:q} --repository {params.repository:q} "
        "--base {input.base} --tools {params.tools} {params.on_gpu} --out {output} > {log} 2>&1"


rule hashes:
    """Write down the SHA-256 of every artefact."""
    input:
        code=code("hash_artefacts.py"),
        corpus=rules.corpus.output,
        # With what the variants are linked from, as the checks of workspaces name it.
        models=sorted(
            {"build/adapter"}
            | {f"build/{one.weights.folder}" for one in MODELS.values()}
            | {served_from(one.weights.name) for one in MODELS.values()}
        ),
        workspaces=expand("workspaces/{variant}", variant=MODELS),
        tables=[*SCORES, *EFFICIENCY, *DIVERGENCE, *ANSWERS, *CHECKS],
        run=[
            "build/train/config.py",
            "build/train/lengths.json",
            "build/train/loss.csv",
            "results/config.yaml",
            "results/plan.csv",
        ],
    output:
        report(
            "results/sha256.txt",
            caption="../report/sha256.rst",
            category="Run",
            labels={"file": "hashes"},
        ),
    log:
        "logs/hashes.log",
    benchmark:
        "logs/hashes.tsv"
    resources:
        mem_mb=memory("hashes"),
    shell:
        "python {input.code[0]:q} --out {output} {input.corpus} {input.models} "
        "{input.workspaces} {input.tables} {input.run} > {log} 2>&1"


rule report:
    """Join accuracy, memory and speed, decide by the stated rule, and render the page."""
    input:
        code=code("report.py"),
        page=PAGE,
        scores=SCORES,
        details=ANSWERS,
        efficiency=EFFICIENCY,
        divergence=DIVERGENCE,
        checks=CHECKS,
        corpus="build/corpus/stats.json",
        lengths="build/train/lengths.json",
        loss="build/train/loss.csv",
        config="results/config.yaml",
        plan="results/plan.csv",
        hashes="results/sha256.txt",
        locks=LOCKS,
        links=places.links,
    output:
        summary=report(
            "results/summary.csv",
            caption="../report/summary.rst",
            category="Decision",
            labels={"file": "summary table"},
        ),
        decision=report(
            "results/decision.json",
            caption="../report/decision.rst",
            category="Decision",
            labels={"file": "decision"},
        ),
        report=report(
            "results/report.html",
            caption="../report/report.rst",
            category="Decision",
            labels={"file": "report"},
        ),
    log:
        "logs/report.log",
    benchmark:
        "logs/report.tsv"
    resources:
        mem_mb=memory("report"),
    params:
        variants=settings.variants,
        diverged=DIVERGED,
        benchmarks=[f"{name}={one.label or name}" for name, one in BENCHMARKS.items()],
        rule=settings.decision.to_argument(),
        cards=settings.efficiency.cards,
        chat_tokens=settings.efficiency.chat_tokens,
        answers=settings.report.answers,
        results=lambda w: places.folder("results"),
        evaluations=lambda w: places.folder("build/evaluate"),
        logs=lambda w: places.folder("logs"),
    # logs/ is no input: it holds the benchmark files of the jobs that made the inputs, and a run
    # that made none of them anew has nothing to add.
    shell:
        "python {input.code[0]:q} --results {params.results} --evaluations {params.evaluations} "
        "--variants {params.variants} --diverged {params.diverged} "
        "--benchmarks {params.benchmarks:q} --rule {params.rule:q} "
        "--cards {params.cards} --chat-tokens {params.chat_tokens} --answers {params.answers} "
        "--checks {input.checks} --corpus-stats {input.corpus} --sample-lengths {input.lengths} "
        "--training-log {input.loss} --config {input.config} --locks {input.locks:q} "
        "--logs {params.logs} --plan {input.plan} --hashes {input.hashes} "
        "--summary {output.summary} --decision {output.decision} --report {output.report} "
        "> {log} 2>&1"


rule provenance:
    """Write down what made each artefact, from which inputs and with which versions."""
    input:
        code=code("provenance.py"),
        targets=rules.report.output,
        hashes="results/sha256.txt",
        config="results/config.yaml",
        locks=LOCKS,
    output:
        report(
            "results/provenance.json",
            caption="../report/provenance.rst",
            category="Run",
            labels={"file": "provenance"},
        ),
    log:
        "logs/provenance.log",
    benchmark:
        "logs/provenance.tsv"
    resources:
        mem_mb=memory("provenance"),
    shell:
        "python {input.code[0]:q} --targets {input.targets} --hashes {input.hashes} "
        "--config {input.config} --locks {input.locks:q} --out {output} > {log} 2>&1"
