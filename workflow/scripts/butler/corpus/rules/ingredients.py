"""Lines of ingredients: the amount in front, one ingredient a line, nothing but ingredients."""

import re
from functools import lru_cache

from butler.corpus.rules.patterns import any_sought, sought
from butler.corpus.rules.prefilter import Prefilter
from butler.corpus.rules.text import HAN, UNITS, letters

_LINES = Prefilter()  # of single ingredients
_NUMBER = r"(?:\d+(?:[./~～-]\d+)*|[半一二两三四五六七八九十几数]{1,2})"
_MEASURE = rf"(?:大|小)?(?:{UNITS}|kg|g|G|ml|ML|mL)"
_VAGUE = "适量|少许|若干|少量|些许|随意|一点点?|一些"
_QUANTITY = rf"(?:(?:约|大约)?{_NUMBER} ?{_MEASURE}(?:左右)?|{_VAGUE})"

BULLETS = re.compile(
    r"^(?:[●◆■◇□★☆▲△▼▽○◎•·※*#>☞—–_=|、，,。：:；;！!/\\①-⑳❶-❿》]|[-.~～](?!\d)"
    r"|\d{1,2}(?:[.)）](?!\d)|、(?!\d)) ?|@|\s)+",
    re.MULTILINE,
)
_HASHED = re.compile(r"^[#＃]+\s*([^#＃:：]{1,20})[#＃:：]*$")

