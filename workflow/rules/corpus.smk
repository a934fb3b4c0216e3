# From raw records to conversations.
#
# Needs files in one of the formats of docs/corpus.md (corpus.path, corpus.format), and the
# benchmarks' questions, nothing of which may be trained on: of them the texts count, so they are a
# parameter and no input, and a changed answer does not make the corpus anew.
# Makes build/corpus: train.jsonl and test.jsonl, which share no dish or question, rejected.jsonl and stats.json.


rule corpus:
    """Clean, de-duplicate, decontaminate and split the raw records."""
    input:
        code=code("corpus.py"),
        raw=corpus_files(),
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
        mem_mb=memory("corpus"),
    params:
        raw=lambda w: repository(settings.corpus.path),
        settings=settings.corpus.to_argument("path"),
        seed=settings.seed,
        # Not compared, as a function of the input: what counts is what stands in the files.
        protected=lambda w, input: PROTECTED,
        texts=told(question_digest, map(Path, PROTECTED)),
    shell:
        "python {input.code[0]:q} --input {params.raw:q} --settings {params.settings:q} "
        "--seed {params.seed} --processes {threads} --protected {params.protected:q} "
        "--train {output.train} --test {output.test} --rejected {output.rejected} "
        "--stats {output.stats} > {log} 2>&1"
