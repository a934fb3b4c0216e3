"""A raw record as a clean recipe: ingredient lines and step lines, in reading order."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from butler.corpus.adverts import has_contact, scrub
from butler.corpus.text import HAN, UNITS, clean_line, letters, split_lines


class Rejected(Exception):
    """A record that cannot be used: `reason` is a slug, `detail` says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)  # what unpickling makes it of in another process
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"

    def bare(self) -> "Rejected":
        """The same without its traceback, whose frames hold all that was read with the record."""
        return Rejected(self.reason, self.detail)


@dataclass(frozen=True)
class CleanRecipe:
    """A clean record. `dish` is "" where the corpus does not know it; the author is never read."""

    name: str
    dish: str
    ingredients: tuple[str, ...]
    steps: tuple[str, ...]
    keywords: tuple[str, ...]


# "-18度" and ".5克" are quantities; "@" is a bullet before what is to be done, else a nickname.
_BULLET = re.compile(
    r"^(?:[●◆■◇□★☆▲△▼▽○◎•·※*#>☞—–_=|、，,。：:；;！!/\\]|[-.~～](?!\d)"
    r"|@(?=\s|\w+[.、]|[^，。的]{0,12}[洗切去混刷擦打放加倒])|\s)+"
)
_CERTAIN_NUMBER = re.compile(
    r"^(?:"
    r"[①-⑳⑴-⒛❶-❿][、.,，。:： ]*"
    r"|[（(]\d{1,2}[)）][、.,，:： ]*"
    r"|\d{1,2}(?:[.:：，,](?!\d)|[。)）]) *[、.]*"
    r"|\d{1,2}、(?!\d)"
    r"|第?[一二三四五六七八九十\d]{1,3}步(?:骤)?(?:[、.,，:： ]+|$)"
    r"|(?:步骤|step) ?[一二三四五六七八九十\d]{1,3}(?:[、.,，:： ]+|$)"
    r"|[（(][一二三四五六七八九十]{1,3}[)）][、.,，:： ]*"
    r"|[一二三四五六七八九十]{1,3}(?:、(?![一二三四五六七八九十两半\d])|[.:：])"
    r")\s*",
    re.IGNORECASE,
)
# What it begins with, but for a digit; U+017F is an s to a pattern without case.
_NUMBER_STARTS = frozenset("（(第步sS\u017f一二三四五六七八九十") | frozenset(
    map(chr, (*range(ord("①"), ord("⒛") + 1), *range(ord("❶"), ord("❿") + 1)))
)
# "2、3分钟" may be step 2 or two to three minutes, "2 鸡蛋" step 2 or two eggs: only 1 and the
# number after the previous step's are taken for step numbers.
_POSSIBLE_NUMBER = re.compile(r"^(\d{1,2})(?:、(?=\d)| (?=[^\d\s])|[.:：](?=\d{3}(?!\d)))\s*")
_GLUED = re.compile(rf"^\d{{1,2}}(?=[{HAN}])(?!{UNITS})")
_INLINE_START = re.compile(r"(\d{1,2})[、.](?!\d)")
_IMAGE = re.compile(
    r"[（(](?:大小|状态|具体)?(?:如|见|看|参考)?(?:以?[上下]|配)?(?:图|图片|图示)(?:[一二三四\d]|所示|中)?[)）]"
    r"|(?:[，,、 ]|(?<=[。！!；;]))(?:就)?[如见](?:[上下])?图(?:片)?(?:所示)?"
    r"(?:[：:]$|(?=[。.!！~～]*$|[。；;！!]))"
)
_PLACEHOLDER = re.compile(
    r"(?:步骤|做法|文字|具体|详细|方法|过程|状态|直接|请)*"
    r"(?:[如见看参按](?:考|照)?(?:以)?[上下]?(?:面)?(?:图|图片|视频|步骤)(?:片|示|所示|[一二三四五六七八九十]|这样)*|同上|图片?)"
    r"|(?:[上来]|再来)?(?:一?张)?(?:成品|完成|效果|美|近|细节|特写|全家)图?(?:展示|来?了?[一张个]?)?"
    r"|再来一?张图?|做|吃|做法|步骤|方法|过程|无|没有|略|暂无|待续|未完待续|准备|开始|做法如下|制作过程|制作方法"
    r"|详细步骤视频|看视频|(?:食材|材料|原料|用料|配料)(?:图|如图)?"
)
_NO_UNIT = (
    "克[力里东林什拉罗]|个[头人别性]|只[要有是]|根[据茎块须]|[颗粒]粒|滴水|块[菌根茎]|片[糖皮儿]|条[纹状斑]"
    "|朵拉|包[菜心]|头菜|杯面|把子|支竹|张飞|[袋盒杯碗]装|两|斤|半|度|秒|寸|分|小时|碗[豆仔]"
)
_KEEP_SHORT = re.compile("[切煮炒炸蒸煎烤拌冻晒剪泡焯炖卤揉晾卷包]")
# Scraping tore amounts apart: "克面粉 250" and "克6抹茶" have them in another place, "克盐" has
# lost the number. Words that only look like a measure are left alone.
_UNIT = rf"(?!{_NO_UNIT})({UNITS}|g|ml)"
_UNIT_STARTS = frozenset(unit[0] for unit in f"{UNITS}|g|ml".split("|"))
_AMOUNT_LAST = re.compile(rf"^{_UNIT}([^\d\s:：，,]{{1,20}}?)[:： 。]*(\d+(?:[./~～-]\d+)*)$")
_AMOUNT_SECOND = re.compile(rf"^{_UNIT} ?(\d+(?:[./~～-]\d+)*)(?=[{HAN}])")
_AMOUNT_LOST = re.compile(
    rf"^(?!{_NO_UNIT})(?:克|毫升|大勺|小勺|汤匙|茶匙|勺|匙|个|只|瓣|颗|粒|根|滴|朵|块|片|条|碗|张|g|ml)(?=[{HAN}])"
)
_HASHED = re.compile(r"^[#＃]+\s*([^#＃:：]{1,20})[#＃:：]*$")
NAME_END = " @﹫。.!！?？~～,，、:：;；-—…·*|"
_HEADING = re.compile(r"[:：]$|^【[^】]*】$|^[（(][^）)]*[)）]$")