# Scraping tore amounts apart: "克面粉 250" and "克6抹茶" have them in another place, "克盐" has
# lost the number. Words that only look like a measure are left alone.
_NO_UNIT = (
    "克[力里东林什拉罗]|个[头人别性]|只[要有是]|根[据茎块须]|[颗粒]粒|滴水|块[菌根茎]|片[糖皮儿]|条[纹状斑]"
    "|朵拉|包[菜心]|头菜|杯面|把子|支竹|张飞|[袋盒杯碗瓶罐听]装|两|斤|半|度|秒|寸|分|小时|碗[豆仔]|瓶子|罐头|份量|团子|枝竹"
)
_UNIT = rf"(?!{_NO_UNIT})({UNITS}|瓶|罐|听|份|团|捆|束|枝|g|ml)"
_LOST = (
    "克|毫升|大勺|小勺|汤匙|茶匙|勺|匙|个|只|瓣|颗|粒|根|滴|朵|块|片|条|碗|张|罐|份|袋|盒|包|杯|瓶|听"
    "|捆|束|g|ml"
)
# What a chatty amount is made of: 看个人口味添加即可 is 适量.
_LIKING = (
    "(?:心情|口味|喜好|爱好|喜爱|喜欢|需要|需求|情况|感觉|习惯|食量|人数|饭量|实际情况|水分|数量"
    "|意|便|缘)"
)
_CHATTY = (
    r"(?:看|按照|按|依照|依据|依|根据|凭|随|照|视|更具)(?:着|自己的?|个人的?|各人的?|大家的?|家人的?|你的?|自身)*"
    rf"{_LIKING}(?:的|自己|适当|酌情|添加|加入|增减|调整|放|加|来|而定|决定|选择|准备|即可|就好|就行|就可以|吧|哈|啦|了|，)*"
    r"|喜欢(?:什么|吃什么)(?:就)?(?:放|加)(?:什么|点什么)?(?:其[他它])?"
    r"|(?:喜欢|想)(?:放|加|吃)?多少(?:就)?(?:放|加|吃)?(?:多少)?"
    r"|看着(?:放|加|下|办)(?:吧|就好|就行)?|自己看着办|酌情(?:添加|增减)?|你懂的|可有可无"
    r"|多多益善|没过[^，。]{1,6}(?:就行|即可|就好)。?|一丢丢|一捏捏|一捏|可选(?![（）])"
    rf"|(?:个人|自己的?){_LIKING}(?:适量|添加|即可|调整|放|加|增减)*|(?:看|随)(?:自己|个人|你|着)(?:啦|吧|了|的)?"
)
_CHATTY_AMOUNT = re.compile(f"^(?:{_CHATTY})")
_TALK = (
    "我|你|他|她|因为|喜欢|喜好|个人|口味|自己|根据|买|家里|超市|如果|懒|爱吃|不吃|怕|嫌|原方|方子"
    "|今天|这次|上次|孩子|宝宝|心情|习惯|推荐|建议|淘宝|某宝|图|老公|老妈|妈妈|灵魂|今儿"
)
# Each is (what is found in a line, what stands there instead); gone through until none is found.
MENDED: tuple[tuple[re.Pattern[str], str], ...] = (
    (_HASHED, r"\1："),
    (BULLETS, ""),
    (re.compile("[①-⑳❶-❿]"), ""),
    # 克面粉 250, 克6抹茶, 克盐
    (
        re.compile(rf"^{_UNIT}([^\d\s:：，,]{{1,20}}?)[:： 。]*(\d+(?:[./~～-]\d+)*)$"),
        r"\3\1\2",
    ),
    (re.compile(rf"^{_UNIT} ?(\d+(?:[./~～-]\d+)*)(?=[{HAN}])"), r"\2\1"),
    (re.compile(rf"^(?!{_NO_UNIT})(?:{_LOST})[#：: ]?(?=[{HAN}])"), ""),
    # 适量克姜丝, 1个一个鸡蛋, 4\1只老鸭, 1:1小勺蜂蜜
    (re.compile(rf"^({_VAGUE})(?!{_NO_UNIT})(?:{_LOST})(?=[{HAN}])"), r"\1"),
    (re.compile(rf"^(\d+)(?P<again>{UNITS})[一1](?P=again)"), r"\1\2"),
    (re.compile(r"^(\d)\\(\d)"), r"\2/\1"),
    (re.compile(rf"^([\d半一二两三]+(?P<twice>{UNITS}))(?P=twice)"), r"\1"),
    (_CHATTY_AMOUNT, "适量"),
    (re.compile(rf"[（(](?:{_CHATTY})[）)]|(?<=[{HAN}）)])(?:{_CHATTY})$"), ""),
    (re.compile("^适量(?:量(?!杯)|加够|就好|即可|就行)"), "适量"),
    (re.compile(rf" *-{{2,}} *([{HAN}]{{1,8}})(?= |$)"), r"（\1）"),
    (re.compile(rf"^({_VAGUE})[，, ]?(?:{_VAGUE})(?=[{HAN}])"), r"\1"),
    # （圆粒的）糯米 is 糯米（圆粒的）
    (re.compile(rf"^([（(][^（）()]*[）)]) ?([{HAN}][^（）()]*)$"), r"\2\1"),
    (re.compile(rf"[（(「〖][^（）()」〗]*(?:{_TALK})[^（）()」〗]*[)）」〗]"), ""),
    # 半个菠萝 Pineapple, 辣椒粉(chili powder), 10汤匙Cornstarch玉米淀粉
    (re.compile(rf"(?<=[{HAN}）)]) ?[A-Za-z][A-Za-z' ]{{2,}}$|[（(][A-Za-z][A-Za-z' ]+[)）]"), ""),
    (re.compile(rf"^({_QUANTITY}) ?[A-Z][a-z]+(?: [A-Za-z]+)* ?(?=[{HAN}])"), r"\1"),
    # 适量。蒜, 棉花糖。适量, 8个(自制)酸辣椒
    (re.compile(rf"^({_QUANTITY})[，,。.] ?([{HAN}]{{1,6}})$"), r"\1\2"),
    (re.compile(rf"^([{HAN}]{{1,8}})[。，,：: ]+({_VAGUE})$"), r"\2\1"),
    (
        re.compile(rf"^({_QUANTITY}) ?([（(][^（）()]+[）)]) ?([{HAN}A-Za-z]+)(?=[（(]|$)"),
        r"\1\3\2",
    ),
    # 1节，好吃。藕; 20克表面材料：蛋液; 盐3g黑胡椒2g腌肉料：
    (re.compile(rf"^({_QUANTITY})[，,][^：:]*。([{HAN}（）A-Za-z]{{1,12}})$"), r"\1\2"),
    (re.compile(rf"^({_QUANTITY})([{HAN}]{{2,8}}[:：]) ?(.+)$"), r"\2\1\3"),
    (re.compile(rf"^(.*[\d ].*?[\dg克只个勺 ])([{HAN}]{{2,5}}[:：])$"), r"\2\1"),
    (re.compile(rf"^({_QUANTITY}，.*?[。，；])([{HAN}]{{2,8}}[:：].*)$"), r"\2\1"),
    (re.compile(r"(?<=[^\s（(])[、，,;；。.~～!！ ]+$"), ""),
)
# Whether any of them is found: most lines are as they should be.
_MENDED = sought("|".join(f"(?:{one.pattern})" for one, _ in MENDED), re.MULTILINE, _LINES)
_LIST_HEAD = sought(rf"^([{HAN}]{{1,8}}[:：]) ?(?=.*[，,、；; ])", prefilter=_LINES)
_PARTS = re.compile(r"[，,、；;。 ]+(?![^（(]*[)）])")
_HAS_AMOUNT = re.compile(rf"(?:{_NUMBER} ?{_MEASURE}|{_VAGUE}|[一两半][根把个勺])")
_ONE = rf"([{HAN}]{{1,8}}) ?(\d+(?:\.\d+)?(?:{UNITS}|g|ml))"
_TWO = sought(f"^{_ONE} ?{_ONE}$", prefilter=_LINES)
_WORDS = re.compile(rf"[{HAN}]{{1,6}}(?: [{HAN}]{{1,6}}){{2,}}")
_ANY_LIST = sought(
    "^(?:食材|材料|原料|用料|配料|主料|辅料|所需食材|准备食材|需要食材)[:：]$", prefilter=_LINES
)
HEADING = sought(r"[:：]$|^【[^】\n]*】$|^[（(][^）)\n]*[)）]$", re.MULTILINE)
# Lines that are none of the dish: tools, remarks, a heading of tools.
TOOLS = sought("^[^：:\n]{0,4}(?:工具|器具|模具|厨具|用具|设备)[^：:\n]{0,4}[:：]$", re.MULTILINE)
_NO_INGREDIENT = any_sought(
    (
        r"^无$",
        rf"^(?:{UNITS}|g|ml)$",
        r"(?:模具|烤盘|烤箱|油纸|锡纸|烘焙纸|保鲜膜|保鲜袋|裱花嘴|裱花袋|打蛋器|打蛋盆|压面机|料理机|破壁机|面包机|厨师机"
        r"|电饭煲|电饭锅|平底锅|不粘锅|砂锅|高压锅|压力锅|微波炉|空气炸锅|蒸锅|刮刀|擀面杖|牙签|竹签|厨房秤|电子秤|量杯|量勺"
        r"|筛子|榨汁机|豆浆机|搅拌机|手套|密封罐|玻璃瓶|密封瓶|棉线|粽绳|烘焙秤|油刷|纱布|蛋糕模|吐司盒)"
        r"(?:[一1]?[个台只张套把卷口块]|\d+寸|若干|适量)?$",
        r"^(?:以上|所有)[^：:]*(?:准备|备用|混合)[^：:]*$",
        r"^[^：:]*(?:我承认|偷懒|如下|上图|见图|如图|全身都是)[^：:]*$",
    ),
    prefilter=_LINES,
)


