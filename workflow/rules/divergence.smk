# How far each variant's next token is from fp16's.
#
# Needs workspaces/{variant} and workspaces/fp16 that passed their checks, and
# build/corpus/test.jsonl.
# Makes results/divergence_{variant}.csv and the checks divergence_{variant}, which stop nothing.

# What is compared: all variants but the one that they are compared with.
DIVERGED = [name for name in settings.variants if name != BASELINE]
DIVERGENCE = expand("results/divergence_{variant}.csv", variant=DIVERGED)


rule divergence:
    """Compare a variant's next token with fp16's on held-out answers, place by place."""
    input:
        **tool("lmdeploy", "divergence.py"),
        server=f"{ENVIRONMENTS}/{RELEASE.tool}.json",
        server_locks=locks(RELEASE.tool),
        workspace="workspaces/{variant}",
        baseline=f"workspaces/{BASELINE}",
        checks=lambda w: sorted({*checks(w.variant), *checks(BASELINE)}),
        held_out="build/corpus/test.jsonl",
    output:
        table=report(
            "results/divergence_{variant}.csv",
            caption="../report/divergence.rst",
            category="Accuracy",
            labels={"benchmark": "next token", "variant": "{variant}"},
        ),
        check="results/checks/divergence_{variant}.json",
    log:
        "logs/divergence_{variant}.log",
    benchmark:
        "logs/divergence_{variant}.tsv"
    wildcard_constraints:
        variant="|".join(name for name in KNOWN if name != BASELINE),
    threads: 2
    resources:
        mem_mb=memory("divergence"),
        gpu=GPUS * settings.workspace.tp,
    params:
        python=python("lmdeploy"),
        template=settings.base.chat_template,
        engine=ENGINE,
        server=asked_server(),
        conversations=settings.divergence.conversations,
    shell:
        "{params.python:q} {input.code[0]:q} --workspace {input.workspace} "
        "--baseline {input.baseline} --variant {wildcards.variant} --held-out {input.held_out} "
        "--conversations {params.conversations} --chat-template {params.template} "
        "--engine {params.engine} {params.server} --threads {threads} --out {output.table} "
        "--check {output.check} > {log} 2>&1"
