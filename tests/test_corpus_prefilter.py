"""The prefilter hides nothing: where a pattern is found, it lets the text through.

Every alternative of every rule is walked from the pattern itself, so that one that is added is
tested with the next run.
"""

import re
from re import _parser as parser  # type: ignore[attr-defined]

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler.corpus import pipeline
from butler.corpus.rules import talk
from butler.corpus.rules.patterns import branches, sought
from butler.corpus.rules.prefilter import Prefilter, Prefiltered
from rule_walk import bare, examples, patterns
from test_corpus_real import RECORDS

RULES = {name: rule for name, rule in patterns().items() if isinstance(rule, Prefiltered)}
RULES["pipeline._MARKER"] = pipeline._MARKER

AROUND = ("好，{}，好", "好\n{}\n好", "克{}水", "1 {} 1", "\u200b{}😋")


def of(pattern: Prefiltered) -> re.Pattern[str]:
    """What Python's matcher looks for."""
    return re.compile(pattern.pattern, pattern.flags)


@pytest.mark.parametrize("name", RULES)
def test_every_alternative_of_a_rule_is_let_through(name: str) -> None:
    rule, plain = RULES[name], of(RULES[name])
    found = 0
    for part in branches(bare(rule.pattern)):
        for one in examples(parser.parse(part, plain.flags & ~re.UNICODE)):
            for told in (one, one.upper(), *(around.format(one) for around in AROUND)):
                hit = plain.search(told)
                found += bool(hit)
                assert bool(rule.search(told)) == bool(hit), told
                assert bool(rule.match(told)) == bool(plain.match(told)), told
                assert rule.sub("-", told) == plain.sub("-", told), told
    assert found


@pytest.mark.real_data
@pytest.mark.skipif(not RECORDS.exists(), reason="real recipes not found")
def test_rules_find_in_real_lines_what_python_finds() -> None:
    lines = RECORDS.read_text("utf-8").splitlines()[:500]
    for name, rule in RULES.items():
        plain = of(rule)
        wrong = [line for line in lines if bool(rule.search(line)) != bool(plain.search(line))]
        assert wrong == [], name


PATTERNS = [
    "(?<=[甲乙])丙(?=丁)",
    "(?<!甲)丙(?!丁)",
    "(?=丙).丁",
    "(?:(?<=甲)|乙)丙",
    "(?:甲(?=乙)|丙)乙?丁",
    "(甲|乙)丙*\\1",
    "(?P<again>甲+)丁(?P=again)",
    "甲{2,}乙|丙{0,2}丁{3}",
    "(?:甲乙*丙)+丁",
    "(?:甲|乙丙*)?丁$",
    "^甲|乙$",
    "\\b甲",
    "[^甲乙]{2}丁",
    "[^甲]丙.丁",
    "\\d\\w\\s",
    "\\D甲|[\\W_]乙",
    "甲(?>乙|丙)丁",
]


@given(pattern=st.sampled_from(PATTERNS), told=st.text("甲乙丙丁 1_\n", max_size=12))
def test_any_kind_of_pattern_finds_what_it_finds_alone(pattern: str, told: str) -> None:
    try:
        plain = re.compile(pattern, re.MULTILINE if "$" in pattern else 0)
    except re.error:  # atomic groups are newer
        return
    rule = Prefiltered(plain, Prefilter())
    assert rule.sub("-", told) == plain.sub("-", told)


@pytest.mark.parametrize(
    "pattern", [r"\d", r"\w", r"\s", "[a-f]", "k", "s", "i", "[kx]", "[^k]", "ⅰ|k", "好|[0-9s]"]
)
def test_no_character_is_hidden_with_case_or_without(pattern: str) -> None:
    everything = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for flags in (0, re.IGNORECASE):
        if pattern.startswith("ⅰ") and flags:
            with pytest.raises(ValueError, match="'ⅰ' in either case is not known here"):
                sought(pattern, flags, Prefilter())
            continue
        plain, seen = re.compile(pattern, flags), Prefilter()
        seen.add(plain)
        found = "".join(filter(plain.search, everything))
        hidden = [char for char in found if not seen.candidates(char)]
        assert found and hidden == []


def test_a_text_that_is_none_is_left_to_the_pattern() -> None:
    assert sought("甲", prefilter=Prefilter()).search("\ud800甲")


def test_a_pattern_may_be_added_at_any_time() -> None:
    prefilter = Prefilter()
    first = sought("甲", prefilter=prefilter)
    assert first.search("甲乙") and not first.search("乙")
    second = sought("乙", prefilter=prefilter)
    assert second.search("甲乙") and second.search("乙") and not first.search("乙")


def test_talk_that_a_line_holds_is_found_in_the_whole_text() -> None:
    for part in branches(bare(talk._ANY.pattern)):
        for one in examples(parser.parse(part, talk._ANY.flags & ~re.UNICODE)):
            for line in (one, f"好{one}", f"{one}好"):
                found = bool(talk._ANY.search(line))
                assert found == bool(talk._ANY.search(f"切\n{line}\n切")), line
