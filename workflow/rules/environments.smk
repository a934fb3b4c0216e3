# One virtual environment per tool: the tools cannot share one.
#
# Needs envs/TOOL.lock, envs/TOOL.torch.lock, envs/TOOL.cuda.lock of LMDeploy, and a package index.
# Makes .envs/TOOL and, once it is complete and imports, .envs/TOOL.json.

LEAST_CAPABILITY = ".".join(map(str, max(one.capability for one in settings.chosen().values())))
SERVING = f"--serving {RELEASE.version} {RELEASE.newest_capability} {LEAST_CAPABILITY}"


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
        extra=lambda w: repository("envs/torchvision") if w.tool in TRAINERS else [],
        imports=lambda w: {
            **dict.fromkeys(TRAINERS, "torch bitsandbytes xtuner.dataset xtuner.model deepspeed"),
            "gptq": "torch transformers llmcompressor",
            "lmdeploy": "torch transformers fastapi uvicorn gradio lmdeploy.version",
            "lmdeploy-latest": "torch transformers fastapi uvicorn lmdeploy.version",
            "opencompass": "torch opencompass jieba rouge_score sacrebleu",
        }[w.tool],
        # The engine itself, which needs the driver.
        on_gpu=lambda w: "lmdeploy.turbomind" if w.tool.startswith("lmdeploy") else "",
        # Checked before anything is fetched. What is built serves every choice, so it is no reason
        # to build anew: Snakemake does not compare params that are functions of the input.
        use=lambda w, input: f"--gpu {'' if ON_REFERENCE else SERVING}" * GPUS,
    shell:
        "python {input.code[0]:q} --lock {input.locks[0]:q} --into {params.into:q} "
        "--stamp {output.stamp:q} --extra {params.extra:q} --imports {params.imports} "
        "--gpu-imports {params.on_gpu} {params.use} > {log} 2>&1"


rule doctor:
    """Say what this machine can do, with nothing built: GPU, memory, disk, network, environments."""
    input:
        code=code("doctor.py"),
    resources:
        mem_mb=memory("doctor"),
    params:
        environments=ENVIRONMENTS,
        tools=TOOLS,
        device=settings.device,
        engine=settings.engine,
        serving=SERVING,
        hub=settings.base.hub,
        folder=flag("--model-is-folder", (ROOT / settings.base.model).is_dir()),
    shell:
        "python {input.code[0]:q} --environments {params.environments:q} --tools {params.tools} "
        "--device {params.device} --engine {params.engine} {params.serving} --hub {params.hub} "
        "{params.folder}"
