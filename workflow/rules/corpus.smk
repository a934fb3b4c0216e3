# From raw recipes to conversations.
#
# Needs a JSON lines file in XiaChuFang's format (corpus.path).
# Makes build/corpus: train.jsonl and test.jsonl, which share no dish, rejected.jsonl and stats.json.


rule corpus:
    """Clean, de-duplicate and split the raw records."""
    input:
        code=code("corpus.py"),
        raw=repository(config["corpus"]["path"]),
    output:
        train="build/corpus/train.jsonl",
        test="build/corpus/test.jsonl",
        rejected="build/corpus/rejected.jsonl",
        stats="build/corpus/stats.json",
    log:
        "logs/corpus.log",
    benchmark:
        "logs/corpus.tsv"
    resources:
        mem_mb=1000,
    params:
        seed=config["seed"],
        system=config["corpus"]["system"],
        sample=config["corpus"]["sample"],
        test_size=config["corpus"]["test_size"],
        min_steps=config["corpus"]["min_steps"],
        min_chars=config["corpus"]["min_chars"],
        max_chars=config["corpus"]["max_chars"],
    shell:
        "python {input.code[0]:q} --input {input.raw:q} --train {output.train} --test {output.test} "
        "--rejected {output.rejected} --stats {output.stats} --seed {params.seed} "
        "--system {params.system:q} --sample {params.sample} --test-size {params.test_size} "
        "--min-steps {params.min_steps} --min-chars {params.min_chars} "
        "--max-chars {params.max_chars} > {log} 2>&1"
