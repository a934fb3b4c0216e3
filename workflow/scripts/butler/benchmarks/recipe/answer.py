"""The asked form of a recipe answer, and the ingredients in it: their names and their amounts."""

import re
import unicodedata
from dataclasses import dataclass

from butler.recipe_form import INGREDIENTS_HEADING, STEPS_HEADING

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
_AMOUNT = re.compile(
    rf"(?P<number>{_NUMBER}|(?:[一二两三四五六七八九十]{{1,3}}|半)(?={_UNIT}))\s*(?P<unit>{_UNIT}{_UNIT_END})?"
)
_UNIT_FIRST = re.compile(rf"^\s*(?P<unit>{_UNIT}{_UNIT_END})\s*(?=\d|$)")
_DIGITS = {"半": 0.5, "两": 2.0} | {
    digit: float(n) for n, digit in enumerate("一二三四五六七八九", 1)
}
# Units that mean the same, with how many of the first one such unit is.
_SAME_UNIT = {
    "克": {"g": 1.0, "千克": 1000.0, "公斤": 1000.0, "kg": 1000.0, "斤": 500.0, "两": 50.0}
    | {"毫克": 0.001, "mg": 0.001},
    "毫升": {"ml": 1.0, "cc": 1.0, "升": 1000.0, "l": 1000.0},
    "汤匙": {"大勺": 1.0, "大匙": 1.0, "tbsp": 1.0},
    "茶匙": {"小勺": 1.0, "小匙": 1.0, "tsp": 1.0},
    "勺": {"匙": 1.0, "调羹": 1.0},
}
_UNITS = {
    other: (unit, factor) for unit, same in _SAME_UNIT.items() for other, factor in same.items()
}
Amount = tuple[float, float, str]  # least, most, unit


@dataclass(frozen=True)
class RecipeAnswer:
    """A recipe answer taken apart: its ingredient lines and its step lines, in order.

    `valid` says whether the text has the asked form: the ingredients' heading first, at least one
    ingredient, the steps' heading once, at least one step.
    """

    ingredients: tuple[str, ...]
    steps: tuple[str, ...]
    valid: bool


def parse_answer(text: str) -> RecipeAnswer:
    """Take a recipe answer apart.

    Full-width colons count as colons. Without the steps' heading (an answer cut short) everything
    after the first heading is taken as ingredients; without the first heading there are none.
    """
    lines = [line.strip().replace("：", ":") for line in text.splitlines()]
    lines = [line for line in lines if line]
    if INGREDIENTS_HEADING not in lines:
        return RecipeAnswer((), (), False)
    start = lines.index(INGREDIENTS_HEADING)
    rest = lines[start + 1 :]
    middle = rest.index(STEPS_HEADING) if STEPS_HEADING in rest else len(rest)
    ingredients, steps = tuple(rest[:middle]), tuple(rest[middle + 1 :])
    headings = lines.count(INGREDIENTS_HEADING), lines.count(STEPS_HEADING)
    valid = start == 0 and headings == (1, 1) and bool(ingredients) and bool(steps)
    return RecipeAnswer(ingredients, steps, valid)


def ingredient_amounts(lines: tuple[str, ...]) -> dict[str, Amount | None]:
    """Return the amount by ingredient name, in the order of the lines; the first mention counts.

    A name is without quantity, unit and remarks in brackets: `1500克上海青`, `上海青 1500g` and
    `上海青（洗净）` all give `上海青`; a line that lists several (`姜、蒜`) gives each. Full-width
    forms are folded (NFKC), letters made small.
    An amount is (least, most, unit): `3-4只鱿鱼` gives (3, 4, "只"), `半斤盐` and `250g 盐` both
    (250, 250, "克"). Units that mean the same are made one; spoons and bowls are not turned into
    grams. Without a number (`适量盐`, `盐少许`, `盐`) the amount is None.
    """
    amounts: dict[str, Amount | None] = {}
    for line in lines:
        text = unicodedata.normalize("NFKC", line).lower()
        remarks = " ".join(_BRACKETS.findall(text))
        parts = [part for part in _SEPARATORS.split(_BRACKETS.sub("", text)) if part.strip()]
        for part in parts:
            name = _name(part)
            amount = _amount(part.replace(name, " ", 1)) if name else None
            if amount is None and len(parts) == 1:
                amount = _amount(remarks.strip("()[]{}【】《》"))
            if name:
                amounts.setdefault(name, amount)
    return amounts


def _amount(text: str) -> Amount | None:
    """Read what is left of an ingredient without its name."""
    match = _AMOUNT.search(text)
    if match is None:
        return None
    first = _UNIT_FIRST.match(text)
    unit = match["unit"] or (first["unit"] if first else "")
    unit, factor = _UNITS.get(unit, (unit, 1.0))
    ends = [_number(end) * factor for end in re.split(r"\s*[-~至到—]+\s*", match["number"])]
    return round(min(ends), 6), round(max(ends), 6), unit


def _number(text: str) -> float:
    """Return the value of `3`, `2.5`, `1/2`, `两`, `半` or `十二`."""
    if text[0].isdigit():
        value, *divisors = (float(part) for part in re.split("[/⁄]", text))
        for divisor in divisors:
            value = value / divisor if divisor else value
        return value
    tens, ten, ones = text.rpartition("十")
    return (10 * _DIGITS.get(tens, 1.0) if ten else 0.0) + _DIGITS.get(ones, 0.0)


def _name(text: str) -> str:
    """Strip quantities from both ends until nothing changes; never strip the whole text."""
    name = text.strip(_EDGES)
    while True:
        shorter = _LEADING.sub("", name, count=1).strip(_EDGES)
        shorter = _TRAILING.sub("", shorter, count=1).strip(_EDGES) or shorter
        if shorter == name or not shorter:
            return name
        name = shorter
