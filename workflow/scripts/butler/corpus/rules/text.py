"""Characters of a text: one spelling for what means the same, nothing that cannot be read.

`spell` takes a text of any number of lines, and its rules look past no line feed; spelling a text
that is spelt changes nothing. `chinese` adds what is right between Han characters only: no spaces
in quantities and at full-width punctuation, words for food emoji, no faces made of letters.
"""

import re
import unicodedata

HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
NOT_HAN = re.compile(f"[^{HAN}]+")
_NOT_LATIN = re.compile("[^A-Za-zªº\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]+")

# NFKC over everything would turn （ ， ： ！ into ASCII, 1½ into 11⁄2, ① into 1 and m² into m2.
# It is applied to these ranges only, where it loses nothing: full-width digits, letters and
# arithmetic signs, half-width katakana and its punctuation, radicals, Latin ligatures, units (㎝).
_SAFE_NFKC = (
    (0xFF10, 0xFF19),
    (0xFF21, 0xFF3A),
    (0xFF41, 0xFF5A),
    (0xFF61, 0xFF9F),
    (0x2E80, 0x2FDF),
    (0x3371, 0x337A),
    (0x3380, 0x33DF),
    (0xFB00, 0xFB06),
)
_SAFE_SIGNS = "％＋－／．＝＊＆＃＠"
_SIGNS = {
    "➕": "+",
    "➖": "-",
    "✖": "×",
    "➗": "÷",
    "➡": "→",
    "⁄": "/",
    "⋯": "…",
    "\ufe52": ".",
    "‼": "！",
    "⁉": "！",
}
_FRACTIONS = {c: unicodedata.normalize("NFKC", c).replace("⁄", "/") for c in "½¼¾⅓⅔⅛⅜⅝⅞⅕⅖⅗⅘⅙⅚"}

# Food emoji stand for a word when a quantity or a verb comes before them ("3个🥚").
_FOOD_WORDS = (
    "🥚鸡蛋 🍅番茄 🥕胡萝卜 🥔土豆 🌽玉米 🍠红薯 🥛牛奶 🍋柠檬 🍓草莓 🍌香蕉 🍎苹果 "
    "🍊橙子 🍇葡萄 🍉西瓜 🍍菠萝 🥭芒果 🍑桃子 🍒樱桃 🍐梨 🥝猕猴桃 🥑牛油果 🍆茄子 "
    "🥒黄瓜 🥦西兰花 🌶辣椒 🧄大蒜 🧅洋葱 🍄蘑菇 🥜花生 🌰栗子 🍯蜂蜜 🧂盐 🧈黄油 🧀奶酪 "
    "🍚米饭 🍞面包 🍤虾 🦐虾 🦀螃蟹 🦞小龙虾 🐟鱼 🐔鸡 🍗鸡腿 🍖肉 🥩牛排 🥓培根 🍫巧克力 "
    "🍺啤酒 🍷红酒 ☕咖啡 🍵茶 🧊冰块 💧水 🥬青菜 🎃南瓜 🔥火"
)
FOOD = {word[0]: word[1:] for word in _FOOD_WORDS.split()}
_EMOJI = "[\U0001f000-\U0001faff\u2600-\u2775\u2794-\u27bf\u2b00-\u2bff\u231a-\u23ff]"
_FOOD = "".join(FOOD)
_MEASURE = "0-9半一二两三四五六七八九十几个只克颗粒根勺片块瓣条把杯升滴包匙斤gl"
# Long sets of characters are slow to search: a range that holds them goes first.
_FOOD_WORD = re.compile(
    rf"(?=[☕\U0001f300-\U0001faff])([{_FOOD}])(?<=[{_MEASURE}加放入打切将用和拌配量小大关开转中+、，].)\1*"
)
_EMOJI_RUN = re.compile(f"{_EMOJI}+")
# Faces and hands stand where a sentence ends without a full stop; 草莓🍓酱 is one word.
_FACES = "\U0001f600-\U0001f64f\U0001f90c-\U0001f93e\U0001f970-\U0001f97a\U0001f440-\U0001f450☺✌"
_FACE = re.compile(f"[{_FACES}]+")
_PICTURE = re.compile(f"[{_EMOJI[1:-1]}{_FACES}{_FOOD}]")
# A keycap is a step's number, but before a unit a figure: 浸泡🔟分钟, 烤3️⃣0️⃣分钟.
_KEYCAP = "(?:[0-9]\ufe0f?\u20e3\ufe0f?|🔟)"
_KEYCAPS = re.compile(
    rf"({_KEYCAP}+)"
    r"(?= ?(?:分钟|小时|毫升|[大小茶汤]?[勺匙]|[克斤度秒℃]|个(?!人)|g|ml|min|[-~～]\d))"
    rf"|{_KEYCAP}"
)
_MIXED_NUMBER = re.compile(f"(\\d) ?([{''.join(_FRACTIONS)}])")

