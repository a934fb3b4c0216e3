"""Lines of ingredients: the amount in front, one ingredient a line, nothing but ingredients."""

import re
from functools import lru_cache

from butler.corpus.rules import foods
from butler.corpus.rules.amounts import MEASURE, NUMBER, QUANTITY, VAGUE, mended
from butler.corpus.rules.patterns import by_place
from butler.corpus.rules.talk import BOUGHT
from butler.corpus.rules.text import HAN, UNITS, letters

_LIST_HEAD = re.compile(rf"^([{HAN}]{{1,8}}[:：]) ?(?=.*[，,、；; ])")
# 馅料:25克黄油, 油皮：低筋粉240克
_HEADED = re.compile(
    rf"^([{HAN}]{{1,8}}(?:[:：](?= ?{QUANTITY}(?!左右|以上|[即就])[{HAN}]{{2}})"
    rf"|(?<=[料馅种皮团糊饰])[:：](?! ?{QUANTITY}))) ?([{HAN}\d][^:：]+)$"
)
# 主面团, 奶黄馅, 水油皮: a part of the dish, if amounts follow.
_PART = re.compile(
    rf"(?![一两半三几]|{VAGUE})(?:[{HAN}]{{1,6}}(?:材料|用料)|[{HAN}]{{0,6}}(?:面团|[中汤烫液兰]种|馅料?"
    "|[饼挞塔派油]皮|[油奶]酥|蛋糕[胚坯体]|饼底|淋面|装饰|面糊|蛋黄糊|蛋白霜))$"
)
_PARTS = re.compile(r"[，,、；;。 ]+(?![^（(]*[)）])")
_VAGUE = re.compile(f"^(?:{VAGUE})")
_COMMAS = re.compile("[，,、；;。]")
_MARKS = re.compile("[，,、；;。+丶和 :：]")  # without any a line is of one, or run together
_BETWEEN = re.compile("[、，,。+丶]|(?<!王致)和| (?!淀粉|面粉)")  # two names
_HAS_AMOUNT = re.compile(rf"(?:{NUMBER} ?{MEASURE}|{VAGUE}|[一两半][根把个勺])")
_ONE = (
    rf"([{HAN}]{{1,8}}?)[:： ]?"
    rf"((?:\d+(?:[./]\d+)?|[一二两三四五半])(?:[大小]?(?:{UNITS})|[gG]|ml)|{VAGUE})"
)
_SERIES = re.compile(f"^(?:{_ONE} ?(?![到至或左])){{2,}}$")  # 250g 到 500g is one amount
_EACH = re.compile(_ONE)
_TOLD = re.compile(rf"{_ONE}|{QUANTITY}(?![用加放左切打去])[{HAN}]{{1,6}}")
# Names alone, with one amount for all or none: 适量盐、胡椒粉; 各50g韭菜、菠菜; 葱，姜
_NO_NAME_WITHIN = (
    "[都有也或和等各放不配另去切剪剁洗打后两几半]|用(?![油盐])|[常室]温|[融软]化"
    "|[一二三四五六七八九十](?!角|文鱼|花|香|三香|季豆|荆条|青条|品鲜|川)"
)
_WORDS = re.compile(rf"[{HAN}]{{1,6}}(?: [{HAN}]{{1,6}}){{2,}}")
_NAME = rf"(?:(?!{VAGUE}|{_NO_NAME_WITHIN})[{HAN}]){{1,6}}"
_NAMES = re.compile(
    rf"(?:各?({VAGUE})|各({QUANTITY}))?({_NAME}(?:(?:{_BETWEEN.pattern}){_NAME})+?)[。 ]?"
    rf"(?:各?({VAGUE})|各({QUANTITY}))?"
)
_JOINED = re.compile(rf"(?:各?({VAGUE})|各({QUANTITY}))?({foods.SEVERAL_SPICES})")  # 适量花椒桂皮
# One amount for several: 1勺糖，鸡精; 2个青椒红椒.
_OF_SEVERAL = re.compile(
    rf"^{NUMBER} ?{MEASURE}(?:{_NAME}[、，,]({_NAME})(?:[、，,]{_NAME})*|{foods.SEVERAL_SPICES})"
    r"(?=$|[（(])"
)
# One that lost its unit: 50红枣.
_NO_UNIT = re.compile(
    rf"^\d+(?:\.\d+)?(?![\d.])(?!{MEASURE}|{UNITS})([{HAN}]{{1,7}})(?=$|[（(])", re.MULTILINE
)
_ANY_LIST = re.compile("^(?:食材|材料|原料|用料|配料|主料|辅料|所需食材|准备食材|需要食材)[:：]$")
HEADING = re.compile(r"[:：]$|^【[^】\n]*】$|^[（(][^）)\n]*[)）]$", re.MULTILINE)
_HEADING_ENDS = frozenset(":：】）)")
# Lines that are none of the dish: tools, remarks, a heading of tools.
TOOLS = re.compile(
    "^[^：:\n]{0,4}(?:工具|器具|模具|厨具|用具|设备)[^：:\n]{0,4}[:：]$", re.MULTILINE
)
_BESIDE = (
    "构图|摆拍|拍照|分享|其[他它]|等等?|如下|[材主辅调佐作食原配用]料|食材|配菜|用量|总量|适量"
    "|少许|若干"
)
_NONE, _HOLDS_NONE = by_place(
    (
        r"^(?:或者?|以及|另外|[和加])$|^[一二三四五]、[主辅配材料]+$|^以[上下](?:是|为)[^：:]*$|^括号里",
        r"^[^：:]*(?:接下去|才好看|仅作参考|的尺寸|分享自)[^：:]*$|^\d+分钟时间$|^\d+min\d+°.*$|^满满\s?心情",
        rf"^[{HAN}]{{1,3}}[糊液团皮]用(?:{QUANTITY})?$",
        r"^(?:揉成|擀成|煎熟|搅匀|混合均匀|搅拌均匀)[^：:]*$",
        rf"^\d?[个只把]?[{HAN}]{{0,4}}(?:模具?|粉筛|锡箔纸)(?:[（(][^）)]*[)）])?$",
        rf"^(?:{UNITS}|g|ml)$",
        r"(?:模具|烤盘|烤箱|油纸|锡纸|烘焙纸|保鲜膜|保鲜袋|裱花嘴|裱花袋|打蛋器|打蛋盆|压面机|料理机|破壁机|面包机|厨师机"
        r"|电饭煲|电饭锅|平底锅|不粘锅|砂锅|高压锅|压力锅|微波炉|空气炸锅|蒸锅|刮刀|擀面杖|牙签|竹签|厨房秤|电子秤|量杯|量勺"
        r"|筛子|榨汁机|豆浆机|搅拌机|手套|密封罐|玻璃瓶|密封瓶|棉线|粽绳|烘焙秤|油刷|纱布|蛋糕模|吐司盒|保鲜盒|[圆方烤活固]模|硅胶模|裱花转台|蒸笼布|温度计|漏勺|剪刀|勺子|筷子|镊子|(?:^|个|口)(?:铁|炒|汤|奶)锅|砧板|菜板|(?:^|个|只)盆|叉子|纸杯|纸巾|厨房纸|布袋子?|袋子|塑料袋|容器|(?:^|个|只)空?瓶子?|制作器|不粘[炒平底]*[锅模]|煎锅|筛网|抹布|保温杯|(?:^|把)(?:小?刀)"
        r"|(?:[\d一两几][个只口台]|若干)[^，：:]{0,5}(?:(?<!火)锅|汤勺|(?<![鸡鸭骨])架子|器|棍子))"
        r"(?:[一1]?[个台只张套把卷口块条]|\d+寸|\d+[*×xX]\d+[^，]{0,6}|若干|适量| ?\d+个[:：]?)?"
        r"(?:[（(][^（）()]*[)）])?$",
        r"^实耗|^(?:技法|工艺|味型|难度|[制操]作时间)[:：]",
        r"^[\d\W_]+$|^(?:备用|工具)$|^方子",
        rf"^(?:(?:大?约|共|各)?[\d./~～+-]+ ?(?:{UNITS}|份|g|kg|ml|cm|人份|个月|℃)?"
        r"(?:左右|以上)?[ ，,]?)+$",
        rf"^(?:烤箱|上下火|[上下]火|[上中下]{{1,2}}层|预热)[{HAN}]{{0,2}} ?(?:\d[^，]*)?$",
        "^(?:适量)?(?:室温|常温|冷藏|冷冻)$",
        rf"^(?:[蒸煮烤炸腌煎炒炖焖烘]|发酵|预热|浸泡)[制]?(?:约|大约)?[{HAN}]{{0,3}}\d[\d~～-]*(?:分钟|小时|度|℃|秒)[^，]*$",
        r"^(?:请|见|参[考见]|详见|都在|在)?[^：:，]{0,4}(?:[见看]步骤|步骤[里中]|[见看][上下]?图|图[片中上]|视频|参考步骤|按步骤)[^：:，]{0,4}$",
        r"^(?:适量|满满的?|一?颗|许多|很多|一份|一点|各种|\d+[个份颗])*(?:爱心?|耐心|细心|用心|心情|时间|好心情|热爱|想象力|满满爱心|满满耐心|心意|巧手|双手|[^，]{0,6}的热爱)$",
        r"分钟[^，]*℃|^\d+个成品$|^[^，：:]{0,6}见(?:下|步骤)[^，：:]{0,4}$",
        rf"^(?:{_BESIDE})(?:[，、]?(?:{_BESIDE}))*$",
        r"^(?:以[上下]|此|本|这|这个)(?:材料|用料|配方|方子|食材|量|分量|份量)(?!包|[：:]$)[^：:]*$|可做[\d一二三四五六七八九十两][^：:]*$",
        r"^(?:以上|所有)[^：:]*(?:准备|备用|混合)[^：:]*$",
        r"^[^：:]*(?:偷懒|如下|上图|见图|如图|全身都是)[^：:]*$",
    )
)


