"""The report's two languages say the same, and every text that is asked for is there."""

import re
import string
from pathlib import Path

import pytest

from butler.benchmarks.recipe.metrics import METRICS
from butler.corpus.drop import REASONS
from butler.decision import PREFERENCES
from butler.texts import LANGUAGES, Phrase, named, phrase, say, texts
from butler.variants import BENCHMARKS, VARIANTS

ROOT = Path(__file__).resolve().parents[1] / "workflow"


def values(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_are_there_and_take_the_same_values() -> None:
    for key, both in texts().items():
        assert set(both) == set(LANGUAGES) and all(text.strip() for text in both.values()), key
        assert values(both["zh"]) == values(both["en"]), key


def test_every_text_that_a_template_asks_for_is_there() -> None:
    pages = (ROOT / "report").glob("*.j2")
    asked = {
        key for page in pages for key in re.findall(r'\bt\("([\w.]+)"[,)]', page.read_text("utf-8"))
    }
    assert len(asked) > 50
    assert asked - set(texts()) == set()


def test_every_name_that_code_puts_together_has_a_text() -> None:
    made = [f"metric.{name}" for name in METRICS] + [f"name.{name}" for name in BENCHMARKS]
    made += [f"step.{name}" for name in VARIANTS] + [f"rule.{name}" for name in PREFERENCES]
    made += [f"forgetting.{kind}" for kind in ("lost", "gained", "noise", "unknown")]
    corpus = [path.read_text("utf-8") for path in (ROOT / "scripts/butler/corpus").rglob("*.py")]
    rejected = {why for text in corpus for why in re.findall(r'Rejected\(\s*"(\w+)"', text)}
    assert len(rejected) > 8
    made += [f"reason.{why}" for why in (*rejected, *REASONS[1:])]
    assert set(made) - set(texts()) == set()


def test_lists_and_phrases_within_a_phrase_are_said_in_its_language() -> None:
    said = phrase("remark.noise", variant="w4", baseline="fp16",
                  benchmarks=[named("name", "ceval"), named("name", "recipe")])  # fmt: skip
    assert "C-Eval、菜谱" in say(said, "zh")
    assert "C-Eval, recipes" in say(said, "en")
    assert named("name", "unheard_of") == "unheard_of"
    with pytest.raises(KeyError):
        say(Phrase("no.such.text"), "en")
