"""Metrics of texts and of recipes against values worked out by hand."""

import json
from pathlib import Path

import pytest

from butler.benchmarks.recipe.answer import ingredient_amounts, parse_answer
from butler.benchmarks.recipe.metrics import METRICS, ingredient_scores
from butler.benchmarks.recipe.steps import step_scores
from butler.benchmarks.registry import KINDS
from butler.benchmarks.text_metrics import (
    chrf,
    corpus_bleu,
    exact_match,
    normalised,
    repetition,
    rouge,
    sentence_bleu,
)

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "xiachufang" / "recipes.jsonl"


def answer(ingredients: list[str], steps: list[str]) -> str:
    return "\n".join(["您需要准备以下食材:", *ingredients, "按以下方法制作:", *steps])


REFERENCE = answer(["1500克上海青", "45克盐"], ["晒干", "腌一周"])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("1500克上海青", "上海青"),
        ("上海青 1500g", "上海青"),
        ("上海青（洗净）", "上海青"),
        ("适量盐", "盐"),
        ("盐 少许", "盐"),
        ("3-4只鱿鱼", "鱿鱼"),
        ("½茶匙料酒", "料酒"),
        ("1/2勺糖", "糖"),
        ("两勺酱油", "酱油"),
        ("小半碗橄榄油", "橄榄油"),
        ("一小把香菜", "香菜"),
        ("一只约50克鸡蛋", "鸡蛋"),
        ("100g左右奶粉", "奶粉"),
        ("个鸡蛋16", "鸡蛋"),
        ("克低筋面粉247.5", "低筋面粉"),
        ("6鸡翅", "鸡翅"),
        ("250ＭＬ牛奶", "牛奶"),
        # names that look like quantities stay whole
        ("五花肉500克", "五花肉"),
        ("八角", "八角"),
        ("2个八角", "八角"),
        ("十三香", "十三香"),
        ("三文鱼一块", "三文鱼"),
        ("包菜", "包菜"),
        ("千张", "千张"),
        ("1汤匙头抽", "头抽"),
        ("5g lemon", "lemon"),
        ("100克", "100克"),
    ],
)
def test_ingredient_name_without_quantity(line: str, name: str) -> None:
    assert list(ingredient_amounts((line,))) == [name]


def test_line_with_several_ingredients_gives_each() -> None:
    assert list(ingredient_amounts(("适量姜、蒜米，酱油",))) == ["姜", "蒜米", "酱油"]


def test_answer_in_the_asked_form_is_taken_apart() -> None:
    parsed = parse_answer(REFERENCE)
    assert parsed.ingredients == ("1500克上海青", "45克盐")
    assert parsed.steps == ("晒干", "腌一周")
    assert parsed.valid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "上海青，盐",
        "好的\n" + REFERENCE,  # something before the first heading
        answer([], ["晒干"]),
        answer(["盐"], []),
        "您需要准备以下食材:\n盐",
        REFERENCE + "\n" + REFERENCE,  # does not stop
    ],
)
def test_answer_not_in_the_asked_form(text: str) -> None:
    assert not parse_answer(text).valid


def test_ingredients_by_hand() -> None:
    # found {上海青, 糖, 醋}, wanted {上海青, 盐}: one hit
    scores = ingredient_scores(answer(["1颗上海青", "糖", "醋"], ["拌匀"]), REFERENCE)
    assert scores["ingredient_precision"] == pytest.approx(100 / 3)
    assert scores["ingredient_recall"] == pytest.approx(50)
    assert scores["ingredient_f1"] == pytest.approx(100 * 2 / 5)


def test_quantities_do_not_count_and_words_in_steps_are_not_ingredients() -> None:
    assert ingredient_scores(answer(["9克盐", "上海青"], ["x"]), REFERENCE)["ingredient_f1"] == 100
    assert ingredient_scores("上海青加盐", REFERENCE)["ingredient_f1"] == 0


@pytest.mark.parametrize(
    ("line", "amount"),
    [
        ("1500克上海青", (1500, 1500, "克")),
        ("上海青 1.5kg", (1500, 1500, "克")),
        ("半斤上海青", (250, 250, "克")),
        ("上海青（250g，洗净）", (250, 250, "克")),
        ("3-4只鱿鱼", (3, 4, "只")),
        ("十二个鸡蛋", (12, 12, "个")),
        ("个鸡蛋16", (16, 16, "个")),
        ("½茶匙料酒", (0.5, 0.5, "茶匙")),
        ("1/2小勺料酒", (0.5, 0.5, "茶匙")),
        ("两勺酱油", (2, 2, "勺")),
        ("6鸡翅", (6, 6, "")),
        ("2个八角", (2, 2, "个")),
        ("适量盐", None),
        ("盐少许", None),
        ("三文鱼", None),
    ],
)
def test_amount_of_an_ingredient(line: str, amount: tuple[float, float, str] | None) -> None:
    assert list(ingredient_amounts((line,)).values()) == [amount]