def clean_ingredients(text: str) -> str:
    """The lines of `text` mended, one ingredient each, without tools and what is none."""
    lines = [clean for line in text.split("\n") for clean in clean_line(line)]
    lines = _listed_once(_with_headings(_without_tools(lines)))
    while lines and is_heading(lines[-1]) and not _HAS_AMOUNT.search(lines[-1]):  # of no part
        lines.pop()
    return "\n".join(lines)


def _without_tools(lines: list[str]) -> list[str]:
    """The lines but for a list of tools, from its heading to the next."""
    kept: list[str] = []
    of_tools = False
    for line in lines:
        if is_heading(line):
            of_tools = bool(TOOLS.search(line))
        if not of_tools:
            kept.append(line)
    return kept


def _with_headings(lines: list[str]) -> list[str]:
    """The lines with a colon at those that name a part of the dish, whose amounts follow.

    None if the last line is such a part: then what it is of may stand before it.
    """
    parts = [number for number, line in enumerate(lines) if _is_part(line)]
    if not parts or parts[-1] == len(lines) - 1:
        return lines
    told = [bool(_HAS_AMOUNT.search(line)) for line in lines]
    for number in parts:
        if number + 1 in parts or told[number + 1 : number + 3] == [True, True]:
            lines[number] += "："
    return lines


