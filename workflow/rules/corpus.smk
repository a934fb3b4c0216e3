# From raw recipes to conversations.
#
# Needs files in one of the formats of docs/corpus.md (corpus.path, corpus.format), and the
# benchmark's questions, nothing of which may be trained on.
# Makes build/corpus: train.jsonl and test.jsonl, which share no dish, rejected.jsonl and stats.json.


rule corpus:
    """Clean, de-duplicate, decontaminate and split the raw records."""
    input:
        code=code("corpus.py"),
        raw=corpus_files(),
        benchmark=protected_questions(),
    output:
        train="build/corpus/train.jsonl",
        test="build/corpus/test.jsonl",
        rejected="build/corpus/rejected.jsonl",
        stats=report(
            "build/corpus/stats.json",
            caption="../report/corpus.rst",
            category="Corpus",
            labels={"file": "counts"},
        ),
    log:
        "logs/corpus.log",
    benchmark:
        "logs/corpus.tsv"
    threads: 8
    resources:
        mem_mb=4000,
    params:
        raw=lambda wildcards: repository(config["corpus"]["path"]),
        format=config["corpus"]["format"],
        seed=config["seed"],
        system=config["corpus"]["system"],
        sample=config["corpus"]["sample"],
        test_size=config["corpus"]["test_size"],
        min_steps=config["corpus"]["min_steps"],
        min_chars=config["corpus"]["min_chars"],
        max_chars=config["corpus"]["max_chars"],
        forms=question_forms(),
        near=config["corpus"]["near_duplicates"],
        overlap=config["corpus"]["decontaminate"],
    shell:
        "python {input.code[0]:q} --input {params.raw:q} "
        "--format {params.format} --processes {threads} --train {output.train} --test {output.test} "
        "--rejected {output.rejected} --stats {output.stats} --seed {params.seed} "
        "--system {params.system:q} --sample {params.sample} --test-size {params.test_size} "
        "--min-steps {params.min_steps} --min-chars {params.min_chars} "
        "--max-chars {params.max_chars} --question-forms {params.forms:q} "
        "--near-threshold {params.near[threshold]} --near-shingle {params.near[shingle]} "
        "--overlap-share {params.overlap[share]} --overlap-ngram {params.overlap[ngram]} "
        "--benchmark {input.benchmark:q} > {log} 2>&1"
