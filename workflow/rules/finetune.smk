# QLoRA fine-tuning with XTuner, and the merged model.
#
# Needs build/corpus/train.jsonl and build/base.
# Makes build/train (XTuner's configuration, lengths of the samples, last checkpoint, losses),
# build/adapter (Hugging Face form), build/merged, and the checks merge and training. A cut training
# resumes from its last checkpoint in build/train/work.


rule training_config:
    """Render XTuner's configuration file; on a GPU its free memory decides the micro batch."""
    input:
        **tool(TRAINER, "render_training.py"),
        templates=repository("config/chat_templates.yaml"),
        base="build/base",
    output:
        config="build/train/config.py",
        plan="build/train/plan.json",
    log:
        "logs/training_config.log",
    benchmark:
        "logs/training_config.tsv"
    resources:
        mem_mb=memory("training_config"),
        gpu=GPUS * settings.train.processes,
    params:
        python=python(TRAINER),
        settings=settings.train.to_argument(),
        seed=settings.seed,
        device=settings.device,
        template=settings.base.chat_template,
        remote_code=flag("--remote-code", settings.base.remote_code),
        data=lambda w: places.of("build/corpus/train.jsonl"),
    shell:
        "{params.python:q} {input.code[0]:q} --settings {params.settings:q} --device {params.device} "
        "--chat-template {params.template} {params.remote_code} --base {input.base} "
        "--data {params.data} --seed {params.seed} --out {output.config} "
        "--plan {output.plan} > {log} 2>&1"


rule sample_lengths:
    """Count the tokens of the training samples; stop the run if too many would be cut."""
    input:
        **tool(TRAINER, "sample_lengths.py"),
        config="build/train/config.py",
        data="build/corpus/train.jsonl",
        base="build/base",
    output:
        "build/train/lengths.json",
    log:
        "logs/sample_lengths.log",
    benchmark:
        "logs/sample_lengths.tsv"
    resources:
        mem_mb=memory("sample_lengths"),
    params:
        python=python(TRAINER),
        max_length=settings.train.max_length,
        # As a function of the input it is not compared: another limit trains nothing anew.
        limit=lambda w, input: settings.checks.cut_samples,
    shell:
        "{params.python:q} {input.code[0]:q} --config {input.config} --data {input.data} "
        "--max-length {params.max_length} --limit {params.limit} --out {output} > {log} 2>&1"


rule train:
    """Fine-tune; resumes by itself, and stops the run if the loss is not finite."""
    input:
        **tool(TRAINER, "train.py"),
        config="build/train/config.py",
        plan="build/train/plan.json",
        lengths="build/train/lengths.json",
        data="build/corpus/train.jsonl",
        base="build/base",
    output:
        checkpoint=directory("build/train/checkpoint"),
        loss=report(
            "build/train/loss.csv",
            caption="../report/loss.rst",
            category="Training",
            labels={"file": "loss"},
        ),
    log:
        "logs/train.log",
    benchmark:
        "logs/train.tsv"
    threads: 2
    resources:
        **training_resources(),
        mem_mb=memory("train"),
    params:
        python=python(TRAINER),
        device=settings.device,
        deepspeed=option("--deepspeed", settings.train.deepspeed),
        folder=subpath(output.checkpoint, parent=True),
    shell:
        "{params.python:q} {input.code[0]:q} --config {input.config} --plan {input.plan} "
        "--data {input.data} "
        "--base {input.base} --work {params.folder}/work --out {output.checkpoint} "
        "--loss {output.loss} {params.deepspeed} "
        "--device {params.device} --threads {threads} > {log} 2>&1"


rule adapter:
    """Turn the checkpoint into a Hugging Face adapter."""
    input:
        **tool(TRAINER, "adapter.py"),
        config="build/train/config.py",
        checkpoint="build/train/checkpoint",
    output:
        directory("build/adapter"),
    log:
        "logs/adapter.log",
    benchmark:
        "logs/adapter.tsv"
    resources:
        mem_mb=memory("adapter"),
    params:
        python=python(TRAINER),
        trained=subpath(input.checkpoint, parent=True),
    shell:
        "{params.python:q} {input.code[0]:q} --config {input.config} "
        "--checkpoint {input.checkpoint} --out {output} --discard {params.trained}/work "
        "> {log} 2>&1"


rule merge:
    """Merge the adapter into the unquantised base."""
    input:
        **tool(TRAINER, "merge.py"),
        base="build/base",
        adapter="build/adapter",
    output:
        directory("build/merged"),
    log:
        "logs/merge.log",
    benchmark:
        "logs/merge.tsv"
    threads: 8
    resources:
        mem_mb=memory("merge"),
    params:
        python=python(TRAINER),
    shell:
        "{params.python:q} {input.code[0]:q} --base {input.base} --adapter {input.adapter} "
        "--out {output} --threads {threads} > {log} 2>&1"


rule check_merge:
    """Stop unless each merged weight is that of base and adapter, to fp16's rounding."""
    input:
        **tool(TRAINER, "check_merge.py"),
        base="build/base",
        adapter="build/adapter",
        merged="build/merged",
    output:
        report(
            "results/checks/merge.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "merge"},
        ),
    log:
        "logs/check_merge.log",
    benchmark:
        "logs/check_merge.tsv"
    threads: 8
    resources:
        mem_mb=memory("check_merge"),
    params:
        python=python(TRAINER),
    shell:
        "{params.python:q} {input.code[0]:q} --base {input.base} --adapter {input.adapter} "
        "--merged {input.merged} --threads {threads} --out {output} > {log} 2>&1"


rule check_training:
    """Stop unless held-out answers are likelier to the merged model than to the base."""
    input:
        **tool(TRAINER, "check_training.py"),
        config="build/train/config.py",
        base="build/base",
        adapter="build/adapter",
        merged="build/merged",
        held_out="build/corpus/test.jsonl",
    output:
        report(
            "results/checks/training.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "training"},
        ),
    log:
        "logs/check_training.log",
    benchmark:
        "logs/check_training.tsv"
    threads: 8
    resources:
        mem_mb=memory("check_training"),
        gpu=GPUS,
    params:
        python=python(TRAINER),
        device=settings.device,
        limit=number_option("--limit", settings.checks.training_nll),
    shell:
        "{params.python:q} {input.code[0]:q} --config {input.config} --base {input.base} "
        "--adapter {input.adapter} --merged {input.merged} --held-out {input.held_out} "
        "{params.limit} --device {params.device} --threads {threads} --out {output} > {log} 2>&1"
