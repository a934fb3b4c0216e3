"""The shipped demo data: made by the generator, dirty as declared, and kept out of pretraining."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from butler.corpus.format_check import check_format
from butler.corpus.stage import Outputs, build_corpus
from butler.demo import dirt
from butler.demo.exam import (
    COLUMNS,
    LETTERS,
    SPLITS,
    SUBJECTS,
    benchmark_facts,
    make_benchmark,
    prompt,
)
from butler.demo.facts import RELATIONS, all_facts
from butler.demo.kitchen import chinese_pairs, english_pairs
from butler.demo.methods import every_dish
from butler.demo.pretraining import PRETRAINING_SEED, check_no_leak, forbidden, shard, writer
from butler.demo.raw_records import make_corpus
from butler.errors import ButlerError
from butler.settings.run import read_settings

REPOSITORY = Path(__file__).resolve().parents[1]
DEMO = REPOSITORY / "data" / "demo"
BASE = REPOSITORY / "data" / "base" / "tiny"
KEYS = {
    "name", "dish", "description", "recipeIngredient", "recipeInstructions", "author", "keywords",
}  # fmt: skip


def parsed_lines() -> list[dict]:
    """Return the records of the shipped corpus that are JSON."""
    records = []
    for line in (DEMO / "recipes.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def test_generator_reproduces_the_shipped_files(tmp_path, monkeypatch):
    import demo_data

    monkeypatch.setattr("sys.argv", ["demo_data.py", "--out", str(tmp_path)])
    demo_data.main()
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    shipped = {p.relative_to(DEMO): p.read_bytes() for p in DEMO.rglob("*") if p.is_file()}
    assert made.keys() == shipped.keys()
    for name, content in made.items():
        assert content == shipped[name], f"{name} is not what demo_data.py makes"


def test_corpus_size_and_keys():
    path = DEMO / "recipes.jsonl"
    assert path.stat().st_size < 2_500_000
    assert len(path.read_bytes().splitlines()) == 2000
    assert all(set(record) <= KEYS for record in parsed_lines())


def test_dirt_comes_in_the_declared_shares():
    corpus = make_corpus()
    counted = Counter(corpus.kinds)
    for kind, share in dirt.SHARES.items():
        assert counted[kind] == round(share * len(corpus.lines)), kind
    broken = len(corpus.lines) - len(parsed_lines())
    assert broken == counted["malformed"] > 0
    unknown = sum(record.get("dish") == "Unknown" for record in parsed_lines())
    assert unknown / len(corpus.lines) == pytest.approx(dirt.UNKNOWN_DISH, abs=0.04)


def test_each_kind_of_dirt_is_in_the_file():
    records = parsed_lines()
    text = (DEMO / "recipes.jsonl").read_text(encoding="utf-8")
    steps = ["\n".join(record.get("recipeInstructions") or []) for record in records]
    assert any(record.get("recipeIngredient") == [] for record in records)
    assert any(record.get("recipeInstructions") == [] for record in records)
    assert any(set(record) < KEYS for record in records)
    assert any(record.get("name") == "" for record in records)
    assert any("http" in step for step in steps) and any("微信" in step for step in steps)
    assert any(step in ("如图", "略", "做法见简介") for step in steps)
    assert any(mark in text for mark in dirt.ZERO_WIDTH)
    assert any(mark in text for mark in dirt.EMOJI)
    contents = Counter(json.dumps({**record, "author": ""}, sort_keys=True) for record in records)
    assert sum(count - 1 for count in contents.values()) >= 50


def test_answers_are_short_enough_for_a_cpu():
    lengths = sorted(
        len("\n".join(record["recipeIngredient"] + record["recipeInstructions"]))
        for record in parsed_lines()
        if record.get("recipeIngredient") and record.get("recipeInstructions")
    )
    shortest_usual, longest = lengths[len(lengths) // 10], lengths[-1]
    assert shortest_usual >= 60
    assert longest <= 220


def test_a_dish_name_tells_its_first_ingredient():
    assert all(dish.mains[0].name in dish.name for dish in every_dish())


def test_benchmark_layout_is_that_of_ceval():
    for subject in SUBJECTS:
        for split, count in SPLITS.items():
            path = DEMO / "ceval" / split / f"{subject}_{split}.csv"
            with path.open(encoding="utf-8", newline="") as stream:
                reader = csv.DictReader(stream)
                rows = list(reader)
            assert tuple(reader.fieldnames or ()) == COLUMNS[split]
            assert [row["id"] for row in rows] == [str(number) for number in range(count)]
            for row in rows:
                assert all(row[column] for column in COLUMNS[split])
                assert len({row[letter] for letter in LETTERS}) == 4
                assert split == "test" or row["answer"] in LETTERS


def test_answer_letters_are_spread():
    letters = Counter(
        question.answer for splits in make_benchmark().values() for question in splits["val"]
    )
    assert max(letters.values()) <= 0.4 * sum(letters.values())


def test_right_option_is_the_facts_value_and_no_other_option_is_right():
    values: dict[tuple[str, str], set[str]] = {}
    for fact in all_facts():
        values.setdefault((fact.relation, fact.key), set()).add(fact.value)
    for splits in make_benchmark().values():
        for question in (q for split in splits.values() for q in split):
            right = values[question.fact.relation, question.fact.key]
            offered = dict(zip(LETTERS, question.options, strict=True))
            assert [x for x in LETTERS if offered[x] in right] == [question.answer]


def test_pretraining_text_holds_nothing_of_benchmark_or_corpus():
    texts = shard(PRETRAINING_SEED, 0, 3000)
    check_no_leak(texts)
    joined = "\n".join(texts)
    for splits in make_benchmark().values():
        for question in (q for split in splits.values() for q in split):
            assert prompt(question) not in joined
            assert f"\n{question.text}" not in joined


def test_benchmark_facts_are_never_practised_but_told():
    asked = benchmark_facts()
    practised = {(f.relation, f.key) for facts in writer().examined.values() for f in facts}
    told = {(f.relation, f.key) for facts in writer().told.values() for f in facts}
    assert not asked & practised
    assert asked <= told
    assert len({key for key in practised if RELATIONS[key[0]].subject in SUBJECTS}) > 150


@pytest.mark.parametrize("which", [0, 5, -1])
def test_leak_check_sees_a_planted_string(which):
    with pytest.raises(ButlerError, match="must not"):
        check_no_leak(["<s>清水", "前" + forbidden()[which] + "后"])


def test_pretraining_shards_are_seeded_and_differ():
    assert shard(1, 3, 20) == shard(1, 3, 20)
    assert shard(1, 3, 20) != shard(1, 4, 20)


def test_shipped_base_is_complete_and_small():
    assert (BASE / "model.safetensors").stat().st_size <= 16 * 1024 * 1024
    config = json.loads((BASE / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "internlm2"
    assert config["hidden_size"] // config["num_attention_heads"] == 128
    assert not any(config[size] % 128 for size in ("hidden_size", "intermediate_size"))
    for name in ("tokenizer.json", "generation_config.json", "TRAINING.md", "training_log.csv"):
        assert (BASE / name).stat().st_size > 0
    assert not list(BASE.glob("*.py"))


KITCHENS = {"zh": chinese_pairs(), "en": english_pairs()}


@pytest.mark.parametrize("language", list(KITCHENS))
def test_the_overlays_keep_every_clean_question_and_no_dirty_one(tmp_path, language):
    overlay = yaml.safe_load((REPOSITORY / f"config/demo_qa_{language}.yaml").read_text())
    settings = read_settings(overlay)
    corpus = settings.corpus
    check_format(REPOSITORY / corpus.path, corpus.format)
    outputs = Outputs(*(tmp_path / name for name in ("train", "test", "rejected", "stats")))
    protected = [DEMO / "ceval"]
    stats = build_corpus(REPOSITORY / corpus.path, outputs, corpus, settings.seed, protected)
    assert stats["test"] == corpus.test_size and 300 <= stats["kept"] <= 600
    sides = {
        side: {
            (turn["conversation"][0]["input"], turn["conversation"][0]["output"])
            for turn in map(json.loads, getattr(outputs, side).read_text().splitlines())
        }
        for side in ("train", "test")
    }
    facts = {f"{pair.question}\n{pair.given}".strip(): pair for pair in KITCHENS[language]}
    asked = {side: {question.removesuffix("急！") for question, _ in sides[side]} for side in sides}
    assert asked["train"] | asked["test"] == facts.keys(), "no clean question is lost"
    for question, answer in sides["train"] | sides["test"]:
        assert answer == facts[question.removesuffix("急！")].answer
    assert set(stats["reasons"]) >= {"advert", "no_question", "no_answer", "duplicate"}
    assert "contaminated" not in stats["reasons"] and "other_language" not in stats["reasons"]
    learnt = {facts[question].fact for question in asked["train"]}
    known = [facts[question].fact in learnt for question in asked["test"]]
    # Which are held out is drawn: over seeds the share is 0.8 to 0.97.
    assert sum(known) / len(known) > 0.8, "what is held out was learnt in other words"


def test_all_kitchen_questions_are_small_and_no_two_the_same():
    assert sum(path.stat().st_size for path in DEMO.glob("kitchen_qa_*")) < 200_000
    for pairs in KITCHENS.values():
        assert len({(pair.question, pair.given) for pair in pairs}) == len(pairs)
        assert min(len(pair.answer) for pair in pairs) < 20
