# Accuracy and efficiency of each variant, through the engine that serves it.
#
# Needs the benchmarks' data, workspaces/* that passed their checks and, for questions that are drawn
# from it, build/corpus/test.jsonl.
# Makes build/benchmarks/{benchmark}.jsonl (the questions, read before the training),
# results/{benchmark}_{variant}.csv (and the answers behind it in build/evaluate),
# results/efficiency_{variant}.csv and the checks evaluation_* and efficiency_*. Only if asked for:
# results/{benchmark}_base-hf.csv, the base through its Hugging Face folder and no engine.


rule questions:
    """Read what a benchmark asks; stop the run if it cannot be asked.

    First of all that can run, and with nothing beside it: what cannot be asked stops the run
    before the training. It waits for the environment of its tool, and where that is built last, a training
    may have begun; `snakemake prepare` builds them all and reads the questions that it can.
    """
    input:
        code=lambda w: code("questions.py", *reading_code(w.benchmark)),
        environment=lambda w: questions_environment(w.benchmark),
        data=lambda w: benchmark_files(w.benchmark),
        held_out=lambda w: held_out(w.benchmark),
    output:
        "build/benchmarks/{benchmark}.jsonl",
    log:
        "logs/questions_{benchmark}.log",
    benchmark:
        "logs/questions_{benchmark}.tsv"
    priority: 100
    threads: workflow.cores
    resources:
        mem_mb=memory("questions"),
    params:
        python=lambda w: questions_python(w.benchmark),
        repository=lambda w: str(ROOT),
        settings=lambda w: BENCHMARKS[w.benchmark].to_argument("label"),
        held_out=lambda w, input: option("--held-out", input.held_out),
        session_len=settings.workspace.session_len,
        rounds=rounds_options(),
    shell:
        "{params.python:q} {input.code[0]:q} --benchmark {params.settings:q} "
        "--repository {params.repository:q} {params.held_out} --session-len {params.session_len} "
        "{params.rounds} --out {output} > {log} 2>&1"


rule evaluate:
    """Let OpenCompass ask one model the questions of one benchmark.

    Where that is done in rounds, a variant waits for the baseline's answers, and is asked until it
    is settled whether it loses more than it may.
    """
    input:
        **tool(RELEASE.tool),
        code=lambda w: code("evaluate_model.py", *evaluation_code(w.benchmark)),
        opencompass_locks=locks("opencompass"),
        opencompass=f"{ENVIRONMENTS}/opencompass.json",
        workspace="workspaces/{variant}",
        checks=lambda w: checks(w.variant),
        questions="build/benchmarks/{benchmark}.jsonl",
        against=lambda w: compared_with(w.benchmark, w.variant),
        data=lambda w: benchmark_files(w.benchmark),
    output:
        scores=report(
            "results/{benchmark}_{variant}.csv",
            caption="../report/evaluation.rst",
            category="Accuracy",
            labels={"benchmark": "{benchmark}", "variant": "{variant}"},
        ),
        check=report(
            "results/checks/evaluation_{benchmark}_{variant}.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "evaluation of {variant} on {benchmark}"},
        ),
        details="build/evaluate/{benchmark}_{variant}/details.jsonl",
    log:
        "logs/evaluate_{benchmark}_{variant}.log",
    benchmark:
        "logs/evaluate_{benchmark}_{variant}.tsv"
    threads: 2
    resources:
        mem_mb=memory("evaluate"),
        gpu=GPUS * settings.workspace.tp,
    params:
        server=python(RELEASE.tool),
        opencompass=python("opencompass"),
        engine=ENGINE,
        tp=settings.workspace.tp,
        repository=lambda w: str(ROOT),
        settings=lambda w: BENCHMARKS[w.benchmark].to_argument("label"),
        session_len=settings.workspace.session_len,
        remote_code=flag("--trust-remote-code", settings.base.remote_code),
        blank=lambda w: 1 if w.variant == BASE else settings.checks.blank_answers,
        against=lambda w, input: option("--against", input.against and input.against[0]),
        rounds=lambda w: stop_options(w.benchmark, w.variant),
        work=subpath(output.details, parent=True),
    shell:
        "python {input.code[0]:q} --benchmark {params.settings:q} --questions {input.questions} "
        "--repository {params.repository:q} --variant {wildcards.variant} "
        "--workspace {input.workspace} --server-python {params.server:q} "
        "--engine {params.engine} --tp {params.tp} "
        "--opencompass-python {params.opencompass:q} --session-len {params.session_len} "
        "{params.remote_code} --threads {threads} --max-blank-share {params.blank} "
        "{params.against} {params.rounds} --work-dir {params.work} --out {output.scores} "
        "--check {output.check} > {log} 2>&1"