@lru_cache(1 << 16)
def _is_part(line: str) -> bool:
    return bool(_PART.match(line))


def _listed_once(lines: list[str]) -> list[str]:
    """The lines without what tells no amount and stands there again: 适量油 beside 18克油."""
    kept: list[str] = []
    if any(map(is_heading, lines)):  # of several parts, each has its own
        heading = ""
        for line in lines:
            if line != heading:  # that of 糖心：15克黄油 and 糖心：5克糖粉 is said once
                kept.append(line)
            heading = line if is_heading(line) else heading
        return kept
    told = list(map(_named, lines))
    named = {name for is_measured, name in told if is_measured}
    for line, (is_measured, name) in zip(lines, told, strict=True):
        if is_measured or name not in named:
            kept.append(line)
            named.add(name)
    return kept


@lru_cache(1 << 16)
def _named(line: str) -> tuple[bool, str]:
    """Whether an amount is given that is not vague, and of what."""
    name = _VAGUE.sub("", line)
    if _HAS_AMOUNT.search(name):
        return True, _LEADING.sub("", line)
    return False, name


@lru_cache(1 << 16)  # half of all lines are among the most frequent 65,536
def clean_line(line: str) -> tuple[str, ...]:
    """What a line holds of ingredients: none, one, or several that were run together."""
    line = mended(line)
    if letters(line) in ("", "无") or _NONE.match(line) or _HOLDS_NONE.search(line):
        return ()
    if _ANY_LIST.match(line):
        return ()
    parts = split_line(line)
    if len(parts) == 1:
        return (line,)
    return tuple(clean for part in parts for clean in clean_line(part))


