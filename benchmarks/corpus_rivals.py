"""What a user would take instead of the corpus stage; each as short as its tool lets it be.

    python corpus_rivals.py {bare,json_filter,duckdb_filter,polars_filter,loop,pandas,polars,duckdb,
        datasets,datajuicer} CORPUS.jsonl OUT PROCESSES

bare and those that end in _filter parse each record, drop those without ingredients or steps, write
the others, and do nothing else: what no stage can be faster than. The others normalise (NFKC, white
space, links), drop records without ingredients or steps, drop exact duplicates and write
conversations; datajuicer also removes near-duplicates by MinHash.
"""

import json
import re
import sys
import unicodedata
from multiprocessing import Pool
from pathlib import Path
from typing import Any

LINK = re.compile(r"https?://\S+|\d{7,}|(?:微信|公众号|QQ群)\S*")


def has_both(record: dict[str, Any]) -> bool:
    """Whether a record has ingredients and steps."""
    return bool(record["recipeIngredient"] and record["recipeInstructions"])


def bare_range(task: tuple[str, str, int, int]) -> None:
    """Parse, filter and write the lines that begin in a range of bytes."""
    import orjson

    source, out, begin, end = task
    with open(source, "rb") as stream, open(f"{out}.{begin}", "wb") as target:
        stream.seek(begin)
        if begin:
            stream.readline()
        while stream.tell() < end and (lines := stream.readlines(1 << 21)):
            kept = []
            for line in lines:
                try:
                    record = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue
                if has_both(record):
                    kept.append(orjson.dumps(record))
            target.write(b"\n".join(kept) + b"\n")


