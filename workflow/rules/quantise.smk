# Statistics over recipe text, 4-bit weights, and the parameters of an int8 KV cache.
#
# Needs build/merged and build/corpus/train.jsonl.
# Makes build/calibration (min-max statistics), build/awq (W4A16), build/kv8 (scale and zero point
# of each layer's keys and values), and the check awq.


rule calibrate:
    """Collect min-max statistics of activations, keys and values over the recipe text."""
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
        mem_mb=2000,
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        template=config["base"]["chat_template"],
        samples=config["calibration"]["samples"],
        length=config["calibration"]["length"],
        device=config["device"],
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --text {input.text} "
        "--chat-template {params.template} --samples {params.samples} --length {params.length} "
        "--device {params.device} --threads {threads} --out {output} > {log} 2>&1"


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
    threads: 2
    resources:
        mem_mb=2000,
        gpu=GPUS,
    params:
        python=python("lmdeploy"),
        template=config["base"]["chat_template"],
        samples=config["calibration"]["samples"],
        length=config["calibration"]["length"],
        bits=config["awq"]["bits"],
        group_size=config["awq"]["group_size"],
        search_scale=flag("--search-scale", config["awq"]["search_scale"]),
        device=config["device"],
    shell:
        "{params.python:q} {input.code[0]:q} --model {input.model} --text {input.text} "
        "--chat-template {params.template} --samples {params.samples} --length {params.length} "
        "--bits {params.bits} --group-size {params.group_size} {params.search_scale} "
        "--device {params.device} "
        "--threads {threads} --out {output} > {log} 2>&1"


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
    resources:
        mem_mb=1500,
    params:
        python=python("lmdeploy"),
        limit=config["checks"]["awq_scales"],
    shell:
        "{params.python:q} {input.code[0]:q} --merged {input.merged} --awq {input.awq} "
        "--limit {params.limit} --out {output} > {log} 2>&1"


rule kv8_parameters:
    """Turn the cache's statistics into static int8 parameters."""
    input:
        **tool("lmdeploy", "kv8_parameters.py"),
        statistics="build/calibration",
    output:
        directory("build/kv8"),
    log:
        "logs/kv8_parameters.log",
    benchmark:
        "logs/kv8_parameters.tsv"
    resources:
        mem_mb=1000,
    params:
        python=python("lmdeploy"),
    shell:
        "{params.python:q} {input.code[0]:q} --statistics {input.statistics} --out {output} "
        "> {log} 2>&1"