UNITS = (
    "毫升|公斤|公克|分钟|小时|大勺|小勺|茶匙|汤匙|克|斤|两|升|勺|匙|个|只|根|片|块|瓣|条|颗|粒|杯|把"
    "|滴|包|袋|盒|枚|碗|张|朵|株|棵|支|段|度|秒|寸|℃|°C"
)
_LATIN_UNITS = r"(?:kg|g|mg|ml|l|cc|cm|mm|oz|lb|tbsp?|tsp|mins?)s?(?![A-Za-z])"
# A pattern that begins with what is rare is searched for many times as fast as one that looks back.
_SPACE_IN_QUANTITY = re.compile(rf" (?<=\d )(?=(?:{UNITS})|{_LATIN_UNITS})", re.IGNORECASE)
_PUNCTUATION = "[，。！？；：、（）《》【】“”]"
_SPACE_AT_PUNCTUATION = re.compile(f" (?:(?<={_PUNCTUATION} )|(?={_PUNCTUATION}))")
_BREAKS = re.compile("[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")  # where str.splitlines cuts, too
_BLANKS = re.compile("  +")
_EDGES = re.compile(" \n[ \n]*|\n[ \n]+")  # empty lines, and spaces where a line begins or ends
# Each mark by itself, as a pattern that asks for the same again is slow to search.
_REPEATED = re.compile("|".join(f"{re.escape(mark) * 2}+" for mark in "！!？?，,、~～；;"))
# Of two marks the stronger is meant: 翻炒。，加老抽; 适量油、，倒入.
_STRUCK_AGAIN = re.compile(
    rf"{_REPEATED.pattern}|……+|\.\.\.\.+|。。+|、[，。；]|"
    + "|".join(f"{mark}[，、]+" for mark in "。！？；，")
    + "|。！|！。"
)
# The most frequent of what is no letter, nor has one in its compatibility form.
NEVER_LETTERS = "，。！？、：；（）“”～…·《》【】° "
_NEVER_LETTERS = re.compile(f"[{NEVER_LETTERS}]+")
_NOT_LETTERS = re.compile(r"[\W_]+")


