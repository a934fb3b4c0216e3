"""The asked form of a recipe answer, and the ingredient names in it."""

import re
import unicodedata
from dataclasses import dataclass

INGREDIENTS_HEADING = "您需要准备以下食材:"
STEPS_HEADING = "按以下方法制作:"

_NUMBER = r"(?:\d+(?:\.\d+)?(?:[/⁄]\d+(?:\.\d+)?)*(?:\s*[-~至到—]+\s*\d+(?:\.\d+)?)?)"
_CHINESE_NUMBER = r"(?:[一二两三四五六七八九十]{1,3}|小?半|几|数|若干)"
_UNIT = (
    r"(?:千克|公斤|毫克|毫升|厘米|汤匙|茶匙|调羹|大勺|小勺|大匙|小匙|大碗|小碗|小把|小块|小片|小撮|小段|小根"
    r"|kg|mg|ml|cm|tsp|tbsp|cc|克|斤|两|升|勺|匙|个|只|根|片|块|瓣|颗|粒|朵|把|包|袋|盒|罐|瓶|碗|杯|条|头|滴"
    r"|段|张|枚|节|株|棵|束|撮|份|尾|支|串|g|l)"
)
# A Latin unit must not be the beginning of a longer Latin word.
_UNIT_END = r"(?![a-z])"
_VAGUE = r"(?:适量|少许|少量|若干|些许|一些|一点点|一点|酌量|随意)"
_AROUND = r"(?:左右|上下|大约|约|的)"
_LEADING = re.compile(
    rf"^(?:{_VAGUE}|{_AROUND}|{_NUMBER}\s*(?:小|大)?{_UNIT}{_UNIT_END}|{_NUMBER}"
    rf"|{_CHINESE_NUMBER}{_UNIT}{_UNIT_END}|(?:千克|公斤|毫升|汤匙|茶匙|克|个))\s*"
)
_TRAILING = re.compile(
    rf"\s*(?:{_VAGUE}|{_AROUND}|{_NUMBER}\s*{_UNIT}?|(?<=.){_CHINESE_NUMBER}{_UNIT})$"
)
_BRACKETS = re.compile(r"[(\[{【《][^()\[\]{}【】《》]*[)\]}】》]")
_SEPARATORS = re.compile(r"[、,;。]")
_EDGES = " \t#*·•.:!-—_~"


@dataclass(frozen=True)
class Answer:
    """A recipe answer taken apart: its ingredient lines and its step lines, in order.

    `valid` says whether the text has the asked form: the ingredients' heading first, at least one
    ingredient, the steps' heading once, at least one step.
    """

    ingredients: tuple[str, ...]
    steps: tuple[str, ...]
    valid: bool


def parse_answer(text: str) -> Answer:
    """Take a recipe answer apart.

    Full-width colons count as colons. Without the steps' heading (an answer cut short) everything
    after the first heading is taken as ingredients; without the first heading there are none.
    """
    lines = [line.strip().replace("：", ":") for line in text.splitlines()]
    lines = [line for line in lines if line]
    if INGREDIENTS_HEADING not in lines:
        return Answer((), (), False)
    start = lines.index(INGREDIENTS_HEADING)
    rest = lines[start + 1 :]
    middle = rest.index(STEPS_HEADING) if STEPS_HEADING in rest else len(rest)
    ingredients, steps = tuple(rest[:middle]), tuple(rest[middle + 1 :])
    headings = lines.count(INGREDIENTS_HEADING), lines.count(STEPS_HEADING)
    valid = start == 0 and headings == (1, 1) and bool(ingredients) and bool(steps)
    return Answer(ingredients, steps, valid)


def ingredient_names(lines: tuple[str, ...]) -> frozenset[str]:
    """Return the names in ingredient lines, without quantity, unit and remarks in brackets.

    `1500克上海青`, `上海青 1500g` and `上海青（洗净）` all give `上海青`; a line that lists several
    (`姜、蒜`) gives each. Full-width forms are folded (NFKC), letters made small.
    """
    names: set[str] = set()
    for line in lines:
        text = unicodedata.normalize("NFKC", line).lower()
        text = _BRACKETS.sub("", text)
        names.update(_name(part) for part in _SEPARATORS.split(text))
    return frozenset(names - {""})


def _name(text: str) -> str:
    """Strip quantities from both ends until nothing changes; never strip the whole text."""
    name = text.strip(_EDGES)
    while True:
        shorter = _LEADING.sub("", name, count=1).strip(_EDGES)
        shorter = _TRAILING.sub("", shorter, count=1).strip(_EDGES) or shorter
        if shorter == name or not shorter:
            return name
        name = shorter
