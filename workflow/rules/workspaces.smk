# TurboMind workspaces, and the four variants that can be deployed.
#
# Needs build/base, build/merged, build/awq and build/kv8. With `lmdeploy: latest` there are no
# workspaces: the variants are the model folders themselves.
# Makes build/workspace/{base,fp16,w4} and, hard-linked from them with the engine's settings,
# workspaces/{base,fp16,kv8,w4,w4kv8}; the checks workspace_*, template, kv8 and w4kv8.


rule workspace:
    """Convert a model folder to a TurboMind workspace."""
    input:
        **tool("lmdeploy", "workspace.py"),
        model=lambda w: f"build/{SOURCES[w.weights][0]}",
    output:
        directory("build/workspace/{weights}"),
    log:
        "logs/workspace_{weights}.log",
    benchmark:
        "logs/workspace_{weights}.tsv"
    resources:
        mem_mb=1500,
    params:
        python=python("lmdeploy"),
        format=lambda w: SOURCES[w.weights][1],
        group_size=lambda w: config["awq"]["group_size"] if w.weights == "w4" else 0,
        tp=config["workspace"]["tp"],
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --format {params.format} "
        "--group-size {params.group_size} --tp {params.tp} --out {output} > {log} 2>&1"


rule check_workspace:
    """Stop unless held-out text is as likely through the workspace as through its model."""
    input:
        **tool("lmdeploy", "check_workspace.py"),
        workspace="build/workspace/{weights}",
        model=lambda w: f"build/{SOURCES[w.weights][0]}",
        held_out="build/corpus/test.jsonl",
    output:
        report(
            "results/checks/workspace_{weights}.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "workspace of {weights}"},
        ),
    log:
        "logs/check_workspace_{weights}.log",
    benchmark:
        "logs/check_workspace_{weights}.tsv"
    threads: 2
    resources:
        mem_mb=2000,
    params:
        python=python("lmdeploy"),
        format=lambda w: SOURCES[w.weights][1],
        template=config["base"]["chat_template"],
        limit=config["checks"]["workspace_nll"],
    shell:
        "{params.python:q} {input.code[0]:q} --workspace {input.workspace} --model {input.model} "
        "--format {params.format} --held-out {input.held_out} --chat-template {params.template} "
        "--limit {params.limit} --threads {threads} --out {output} > {log} 2>&1"


rule training_prompts:
    """Write down the tokens that XTuner trains on, by XTuner's own code."""
    input:
        **tool("xtuner", "training_prompts.py", "butler/xtuner/support.py"),
        config="build/train/config.py",
        data="build/corpus/train.jsonl",
        base="build/base",
    output:
        "build/train/prompts.jsonl",
    log:
        "logs/training_prompts.log",
    benchmark:
        "logs/training_prompts.tsv"
    resources:
        mem_mb=1500,
    params:
        python=python("xtuner"),
    shell:
        "{params.python:q} {input.code[0]:q} --config {input.config} --data {input.data} "
        "--out {output} > {log} 2>&1"


rule check_template:
    """Stop unless the model is asked with the very bytes it was trained on."""
    input:
        **tool("lmdeploy", "check_template.py"),
        prompts="build/train/prompts.jsonl",
        workspace=served_from("fp16"),
    output:
        report(
            "results/checks/template.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "template"},
        ),
    log:
        "logs/check_template.log",
    benchmark:
        "logs/check_template.tsv"
    resources:
        mem_mb=1000,
    params:
        python=python("lmdeploy"),
    shell:
        "{params.python:q} {input.code[0]:q} --prompts {input.prompts} "
        "--workspace {input.workspace} --out {output} > {log} 2>&1"


rule variant:
    """Hard-link a workspace and give it the engine's settings of one variant."""
    input:
        **tool("lmdeploy", "variant.py"),
        weights=lambda w: served_from(MODELS[w.model].weights),
        kv8=lambda w: "build/kv8" if MODELS[w.model].kv8 and RELEASE.workspaces else [],
    output:
        directory("workspaces/{model}"),
    log:
        "logs/variant_{model}.log",
    benchmark:
        "logs/variant_{model}.tsv"
    resources:
        mem_mb=500,
    params:
        python=python("lmdeploy"),
        lmdeploy=RELEASE.name,
        source="--workspace" if RELEASE.workspaces else "--model",
        kv_parameters=lambda w, input: f"--kv-parameters {input.kv8}" if input.kv8 else "",
        quant_policy=lambda w: config["kv8"]["quant_policy"] if MODELS[w.model].kv8 else 0,
        cache=lambda w: config["kv8" if MODELS[w.model].kv8 else "workspace"][
            "cache_max_entry_count"
        ],
        session_len=config["workspace"]["session_len"],
    shell:
        "{params.python:q} {input.code[0]:q} {params.source} {input.weights} "
        "--lmdeploy {params.lmdeploy} {params.kv_parameters} "
        "--quant-policy {params.quant_policy} --cache-max-entry-count {params.cache} "
        "--session-len {params.session_len} --out {output} > {log} 2>&1"


rule check_kv8:
    """Stop if the int8 cache costs too much likelihood on held-out text."""
    input:
        **tool("lmdeploy", "check_kv8.py"),
        workspace="workspaces/{variant}",
        held_out="build/corpus/test.jsonl",
    output:
        report(
            "results/checks/{variant}.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "{variant}"},
        ),
    log:
        "logs/check_{variant}.log",
    benchmark:
        "logs/check_{variant}.tsv"
    threads: 2
    resources:
        mem_mb=1500,
    params:
        python=python("lmdeploy"),
        template=config["base"]["chat_template"],
        limit=config["checks"]["kv8_nll"],
    shell:
        "{params.python:q} {input.code[0]:q} --workspace {input.workspace} "
        "--held-out {input.held_out} --chat-template {params.template} --limit {params.limit} "
        "--threads {threads} --out {output} > {log} 2>&1"
