"""Near-duplicates and protected texts: who goes, who stays, and how sure that is."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from butler.corpus.near import NearRule, drop_near, signatures
from butler.corpus.ngrams import Grams, letters_of, sampled
from butler.corpus.protected import OverlapRule, Protected
from butler.corpus.rules.text import letters
from butler.corpus.samples import body
from butler.corpus.stage import Outputs, build_corpus
from butler.recipe_form import INGREDIENTS_HEADING
from corpus_settings import corpus_settings
from test_corpus import conversations, distinct, json_lines, kept, raw_lines, run
from test_corpus_real import RECORDS, SHARED
from test_corpus_text import recipe

RULE = NearRule(0.7, 5)


def grams(texts: list[str]) -> Grams:
    return Grams.of_letters(letters_of(texts))


LIKE = {"threshold": 0.7, "shingle": 5}
SOUGHT = {"share": 0.6, "ngram": 13}
STEPS = [
    "青菜洗净切段，豆腐切成小块备用，姜切丝，蒜拍碎，葱打结放在一边。",
    "锅中放少许油，小火煎豆腐到两面金黄，盛出沥油，放在厨房纸上吸干。",
    "水开后放入青菜和豆腐，大火煮五分钟，加盐和白胡椒粉调味，撒葱花出锅。",
]
OTHER = ["面粉加温水揉成团，醒发二十分钟，擀成薄片后切成细条，下锅煮到浮起捞出。"]


def changed(last: str, **more: object) -> dict[str, object]:
    return recipe(recipeInstructions=[*STEPS, last], **more)


@pytest.mark.parametrize("order", [1, -1])
def test_the_best_of_similar_records_stays_and_the_others_name_it(
    tmp_path: Path, order: int
) -> None:
    records = [
        changed("趁热吃。", dish="Unknown"),
        changed("趁热吃，可以配一碗白米饭。", name="奶奶的青菜豆腐汤"),
        changed("放凉再吃。", dish="Unknown"),
        recipe(name="手擀面", recipeIngredient=["一斤面粉"], recipeInstructions=OTHER),
    ][::order]
    stats, outputs = run(tmp_path, raw_lines(records), near_duplicates=LIKE, test_size=0)
    assert sorted(turn["input"][:3] for turn in kept(outputs)) == ["奶奶的", "手擀面"]
    assert stats["near_duplicates"] == {"groups": 1, "removed": 2}
    assert stats["group_sizes"]["near_duplicate"] == {"3": 1}
    best = 1 + next(n for n, record in enumerate(records) if record["name"] == "奶奶的青菜豆腐汤")
    details = {entry["detail"] for entry in json_lines(outputs.rejected)}
    assert details == {f"hardly differs from line {best}"}


def test_a_record_like_one_that_went_for_another_may_stay() -> None:
    # b is like a and goes; c is like b alone, and stays.
    letters = "".join(map(chr, range(0x4E00, 0x4F00)))
    texts = [letters[start : start + 150] for start in (0, 25, 50)]
    found = signatures(grams(texts), NearRule(0.6, 4))
    ends = np.cumsum(found.counts)
    dropped = drop_near(
        found.bands,
        found.counts,
        np.arange(3),
        lambda record: found.shingles[ends[record] - found.counts[record] : ends[record]],
        NearRule(0.6, 4),
    )
    assert dropped == {1: 0}


def exact_pairs(texts: list[str], rule: NearRule) -> set[tuple[int, int]]:
    """All pairs with at least the threshold's Jaccard similarity, by brute force."""
    numbers: dict[str, int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        runs = {text[at : at + rule.shingle] for at in range(len(text) - rule.shingle + 1)}
        rows += [row] * len(runs)
        columns += [numbers.setdefault(one, len(numbers)) for one in runs]
    ones = np.ones(len(rows), np.int64)
    matrix = csr_array((ones, (rows, columns)), shape=(len(texts), max(len(numbers), 1)))
    common = (matrix @ matrix.T).tocoo()
    sizes = np.bincount(rows, minlength=len(texts))
    first, second = common.coords
    alike = common.data >= rule.threshold * (sizes[first] + sizes[second] - common.data)
    chosen = alike & (first < second)
    return set(zip(first[chosen].tolist(), second[chosen].tolist(), strict=True))


def proposed_pairs(texts: list[str], rule: NearRule) -> set[tuple[int, int]]:
    """The pairs that our bands propose and our sets confirm."""
    found = signatures(grams(texts), rule)
    sets = [set(part.tolist()) for part in np.split(found.shingles, np.cumsum(found.counts)[:-1])]
    pairs: set[tuple[int, int]] = set()
    for band in found.bands.T:
        order = np.argsort(band, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            members = np.sort(group).tolist()
            pairs |= {(a, b) for n, a in enumerate(members) for b in members[n + 1 :]}
    return {
        (a, b)
        for a, b in pairs
        if len(sets[a] & sets[b]) >= rule.threshold * len(sets[a] | sets[b])
    }


LETTERS = st.lists(st.text("甲乙丙", max_size=12), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(LETTERS, LETTERS, st.integers(1, 9), st.sampled_from([0.1, 0.5, 0.6, 1.0]))
def test_protected_texts_are_found_as_by_comparing_each_with_each(
    texts: list[str], records: list[str], ngram: int, share: float
) -> None:
    def runs(text: str) -> set[str]:
        return {text[at : at + ngram] for at in range(len(text) - ngram + 1)}

    protected = Protected(texts, OverlapRule(ngram, share))
    found = protected.find(*grams(records).hashes(ngram))
    for number, record in enumerate(records):
        shares = [len(runs(text) & runs(record)) / max(len(runs(text)), 1) for text in texts]
        best = max(shares)
        expected = (shares.index(best), best) if best >= share else None
        assert found.get(number) == expected


def copies(texts: list[str], count: int) -> list[str]:
    """Copies with a few letters in a hundred put in, left out or changed."""
    draw = random.Random(0)
    made = []
    for _ in range(count):
        letters = list(draw.choice(texts))
        for _ in range(draw.randrange(1, 2 + len(letters) // 30)):
            at = draw.randrange(len(letters))
            letters[at : at + draw.randrange(2)] = draw.choice(("", "好", "多加"))
        made.append("".join(letters))
    return made


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Real recipes, and copies of them."""
    lines = RECORDS.read_bytes().splitlines(keepends=True)[:2000]
    _, outputs = run(tmp_path_factory.mktemp("real"), b"".join(lines), test_size=0)
    found = [letters(body(line, recipes=True)) for line in outputs.train.read_bytes().splitlines()]
    return found + copies(found, len(found))


@pytest.mark.real_data
@pytest.mark.skipif(
    not RECORDS.exists(),
    reason="real recipes not found; set RECIPE_BUTLER_SHARED to the folder that holds data/",
)
@pytest.mark.parametrize("rule", [RULE, NearRule(0.5, 5), NearRule(0.8, 5), NearRule(0.5, 2)])
def test_recall_and_precision_against_brute_force_on_real_records(
    texts: list[str], rule: NearRule
) -> None:
    exact, ours = exact_pairs(texts, rule), proposed_pairs(texts, rule)
    assert len(exact) > 500
    both = len(exact & ours)
    recall, precision = both / len(exact), both / len(ours)
    print(f"{rule}: {len(exact):,} pairs, recall {recall:.4f}, precision {precision:.4f}")
    assert recall >= 0.97
    assert precision >= 0.99


def test_what_stands_in_a_test_recipe_is_not_trained_on(tmp_path: Path) -> None:
    # Two dishes by name, one text with another ingredient: on both sides of the split.
    same = {"recipeInstructions": STEPS}
    records = [
        recipe(name="翡翠白玉羹", dish="Unknown", keywords=[], **same),
        recipe(name="清水煮青", dish="Unknown", recipeIngredient=["一把青菜", "盐"], **same),
        recipe(
            name="手擀面", dish="Unknown", recipeIngredient=["一斤面粉"], recipeInstructions=OTHER
        ),
    ]
    rule, seen = {"share": 0.5}, set()
    for seed in range(8):
        folder = tmp_path / str(seed)
        stats, outputs = run(folder, raw_lines(records), seed=seed, test_size=1, decontaminate=rule)
        (held,) = conversations(outputs.test)
        reasons = [entry["reason"] for entry in json_lines(outputs.rejected)]
        if held["input"].startswith("手擀面"):
            assert reasons == []
        else:
            assert reasons == ["contaminated"]
            (entry,) = json_lines(outputs.rejected)
            assert re.fullmatch(rf"holds \d+% of the test record {held['input']}", entry["detail"])
            assert stats["contamination"]["test"]["records"] == 1
        seen.add(tuple(reasons))
        assert stats["kept"] + stats["rejected"] == stats["read"]
    assert seen == {(), ("contaminated",)}, "no seed drew the one, or the other"


def test_short_answers_of_the_test_side_are_not_trained_on(tmp_path: Path) -> None:
    draw = random.Random(0)
    answers = ["".join(chr(draw.randrange(0x4E00, 0x9F00)) for _ in range(30)) for _ in range(100)]
    pairs = [
        {"instruction": f"{''.join(chr(0x4E00 + 99 * n + k) for k in range(3))}", "output": text}
        for n, text in enumerate(own for one in answers for own in (one, f"先说一句别的话。{one}"))
    ]
    _, outputs = run(
        tmp_path, raw_lines(pairs), format="alpaca", test_size=50, decontaminate=SOUGHT
    )
    trained = "\n".join(turn["output"] for turn in conversations(outputs.train))
    held = [turn["output"][-30:] for turn in conversations(outputs.test)]
    assert len(held) == 50 and not [text for text in held if text in trained]


TEXTS = st.lists(st.text("甲乙丙丁戊己庚辛", max_size=40), min_size=1, max_size=6)


@given(TEXTS, TEXTS, st.text("甲乙丙丁戊己庚辛", min_size=20, max_size=20))
def test_eight_runs_side_by_side_in_two_texts_are_kept_of_both(
    first: list[str], second: list[str], common: str
) -> None:
    kept_of = []
    for texts in (first, second):
        texts[0] = texts[0] + common + texts[-1]
        hashes, counts = sampled(*grams(texts).hashes(13))
        assert [count > 0 for count in counts] == [len(text) > 12 for text in texts]
        kept_of.append(set(hashes[: counts[0]].tolist()))
    assert kept_of[0] & kept_of[1]


def test_records_too_short_to_compare_are_like_none(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.jsonl").write_bytes(raw_lines([distinct(number)]))
    names = ("train.jsonl", "test.jsonl", "rejected.jsonl", "stats.json")
    outputs = Outputs(*(tmp_path / "out" / name for name in names))
    settings = corpus_settings(0, near_duplicates={"threshold": 0.7, "shingle": 100})
    assert build_corpus(folder, outputs, settings, 7)["kept"] == 6


def test_a_pair_that_begins_like_a_recipe_is_compared_as_it_is(tmp_path: Path) -> None:
    answer = (
        f"{INGREDIENTS_HEADING}\n五花肉500克，酱油两勺\n先把肉切块放锅里炒，再加酱油炖一个小时。"
    )
    pairs = [
        {"instruction": f"{name}肉怎么炖", "output": f"{answer}{name * 9}"} for name in "甲乙丙"
    ]
    stats, _ = run(
        tmp_path, raw_lines(pairs), format="alpaca", test_size=1, decontaminate={"share": 1.0}
    )
    assert (stats["train"], stats["test"]) == (2, 1)


def test_benchmark_questions_are_not_trained_on_and_idioms_stay(tmp_path: Path) -> None:
    question = "排骨冷水下锅焯水可以去除血沫和腥味，炒糖色时用小火慢慢加热冰糖到金黄"
    other = "锅中放少许油，小火煎豆腐到两面金黄，这一过程中主要发生的化学反应是下面的哪一种？"
    exam = tmp_path / "exam_val.csv"
    exam.write_text(
        f"id,question,A,B,C,D,answer\n0,{question},一,二,三,四,A\n1,{other},甲,乙,丙,丁,B\n2,短,,,,,A\n",
        encoding="utf-8",
    )
    records = [
        recipe(name="糖醋肉", recipeInstructions=[f"{question}一二三四。", "排骨下锅炒糖色。"]),
        recipe(name="豆腐汤", recipeInstructions=STEPS),
        recipe(name="手擀面", recipeIngredient=["一斤面粉"], recipeInstructions=OTHER),
    ]
    stats, outputs = run(
        tmp_path, raw_lines(records), [exam], test_size=0, decontaminate={"share": 0.5}
    )
    (entry,) = json_lines(outputs.rejected)
    assert (entry["line"], entry["reason"]) == (1, "contaminated")
    assert entry["detail"] == "holds 100% of question exam_val 0"
    assert stats["contamination"]["questions"] == 3
    assert stats["contamination"]["questions_too_short"] == 1


@pytest.mark.skipif(not (SHARED / "data" / "ceval").exists(), reason="C-Eval not found")
def test_real_recipes_hold_no_benchmark_question(tmp_path: Path) -> None:
    paths = sorted((SHARED / "data" / "ceval").glob("*/*.csv"))
    stats, _ = run(tmp_path, RECORDS.read_bytes(), paths, test_size=200, decontaminate=SOUGHT)
    assert stats["contamination"]["questions"] > 13_000
    assert stats["contamination"]["benchmark"]["records"] == 0
    assert json.loads((tmp_path / "out" / "stats.json").read_text())["kept"] > 5200