rule evaluate_hugging_face:
    """Let OpenCompass ask the base itself, through its Hugging Face folder and no engine."""
    input:
        **tool(TRAINER),
        code=lambda w: code("evaluate_model.py", *evaluation_code(w.benchmark)),
        opencompass_locks=locks("opencompass"),
        opencompass=f"{ENVIRONMENTS}/opencompass.json",
        model="build/base",
        questions="build/benchmarks/{benchmark}.jsonl",
        data=lambda w: benchmark_files(w.benchmark),
    output:
        scores="results/{benchmark}_base-hf.csv",
        check="results/checks/evaluation_{benchmark}_base-hf.json",
        details="build/evaluate/{benchmark}_base-hf/details.jsonl",
    log:
        "logs/evaluate_{benchmark}_base-hf.log",
    benchmark:
        "logs/evaluate_{benchmark}_base-hf.tsv"
    threads: 2
    resources:
        mem_mb=memory("evaluate_hugging_face"),
        gpu=GPUS,
    params:
        model=python(TRAINER),
        opencompass=python("opencompass"),
        repository=lambda w: str(ROOT),
        settings=lambda w: BENCHMARKS[w.benchmark].to_argument("label"),
        session_len=settings.workspace.session_len,
        remote_code=flag("--trust-remote-code", settings.base.remote_code),
        work=subpath(output.details, parent=True),
    shell:
        "python {input.code[0]:q} --benchmark {params.settings:q} --questions {input.questions} "
        "--repository {params.repository:q} --variant base-hf "
        "--model {input.model} --transformers-python {params.model:q} "
        "--opencompass-python {params.opencompass:q} --session-len {params.session_len} "
        "{params.remote_code} --threads {threads} --max-blank-share 1 --first-only "
        "--work-dir {params.work} --out {output.scores} --check {output.check} > {log} 2>&1"


rule efficiency:
    """Measure size and memory of one variant and, where LMDeploy serves, its speed."""
    input:
        **tool(RELEASE.tool, "measure_efficiency.py"),
        workspace="workspaces/{variant}",
        checks=lambda w: checks(w.variant),
    output:
        table=report(
            "results/efficiency_{variant}.csv",
            caption="../report/efficiency.rst",
            category="Efficiency",
            labels={"variant": "{variant}"},
        ),
        check="results/checks/efficiency_{variant}.json",
    log:
        "logs/efficiency_{variant}.log",
    benchmark:
        "logs/efficiency_{variant}.tsv"
    # Speed is measured with nothing else beside it: all the cores there are.
    threads: 2 if ON_REFERENCE else workflow.cores
    resources:
        mem_mb=memory("efficiency"),
        gpu=GPUS * settings.workspace.tp,
    params:
        python=python(RELEASE.tool),
        engine=ENGINE,
        tp=settings.workspace.tp,
        # What the report counts from the figures, and not the measurement.
        settings=settings.efficiency.to_argument("cards", "chat_tokens"),
        remote_code=flag("--trust-remote-code", settings.base.remote_code),
    shell:
        "{params.python:q} {input.code[0]:q} --workspace {input.workspace} "
        "--variant {wildcards.variant} --engine {params.engine} --tp {params.tp} "
        "--settings {params.settings:q} {params.remote_code} --threads 2 "
        "--out {output.table} --check {output.check} > {log} 2>&1"
