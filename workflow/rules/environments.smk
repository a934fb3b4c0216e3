# One virtual environment per tool: the tools cannot share one.
#
# Needs envs/TOOL.lock, envs/TOOL.torch.lock and a package index.
# Makes .envs/TOOL and, once it is complete and imports, .envs/TOOL.json.


rule environment:
    """Build a tool's environment from its locks."""
    input:
        code=code("build_environment.py"),
        locks=lambda w: locks(w.tool),
        extra=lambda w: stand_ins(w.tool),
    output:
        stamp=f"{ENVIRONMENTS}/{{tool}}.json",
    log:
        "logs/environment_{tool}.log",
    benchmark:
        "logs/environment_{tool}.tsv"
    resources:
        mem_mb=memory("environment"),
    params:
        into=f"{ENVIRONMENTS}/{{tool}}",
        extra=lambda w: repository("envs/torchvision") if w.tool == "xtuner" else [],
        imports=lambda w: {
            "xtuner": "torch bitsandbytes xtuner.dataset xtuner.model deepspeed",
            "lmdeploy": "torch transformers fastapi uvicorn gradio lmdeploy.version",
            "lmdeploy-latest": "torch transformers fastapi uvicorn lmdeploy.version",
            "opencompass": "torch opencompass jieba rouge_score sacrebleu",
        }[w.tool],
    shell:
        "python {input.code[0]:q} --lock {input.locks[0]:q} --into {params.into:q} "
        "--stamp {output.stamp:q} --extra {params.extra:q} --imports {params.imports} > {log} 2>&1"
