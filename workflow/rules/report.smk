# What the owner reads: which variant to ship, and the proof.
#
# Needs the tables and answers of every variant and of the base, the checks, the corpus's counts
# and the losses.
# Makes results/summary.csv, results/decision.json and results/report.html.


rule run_config:
    """Keep the configuration of this run beside its results."""
    output:
        "results/config.yaml",
    log:
        "logs/run_config.log",
    benchmark:
        "logs/run_config.tsv"
    params:
        config=json.dumps(config, ensure_ascii=False),
    shell:
        "printf '%s\\n' {params.config:q} > {output} 2> {log}"


rule report:
    """Join accuracy, memory and speed, decide by the stated rule, and render the page."""
    input:
        code=code("report.py"),
        page=sorted(str(path) for path in (ROOT / "workflow" / "report").iterdir()),
        scores=expand("results/{benchmark}_{model}.csv", benchmark=BENCHMARKS, model=MODELS),
        details=expand(
            "build/evaluate/{benchmark}_{model}/details.jsonl", benchmark=BENCHMARKS, model=MODELS
        ),
        efficiency=expand("results/efficiency_{variant}.csv", variant=VARIANTS),
        checks=sorted({check for model in MODELS for check in checks(model)}),
        evaluations=expand(
            "results/checks/evaluation_{benchmark}_{model}.json",
            benchmark=BENCHMARKS,
            model=MODELS,
        ),
        corpus="build/corpus/stats.json",
        loss="build/train/loss.csv",
        config="results/config.yaml",
        locks=expand(repository("envs/{tool}.lock"), tool=USED_TOOLS),
    output:
        summary="results/summary.csv",
        decision="results/decision.json",
        report="results/report.html",
    log:
        "logs/report.log",
    benchmark:
        "logs/report.tsv"
    resources:
        mem_mb=1000,
    params:
        variants=",".join(VARIANTS),
        benchmarks=",".join(BENCHMARKS),
        max_loss=config["decision"]["max_loss"],
        prefer=config["decision"]["prefer"],
        tokens=config["decision"]["tokens"],
        cards=config["efficiency"]["cards"],
        chat_tokens=config["efficiency"]["chat_tokens"],
    shell:
        "python {input.code[0]:q} --results results --evaluations build/evaluate "
        "--variants {params.variants} --benchmarks {params.benchmarks} --base base "
        "--max-loss {params.max_loss} --prefer {params.prefer} --tokens {params.tokens} "
        "--cards {params.cards} --chat-tokens {params.chat_tokens} "
        "--checks {input.checks} {input.evaluations} --corpus-stats {input.corpus} "
        "--training-log {input.loss} --config {input.config} --locks {input.locks:q} "
        "--summary {output.summary} --decision {output.decision} --report {output.report} "
        "> {log} 2>&1"