def clean_ingredients(text: str) -> str:
    """The lines of `text` mended, one ingredient each, without tools and what is none."""
    lines = [clean for line in text.split("\n") for clean in clean_line(line)]
    whole = "\n".join(lines)
    if not TOOLS.search(whole):
        return whole
    kept: list[str] = []
    of_tools = False
    for line in lines:
        if TOOLS.search(line):
            of_tools = True
        elif HEADING.search(line):
            of_tools = False
            kept.append(line)
        elif not of_tools:
            kept.append(line)
    return "\n".join(kept)


@lru_cache(1 << 16)  # half of all lines are among the most frequent 65,536
def clean_line(line: str) -> tuple[str, ...]:
    """What a line holds of ingredients: none, one, or several that were run together."""
    while _MENDED.search(line):
        before = line
        for pattern, instead in MENDED:
            line = pattern.sub(instead, line)
        if line == before:
            break
    if letters(line) in ("", "无") or _NO_INGREDIENT.search(line) or _ANY_LIST.search(line):
        return ()
    parts = split_line(line)
    if len(parts) == 1:
        return (line,)
    return tuple(clean for part in parts for clean in clean_line(part))


def split_line(line: str) -> list[str]:
    """The ingredients of a line that lists several with their amounts, else the line alone."""
    if _WORDS.fullmatch(line):
        return line.split(" ")
    if two := _TWO.match(line):
        return [two[1] + two[2], two[3] + two[4]]
    head = _LIST_HEAD.match(line)
    body = line[head.end() :] if head else line
    parts = [part for part in _PARTS.split(body) if part]
    if len(parts) < 3:
        return [line]
    with_amount = sum(bool(_HAS_AMOUNT.search(part)) for part in parts)
    if 2 * with_amount < len(parts):
        return [line]
    heading = [head[1]] if head and not _ANY_LIST.search(head[1]) else []
    return heading + parts


def told_lines(text: str) -> list[str]:
    """The lines but those that name a part of the dish ("面团：", "【调料】")."""
    lines = text.split("\n")
    return [line for line in lines if not HEADING.search(line)] if HEADING.search(text) else lines


def rejoined(ingredients: str, steps: str) -> str:
    """Lines in which talk stands before the name: 1个，我用了两个鸡蛋 is 1个鸡蛋.

    The name is the longest end of the line that the steps name; a line without one goes, if it is
    the cook who talks.
    """
    if not (_TALKED.search(ingredients) or _COOK.search(ingredients)):
        return ingredients
    return "\n".join(filter(None, (_rejoined(line, steps) for line in ingredients.split("\n"))))


_TALKED = sought(rf"^({_QUANTITY})?(?:[^：:，,\n]*[，,])+([^：:，,\n]{{2,}})$", re.MULTILINE)
_COOK = sought(
    "[我你俺]|闺女|家里|某宝|淘宝|超市|买[了来到的]|喜欢|强迫症|就是上|满意即可|看见|随你"
)
_IN_BRACKETS = re.compile(r"[（(][^（）()\n]*[）)]")
_LEADING = re.compile(rf"^{_QUANTITY}")
_LONGEST_NAME = 6  # characters


def _rejoined(line: str, steps: str) -> str:
    bare = _IN_BRACKETS.sub("", line)
    talks = bool(_COOK.search(bare)) and not _CHATTY_AMOUNT.search(bare)
    found = _TALKED.match(line)
    if not talks and not (found and found[1] and not _HAS_AMOUNT.search(found[2])):
        return line
    amount = _LEADING.match(line)
    for size in range(min(_LONGEST_NAME, len(bare) - 1), 1 if talks else 0, -1):
        if bare[-size:] in steps:
            return f"{amount[0] if amount else '适量'}{bare[-size:]}"
    return "" if talks else line