def test_quantities_by_hand() -> None:
    # (上海青, 1500 克) is there in kilograms, 盐 has another amount, 糖 is not asked for:
    # 1 of 3 found, 1 of 2 wanted; by name 2 of 3 and 2 of 2
    scores = ingredient_scores(answer(["1.5公斤上海青", "40克盐", "糖"], ["拌匀"]), REFERENCE)
    assert scores["quantity_precision"] == pytest.approx(100 / 3)
    assert scores["quantity_recall"] == pytest.approx(50)
    assert scores["quantity_f1"] == pytest.approx(100 * 2 / 5)
    assert scores["ingredient_f1"] == pytest.approx(100 * 4 / 5)


WANTED_STEPS = ["热锅倒油", "放入蒜末爆香", "加盐调味", "出锅装盘"]


def test_steps_by_hand() -> None:
    # 热锅|倒油, 放入|蒜末|爆|香, 加盐|调味, 出锅|装盘. Found: the first with one word more
    # (F = 2·2/(2+3)), the fourth, the third; the second is not there. 3 of 4 covered, and the
    # places 0, 2, 1 rise over 2.
    found = ["1. 热锅倒油烧热", "2. 出锅装盘", "3. 加盐调味"]
    scores = step_scores(found, WANTED_STEPS)
    assert scores == {"step_coverage": 75.0, "step_order": 50.0}


def test_one_long_step_does_not_cover_all() -> None:
    assert step_scores(["".join(WANTED_STEPS)], WANTED_STEPS)["step_coverage"] <= 25
    repeated = step_scores(["加盐调味"] * 4, WANTED_STEPS)
    assert repeated == {"step_coverage": 25.0, "step_order": 25.0}


def test_steps_of_the_recipe_itself_and_of_no_answer() -> None:
    assert step_scores(WANTED_STEPS, WANTED_STEPS) == {"step_coverage": 100, "step_order": 100}
    assert step_scores([], WANTED_STEPS) == {"step_coverage": 0, "step_order": 0}
    with pytest.raises(ValueError, match="no steps"):
        step_scores(WANTED_STEPS, [])


def test_repetition_by_hand() -> None:
    # 加|盐|加|盐|加|盐|加|盐 by spaces: 5 sequences of four, 2 different: 1 − 2/5
    assert repetition("加 盐 " * 4) == pytest.approx(60)
    assert repetition("加 盐 加 油") == 0
    assert repetition("") == 0


def test_reference_without_ingredients_is_an_error() -> None:
    with pytest.raises(ValueError, match="no ingredients"):
        ingredient_scores(REFERENCE, "晒干")


def test_rouge_by_hand() -> None:
    # jieba: 我|爱|吃|苹果 against 我|爱|吃|香蕉|和|苹果; 4 of 4 and 4 of 6 words: F = 2·4/(4+6).
    # Bigrams: 我爱 爱吃 of 3 and of 5: F = 2·2/(3+5). LCS 我爱吃苹果 = 4: F = 2·4/(4+6).
    scores = rouge("我爱吃苹果", "我爱吃香蕉和苹果")
    assert scores["rouge1"] == pytest.approx(80)
    assert scores["rouge2"] == pytest.approx(50)
    assert scores["rougeL"] == pytest.approx(80)


def test_rouge_clips_repeated_words() -> None:
    # 盐 three times against once: 1 hit of 3 and of 1, F = 2·1/(3+1)
    assert rouge("盐 盐 盐", "盐")["rouge1"] == pytest.approx(50)


def test_rouge_looks_past_the_first_line_comma_and_full_stop() -> None:
    """The trap of OpenCompass' own Chinese ROUGE: only the text before them was compared."""
    same_start = rouge("材料,大米.\n红烧牛肉", "材料,大米.\n清炒豆芽")
    assert 0 < same_start["rouge1"] < 100
    assert rouge("", REFERENCE)["rouge1"] == 0


def test_rouge_of_english_is_over_words_in_small_letters() -> None:
    # fry|the|egg against boil|the|egg|now: 2 of 3 and 2 of 4 words: F = 2·2/(3+4); the|egg is 1 of
    # 2 and of 3 pairs: F = 2·1/(2+3)
    scores = rouge("Fry the egg.", "boil The egg, now!")
    assert scores["rouge1"] == scores["rougeL"] == pytest.approx(100 * 4 / 7)
    assert scores["rouge2"] == pytest.approx(40)


def test_rouge_of_other_alphabets() -> None:
    assert rouge("Жарить яйцо", "варить яйцо")["rouge1"] == pytest.approx(50)
    assert rouge("crème brûlée", "Crème Brûlée!")["rougeL"] == 100


def test_bleu_by_hand() -> None:
    # 5 characters of 甲乙丙丁戊 against 甲乙丙丁己: 1- to 4-grams 4/5, 3/4, 2/3, 1/2; no brevity
    # penalty; (4/5·3/4·2/3·1/2)^(1/4) = (1/5)^(1/4)
    expected = pytest.approx(100 * 0.2**0.25, abs=1e-6)
    assert corpus_bleu(["甲乙丙丁戊"], ["甲乙丙丁己"]) == expected
    assert sentence_bleu("甲乙丙丁戊", "甲乙丙丁己") == expected