def parse(raw: Any) -> CleanRecipe:
    """A decoded JSON value as a clean recipe.

    Raises:
        Rejected: wrong_type where a field in use has another type, no_name, no_ingredients or
            no_steps where nothing is there, advert where nothing but adverts was there.
    """
    if not isinstance(raw, Mapping):
        raise Rejected("wrong_type", f"the line is a JSON {type(raw).__name__}, not an object")
    title, dish = text_field(raw, "name"), text_field(raw, "dish")
    listed, told = texts_field(raw, "recipeIngredient"), texts_field(raw, "recipeInstructions")
    keywords = tuple(texts_field(raw, "keywords"))
    name = scrub_name(title)
    ingredients = clean_section(listed, "no_ingredients")
    steps = clean_section(told, "no_steps")
    return CleanRecipe(name, clean_dish(dish), ingredients, steps, keywords)


def clean_dish(raw: str) -> str:
    """The dish that the corpus names; "" where it does not know it, or names it by no letter."""
    dish = clean_line(raw)
    return dish if dish != "Unknown" and letters(dish) else ""


def scrub_name(raw: str) -> str:
    """The dish as the cook calls it, without adverts and ornament.

    Raises:
        Rejected: no_name if nothing is left, advert if a contact stood in it.
    """
    name = _BULLET.sub("", clean_line(" ".join(raw.split()))).rstrip(NAME_END)
    if not letters(name):
        raise Rejected("no_name", "the name is missing or has no letters")
    if has_contact(name):
        raise Rejected("advert", "the name holds a link or a contact detail")
    return name


def clean_ingredients(lines: Iterable[str]) -> list[str]:
    """Ingredient lines without bullets, each amount in front ("克面粉 250" is 250克面粉)."""
    stripped = (_BULLET.sub("", _HASHED.sub(r"\1：", line)) for line in lines)
    mended = map(_mend_amount, stripped)
    return [line for line in mended if letters(line) not in ("", "无")]


def _mend_amount(line: str) -> str:
    """An ingredient with its amount in front, or without the measure whose number is lost."""
    while line[:1] in _UNIT_STARTS:
        before = line
        line = _AMOUNT_LAST.sub(r"\3\1\2", line)
        line = _AMOUNT_SECOND.sub(r"\2\1", line)
        line = _AMOUNT_LOST.sub("", line)
        if line == before:
            break
    return line