def bare(source: str, out: str, processes: int) -> None:
    """orjson in `processes` processes, each on its part of the file."""
    size = Path(source).stat().st_size
    step = -(-size // processes)
    tasks = [(source, f"{out}/bare", at, at + step) for at in range(0, size, step)]
    with Pool(processes) as pool:
        pool.map(bare_range, tasks)


def json_filter(source: str, out: str, _: int) -> None:
    """The json module in a loop."""
    with open(source, encoding="utf-8", errors="replace") as stream, open(out + "/json", "w") as to:
        for line in stream:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if has_both(record):
                to.write(json.dumps(record, ensure_ascii=False) + "\n")


def polars_filter(source: str, out: str, processes: int) -> None:
    """Polars, streaming; lines that its decoder would stop at go before, by a look for the name."""
    import os

    os.environ["POLARS_MAX_THREADS"] = str(processes)
    import polars as pl

    texts = dict.fromkeys(("name", "dish", "description", "author"), pl.String)
    lists = dict.fromkeys(
        ("recipeIngredient", "recipeInstructions", "keywords"), pl.List(pl.String)
    )
    line = pl.col("line")
    (
        pl.scan_csv(  # of one column, as no line holds this separator
            source, has_header=False, separator="\x01", quote_char=None, new_columns=["line"],
            encoding="utf8-lossy",
        )
        .filter(line.str.json_path_match("$.name").is_not_null())
        .select(line.str.json_decode(pl.Struct(texts | lists)).alias("record"))
        .unnest("record")
        .filter(
            pl.col("recipeIngredient").list.len() > 0, pl.col("recipeInstructions").list.len() > 0
        )
        .sink_ndjson(out + "/polars")
    )  # fmt: skip


def duckdb_filter(source: str, out: str, processes: int) -> None:
    """DuckDB, which reads past broken lines."""
    import duckdb as db

    db.execute(f"set threads={processes}")
    db.execute(
        f"copy (from read_json('{source}', format='newline_delimited', ignore_errors=true) "
        "where len(recipeIngredient) > 0 and len(recipeInstructions) > 0) "
        f"to '{out}/duckdb' (format json)"
    )


def tidy(text: str) -> str:
    """A line as a first attempt would clean it."""
    return " ".join(LINK.sub("", unicodedata.normalize("NFKC", text)).split())


def conversation(record: dict[str, Any]) -> dict[str, str]:
    """The question and the answer, "" where the record is of no use."""
    first = [line for text in record["recipeIngredient"] if (line := tidy(text))]
    steps = [line for text in record["recipeInstructions"] if (line := tidy(text))]
    answer = "\n".join(["您需要准备以下食材:", *first, "按以下方法制作:", *steps])
    return {"input": f"{record['name']}的做法", "output": answer if first and steps else ""}


def written(turn: dict[str, str]) -> str:
    """A line of the output."""
    return json.dumps({"conversation": [{"system": "", **turn}]}, ensure_ascii=False) + "\n"


def loop(source: str, out: str, _: int) -> None:
    """The json module in a loop."""
    seen = set()
    with open(source, encoding="utf-8", errors="replace") as stream, open(out + "/loop", "w") as to:
        for line in stream:
            try:
                turn = conversation(json.loads(line))
            except ValueError:
                continue
            if turn["output"] and turn["output"] not in seen:
                seen.add(turn["output"])
                to.write(written(turn))


def pandas(source: str, out: str, _: int) -> None:
    """pandas in chunks of lines, because a broken line would end read_json(lines=True)."""
    import pandas as pd

    with open(source, encoding="utf-8", errors="replace") as stream:
        records = []
        for line in stream:
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    frame = pd.DataFrame.from_records(records)
    turns = pd.DataFrame(list(map(conversation, frame.to_dict("records"))))
    turns = turns[turns["output"] != ""].drop_duplicates("output")
    with open(out + "/pandas", "w") as to:
        to.writelines(map(written, turns.to_dict("records")))


def polars(source: str, out: str, processes: int) -> None:
    """Polars' own string functions, on its threads; a broken line stops its reader."""
    import os

    os.environ["POLARS_MAX_THREADS"] = str(processes)
    import polars as pl

    texts = pl.List(pl.String)
    schema = {"name": pl.String, "recipeIngredient": texts, "recipeInstructions": texts}
    line = pl.element().str.normalize("NFKC").str.replace_all(LINK.pattern, "")
    line = line.str.replace_all(r"\s+", " ").str.strip_chars()
    first, steps = (
        pl.col(name).list.eval(line.filter(line != "")).list.join("\n")
        for name in ("recipeIngredient", "recipeInstructions")
    )
    answer = pl.format("您需要准备以下食材:\n{}\n按以下方法制作:\n{}", first, steps)
    (
        pl.scan_ndjson(clean_copy(source, out), schema=schema)
        .filter(first != "", steps != "")
        .select(input=pl.col("name") + "的做法", output=answer)
        .unique("output")
        .sink_ndjson(out + "/polars")
    )


def duckdb(source: str, out: str, processes: int) -> None:
    """DuckDB's functions in SQL; it has NFC, not NFKC."""
    import duckdb as db

    def cleaned(column: str) -> str:
        line = f"regexp_replace(nfc_normalize(x), '{LINK.pattern}', '', 'g')"
        lines = (
            f"list_transform({column}, lambda x: trim(regexp_replace({line}, '\\s+', ' ', 'g')))"
        )
        return f"array_to_string(list_filter({lines}, lambda x: x <> ''), chr(10))"

    columns = "{name: 'VARCHAR', recipeIngredient: 'VARCHAR[]', recipeInstructions: 'VARCHAR[]'}"
    records = f"'{source}', columns={columns}, format='newline_delimited', ignore_errors=true"
    parts = f"{cleaned('recipeIngredient')} a, {cleaned('recipeInstructions')} b"
    answer = "'您需要准备以下食材:' || chr(10) || a || chr(10) || '按以下方法制作:' || chr(10) || b"
    made = f"(select name, {parts} from read_json({records}))"
    turns = f"select any_value(name) || '的做法' input, {answer} output from {made}"
    db.execute(f"set threads={processes}")
    db.execute(
        f"copy ({turns} where a <> '' and b <> '' group by output) to '{out}/duckdb' (format json)"
    )


def datasets(source: str, out: str, processes: int) -> None:
    """Hugging Face datasets: map and filter with processes, duplicates by a set."""
    from datasets import Dataset, disable_caching

    disable_caching()
    good = clean_copy(source, out)
    data = Dataset.from_json(good, cache_dir=f"{out}/cache")
    data = data.map(conversation, num_proc=processes, remove_columns=data.column_names)
    seen: set[str] = set()
    data = data.filter(lambda turn: turn["output"] != "", num_proc=processes)
    data = data.filter(lambda turn: not (turn["output"] in seen or seen.add(turn["output"])))
    data.to_json(out + "/datasets", force_ascii=False)


def datajuicer(source: str, out: str, processes: int) -> None:
    """Data-Juicer's normalising operators and its MinHash de-duplicator."""
    import yaml

    good = clean_copy(source, out, text=True)
    process = [
        {"fix_unicode_mapper": {}},
        {"whitespace_normalization_mapper": {}},
        {"clean_links_mapper": {}},
        {"text_length_filter": {"min_len": 20, "max_len": 1500}},
        {
            "document_minhash_deduplicator": {
                "tokenization": "character",
                "window_size": 5,
                "jaccard_threshold": 0.7,
            }
        },
    ]
    config = Path(out) / "datajuicer.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "project_name": "corpus",
                "dataset_path": good,
                "export_path": out + "/datajuicer.jsonl",
                "np": processes,
                "use_cache": False,
                "process": process,
            }
        )
    )
    import subprocess

    tool = Path(sys.executable).parent / "dj-process"
    subprocess.run([str(tool), "--config", str(config)], check=True)


def clean_copy(source: str, out: str, text: bool = False) -> str:
    """The corpus without lines that are no JSON, which these tools stop at."""
    good = out + "/good.jsonl"
    with open(source, encoding="utf-8", errors="replace") as stream, open(good, "w") as target:
        for line in stream:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if text:
                parts = record["recipeIngredient"] + record["recipeInstructions"]
                line = json.dumps({"text": "\n".join(parts)}, ensure_ascii=False) + "\n"
            target.write(line)
    return good


if __name__ == "__main__":
    chosen, path, folder, count = sys.argv[1:]
    globals()[chosen](path, folder, int(count))