def split_line(line: str) -> list[str]:
    """The ingredients of a line that lists several with their amounts, else the line alone."""
    if _SERIES.match(line):
        return [name + amount for name, amount in _EACH.findall(line)]
    if found := _JOINED.fullmatch(line):
        amount = found[1] or found[2] or ""
        return [amount + name for name in foods.EACH_SPICE.findall(found[3])]
    if not _MARKS.search(line):
        return [line]
    if part := _HEADED.match(line):
        return [part[1], part[2]]
    head = _LIST_HEAD.match(line)
    body = line[head.end() :] if head else line
    heading = [head[1]] if head and not _ANY_LIST.search(head[1]) else []
    if found := _NAMES.fullmatch(body):
        names, amount = _BETWEEN.split(found[3]), next(filter(None, found.group(1, 2, 4, 5)), "")
        if all(len(name) > 1 or name in _OF_ONE for name in names):  # 干、湿淀粉 is one
            return heading + [amount + name for name in names]
    if _WORDS.fullmatch(line):
        return line.split(" ")
    parts = [part for part in _PARTS.split(body) if part]
    parts = _with_amounts(parts)
    if len(parts) < 3:  # 面粉20克，水100克; not 2个鸡蛋，1个打散
        return heading + parts if len(parts) == 2 and all(map(_TOLD.fullmatch, parts)) else [line]
    with_amount = sum(bool(_HAS_AMOUNT.search(part)) for part in parts)
    of_words = " " in body and not _COMMAS.search(body)  # 葱半根 姜两片 蒜三瓣 盐 醋
    if 2 * with_amount < len(parts) and not (of_words and with_amount > 2):
        return [line]
    return heading + parts


def of_several(ingredients: str, steps: str) -> str:
    """A line with one amount for several things; else ""."""
    for line in ingredients.split("\n"):
        # Else it tells how the first is: 1斤五花肉，肥瘦相间.
        if (found := _of_several(line)) and (not found[1] or _names(found[1], steps)):
            return line
    return ""


@lru_cache(1 << 16)
def _of_several(line: str) -> re.Match[str] | None:
    return _OF_SEVERAL.match(line)


def lacks_unit(ingredients: str, steps: str) -> bool:
    """Whether an amount lost its unit; else it is one that steps measure by too: 20满勺陈醋."""
    return any(_names(name, steps) for name in _NO_UNIT.findall(ingredients))


def _names(name: str, steps: str) -> bool:
    """Whether steps name a thing, and not as a measure."""
    return name in _OF_ONE or bool(re.search(rf"(?<![\d一二两三半几]){name}", steps))


_AMOUNT = re.compile(rf"(?:{QUANTITY}|\d[\d./~～-]* ?[A-Za-z]{{1,2}})(?:[（(][^（()）]*[)）])?")


def _with_amounts(parts: list[str]) -> list[str]:
    """The parts of a line; an amount that stands alone goes with what is before it."""
    if parts and _AMOUNT.fullmatch(parts[0]):
        return parts  # each is before what it is of
    kept: list[str] = []
    for part in parts:
        if kept and _AMOUNT.fullmatch(part):
            kept[-1] += f" {part}"
        else:
            kept.append(part)
    return kept


@lru_cache(1 << 16)
def has_usual_form(line: str) -> bool:
    """Whether a line is a heading, or an amount and a word beside what stands in brackets."""
    word = _IN_BRACKETS.sub("", _AMOUNT.sub("", line)).strip(" ：:")
    return is_heading(line) or (word.isalnum() and len(word) <= LONGEST_WORD)


LONGEST_WORD = 9  # characters of an ingredient's name: 黑胡椒烤翅腌料 has seven


def is_heading(line: str) -> bool:
    """Whether a line names a part of the dish ("面团：", "【调料】"), no ingredient or step."""
    return line[-1:] in _HEADING_ENDS and bool(HEADING.search(line))


def told_lines(text: str) -> list[str]:
    """The lines but the headings."""
    lines = text.split("\n")
    return [line for line in lines if not is_heading(line)]


