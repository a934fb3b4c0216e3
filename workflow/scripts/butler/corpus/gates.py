"""Which lines no rule can change, told for many lines at once.

The rules of text.py, recipe.py and adverts.py cost 20 to 50 µs a line; most lines of a corpus come
out of them as they went in. A gate proves that from the characters alone: every rule needs one of
the marks below, so a line without them may skip the rule. A gate may be wrong in one direction
only, by sending a clean line through the rules (tests/test_corpus_gates.py).
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np

from butler.corpus.adverts import GAPS
from butler.corpus.code_points import Array, CodePoints
from butler.corpus.recipe import NAME_END
from butler.corpus.text import FACE_MARKS, FOOD, HAN, respelled

CHAR = 1  # the character is respelt, dropped, or may join with a neighbour
IMAGE = 2  # 图, without which no reference to a picture is
MARKER = 4  # without one of these no chat marker is
PLAIN = 8  # a letter that no placeholder holds
DOUBLED = 16  # punctuation of which a run becomes one
TIGHT = 32  # a space before or after it goes
DIGIT = 64
RARE = 128  # without one of these, or one of PAIRS, or a long number, nothing is a contact
SECOND = 256  # may be the second character of one of PAIRS
STEP_START = 512  # a step number may begin with it
INGREDIENT_START = 1024  # a heading or a torn-off measure may begin with it
END = 2048  # a name loses it at its end
HAN_LETTER = 4096
LETTER = 8192  # alphabetic
BULLET = 16384  # a bullet, or a number that is one character, begins with it
FOLLOWS = 32768  # stands within four characters after the beginning of a step number

# Ranges of letters that are alike in every way but for what they say.
IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFC), (0x20000, 0x2A6DD))

# What a line needs: bits of Lines.needs.
CLEAN, RULES, CHANGED = 1, 2, 4

_BULLETS = "●◆■◇□★☆▲△▼▽○◎•·※*#>☞—–_=|、，,。：:；;！!/\\-.~～@＃"
_PLACEHOLDER = (
    "步骤做法文字具体详细方过程状态直接请如见看参按考照以上下面图片视频示所一二三四五六七八九十这样同来再张成品完效果美近"
    "特写全家展了个吃无没有略暂待续未准备开始制作食材原料用配"
)
_UNIT_STARTS = "克升勺匙个只根片块瓣条颗粒杯把滴包袋盒枚碗张朵株棵支段℃°gm"  # of torn-off measures
_UNIT_PAIRS = "毫升 公斤 公克 大勺 小勺 茶匙 汤匙"
_RARE = "博群昵舰邮诚咨@﹫"


def _words(text: str) -> list[str]:
    return text.split()


# Two characters that stand side by side in what they are marks of (adverts.py), in any case.
_PAIRS = _words(
    "微信 薇信 威信 v信 私信 公众 公号 ha xi 我v 我q 扣扣 vx wx q号 "
    "拉你 好友 证码 扫码 维码 扫一 客服 官方 优惠 领食 领红 领资 链接 网店 微店 "
    "我店 的店 店铺 搜店 索店 旺旺 代购 批发 招代 下单 直播 音号 手号 书号 书: "
    "书： 书@ 关注 度搜 手机 电话 热线 联系 版权 转载 侵权 出处 ww tp .c "
    ".n .o .t .x .i .b .m .a .s .v v: v： q: q： q是 徽信 .信 加微 企鹅 音: 音： 手: 手： 音i "
    "手i 书i 一三 一四 一五 一六 一七 一八 一九 幺三 幺四 幺五 幺六 幺七 幺八 幺九"
)
_BEFORE_SPACE, _AFTER_SPACE = "vqw我", "信众"  # of a contact with white space in it
_GAPS = np.array(list(map(ord, GAPS)), np.uint32)
_CASELESS = "\u017f\u212a\u0130\u0131"  # letters that a case-blind pattern takes for ASCII ones


def _cases(pair: str) -> set[str]:
    both = [{char.lower(), char.upper()} for char in pair]
    return {first + second for first in both[0] for second in both[1]}


_ALL_PAIRS = (
    {cased for pair in _PAIRS for cased in _cases(pair)}
    | {first + " " for char in _BEFORE_SPACE for first in {char, char.upper()}}
    | {" " + second for second in _AFTER_SPACE}
)
PAIRS: Array = np.sort(
    np.array([ord(pair[0]) << 21 | ord(pair[1]) for pair in _ALL_PAIRS], np.uint64)
)
_BEFORE_FEED, _AFTER_FEED = (
    np.array(list(map(ord, text)), np.uint32)
    for text in (_BEFORE_SPACE + _BEFORE_SPACE.upper(), _AFTER_SPACE)
)
_UNIT_FIRST, _UNIT_SECOND = (
    np.array([ord(pair[at]) for pair in _UNIT_PAIRS.split()], np.uint32) for at in (0, 1)
)
_PLAIN_TWICE = re.compile(f"(?:(?![{_PLACEHOLDER}])[{HAN}])(?s:.)*?(?:(?![{_PLACEHOLDER}])[{HAN}])")


def may_be_placeholder(line: str) -> bool:
    """Whether a clean step line could be a placeholder."""
    return not _PLAIN_TWICE.search(line)


def _marks(char: str) -> int:
    """The marks of one character."""
    marks = sum(mark for mark, characters in _SETS.items() if char in characters)
    code, kind = ord(char), unicodedata.category(char)
    if any(first <= code <= last for first, last in IDEOGRAPHS):
        plain = PLAIN if char not in _PLACEHOLDER else 0
        return marks | plain | LETTER | HAN_LETTER
    # Nothing else in these planes is a letter of a recipe.
    if kind in ("Cn", "Co", "Cs") or 0x3400 <= code < 0xA000 or code >= 0x20000:
        return marks | CHAR
    jamo = "\u1100" <= char <= "\u11ff"
    if char != "\n" and (
        respelled(char) or kind[0] in "MC" or jamo or unicodedata.normalize("NFC", char) != char
    ):
        marks |= CHAR
    folded = unicodedata.normalize("NFKC", char).casefold()
    if char.isdecimal():
        marks |= DIGIT | STEP_START
    elif char.isalnum() and folded == char and not (char.isdigit() or char.isascii()):
        marks |= PLAIN if char not in _PLACEHOLDER else 0
    if char.isalpha():
        marks |= LETTER
    if char.isspace():
        marks |= TIGHT | BULLET | (0 if char in " \n" else CHAR)
    if "①" <= char <= "⒛" or "❶" <= char <= "❿":
        marks |= BULLET
    return marks


_SETS = {
    IMAGE: "图",
    MARKER: "<[▁",
    DOUBLED: "！!？?，,、~～；;…。.",
    TIGHT: "，。！？；：、（）《》【】“”\n ",
    RARE: _RARE + _CASELESS,
    CHAR: "".join(FOOD) + _CASELESS + FACE_MARKS,
    BULLET: _BULLETS,
    FOLLOWS: ".:：，,。)）、 步骤epEP",
    STEP_START: "(（第步骤sS一二三四五六七八九十",
    INGREDIENT_START: "#＃" + _UNIT_STARTS + "".join(pair[0] for pair in _UNIT_PAIRS.split()),
    END: NAME_END + "\n",
    SECOND: "".join({pair[1] for pair in _ALL_PAIRS}),
}


_UNSEEN = 0xFFFF  # no character has all marks


@cache
def table() -> CodePoints:
    """The marks of every code point, as uint16."""
    marks = CodePoints(np.uint16, _UNSEEN, lambda code: _marks(chr(code)))
    for first, last in IDEOGRAPHS:
        marks.known[first : last + 1] = PLAIN | LETTER | HAN_LETTER
    marks.meet(map(ord, set(_PLACEHOLDER + "".join(_SETS.values()))))
    return marks


class Lines:
    """The lines of a text ("\\n" ends each), their characters and marks.

    `codes` holds the code points, `marks` their marks, `starts` where each line begins, all as
    arrays; the text must end with a line feed.
    """

    def __init__(self, text: str) -> None:
        self.codes: Array = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        ends = np.flatnonzero(self.codes == 10)
        self.starts: Array = np.concatenate(([0], ends[:-1] + 1))
        self.ends: Array = ends

    def firsts(self, texts: Sequence[str]) -> Array:
        """The number of each text's first line, if these texts were joined by line feeds."""
        sizes = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
        return np.searchsorted(self.starts, np.cumsum(sizes) - sizes)

    def lines_of(self, positions: Array) -> Array:
        """The numbers of the lines that hold these positions."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def flag(self, positions: Array) -> Array:
        """Whether each line holds one of these positions, as bool [lines]."""
        flags = np.zeros(len(self.starts), bool)
        flags[self.lines_of(positions)] = True
        return flags

    def end_in(self, characters: str) -> Array:
        """Whether each line ends in one of these characters, as bool [lines]."""
        last = self.codes[self.ends - 1]
        found = np.zeros(len(last), bool)
        for char in characters:
            found |= last == ord(char)
        return found

    @cached_property
    def marks(self) -> Array:
        """The marks of each character, as uint16."""
        return table().of(self.codes)

    @cached_property
    def some(self) -> Array:
        """The marks that any character of a line has, as uint16 [lines]."""
        return np.bitwise_or.reduceat(self.marks, self.starts)

    def contacts(self) -> Array:
        """Positions without which no line holds a contact; a contact may go on in the next line."""
        either = np.flatnonzero((self.marks & (RARE | SECOND)) != 0)
        marks = self.marks[either]
        rare = either[(marks & RARE) != 0]
        second = either[((marks & SECOND) != 0) & (either > 0)]
        pairs = self.codes[second - 1].astype(np.uint64) << np.uint64(21) | self.codes[second]
        found = PAIRS[np.minimum(np.searchsorted(PAIRS, pairs), len(PAIRS) - 1)] == pairs
        digits = (self.marks & DIGIT) != 0
        pair_of_digits = digits[1:] & digits[:-1]
        four = np.flatnonzero(pair_of_digits[2:] & pair_of_digits[:-2])
        # A phone number: five digits in a row, or four, a gap, and another.
        after, later = (np.minimum(four + step, len(digits) - 1) for step in (4, 5))
        apart = np.isin(self.codes[after], _GAPS)
        long = digits[after] | (apart & digits[later])
        feeds = self.ends[np.isin(self.codes[self.ends - 1], _BEFORE_FEED)] - 1
        starts = self.starts[np.isin(self.codes[self.starts], _AFTER_FEED)]
        return np.concatenate((rare, second[found] - 1, four[long], feeds, starts[starts > 0] - 1))

    def spelling(self) -> Array:
        """Whether clean_line could change each line, as bool [lines]."""
        doubled = (self.codes[1:] == self.codes[:-1]) & ((self.marks[1:] & DOUBLED) != 0)
        spaces = np.flatnonzero(self.codes == 32)
        before = np.maximum(spaces - 1, 0)
        around = (self.marks[before] & (TIGHT | DIGIT)) | (self.marks[spaces + 1] & TIGHT)
        bad = spaces[(around != 0) | (spaces == 0)]
        return ((self.some & CHAR) != 0) | self.flag(np.flatnonzero(doubled)) | self.flag(bad)

    def few_letters(self) -> Array:
        """Whether a line has fewer than two letters that no placeholder holds, as bool [lines]."""
        plain = (self.marks & PLAIN) >> 3
        return np.add.reduceat(plain.astype(np.uint8), self.starts) < 2

    def may_repeat(self) -> Array:
        """Whether a line could be the one before it again, as bool [lines]."""
        lengths, first = self.ends - self.starts, self.codes[self.starts]
        same = (lengths[1:] == lengths[:-1]) & (first[1:] == first[:-1])
        return np.concatenate(([False], same))

    def _numbered(self, first: Array) -> Array:
        """Whether a line may begin with a step number, as bool [lines]."""
        numbered = (first & STEP_START) != 0
        starts = self.starts[numbered]
        near = np.minimum(starts[:, None] + np.arange(1, 5), len(self.marks) - 1)
        followed = ((self.marks[near] & FOLLOWS) != 0).any(axis=1)
        glued = (self.codes[starts] == ord("1")) & ((self.marks[near[:, 0]] & HAN_LETTER) != 0)
        numbered[numbered] = followed | glued
        return numbered

    def _measured(self, first: Array) -> Array:
        """Whether a line may begin with a heading or a torn-off measure, as bool [lines]."""
        measured = (first & INGREDIENT_START) != 0
        starts = self.starts[measured]
        single = ~np.isin(self.codes[starts], _UNIT_FIRST)
        measured[measured] = single | np.isin(self.codes[starts + 1], _UNIT_SECOND)
        return measured

    def needs(self, start: int) -> Array:
        """What each line needs of CLEAN and RULES, as uint8 [lines].

        `start` is STEP_START, INGREDIENT_START, or END for names.
        """
        first = self.marks[self.starts]
        if start == END:
            rules = ((self.marks[self.ends - 1] & END) != 0) | self.flag(self.contacts())
        if start == INGREDIENT_START:
            rules = self._measured(first)
        if start == STEP_START:
            rules = self._numbered(first) | self.few_letters()
            rules |= ((self.some & IMAGE) != 0) | self.may_repeat()
        rules |= ((self.some & PLAIN) == 0) | ((first & BULLET) != 0)
        return self.spelling().astype(np.uint8) * CLEAN + rules.astype(np.uint8) * RULES
