"""Which lines no rule can change, told for many lines at once.

The rules of text.py, recipe.py and adverts.py cost 20 to 50 µs a line; most lines of a corpus come
out of them as they went in. A gate proves that from the characters alone: every rule needs one of
the marks below, so a line without them may skip the rule. A gate may be wrong in one direction
only, by sending a clean line through the rules (tests/test_corpus_gates.py).
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np

from butler.corpus.adverts import GAPS
from butler.corpus.code_points import Array, CodePoints
from butler.corpus.compiled import compiled
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
LOOK = 65536  # what is beside it counts
FIRST = 131072  # may be the first character of one of PAIRS

# Ranges of letters that are alike in every way but for what they say.
IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFC), (0x20000, 0x2A6DD))

# What a line needs: bits of Lines.needs.
CLEAN, RULES, CHANGED = 1, 2, 4
# What a line may be, told by more than one of its characters: bits of Lines.doubts.
SPELT, FEW, CONTACT = 1, 2, 4  # otherwise than it should, with few letters, with a contact

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
_UNITS = tuple(
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


_SECOND = "".join({pair[1] for pair in _ALL_PAIRS})
MARKERS = "<[▁"
_SETS = {
    IMAGE: "图",
    MARKER: MARKERS,
    DOUBLED: "！!？?，,、~～；;…。.",
    TIGHT: "，。！？；：、（）《》【】“”\n ",
    RARE: _RARE + _CASELESS,
    CHAR: "".join(FOOD) + _CASELESS + FACE_MARKS,
    BULLET: _BULLETS,
    FOLLOWS: ".:：，,。)）、 步骤epEP",
    STEP_START: "(（第步骤sS一二三四五六七八九十",
    INGREDIENT_START: "#＃" + _UNIT_STARTS + "".join(pair[0] for pair in _UNIT_PAIRS.split()),
    END: NAME_END + "\n",
    FIRST: "".join({pair[0] for pair in _ALL_PAIRS}),
    SECOND: _SECOND,
    LOOK: _SECOND + _RARE + _CASELESS + " \n",
}


_UNSEEN = 0xFFFFFFFF  # no character has all marks


@cache
def table() -> CodePoints:
    """The marks of every code point, as uint32."""
    marks = CodePoints(np.uint32, _UNSEEN, lambda code: _marks(chr(code)))
    for first, last in IDEOGRAPHS:
        marks.known[first : last + 1] = PLAIN | LETTER | HAN_LETTER
    marks.meet(map(ord, set(_PLACEHOLDER + "".join(_SETS.values()))))
    return marks


@compiled
def _among(code: int, codes: Array) -> bool:
    found = False
    for one in codes:  # few
        found |= one == code
    return found


@compiled
def _count(codes: Array, code: int) -> int:
    count = 0
    for one in codes:
        count += one == code
    return count


@compiled
def _contact(codes: Array, at: int, known: Array, digits: int, pairs: Array, gaps: Array) -> bool:
    """Whether what no contact is without is here; `digits` stand in a row up to this place."""
    marks = known[codes[at]]
    if marks & SECOND and at and known[codes[at - 1]] & FIRST:
        pair = np.uint64(codes[at - 1]) << np.uint64(21) | np.uint64(codes[at])
        found = np.searchsorted(pairs, pair)
        if found < len(pairs) and pairs[found] == pair:
            return True
    # Of a telephone number: five digits in a row, or four, a gap, and another.
    after = at + 1 + _among(codes[at + 1], gaps) if digits == 4 else at
    return marks & RARE != 0 or digits == 4 and known[codes[after]] & DIGIT != 0


@compiled
def _scan(
    codes: Array,
    known: Array,
    contacts: tuple[Array, Array, Array, Array],
    lines: tuple[Array, Array, Array, Array, Array],
) -> bool:
    """Fill what Lines holds of each line; False where a character has no marks yet.

    Args:
        contacts: PAIRS, and the characters within a number, before and after a line feed.
    """
    pairs, gaps, before, after = contacts
    ends, some, doubts, han, alphabetic = lines
    line = begin = every = plain = ideographs = letters = digits = doubled = doubt = 0
    last = np.uint32(10)
    for at in range(len(codes)):
        code = codes[at]
        marks = np.int64(known[code])
        # Counted without a branch, which a processor would often guess wrong.
        every |= marks
        plain += marks & PLAIN
        ideographs += marks & HAN_LETTER
        letters += marks & LETTER
        doubled |= marks & DOUBLED if code == last else 0
        digits = digits + 1 if marks & DIGIT else 0
        if marks & LOOK or digits == 4:
            if marks == _UNSEEN:
                return False
            if code == 10:
                if at > begin and known[last] & FIRST and _among(last, before):
                    doubt |= CONTACT
                if line and known[codes[begin]] & SECOND and _among(codes[begin], after):
                    doubts[line - 1] |= CONTACT
                doubt |= (FEW if plain < 2 * PLAIN else 0) | (SPELT if every & CHAR else 0)
                doubt |= SPELT if doubled else 0
                ends[line], some[line], doubts[line] = at, every, doubt
                han[line], alphabetic[line] = ideographs // HAN_LETTER, letters // LETTER
                line, begin = line + 1, at + 1
                every = plain = ideographs = letters = doubled = doubt = 0
            elif code == 32:
                if known[last] & (TIGHT | DIGIT) or known[codes[at + 1]] & TIGHT:
                    doubt |= SPELT
            elif _contact(codes, at, known, digits, pairs, gaps):
                doubt |= CONTACT
        last = code
    return True


@compiled
def _numbered(codes: Array, known: Array, begin: int, end: int) -> bool:
    """Whether a line that begins as a step number does may have one."""
    near = 0
    for at in range(begin + 1, min(begin + 5, end + 1)):
        near |= known[codes[at]]
    return near & FOLLOWS != 0 or codes[begin] == 49 and known[codes[begin + 1]] & HAN_LETTER != 0


@compiled
def _needs(
    codes: Array,
    known: Array,
    start: int,
    units: tuple[Array, Array],
    lines: tuple[Array, Array, Array],
    needs: Array,
) -> None:
    """Fill what each line needs.

    Args:
        units: the first and the second characters of units that have two.
    """
    ends, some, doubts = lines
    begin, length, opening = 0, -1, np.uint32(0)
    for line in range(len(ends)):
        end, code = ends[line], codes[begin]
        first = known[code]
        rules = some[line] & PLAIN == 0 or first & BULLET != 0
        if start == END:
            rules |= end == begin or known[codes[end - 1]] & END != 0 or doubts[line] & CONTACT != 0
        elif start == INGREDIENT_START:
            if first & INGREDIENT_START:  # of a heading or a torn-off measure
                rules |= not _among(code, units[0]) or _among(codes[begin + 1], units[1])
        else:
            rules |= doubts[line] & FEW != 0 or some[line] & IMAGE != 0
            rules |= end - begin == length and code == opening  # the line before it again
            rules |= first & STEP_START != 0 and _numbered(codes, known, begin, end)
        needs[line] = (CLEAN if doubts[line] & SPELT else 0) | (RULES if rules else 0)
        begin, length, opening = end + 1, end - begin, code


@compiled
def _count_lines(starts: Array, sizes: Array) -> None:
    """Put the number of each text's first line in the place of its size."""
    line = at = 0
    for text in range(len(sizes)):
        while starts[line] < at:
            line += 1
        at += sizes[text] + 1
        sizes[text] = line