def test_bleu_of_english_counts_words() -> None:
    assert sentence_bleu("one two three four five", "one two three four six") == pytest.approx(
        100 * 0.2**0.25, abs=1e-6
    )
    assert corpus_bleu(["a b c d"], ["a b c d"]) == pytest.approx(100)


def test_bleu_of_a_short_answer_counts_the_n_grams_that_it_has() -> None:
    assert sentence_bleu("盐", "盐") == 100
    assert sentence_bleu("salt", "salt") == 100
    assert sentence_bleu("", "盐") == 0


def test_chrf_by_hand() -> None:
    # ab against abc: characters 2/2 and 2/3, pairs 1/1 and 1/2, no longer ones in both: precision
    # 1, recall (2/3 + 1/2)/2 = 7/12; F2 = 5·P·R/(4·P + R) = 5·(7/12)/(4 + 7/12)
    assert chrf("ab", "abc") == pytest.approx(100 * 5 * (7 / 12) / (4 + 7 / 12), abs=1e-6)
    assert chrf("盐 糖", "盐糖") == pytest.approx(100)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ｐａｒｉｓ。", "paris", True),
        ("盐、糖", "盐 糖", True),
        ("It is 3.5%", "it is 3.5 %", True),
        ("5%", "5", False),
        ("3.5", "35", False),
        ("-2", "2", False),
        ("1,200", "1200", True),
        ("Paris, France", "Paris", False),
        ("?!", "!?", False),
        ("?!", " ?! ", True),
        ("", "?", False),
    ],
)
def test_exact_match_looks_past_width_case_punctuation_and_space(
    one: str, other: str, same: bool
) -> None:
    assert exact_match(one, other) == 100 * same


def test_normalising_twice_changes_nothing() -> None:
    for text in ("Ｐａｒｉｓ，－２．５％！", "盐 、 糖", "...5"):
        assert normalised(normalised(text)) == normalised(text)


def scores_of(
    name: str, predictions: list[str], references: list[str], **settings: object
) -> tuple[dict[str, float], list[dict[str, float]]]:
    kind = KINDS[name]
    checked = kind.Settings.check({"name": "x", "kind": name, **settings})
    return kind.score(checked, predictions, references)


def test_overall_scores_are_means_over_questions() -> None:
    overall, questions = scores_of("recipe", [REFERENCE, "不知道"], [REFERENCE, REFERENCE])
    assert tuple(overall) == METRICS
    assert overall["ingredient_f1"] == pytest.approx(50)
    assert overall["format_validity"] == pytest.approx(50)
    assert [question["format_validity"] for question in questions] == [100, 0]
    assert 0 < overall["bleu_zh"] < 100
    assert "bleu_zh" not in questions[0]


def test_numbers_of_answers_must_match() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2"):
        scores_of("recipe", ["a"], ["a", "b"])


def test_questions_and_answers_have_a_form_only_where_a_pattern_is_given() -> None:
    answers, references = ["answer: 4\n", "four answer: 4"], ["answer: 4", "answer: 4"]
    overall, questions = scores_of("qa", answers, references)
    assert list(overall) == [
        "rougeL", "rouge1", "rouge2", "bleu", "corpus_bleu", "chrf", "exact_match", "repetition"
    ]  # fmt: skip
    assert overall["exact_match"] == 50
    assert overall["rougeL"] == pytest.approx((100 + 100 * 4 / 5) / 2)
    overall, questions = scores_of("qa", answers, references, pattern=r"answer: \d+")
    assert overall["format"] == 50
    assert [question["format"] for question in questions] == [100, 0]


def test_the_main_metric_is_the_users() -> None:
    kind = KINDS["qa"]
    settings = kind.Settings.check({"name": "x", "kind": "qa", "metric": "chrf"})
    overall, _ = kind.score(settings, ["a"], ["b"])
    assert next(iter(kind.metrics_of(settings, overall))) == "chrf"
    assert set(kind.metrics_of(settings, overall)) == set(overall)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.exists(), reason="real recipes (../shared/data) are not here")
def test_real_ingredients_lose_their_quantities() -> None:
    with REAL.open(encoding="utf-8") as stream:
        records = [json.loads(line) for _, line in zip(range(1000), stream, strict=False)]
    lines = [line for record in records for line in record["recipeIngredient"]]
    names = [name for line in lines for name in ingredient_amounts((line,))]
    with_digit = sum(any(c.isdigit() for c in name) for name in names)
    assert with_digit / len(names) < 0.03
    whole = ingredient_scores(answer(lines[:9], ["炒"]), answer(lines[:9], ["炒"]))
    assert whole["ingredient_f1"] == 100


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [("34", "3/4"), ("1030", "10:30"), ("5", ".5"), ("102", "10²"), ("23", "2*3"), ("12", "(1,2)")],
)
def test_another_number_is_no_exact_match(prediction: str, reference: str) -> None:
    assert exact_match(prediction, reference) == 0
    assert exact_match(reference, reference) == 100


def test_a_number_is_the_same_with_its_thousands_apart() -> None:
    assert exact_match("1,000,000", "1000000") == 100
