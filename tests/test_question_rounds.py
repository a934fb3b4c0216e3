"""Which questions are asked in which round, and what a round shows against the baseline."""

from collections import Counter

import pytest

from butler.benchmarks.question_sheet import Question, QuestionSheet
from butler.benchmarks.registry import KINDS
from butler.comparisons import common, looks_of, sample_of
from butler.errors import ButlerError
from butler.question_rounds import in_rounds, planned_rounds, up_to_round
from butler.rounds import Rounds

SIZES = {"law": 400, "tax": 100, "art": 12}


def questions(sizes: dict[str, int], twins: int = 1) -> list[Question]:
    """Questions of data sets; so many in a row share a cluster."""
    return [
        Question(name, n, f"{name} {n}?", "A", cluster=f"{name} {n // twins}" if twins > 1 else "")
        for name, size in sizes.items()
        for n in range(size)
    ]


def sheet_of(asked: list[Question]) -> QuestionSheet:
    data_sets: dict[str, list[Question]] = {}
    for one in asked:
        data_sets.setdefault(one.dataset, []).append(one)
    return QuestionSheet("exam", data_sets)


def test_every_round_asks_the_same_share_of_each_data_set() -> None:
    asked = in_rounds(questions(SIZES), 100, None, seed=1)
    assert planned_rounds(sheet_of(asked)) == [128, 256, 512]
    for name, size in SIZES.items():
        counts = Counter(one.round for one in asked if one.dataset == name)
        assert counts[1] == pytest.approx(size / 4, abs=1) and counts[3] == pytest.approx(
            size / 2, abs=1
        )
    assert [(one.dataset, one.index) for one in asked] == [
        (one.dataset, one.index) for one in questions(SIZES)
    ]


def test_rounds_are_drawn_by_the_seed_alone() -> None:
    first, again, other = (
        [one.round for one in in_rounds(questions(SIZES), 100, None, seed)] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_cluster_is_asked_whole() -> None:
    asked = in_rounds(questions({"cook": 240}, twins=3), 40, None, seed=5)
    assert max(one.round for one in asked) == 3
    rounds: dict[str, set[int]] = {}
    for one in asked:
        rounds.setdefault(one.cluster, set()).add(one.round)
    assert all(len(found) == 1 for found in rounds.values())


def test_no_more_than_the_most_are_asked_and_all_data_sets_alike() -> None:
    asked = in_rounds(questions(SIZES), 40, 128, seed=1)
    assert planned_rounds(sheet_of(asked)) == [64, 128]
    assert Counter(one.dataset for one in asked) == {"law": 100, "tax": 25, "art": 3}
    assert in_rounds(questions(SIZES), None, 128, seed=1) == [
        Question(one.dataset, one.index, one.question, "A") for one in asked
    ], "the same questions, in one round"


def test_without_rounds_all_is_asked_at_once() -> None:
    assert in_rounds(questions(SIZES), None, None, seed=1) == questions(SIZES)


def test_a_sheet_up_to_a_round_leaves_out_what_has_no_question_yet() -> None:
    sheet = sheet_of([Question("law", 0, "?", "A"), Question("tax", 0, "?", "A", round=2)])
    assert list(up_to_round(sheet, 1).data_sets) == ["law"]
    assert up_to_round(sheet, 2).total == sheet.total == 2


def records(scores: list[float], rounds: list[int]) -> list[dict]:
    return [
        {"dataset": "law", "index": n, "question": f"{n}?", "score": score, "round": number}
        for n, (score, number) in enumerate(zip(scores, rounds, strict=True))
    ]


def test_looks_are_of_the_questions_that_both_were_asked() -> None:
    rounds = [1, 1, 2, 2, 3]
    before = records([100, 100, 100, 0, 0], rounds)
    after = records([100, 0, 100, 100], rounds[:4])
    looks = looks_of(common(after, before), Rounds([2, 4, 5]))
    assert [one.mean for one in looks.samples] == [-50, 0]
    assert [one.questions for one in looks.samples] == [2, 4]
    assert list(looks.rounds.sizes) == [2, 4, 5]
    with pytest.raises(ButlerError, match="no question"):
        looks_of(common([], before), Rounds([5]))


def test_questions_of_one_cluster_are_one_observation() -> None:
    rounds = [1] * 4
    before, after = records([100] * 4, rounds), records([0, 0, 100, 100], rounds)
    for one in (*before, *after):
        one["cluster"] = "fish" if one["index"] < 2 else str(one["index"])
    sample = sample_of(common(after, before))
    assert sample.clusters == pytest.approx(1 / (0.5**2 + 2 * 0.25**2))


@pytest.mark.parametrize(
    ("question", "cluster"),
    [("自制红烧肉的家常做法", "红烧肉"), ("红烧肉怎么做？", "红烧肉"), ("???", "")],
)
def test_recipes_are_clustered_by_dish(question: str, cluster: str) -> None:
    assert KINDS["recipe"].cluster(question) == cluster  # type: ignore[attr-defined]
    assert KINDS["qa"].cluster(question) == ""  # type: ignore[attr-defined]
