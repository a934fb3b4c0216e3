# Accuracy and efficiency of each variant, through the engine that serves it.
#
# Needs workspaces/* that passed their checks, build/corpus/test.jsonl and a C-Eval folder.
# Makes results/{benchmark}_{model}.csv (and the answers behind it in build/evaluate),
# results/efficiency_{model}.csv and the checks evaluation_*.

# What evaluate_model.py starts or names rather than imports.
STARTED = [
    "serve.py",
    "butler/benchmarks/opencompass/run_config.py",
    "butler/benchmarks/opencompass/build.py",
    "butler/benchmarks/opencompass/parts.py",
]


rule evaluate:
    """Let OpenCompass ask one model the questions of one benchmark."""
    input:
        **tool(RELEASE.tool, "evaluate_model.py", *STARTED),
        opencompass_locks=locks("opencompass"),
        opencompass=f"{ENVIRONMENTS}/opencompass.json",
        workspace="workspaces/{model}",
        checks=lambda w: checks(w.model),
        data=benchmark_data,
    output:
        scores=report(
            "results/{benchmark}_{model}.csv",
            caption="../report/evaluation.rst",
            category="Accuracy",
            labels={"benchmark": "{benchmark}", "model": "{model}"},
        ),
        check=report(
            "results/checks/evaluation_{benchmark}_{model}.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "evaluation of {model} on {benchmark}"},
        ),
        details="build/evaluate/{benchmark}_{model}/details.jsonl",
    log:
        "logs/evaluate_{benchmark}_{model}.log",
    benchmark:
        "logs/evaluate_{benchmark}_{model}.tsv"
    threads: 2
    resources:
        mem_mb=2500,
        gpu=GPUS * config["workspace"]["tp"],
    params:
        server=python(RELEASE.tool),
        opencompass=python("opencompass"),
        engine=config["engine"],
        tp=config["workspace"]["tp"],
        options=benchmark_options,
        max_new_tokens=lambda w: config["benchmarks"][w.benchmark]["max_new_tokens"],
        session_len=config["workspace"]["session_len"],
        remote_code=flag("--trust-remote-code", config["base"]["remote_code"]),
        blank=lambda w: 1 if w.model == BASE else config["checks"]["blank_answers"],
        work=subpath(output.details, parent=True),
    shell:
        "python {input.code[0]:q} --benchmark {wildcards.benchmark} --variant {wildcards.model} "
        "--workspace {input.workspace} --server-python {params.server:q} "
        "--opencompass-python {params.opencompass:q} --engine {params.engine} "
        "--tp {params.tp} {params.options} "
        "--max-new-tokens {params.max_new_tokens} --session-len {params.session_len} "
        "{params.remote_code} --threads {threads} --max-blank-share {params.blank} "
        "--work-dir {params.work} "
        "--out {output.scores} --check {output.check} > {log} 2>&1"


rule efficiency:
    """Measure size, memory and speed of one variant."""
    input:
        **tool(RELEASE.tool, "measure_efficiency.py"),
        workspace="workspaces/{variant}",
        checks=lambda w: checks(w.variant),
    output:
        report(
            "results/efficiency_{variant}.csv",
            caption="../report/efficiency.rst",
            category="Efficiency",
            labels={"variant": "{variant}"},
        ),
    log:
        "logs/efficiency_{variant}.log",
    benchmark:
        "logs/efficiency_{variant}.tsv"
    # Speed is measured with nothing else beside it: all the cores there are.
    threads: workflow.cores
    resources:
        mem_mb=2000,
        gpu=GPUS * config["workspace"]["tp"],
    params:
        python=python(RELEASE.tool),
        engine=config["engine"],
        tp=config["workspace"]["tp"],
        concurrency=config["efficiency"]["concurrency"],
        prompt_tokens=config["efficiency"]["prompt_tokens"],
        new_tokens=config["efficiency"]["new_tokens"],
        repeats=config["efficiency"]["repeats"],
        remote_code=flag("--trust-remote-code", config["base"]["remote_code"]),
    shell:
        "{params.python:q} {input.code[0]:q} --workspace {input.workspace} "
        "--variant {wildcards.variant} --engine {params.engine} --tp {params.tp} "
        "--concurrency {params.concurrency} "
        "--prompt-tokens {params.prompt_tokens} --new-tokens {params.new_tokens} "
        "--repeats {params.repeats} {params.remote_code} --threads 2 --out {output} > {log} 2>&1"
