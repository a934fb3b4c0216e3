"""The report's two languages say the same, and every text that is asked for is there."""

import re
import string
from pathlib import Path
from typing import get_args

import pytest

from butler.benchmarks.qa import QuestionAnswerSettings
from butler.benchmarks.recipe.metrics import METRICS
from butler.corpus.choice import REASONS
from butler.report_sections.html_page import check_name
from butler.schemes import BASELINE, VARIANTS
from butler.settings.judging_stage import DecisionSettings, ServiceTarget
from butler.settings.run import Settings
from butler.texts import LANGUAGES, Phrase, named, phrase, say, texts, variant_label
from butler.verdicts import Outcome

ROOT = Path(__file__).resolve().parents[1] / "workflow"


def values(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_are_there_and_take_the_same_values() -> None:
    for key, both in texts().items():
        assert set(both) == set(LANGUAGES) and all(text.strip() for text in both.values()), key
        assert values(both["zh"]) == values(both["en"]), key


def test_no_text_stands_in_two_files() -> None:
    files = [path.read_text("utf-8") for path in (ROOT / "report").glob("texts*.yaml")]
    keys = [key for text in files for key in re.findall(r"^([\w.]+):", text, re.MULTILINE)]
    assert len(files) > 1 and len(keys) == len(set(keys)) == len(texts())


def test_every_text_that_a_template_asks_for_is_there() -> None:
    pages = (ROOT / "report").glob("*.j2")
    asked = {
        key for page in pages for key in re.findall(r'\bt\("([\w.]+)"[,)]', page.read_text("utf-8"))
    }
    assert len(asked) > 50
    assert asked - set(texts()) == set()


def test_every_name_that_code_puts_together_has_a_text() -> None:
    chosen = get_args(QuestionAnswerSettings.model_fields["metric"].annotation)
    made = [f"metric.{name}" for name in (*METRICS, *chosen, "accuracy", "repetition")]
    preferences = get_args(DecisionSettings.model_fields["prefer"].annotation)
    made += [f"rule.{name}" for name in preferences]
    made += [f"promise.{key}" for key in ServiceTarget.model_fields if key != "requests"]
    made += [f"forgetting.{kind}" for kind in ("cost", "gained", "unclear")]
    made += [f"{kind}.{one.value}" for kind in ("outcome", "verdict") for one in Outcome]
    made += [
        f"{kind}.{name}"
        for kind in ("sentence.unsettled", "sentence.none_better")
        for name in preferences
    ]
    corpus = [path.read_text("utf-8") for path in (ROOT / "scripts/butler/corpus").rglob("*.py")]
    rejected = {why for text in corpus for why in re.findall(r'Rejected\(\s*"(\w+)"', text)}
    assert len(rejected) > 8
    made += [f"reason.{why}" for why in (*rejected, *REASONS[1:])]
    assert set(made) - set(texts()) == set()


def test_lists_and_phrases_within_a_phrase_are_said_in_its_language() -> None:
    said = phrase("reason.chosen", changes=["C-Eval", named("metric", "accuracy")])
    assert "C-Eval、准确率" in say(said, "zh")
    assert "C-Eval, accuracy" in say(said, "en")
    assert named("metric", "unheard_of") == "unheard_of"
    with pytest.raises(KeyError):
        say(Phrase("no.such.text"), "en")


def test_a_variant_is_called_by_its_weights_and_its_cache() -> None:
    assert say(variant_label("w4kv8"), "en") == "4-bit weights, int8 KV cache"
    assert say(variant_label("w4kv8"), "zh") == "4 位权重、int8 KV 缓存"
    assert say(variant_label(BASELINE), "en") == "baseline: fp16 weights, fp16 KV cache"
    assert len({say(variant_label(name), "en") for name in VARIANTS}) == len(VARIANTS)


def test_a_check_of_weights_that_a_variant_is_called_by_is_of_weights() -> None:
    assert "(W8A8): those of the merged model, rounded" in check_name("w8a8")
    assert "int8 KV cache hardly changes" in check_name("w8a8kv8")


def test_no_text_and_no_code_of_the_report_names_a_benchmark_or_a_variant() -> None:
    demo = [one.name for one in Settings().benchmarks]
    words = [*demo, "C-Eval", *(name for name in VARIANTS if name != BASELINE)]
    named_here = re.compile(rf"\b({'|'.join(words)})s?\b|菜谱(?!小管家)")
    butler = ROOT / "scripts" / "butler"
    files = list((ROOT / "report").iterdir())
    files += [*(butler / "report_sections").glob("*.py"), ROOT / "scripts" / "report.py"]
    files += [
        butler / f"{name}.py" for name in ("decision", "decision_texts", "comparisons", "texts")
    ]
    assert len(files) > 20
    found = {path.name: named_here.findall(path.read_text("utf-8")) for path in files}
    assert {name: words for name, words in found.items() if words} == {}


def test_chinese_has_no_space_between_han_characters_where_a_value_is_filled_in() -> None:
    def needs(label: str) -> str:
        need = phrase("need.about", count=4000)
        return say(phrase("need.of", benchmark=label, need=need), "zh")

    assert needs("菜谱") == "菜谱约 4,000 题"
    assert needs("C-Eval") == "C-Eval 约 4,000 题"
    assert needs("菜 谱") == "菜 谱约 4,000 题"  # a name stays as it is
    assert say(phrase("need.of", benchmark="菜谱", need="about 9"), "en") == "about 9 of 菜谱"