def clean_steps(lines: Iterable[str]) -> list[str]:
    """Step lines without numbers, bullets, references to pictures, placeholders and repeats."""
    kept, last = [], 0
    lines = list(lines)
    if has_glued_numbers(lines):
        lines = [line.lstrip("0123456789") for line in lines]
    for numbered in chain.from_iterable(map(split_numbered, lines)):
        line, last = strip_number(numbered, last)
        if line and not is_placeholder(line) and kept[-1:] != [line]:
            kept.append(line)
    # What stood before the numbers ("1、1切丝") may have hidden others.
    return clean_steps(kept) if has_glued_numbers(kept) else kept


def has_glued_numbers(lines: Sequence[str]) -> bool:
    """Whether all lines have their number before them without a mark ("1加油", "2下锅")."""
    if len(lines) < 2 or not lines[0][:1].isdecimal():
        return False
    numbers = map(_GLUED.match, lines)
    return all(match and int(match[0]) == number for number, match in enumerate(numbers, 1))


def split_numbered(line: str) -> list[str]:
    """Cut a line that holds several numbered steps ("1、切丝；2、下锅") at its numbers."""
    parts = []
    if match := _INLINE_START.match(line):
        number = int(match[1])
        while str(number + 1) in line[1:] and (
            found := re.search(rf"(?<=[。；;，,！!.\s]){number + 1}[、.](?!\d)", line)
        ):
            parts.append(line[: found.start()].strip())
            line = line[found.start() :]
            number += 1
    return [*parts, line]


def strip_number(line: str, last: int) -> tuple[str, int]:
    """The line without its step number, and the number of the last numbered step."""
    while True:
        before = line
        if not line[:1].isalnum() and (bullet := _BULLET.match(line)):
            line = line[bullet.end() :]
        if "图" in line:
            line = _IMAGE.sub("", line)
        line = line.strip()
        if not (line[:1].isdecimal() or line[:1] in _NUMBER_STARTS):
            pass  # there is no number
        elif match := _CERTAIN_NUMBER.match(line):
            digits = re.search(r"\d+", match[0])
            last = int(digits[0]) if digits else last + 1
            line = line[match.end() :]
        elif (match := _POSSIBLE_NUMBER.match(line)) and int(match[1]) in (1, last + 1):
            last = int(match[1])
            line = line[match.end() :]
        if line == before:
            return line, last


def is_placeholder(line: str) -> bool:
    text = letters(line)
    if len(text) <= 1 and not _KEEP_SHORT.match(text):
        return True
    if text.isascii() and text.isalpha() and " " not in line:
        return True  # one word, "OK" or "dengdengdeng": no step of a Chinese recipe
    return text.isdigit() or bool(_PLACEHOLDER.fullmatch(text.rstrip("0123456789")))


def is_heading(line: str) -> bool:
    """Whether an ingredient line names a part of the dish ("面团：", "【调料】"), no ingredient."""
    return bool(_HEADING.search(line))


def clean_section(texts: list[str], reason: str) -> tuple[str, ...]:
    """The clean lines of one field: cleaned, adverts out, numbering and placeholders out.

    Raises:
        Rejected: `reason`, no_ingredients or no_steps, if no line is left, advert if there were
            nothing but adverts.
    """
    clean = clean_steps if reason == "no_steps" else clean_ingredients
    lines = clean([line for text in texts for line in split_lines(text)])
    if not lines:
        raise Rejected(reason, f"no usable line among {len(texts)} given")
    scrubbed = list(map(scrub, lines))
    kept = lines
    if scrubbed != lines:
        kept = clean([clean_line(line) for line in scrubbed if line])
    if all(map(is_heading, kept)):
        if scrubbed != lines:
            raise Rejected("advert", f"nothing but adverts or contacts ({reason[3:]})")
        raise Rejected(reason, f"no usable line among {len(lines)} given")
    return tuple(kept)


def text_field(raw: Mapping[str, Any], key: str) -> str:
    """The text under `key`, "" where there is none.

    Raises:
        Rejected: wrong_type.
    """
    value = raw.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Rejected("wrong_type", f"{key} is a {type(value).__name__}, not a text")
    return value


def texts_field(raw: Mapping[str, Any], key: str) -> list[str]:
    """The texts under `key`, none where there is nothing.

    Raises:
        Rejected: wrong_type.
    """
    value = raw.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Rejected("wrong_type", f"{key} is a {type(value).__name__}, not a list")
    try:
        "".join(value)  # ten times as fast as a look at each item
    except TypeError:
        wrong = next(item for item in value if not isinstance(item, str))
        found = type(wrong).__name__
        raise Rejected("wrong_type", f"{key} holds a {found}, not only texts") from None
    return value
