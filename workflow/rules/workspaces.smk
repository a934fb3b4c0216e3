# TurboMind workspaces, and the variants that can be deployed.
#
# Needs build/base, build/merged and the folders of the other weight schemes. With `lmdeploy: latest`
# there are no workspaces: the variants are the model folders themselves, and checked as such.
# Makes build/workspace/{weights} and, hard-linked from them with the engine's settings,
# workspaces/{variant}; the checks workspace_{weights}, template and, of each quantised KV cache, one
# by the variant's name. butler/schemes.py lists weights, KV caches and variants.


rule workspace:
    """Convert a model folder to a TurboMind workspace."""
    input:
        **tool("lmdeploy", "workspace.py"),
        model=lambda w: model_folder(wanted(w.weights).weights.name),
    output:
        directory("build/workspace/{weights}"),
    log:
        "logs/workspace_{weights}.log",
    benchmark:
        "logs/workspace_{weights}.tsv"
    resources:
        mem_mb=memory("workspace"),
    params:
        python=python("lmdeploy"),
        format=lambda w: WEIGHT_SCHEMES[w.weights].format,
        group_size=lambda w: (settings.awq.group_size if WEIGHT_SCHEMES[w.weights].grouped else 0),
        tp=settings.workspace.tp,
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --format {params.format} "
        "--group-size {params.group_size} --tp {params.tp} --out {output} > {log} 2>&1"


rule check_workspace:
    """Stop unless what is served is its model, tensor by tensor and in likelihood."""
    input:
        **tool("lmdeploy", "check_workspace.py"),
        server=f"{ENVIRONMENTS}/{RELEASE.tool}.json",
        server_locks=locks(RELEASE.tool),
        workspace=lambda w: served_from(w.weights),
        model=lambda w: model_folder(w.weights),
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
        mem_mb=memory("check_workspace"),
        gpu=GPUS * settings.workspace.tp,
    params:
        python=python("lmdeploy"),
        format=lambda w: WEIGHT_SCHEMES[w.weights].format,
        template=settings.base.chat_template,
        engine=ENGINE,
        server=asked_server(),
        backend=lambda w: WEIGHT_SCHEMES[w.weights].backends[0],
        limit=settings.checks.workspace_nll,
        lmdeploy_limit=lambda w: max(
            settings.checks.workspace_nll_lmdeploy, WEIGHT_SCHEMES[w.weights].agreement
        ),
    shell:
        "{params.python:q} {input.code[0]:q} --workspace {input.workspace} "
        "--weights {wildcards.weights} --model {input.model} "
        "--format {params.format} --held-out {input.held_out} --chat-template {params.template} "
        "--engine {params.engine} {params.server} --backend {params.backend} "
        "--limit {params.limit} "
        "--lmdeploy-limit {params.lmdeploy_limit} --threads {threads} --out {output} "
        "> {log} 2>&1"


rule training_prompts:
    """Write down the tokens that XTuner trains on, by XTuner's own code."""
    input:
        **tool(TRAINER, "training_prompts.py"),
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
        mem_mb=memory("training_prompts"),
    params:
        python=python(TRAINER),
    shell:
        "{params.python:q} {input.code[0]:q} --config {input.config} --data {input.data} "
        "--out {output} > {log} 2>&1"


rule check_template:
    """Stop unless prompts are byte for byte those that the model was trained on."""
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
        mem_mb=memory("check_template"),
    params:
        python=python("lmdeploy"),
    shell:
        "{params.python:q} {input.code[0]:q} --prompts {input.prompts} "
        "--workspace {input.workspace} --out {output} > {log} 2>&1"


rule variant:
    """Hard-link a workspace and give it the engine's settings of one variant."""
    input:
        **tool("lmdeploy", "variant.py"),
        weights=lambda w: served_from(wanted(w.variant).weights.name),
        kv_parameters=lambda w: static_parameters(w.variant),
    output:
        directory("workspaces/{variant}"),
    log:
        "logs/variant_{variant}.log",
    benchmark:
        "logs/variant_{variant}.tsv"
    resources:
        mem_mb=memory("variant"),
    params:
        python=python("lmdeploy"),
        lmdeploy=RELEASE.name,
        backend=lambda w: KNOWN[w.variant].backend,
        source="--workspace" if RELEASE.workspaces else "--model",
        kv=lambda w: KNOWN[w.variant].kv.name,
        kv_parameters=lambda w, input: option("--kv-parameters", input.kv_parameters),
        cache=lambda w: cache_share(w.variant),
        session_len=settings.workspace.session_len,
    shell:
        "{params.python:q} {input.code[0]:q} {params.source} {input.weights} "
        "--lmdeploy {params.lmdeploy} --backend {params.backend} "
        "--kv {params.kv} {params.kv_parameters} "
        "--cache-max-entry-count {params.cache} --session-len {params.session_len} "
        "--out {output} > {log} 2>&1"


rule check_kv_cache:
    """Stop if a quantised KV cache costs too much likelihood on held-out text."""
    input:
        **tool("lmdeploy", "check_kv_cache.py"),
        server=f"{ENVIRONMENTS}/{RELEASE.tool}.json",
        server_locks=locks(RELEASE.tool),
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
    wildcard_constraints:
        variant="|".join(name for name, one in VARIANTS.items() if one.kv.quantised),
    threads: 2
    resources:
        mem_mb=memory("check_kv_cache"),
        gpu=GPUS * settings.workspace.tp,
    params:
        python=python("lmdeploy"),
        template=settings.base.chat_template,
        engine=ENGINE,
        server=asked_server(),
        backend=lambda w: KNOWN[w.variant].weights.backends[0],
        limit=lambda w: kv_limit(KNOWN[w.variant].kv),
    shell:
        "{params.python:q} {input.code[0]:q} --workspace {input.workspace} "
        "--held-out {input.held_out} --chat-template {params.template} "
        "--engine {params.engine} {params.server} --backend {params.backend} "
        "--limit {params.limit} --threads {threads} --out {output} > {log} 2>&1"