class _Spelling(dict[int, str]):
    """Character to its spelling, for str.translate; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if any(first <= code <= last for first, last in _SAFE_NFKC) or char in _SAFE_SIGNS:
            self[code] = unicodedata.normalize("NFKC", char)
        else:
            self[code] = _SIGNS.get(char) or _FRACTIONS.get(char) or _visible(char)
        return self[code]


def _visible(char: str) -> str:
    """A character as it may stand in a line: kept, made a space, or dropped."""
    kind = unicodedata.category(char)
    if kind in ("Cf", "Co", "Cn", "Cs", "Me") or "\ufe00" <= char <= "\ufe0f":
        return ""  # zero-width, private, unassigned, lone surrogate, keycap and variation marks
    if char in "\ufffc\ufffd":
        return ""  # what stood there is lost
    return " " if kind in ("Zs", "Zl", "Zp", "Cc") else char


_SPELLING = _Spelling()
# All but the characters that each stay as they are, whatever is beside them.
_UNUSUAL = re.compile("[^\n -~\u4e00-\u9ffc，。！？、：；（）“”～…℃°×]+")
# Faces made of letters: "O(∩_∩)O", "(^_-)".
_FACE_MARKS = "∩▽^´｀≧≦﹏ω艸๑ᵕ⌄"
_FACE_MARK = re.compile(f"[{re.escape(_FACE_MARKS)}]")
_LETTER_FACE = re.compile(
    rf"[oOヾ٩~～]?[（(](?=[^()（）\n]*[{_FACE_MARKS}])[^()（）\n{HAN}0-9]{{2,10}}[)）][oOﾉ~～]?(?:/~?)?"
)


def spell(text: str, chinese: bool = True) -> str:
    """`text` in one spelling: NFKC where safe, no unseen characters, no emoji, single spaces.

    It is cut into lines at every kind of break; empty lines are left out.
    """
    while (spelt := _tidy(_respell(text, chinese), chinese)) != text:
        text = spelt
    return text


def _respell(text: str, chinese: bool) -> str:
    unusual = _UNUSUAL.search(text)
    if unusual:
        text = _BREAKS.sub("\n", text)
    if chinese and _FACE_MARK.search(text):
        text = _LETTER_FACE.sub(" ", text)
    if not unusual:
        return text
    text = unicodedata.normalize("NFC", text)
    text = _KEYCAPS.sub(_digits, text)
    text = _MIXED_NUMBER.sub(r"\1 \2", text)
    text = _UNUSUAL.sub(lambda found: found[0].translate(_SPELLING), text)
    if _PICTURE.search(text):
        if chinese:
            text = _FOOD_WORD.sub(_food_word, text)
        text = _EMOJI_RUN.sub("", _FACE.sub(" ", text))
    return text


def _digits(match: re.Match[str]) -> str:
    """The digits on keycaps: a figure, or the number of what follows."""
    digits = "".join(char for char in match[0].replace("🔟", "10") if char in "0123456789")
    return digits if match[1] else f"{digits}. "


def _tidy(text: str, chinese: bool) -> str:
    """A respelt text with single spaces where they belong, and no repeated punctuation."""
    if " " in text or "\n\n" in text:
        text = _EDGES.sub("\n", _BLANKS.sub(" ", text))
    text = text.strip(" \n")
    if chinese and " " in text:
        text = _SPACE_IN_QUANTITY.sub("", text)
        text = _SPACE_AT_PUNCTUATION.sub("", text)
    return (_STRUCK_AGAIN if chinese else _REPEATED).sub(_struck_once, text)


def _struck_once(match: re.Match[str]) -> str:
    """A mark that stands several times, once; dots are an ellipsis, but two 。 are one."""
    mark, last = match[0][0], match[0][-1]
    if mark != last:
        return last if mark == "、" else mark
    return "……" if mark in "….。" and match[0] != "。。" else mark


def _food_word(match: re.Match[str]) -> str:
    """The word for a food emoji, or nothing where the word stands beside it already."""
    word = FOOD[match[1]]
    before, after = match.string[: match.start()], match.string[match.end() :]
    return "" if before.endswith(word) or after.startswith(word) else word


def letters(text: str) -> str:
    """`text` as compared with another: compatibility forms and case folded, letters and digits."""
    folded = fold(text if text.isalnum() else _NEVER_LETTERS.sub("", text))
    return folded if folded.isalnum() else _NOT_LETTERS.sub("", folded)


def fold(text: str) -> str:
    """`text` in compatibility forms and without case."""
    if not unicodedata.is_normalized("NFKC", text):  # which is slow to make, and fast to see
        text = unicodedata.normalize("NFKC", text)
    return text.casefold()


def share_of(text: str, others: re.Pattern[str]) -> float:
    """Share of a script among the letters of `text`, 0 to 1; `others` finds what is not of it."""
    return len(others.sub("", text)) / max(sum(map(str.isalpha, text)), 1)


def is_mostly(text: str, others: re.Pattern[str]) -> bool:
    """Whether share_of() is LEAST_SHARE or more."""
    own = len(others.sub("", text))
    return own > 0 and (own >= LEAST_SHARE * len(text) or share_of(text, others) >= LEAST_SHARE)


# What corpus.language counts, and the least share of it among the letters of a record.
SCRIPTS = {"zh": ("Han", NOT_HAN), "en": ("Latin", _NOT_LATIN)}
LEAST_SHARE = 0.5
