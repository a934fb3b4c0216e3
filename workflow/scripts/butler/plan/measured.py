"""Every constant of the plan that came from a machine, and from which.

CPU: 2 cores of an AMD EPYC, the demo (docs/cpu.md, logs/*.tsv of 2026-11-28). GPU: one H200
(docs/benchmarks.md). Rates are good to an order of magnitude, on another machine less.
"""

from dataclasses import dataclass

MB, GB = 10**6, 10**9

# Resident bytes of a stage on a model of 14 MB: interpreter, libraries, processes beside it.
# max_rss of the demo's logs, rounded up; `evaluate` is OpenCompass and the server together.
PROCESS = {
    "environment": 500 * MB,
    "doctor": 100 * MB,
    "corpus": 300 * MB,
    "base_model": 400 * MB,
    "training_config": 300 * MB,
    "sample_lengths": 500 * MB,
    "training_prompts": 500 * MB,
    "train": 2700 * MB,
    "adapter": 700 * MB,
    "merge": 750 * MB,
    "check_merge": 500 * MB,
    "check_training": 500 * MB,
    "awq": 900 * MB,
    "check_awq": 400 * MB,
    "gptq": 900 * MB,
    "check_gptq": 500 * MB,
    "fp8": 400 * MB,
    "check_fp8": 400 * MB,
    "w8a8": 900 * MB,
    "check_w8a8": 400 * MB,
    "calibrate": 700 * MB,
    "static_kv_parameters": 400 * MB,
    "workspace": 400 * MB,
    "check_workspace": 450 * MB,
    "check_template": 300 * MB,
    "variant": 100 * MB,
    "check_kv_cache": 400 * MB,
    "questions": 500 * MB,
    "divergence": 550 * MB,
    "evaluate": 1100 * MB,
    "evaluate_hugging_face": 1300 * MB,
    "efficiency": 400 * MB,
    "run_config": 100 * MB,
    "planned": 100 * MB,
    "hashes": 100 * MB,
    "report": 300 * MB,
    "provenance": 100 * MB,
}
# What a rule asks for beside the estimate, so that a job is not ended for a tenth too little.
MARGIN = 1.5
LEAST_ASKED = 1500 * MB  # torch's CUDA build takes more than the CPU's that was measured
USED_BY_JOBS = 0.9  # of a machine's memory
# That a process with CUDA takes more of the host: check_training, check_awq and efficiency of a
# 0.5B on one H200 took 0.7 to 1.1 GB more than on a CPU (docs/benchmarks.md, 2026-11-29).
CUDA_HOST = 1.1 * GB
SHARD = 5 * GB  # of the file that is being loaded: what Hugging Face's own folders are cut into
# Of the raw records' bytes that the corpus stage holds: 1,740 MiB of 1.75 GB with near-duplicates.
CORPUS_HELD = 1.1
# Stock attention keeps scores [heads, tokens, tokens] in fp32 and half as much again: with that the
# estimate is 54 GiB for a 7B without recomputation and 13 with, measured 54.4 and 12.5.
STOCK_SCORES = 1.5
# Quantising's GPU memory over what its tensors sum up to: 13,135 MiB at 1 sample of a 7B at a time.
AWQ_SLACK = 1.5
ENVIRONMENT_DISK = {"cpu": 2.2 * GB, "cuda": 7 * GB}  # of one; of CUDA assumed, not measured


@dataclass(frozen=True)
class Rates:
    """Per second: floating-point operations, bytes and weights. `start` is seconds of a tool."""

    machine: str
    training: float  # FLOP of DecoderShape.flops
    stock_training: float
    forward: float  # FLOP of reading text, 2 a weight and token
    memory: float  # bytes of weights that decoding a token reads
    disk: float  # bytes
    quantise: float  # weights to 4 bits
    gptq: float  # weights to 4 bits by GPTQ; of a GPU assumed
    environment: float  # seconds to build one
    start: float


RATES = {
    # 15,487 and 3,798 tokens/s of 32.3 GFLOP; prefill of 550 TFLOP/s, the calibration of a 7B reads
    # at a seventh of that; decoding at 72 % of 4.25 TB/s; 25 s for a 7B's smoothing and packing.
    "cuda": Rates("one H200", 5e14, 1.2e14, 3e14, 3e12, 1e9, 3e8, 1.5e7, 150, 20),
    # The demo: 320 packs of 512 tokens at 49 MFLOP a token in 200 s; disk of docs/corpus.md.
    # GPTQ of its base in 17 s of one core.
    "cpu": Rates("2 cores of an AMD EPYC", 4e10, 4e10, 1e11, 1e10, 4e8, 5e6, 4e5, 100, 10),
}
# Raw bytes a second of the corpus stage: 1.75 GB in 529 s on 2 cores, and 1.3 times as long since.
CORPUS_RATE = 2.5e6
DOWNLOAD = 5e7  # bytes from a hub; assumed
SAMPLE_SECONDS = 1.5e-3  # to render and tokenise a training sample in one process; assumed
TOKEN_BYTES = 4.0  # of UTF-8 text, Chinese and English alike
HELD_OUT_TOKENS = 6000  # that a likelihood check reads
# Where nothing is known yet: questions of a benchmark, and of a part of it (as of C-Eval's);
# tokens of a prompt, and of one with examples before the question.
QUESTIONS, OF_A_PART, PROMPT, SHOTS_PROMPT = 1000, 26, 100, 1000
