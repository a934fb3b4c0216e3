# Weights in 4 and in 8 bits, most of them calibrated on the training text.
#
# Needs build/merged and build/corpus/train.jsonl.
# Makes build/awq (W4A16) and the check awq; for variants with w4gptq build/gptq and the check gptq, in
# an environment of its own; for those with fp8, w8a8 or w8a8fp8 the folder below build/ and the check
# of that name. With kv_cache.static_parameters also build/calibration (min-max statistics) and
# build/static_kv (scale and zero point of each layer's keys and values).


rule awq:
    """Quantise the weights to 4 bits."""
    input:
        **tool("lmdeploy", "quantise_awq.py"),
        model="build/merged",
        text="build/corpus/train.jsonl",
    output:
        directory("build/awq"),
    log:
        "logs/awq.log",
    benchmark:
        "logs/awq.tsv"
    # What the 4-bit variants wait for goes before checks that fill all cores and nothing waits for.
    priority: 50
    threads: 2
    resources:
        mem_mb=memory("awq"),
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        template=settings.base.chat_template,
        calibration=settings.calibration.to_argument(),
        settings=settings.awq.to_argument(),
        device=settings.device,
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --text {input.text} "
        "--chat-template {params.template} --calibration {params.calibration:q} "
        "--settings {params.settings:q} --device {params.device} --threads {threads} "
        "--out {output} > {log} 2>&1"


rule check_awq:
    """Stop unless the 4-bit weights are the merged model's, rounded."""
    input:
        **tool("lmdeploy", "check_awq.py"),
        merged="build/merged",
        awq="build/awq",
    output:
        report(
            "results/checks/awq.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "awq"},
        ),
    log:
        "logs/check_awq.log",
    benchmark:
        "logs/check_awq.tsv"
    threads: 2
    resources:
        mem_mb=memory("check_awq"),
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        device=settings.device,
        limit=settings.checks.awq_scales,
    shell:
        "{params.python:q} {input.code[0]:q} --merged {input.merged} --awq {input.awq} "
        "--limit {params.limit} --device {params.device} --threads {threads} --out {output} "
        "> {log} 2>&1"


rule gptq:
    """Quantise the weights to 4 bits by GPTQ."""
    input:
        **tool("gptq", "quantise_gptq.py"),
        model="build/merged",
        text="build/corpus/train.jsonl",
    output:
        directory("build/gptq"),
    log:
        "logs/gptq.log",
    benchmark:
        "logs/gptq.tsv"
    priority: 50
    threads: 2
    resources:
        mem_mb=memory("gptq"),
        gpu=GPUS,
    params:
        python=python("gptq"),
        template=settings.base.chat_template,
        calibration=settings.calibration.to_argument(),
        settings=settings.gptq.to_argument(),
        group_size=settings.awq.group_size,
        device=settings.device,
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --text {input.text} "
        "--chat-template {params.template} --calibration {params.calibration:q} "
        "--settings {params.settings:q} --group-size {params.group_size} "
        "--device {params.device} --threads {threads} --out {output} > {log} 2>&1"


rule check_gptq:
    """Stop unless GPTQ's layers give the merged model's outputs, better than plain rounding does."""
    input:
        **tool("lmdeploy", "check_gptq.py"),
        merged="build/merged",
        gptq="build/gptq",
        held_out="build/corpus/test.jsonl",
    output:
        report(
            "results/checks/gptq.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "gptq"},
        ),
    log:
        "logs/check_gptq.log",
    benchmark:
        "logs/check_gptq.tsv"
    threads: 2
    resources:
        mem_mb=memory("check_gptq"),
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        template=settings.base.chat_template,
        device=settings.device,
        error=settings.checks.gptq_error,
        nll=settings.checks.gptq_nll,
    shell:
        "{params.python:q} {input.code[0]:q} --merged {input.merged} --gptq {input.gptq} "
        "--held-out {input.held_out} --chat-template {params.template} "
        "--error-limit {params.error} --nll-limit {params.nll} --device {params.device} "
        "--threads {threads} --out {output} > {log} 2>&1"