def rejoined(ingredients: str, steps: str) -> str:
    """Lines without what the cook says beside the ingredient: 1个，我用了两个鸡蛋 is 1个鸡蛋.

    What stands before the talk stays if it names a food. Else the name is the longest end of the
    line that the steps name; a line without one goes, if it is the cook who talks.
    """
    if not (_TALKED.search(ingredients) or _COOK.search(ingredients)):
        return ingredients
    return "\n".join(filter(None, (_rejoined(line, steps) for line in ingredients.split("\n"))))


_TALKED = re.compile(rf"^({QUANTITY})?(?:[^：:，,\n]*[，,])+([^：:，,\n]{{2,}})$", re.MULTILINE)
_COOK = re.compile(
    "我(?!厨)|(?<![迷想])你|俺|具体|下面文字|见正文|做法|反正|爱吃|闺女|家里|某宝|淘宝|超市|买[了来到的]|喜欢|强迫症|就是上|满意即可|看见|随你|[?？]"
    f"|不[要加放用]也|可要可不要|可不用。|可[加放有]可[不无]|[也都]?(?:可以|能)不?[放加]|没有?(?:就|也|可以?)(?:不|算|省)|[都也]?(?:可以|行|OK|ok|没事)(?=[{HAN}])|就(?:好|行|OK|ok)(?:了)?(?=[{HAN}])"
    rf"|为量|[看按](?:杯|碗|瓶|盘|锅|面|水|肉|颜色|人|食|饭|自|个人)[^，]{{0,8}}(?=[{HAN}])|块钱|[没末]过|多少[放加]|随意|随便|根据|超过|为准|决定|(?<!\d的)比例|大概|一般|也可(?!可)|临时"
    "|可省略|有无|不加均可|总之|不记得|保证|基本|够铺|of course|手头|或不|没关系|较多|吸收|[几n]久"
)
_IN_BRACKETS = re.compile(r"[（(][^（）()\n]*[）)]")
_LEADING = re.compile(rf"^{QUANTITY}")
_AGAIN = re.compile(rf"^(?:去[{HAN}])?(?:大?约|大概)?{QUANTITY}(?:左右)?([{HAN}]{{2,6}})$")
_OF_ONE = "水油盐糖醋酒姜葱蒜面藕梨虾蟹鱼肉"  # names of one character
_NO_NAME = re.compile(f"左右|即可|为准|随意|适量|就行|就好|啥|[加放定点]$|可以$|^[^{HAN}]")
_LONGEST_NAME, _TALK_WORD = 6, 2  # characters of a name, and of the word before it
_SENTENCE = re.compile("[是不就]")
_REMARK = re.compile("[，,。；; ][^，,。；; ]*$")  # the clause in which the talk begins


def _rejoined(line: str, steps: str) -> str:
    if _COOK.search(line):
        line = BOUGHT.sub("", mended(line))
    elif not _TALKED.search(line):
        return line
    bare = _IN_BRACKETS.sub("", line)
    leading = _LEADING.match(bare)
    talk = list(_COOK.finditer(bare, leading.end() if leading else 0))
    found = _TALKED.match(bare)
    if HEADING.search(bare) or not (talk or (found and found[1] and bare[found.end(1)] in "，,。")):
        return line
    if talk and (remark := _REMARK.search(bare[: talk[0].start()])):
        before = bare[: remark.start()].rstrip("，,。；; ")
        if not _SENTENCE.search(before) and _lists(before, steps):
            return before  # 淡奶油 450毫升 超市即有售
    amount = leading[0] if leading and bare[leading.end() : leading.end() + 1] != "钱" else "适量"
    if found and found[1] and (again := _AGAIN.match(found[2])):
        return amount + again[1]  # 2个，约100克鸡蛋
    spoken = min(talk[-1].start() + _TALK_WORD, talk[-1].end()) if talk else 0
    first = max(spoken, 1, len(bare) - _LONGEST_NAME)
    for name in (bare[at:] for at in range(first, len(bare))):
        if name in steps and (len(name) > 1 or name in _OF_ONE) and not _NO_NAME.search(name):
            return amount + name.removeprefix("的")
    return "" if talk else line


def _lists(text: str, steps: str) -> bool:
    """Whether `text` lists a food, or an amount of something that the steps name."""
    if foods.named_in(text):
        return True
    names = _PARTS.split(_AMOUNT.sub(" ", text)) if _HAS_AMOUNT.search(text) else []
    return any((len(name) > 1 or name in _OF_ONE) and name in steps for name in names if name)
