"""The corpus stage on real records, where they are at hand."""

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from butler.chat_template import MARKER
from butler.corpus.rules.adverts import has_contact
from butler.corpus.stage import Outputs, build_corpus
from corpus_settings import corpus_settings
from test_corpus import conversations, json_lines, run

SHARED = Path(os.environ.get("RECIPE_BUTLER_SHARED", Path(__file__).parents[2] / "shared"))
RECORDS = SHARED / "data" / "xiachufang" / "recipes.jsonl"
EXAMPLE = SHARED / "data" / "example_pair.json"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not RECORDS.exists(),
        reason="real recipes not found; set RECIPE_BUTLER_SHARED to the folder that holds data/",
    ),
]


@pytest.mark.parametrize("seed", [0, 42])
def test_the_published_example_comes_out_byte_for_byte(tmp_path: Path, seed: int) -> None:
    pair = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    wanted = pair["conversation"]
    raw = json.dumps(pair["raw"], ensure_ascii=False).encode()
    _, outputs = run(tmp_path, raw, system=wanted["system"], seed=seed, test_size=0)
    assert conversations(outputs.train) == [wanted]


def test_real_records_are_all_accounted_for(tmp_path: Path) -> None:
    names = ("train", "test", "rejected", "stats")
    outputs = Outputs(*(tmp_path / name for name in names))
    stats = build_corpus(RECORDS, outputs, corpus_settings(200), 42)
    assert stats["read"] == 6000 == stats["train"] + stats["test"] + stats["rejected"]
    assert stats["test"] == 200
    # 12 % of these records have no steps but pictures, hardly a word, talk for the most part, a
    # list and steps that do not go together, or lost figures; more would be a fault.
    assert stats["kept"] > 5200
    for turn in conversations(outputs.train) + conversations(outputs.test):
        assert not MARKER.search(turn["output"])
        assert not has_contact(turn["input"] + "\n" + turn["output"])
        assert "author_" not in turn["output"]


@pytest.mark.parametrize("seed", range(5))
def test_the_funnel_adds_up_on_a_random_part(tmp_path: Path, seed: int) -> None:
    drawn = random.Random(seed)
    lines = RECORDS.read_bytes().splitlines(keepends=True)
    part = drawn.sample(lines, drawn.randrange(200, 1200))
    part += drawn.choices(part, k=20) + [b"{broken\n", b"\n", b"[1]\n"]
    drawn.shuffle(part)
    rules = {"near_duplicates": {"threshold": 0.7}, "decontaminate": {"share": 0.6}}
    stats, outputs = run(tmp_path, b"".join(part), test_size=30, **rules)
    rejected = json_lines(outputs.rejected)
    assert stats["read"] == len(part)
    assert stats["kept"] == len(conversations(outputs.train) + conversations(outputs.test))
    assert stats["kept"] + len(rejected) == len(part)
    assert Counter(entry["reason"] for entry in rejected) == {
        reason: count for reason, count in stats["reasons"].items() if count
    }
    assert len({entry["line"] for entry in rejected}) == len(rejected)
    assert stats["reasons"]["duplicate"] >= 15, "twenty records were put in twice"
    assert sum(stats["characters"].values()) == stats["kept"]