rule fp8:
    """Hold the weights as 8-bit floats."""
    input:
        **tool("lmdeploy", "quantise_fp8.py"),
        model="build/merged",
    output:
        directory("build/fp8"),
    log:
        "logs/fp8.log",
    benchmark:
        "logs/fp8.tsv"
    priority: 50
    threads: 2
    resources:
        mem_mb=memory("fp8"),
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        device=settings.device,
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --device {params.device} "
        "--threads {threads} --out {output} > {log} 2>&1"


rule check_fp8:
    """Stop unless the 8-bit floats are the merged model's weights, rounded."""
    input:
        **tool("lmdeploy", "check_fp8.py"),
        merged="build/merged",
        fp8="build/fp8",
    output:
        report(
            "results/checks/fp8.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "fp8"},
        ),
    log:
        "logs/check_fp8.log",
    benchmark:
        "logs/check_fp8.tsv"
    threads: 2
    resources:
        mem_mb=memory("check_fp8"),
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        device=settings.device,
    shell:
        "{params.python:q} {input.code[0]:q} --merged {input.merged} --fp8 {input.fp8} "
        "--device {params.device} --threads {threads} --out {output} > {log} 2>&1"


rule w8a8:
    """Hold the weights in 8 bits, smoothed so that inputs can be quantised as well."""
    input:
        **tool("lmdeploy", "quantise_w8a8.py"),
        model="build/merged",
        text="build/corpus/train.jsonl",
    output:
        directory("build/{scheme}"),
    log:
        "logs/w8a8_{scheme}.log",
    benchmark:
        "logs/w8a8_{scheme}.tsv"
    wildcard_constraints:
        scheme="|".join(W8A8),
    priority: 50
    threads: 2
    resources:
        mem_mb=memory("w8a8"),
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        template=settings.base.chat_template,
        calibration=settings.calibration.to_argument(),
        dtype=lambda w: W8A8[w.scheme].codes,
        device=settings.device,
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --text {input.text} "
        "--chat-template {params.template} --calibration {params.calibration:q} "
        "--dtype {params.dtype} --device {params.device} --threads {threads} --out {output} "
        "> {log} 2>&1"


rule check_w8a8:
    """Stop unless the 8-bit weights are the merged model's, smoothed and rounded."""
    input:
        **tool("lmdeploy", "check_w8a8.py"),
        merged="build/merged",
        made="build/{scheme}",
    output:
        report(
            "results/checks/{scheme}.json",
            caption="../report/check.rst",
            category="Checks",
            labels={"check": "{scheme}"},
        ),
    log:
        "logs/check_w8a8_{scheme}.log",
    benchmark:
        "logs/check_w8a8_{scheme}.tsv"
    wildcard_constraints:
        scheme="|".join(W8A8),
    threads: 2
    resources:
        mem_mb=memory("check_w8a8"),
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        device=settings.device,
    shell:
        "{params.python:q} {input.code[0]:q} --merged {input.merged} --w8a8 {input.made} "
        "--scheme {wildcards.scheme} --device {params.device} --threads {threads} --out {output} "
        "> {log} 2>&1"


rule calibrate:
    """Collect min-max statistics of keys and values over the training text."""
    input:
        **tool("lmdeploy", "calibrate.py"),
        model="build/merged",
        text="build/corpus/train.jsonl",
    output:
        directory("build/calibration"),
    log:
        "logs/calibrate.log",
    benchmark:
        "logs/calibrate.tsv"
    threads: 2
    resources:
        mem_mb=memory("calibrate"),
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        template=settings.base.chat_template,
        settings=settings.calibration.to_argument(),
        device=settings.device,
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --text {input.text} "
        "--chat-template {params.template} --settings {params.settings:q} "
        "--device {params.device} --threads {threads} --out {output} > {log} 2>&1"


rule static_kv_parameters:
    """Turn the statistics of keys and values into one scale and zero point for each layer."""
    input:
        **tool("lmdeploy", "static_kv_parameters.py"),
        statistics="build/calibration",
    output:
        directory("build/static_kv"),
    log:
        "logs/static_kv_parameters.log",
    benchmark:
        "logs/static_kv_parameters.tsv"
    resources:
        mem_mb=memory("static_kv_parameters"),
    params:
        python=python("lmdeploy"),
    shell:
        "{params.python:q} {input.code[0]:q} --statistics {input.statistics} --out {output} "
        "> {log} 2>&1"