class Lines:
    """The lines of a text, each ended by a line feed, and what the gates know of them.

    `codes` holds the text's code points, `starts` and `ends` say where a line is in them. `some`
    has the marks that any character of a line has, `doubts` what a line may be, `han` and
    `alphabetic` count characters.
    """

    def __init__(self, text: str) -> None:
        self.codes: Array = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        count = _count(self.codes, 10)
        self.ends: Array = np.empty(count, np.int64)
        self.some: Array = np.empty(count, np.uint32)
        self.doubts: Array = np.empty(count, np.uint8)
        self.han, self.alphabetic = np.empty((2, count), np.int32)
        lines = self.ends, self.some, self.doubts, self.han, self.alphabetic
        contacts = PAIRS, _GAPS, _BEFORE_FEED, _AFTER_FEED
        marks = table()
        while not _scan(self.codes, marks.known, contacts, lines):
            marks.meet_all(self.codes)
        self.starts: Array = np.concatenate(([0], self.ends[:-1] + 1))

    def firsts(self, texts: Sequence[str]) -> Array:
        """The number of each text's first line, if these texts were joined by line feeds."""
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        _count_lines(self.starts, sizes)
        return sizes

    def end_in(self, characters: str) -> Array:
        """Whether each line ends in one of these characters, as bool [lines]."""
        last = self.codes[self.ends - 1]
        found = np.zeros(len(last), bool)
        for char in characters:
            found |= last == ord(char)
        return found

    def contacts(self) -> Array:
        """Whether each line may hold a contact, or begin one, as bool [lines]."""
        return (self.doubts & CONTACT) != 0

    def needs(self, start: int) -> Array:
        """What each line needs of CLEAN and RULES, as uint8 [lines].

        `start` is STEP_START, INGREDIENT_START, or END for names.
        """
        needs = np.empty(len(self.ends), np.uint8)
        lines = self.ends, self.some, self.doubts
        _needs(self.codes, table().known, start, _UNITS, lines, needs)
        return needs
