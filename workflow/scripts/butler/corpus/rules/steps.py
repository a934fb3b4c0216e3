"""Lines of steps: no numbers, placeholders and repeats; one paragraph becomes its sentences."""

import re
from collections.abc import Sequence
from functools import lru_cache

from butler.corpus.rules.ingredients import is_heading, told_lines
from butler.corpus.rules.patterns import either, needed
from butler.corpus.rules.references import NOT_A_WORD, without_references
from butler.corpus.rules.text import HAN, UNITS

# "-18度" and ".5克" are quantities; "@" is a bullet before what is to be done, else a nickname.
BULLET = re.compile(
    r"^(?:[●◆■◇□★☆▲△▼▽○◎•·※*#>☞—–_=|、，,。：:；;！!/\\]|[-.~～](?!\d)"
    r"|@(?=\s|\w+[.、]|[^，。的]{0,12}[洗切去混刷擦打放加倒])|[ \t])+",
    re.MULTILINE,
)
_COUNT = rf"[一二三四五六七八九十\d]{NOT_A_WORD}"
NUMBER = re.compile(
    r"^(?:"
    r"[①-⑳⑴-⒛❶-❿][、.,，。:： ]*"
    r"|[（(【]\d{1,2}[)）】][、.,，:： ]*"
    r"|\d{1,2}(?:[.:：∶，,](?!\d)|[。)）]) *[、.]*"
    r"|\d{1,2}(?:、|-+ ?)(?!\d)"
    r"|\d{1,2}\*(?!\d)|(?:问题|准备工作)\d{1,2}[:：]"
    rf"|(?-i:[a-h])\.(?=[{HAN}])"
    r"|第?[一二三四五六七八九十\d]{1,3}[步部](?:骤)?(?:[、.,，:： ]+|$)"
    rf"|(?:第{_COUNT}步|步骤{_COUNT})(?:就是|就)?(?:(?=[先把将])|(?=[{HAN}])(?!骤|[中里内的]|[{HAN}]{{1,5}}的))"
    r"|(?:步骤|step) ?[一二三四五六七八九十\d]{1,3}(?:[、.,，:： ]+|$)"
    r"|[（(][一二三四五六七八九十]{1,3}[)）][、.,，:： ]*"
    r"|[一二三四五六七八九十]{1,3}(?:、(?![一二三四五六七八九十两半])|[.:：])"
    r")[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
# "2、3分钟" may be step 2 or two to three minutes, "2 鸡蛋" step 2 or two eggs: only 1 and the
# number after the previous step's are taken for step numbers.
_POSSIBLE_NUMBER = re.compile(
    r"^(\d{1,2})(?:、(?=\d)| (?=[^\d\s])|[.:：](?=\d{3}(?!\d)"
    r"|(?:\d\d|\d[-~～]\d+)(?:个?小时|分钟|秒)))[ \t]*"
)
_MAYBE_NUMBERED = re.compile(r"^\d{1,2}(?:[、，, .:：])", re.MULTILINE)
_GLUED = re.compile(rf"^\d{{1,2}}(?=[{HAN}])(?!{UNITS})")
_INLINE = re.compile(r"(\d{1,2})[、.。](?!\d)")
_FROM_TWO = re.compile(r"[。；;）) ] ?2[、.。](?!\d).+[。；;）) ] ?3[、.。](?!\d)")
_ALL_STEPS = re.compile(
    r"^[\W_]*(?:(?:制作|操作|烹饪|具体)?(?:方法|步骤|过程)|做法)(?:如下)?[:：] *", re.MULTILINE
)
# What tells nothing: the whole line, whatever signs are around it.
_EDGE, _END = r"(?:[^\w\n]|_)*", r"(?:[^\w\n]|[\d_])*"
_THINGS = "(?:食材|材料|原料|[配用调佐作辅主]料)"
_NOTHING = (
    r"(?:步骤|做法|文字|具体|详细|方法|过程|状态|直接|请)*"
    r"(?:[如见看参按](?:考|照)?(?:以)?[上下]?(?:面)?(?:图|图片|视频|步骤)(?:片|示|所示|[一二三四五六七八九十]|这样)*|同上|图片?)",
    r"(?:[上来]|再来)?(?:一?张)?(?:成品|完成|效果|美|近|细节|特写|全家)图?(?:展示|来?了?[一张个]?)?",
    r"再来一?张图?|继续|捏捏|同样|就这样|这样|做|吃|无|没有|略|接下来?|暂无|待续|未完待续|准备|开始|备[料菜]",
    r"(?:(?:制作|操作|烹饪|具体)?(?:方法|步骤|过程)|做法)(?:如下)?|(?:全部|都)*准备(?:好|齐全)(?:[，,]进行下一步)?",
    rf"详细步骤视频|看视频|(?:常用|全部|所有)?{_THINGS}(?:图|如图)?",
    rf"(?:先|首先|提前)?(?:准备|备)(?:一下|好|齐)?(?:所有|所需|需要|各种|全部|主要|的|主|食)*(?:[{HAN}]{{1,7}}的)?(?:{_THINGS}|工作)"
    r"(?:一览|如下|备用|备齐|备好|准备好|集合|全家福)?",
    rf"(?:首先|先)?(?:把|将)?(?:所有|所需|各种|全部|主要|各类)?(?:需要)?的?{_THINGS}(?:都|先|全部|全)*(?:按量|按配方)?"
    r"(?:准备好|准备齐全?|准备就绪|准备|备好|备齐|齐全|称好|称重|准确称量|全家福|集合|展示)(?:备用|待用)?",
    r"(?:merry|happy|enjoy|bon)\b[A-Za-z' ]*",
    r"[A-Za-z]+",  # "OK", "dengdengdeng": no step of a Chinese recipe
    rf"(?![切煮炒炸蒸煎烤拌冻晒剪泡焯炖卤揉晾卷包])[{HAN}]",
    r"\d+",
    r"[^\w\n]",
)
# What tells nothing: a whole line, whatever signs are around it.
PLACEHOLDER = re.compile(rf"^{_EDGE}(?:{'|'.join(_NOTHING)}){_END}$", re.IGNORECASE)
_SENTENCES = re.compile(rf"(?<=[。！!；;…])(?![。！!；;…）)”])|(?<=[{HAN}]\.)(?=[{HAN}])")
# A number within a line: after a mark, or before a word that a step begins with.
_BEGINS = "(?:最后|然后|接着|再|将|把|放入|加入|倒入|取|准备|起锅|热锅|锅)"
_WITHIN = rf"(?:(?<=[。；;，,！!.）)\s])|(?<=[{HAN}])(?=\d+[、.]{_BEGINS}))"
_NUMBERED_WITHIN = re.compile(
    rf"\d[、.。](?!\d)(?:(?<=(?={_WITHIN}).{{2}})|(?<=(?={_WITHIN})\d.{{2}}))"
)
# A sign before a part of a sentence: 放油，①放葱，②放酱, but not 筛入①里面.
_ENCIRCLED = re.compile(r"[①-⑳⑴-⒇](?<=[：:，,。；;！! ].)(?![中里内的和与、])[.]?")
# The first after a heading or a sentence: 先做奶冻：1、泡软吉利丁片.
_FIRST_WITHIN = re.compile(rf"1[、.](?<=[{HAN}）)][：:。；;\s]1.)(?!\d)")
# The same after any word, where a step stands between 2 and 3: 打散搅拌2.火腿切成长条3.卷好.
# 糖2、盐3、 are amounts, 步骤2、 and 速度3。 are none, and where 1 stands within all stays.
_GLUED_FROM_TWO = re.compile(
    rf"2[、.。](?<=[{HAN}～…]2.)(?<![骤第图料度速档]2.)(?!\d)"
    rf"(?:(?!3[、.。])[^\n]){{6,}}?3[、.。](?<=[{HAN}～…。；;，,！!.）)]3.)(?!\d)"
)
_CLAUSES = re.compile(rf"(?<=[，,])|(?<=[{HAN}] )(?=[{HAN}])")
# A line that breaks off: what follows it belongs to it, after a comma where a clause ends.
_CLAUSE_END = "的话|(?<![最前背先今])后|的时候|(?<![小及随同按准分])时"
_WORD_END = (
    "[至将把被约]|大概|以及|或者|因为|由于|如果|并且|而且|但是|[切擀做变揉捏卷压打搓调擦拌熬弄剪撕捣剁摊刀]开?成|(?<![混搅柔暖水])和|[与及或]|直到|等到"
    r"|[炒煮熬揉打烤蒸煎炸泡腌焖炖烧发切]到|[度宽厚小]在|\d[-~～]"
)
_BREAKS_OFF = re.compile(f"(?:{_CLAUSE_END}|{_WORD_END})$", re.MULTILINE)
_MAY_BREAK_OFF = needed(_BREAKS_OFF)
_ENDS_CLAUSE = re.compile(f"(?:{_CLAUSE_END})$")
# What the last line waits for in vain: 冷藏一晚后; all of it where it only tells how long.
_AT_LAST = re.compile(
    r"(?:(?:^|(?<=[，。；\n]))[\d~～一二两三四五六七八九十几半多大约]+个?(?:分钟|小时|天)(?:左右|以)?)?"
    r"(?<![最前背先今然随之])后\Z"
)
# A line feed within a sentence: before the number of 约180度, within 适量. Brackets without a word.
_MID_SENTENCE = re.compile(
    r"\n(?<=[以约]\n)(?=\d+ ?(?:度|℃|分钟))|\n(?<=[少许和与加]适\n)(?=量)"
    r"|\n(?<=[^不多少][放加倒装盛]\n)(?=入|盖[锡保])|[，,]?[（(] ?[)）]"
)
# Where lines were cut at each number and its point, 切0.5厘米 is "切" and "5厘米": 5 is wrong.
_FIGURE = re.compile(r"\d+ ?(?:厘米|毫米|公分|cm|mm|克|g|毫升|ml|勺|斤|公斤|倍)")
_IDLE_END = re.compile(
    "[，,、。 ]+(?:然后|接着|最后|接下来|再|那就是)…*$|(?<=[，,])…+$|[*#＃\\\\]+$|(?<!成)就$",
    re.MULTILINE,
)
_MAY_END_IDLY = needed(_IDLE_END)
# Figures that can mean one thing only: 取3/1的蛋白, 烤40钟.
_ONE_MEANING = re.compile(r"([2-9])/1(?<![\d./]./1)(?=[的杯勺份个量大小])|钟(?<=\d钟)(?!头)")
_IDLE_START = re.compile(
    "^(?:1(?=先|首先|将|准备|热锅|起锅)"
    f"|(?:然后|接着|之后|随后|接下来|再(?!次))[，, ]?(?=[{HAN}]{{2}}))"
)
LONGEST_JOINED = 150  # characters of a line that was put together
# What cannot be mended: a line that still breaks off, sums and degrees without their numbers.
TORN = either(
    (
        r"(?<=[切擀变揉捏卷压搓熬剪撕捣剁煮炸炒烤蒸])[成至到](?=[，。；！,;!]|$)",
        rf"(?<=[煎酵化炖焖煲])[至到](?=[，,]|即可)|(?<=[{HAN}])(?<![随立旋当])即(?=[，,；;])|[捞約]$",
        r"(?<=\d)[×=]$|^\d{0,4}=\d|(?:按|比例)\d[：:]$",
        # Their unit or a part of them is lost: 烤40至上色, 1175度, 450升.
        rf"(?:(?<=[烤烘蒸煮炖焖煲炸煎])|(?<=[烤烘蒸煮炖焖煲炸煎]约))\d+(?:[-~～]\d+)?(?:即可|左右|后|就|[至到](?=[{HAN}])(?![一二三四五六七八九十]))",
        r"(?<![\d.华氏])(?:(?!360)[3-9]\d\d|\d{4,}) ?(?:摄氏)?(?:度|℃|°C)|\d{3,}升(?!级)",
        r"烤箱(?:上下火)?[1-5]?\d ?(?:度|℃)(?:预热|烘?烤)",
        "^(?:℃|°C|度(?=[烤左中上下预，]))",
        rf"(?:[成切厚宽是为在加+—\d-]|直径|(?<![半一二两三四五\d]勺)[生老]抽)\n{_FIGURE.pattern}",
        rf"\n(?<=[{HAN}]\n)\d+ ?(?:(?:厘米|毫米|公分|[cC][mM]|mm)(?! ?[*×xX])|h后)",
    ),
    re.MULTILINE,
)
LONGEST_AGAIN = 24  # characters of what may be done twice: a longer line is there by mistake
_MARKS = "。！!….；;"
LEAST_AGAIN = 8  # characters of a line that the next one begins with, and so tells again
LEAST_SENTENCE = 4  # characters of a sentence that is a step of its own
LONG_SENTENCE, LEAST_CLAUSES = 20, 14  # characters of one that is cut, and of what it is cut into


def told_plainly(text: str) -> str:
    """Steps with clear figures, without their heading and signs in lines."""
    text = _ENCIRCLED.sub("", _ALL_STEPS.sub("", text))
    text = _ONE_MEANING.sub(lambda found: f"1/{found[1]}" if found[1] else "分钟", text)
    return without_references(text)


def clean_steps(text: str) -> str:
    """Steps without numbers, bullets, placeholders, and a line that is the same as the last."""
    while True:
        before = text
        text = BULLET.sub("", _split_numbered(text.replace("丶", "、")))
        text = NUMBER.sub("", text) if not _MAYBE_NUMBERED.search(text) else _unnumbered(text)
        lines = ["" if _tells_nothing(line) else line for line in text.split("\n")]
        if _glued(lines):
            lines = [line.lstrip("0123456789") for line in lines]
        kept: list[str] = []
        for line in lines:
            line = line.strip(" ，,、")
            if not line or (len(line) > LONGEST_AGAIN and line in kept):
                continue
            if kept and line[:2] in kept[-1]:
                if line.startswith(kept[-1]) and len(kept[-1]) > LEAST_AGAIN:
                    kept.pop()
                elif kept[-1].rstrip(_MARKS).endswith(line.rstrip(_MARKS)):
                    continue
            kept.append(line)
        text = _joined_lines("\n".join(kept))
        if text == before:
            return text


@lru_cache(1 << 12)  # lines come again after each cut
def _tells_nothing(line: str) -> bool:
    return bool(PLACEHOLDER.match(line))


def _joined_lines(text: str) -> str:
    """Lines that break off joined with those that follow, brackets in pairs, no idle 然后."""
    text = _MID_SENTENCE.sub("", _IDLE_START.sub("", text))
    if _MAY_END_IDLY.search(text):
        text = _IDLE_END.sub("", text)
    if _MAY_BREAK_OFF.search(text) and _BREAKS_OFF.search(text):
        kept: list[str] = []
        for line in text.split("\n"):
            if (
                kept
                and _BREAKS_OFF.search(kept[-1])
                and not is_heading(line)
                and not _FIGURE.match(line)
                and len(kept[-1]) + len(line) < LONGEST_JOINED
            ):
                kept[-1] += ("，" if _ENDS_CLAUSE.search(kept[-1]) else "") + line
            else:
                kept.append(line)
        text = "\n".join(kept)
        if text.endswith("后"):
            text = _AT_LAST.sub("", text)
    if _ROUND.search(text) and _ROUND.search(_PAIR.sub("", text)):
        text = _paired(text)
    return text


_ROUND = re.compile("[（()）]")
_PAIR = re.compile(r"[（(][^（()）\n]*[）)]")
_OPENING = "（("


def _paired(text: str) -> str:
    """`text` with each round bracket in a pair, within its line or across to the next."""
    kept: list[str] = []
    for line in text.split("\n"):
        if kept and _unpaired(kept[-1])[0] and _unpaired(line)[1]:
            kept[-1] += line
        else:
            kept.append(line)
    return "\n".join(map(_with_pairs, kept))


def _unpaired(line: str) -> tuple[list[int], list[int]]:
    """Where brackets open that are not closed, and where some close that were not opened."""
    opened: list[int] = []
    closed: list[int] = []
    for found in _ROUND.finditer(line):
        if found[0] in _OPENING:
            opened.append(found.start())
        elif opened:
            opened.pop()
        else:
            closed.append(found.start())
    return opened, closed


def _with_pairs(line: str) -> str:
    """A line without brackets that close nothing, and with those closed that are open."""
    opened, closed = _unpaired(line)
    if closed:
        line = "".join(char for at, char in enumerate(line) if at not in closed)
        opened, _ = _unpaired(line)
    if not opened:
        return line
    if opened[0] == 0 or len(opened) > 1 or opened[0] == len(line) - 1:
        return "".join(char for at, char in enumerate(line) if at not in opened)
    body = line.rstrip("。！!；;，,")
    return f"{body}）{line[len(body) :]}"


def _unnumbered(text: str) -> str:
    """Steps without their numbers, where some of these may be amounts."""
    last, kept = 0, []
    for line in text.split("\n"):
        while True:
            before = line
            if match := NUMBER.match(line):
                digits = re.search(r"\d+", match[0])
                last = int(digits[0]) if digits else last + 1
                line = line[match.end() :]
            elif (match := _POSSIBLE_NUMBER.match(line)) and int(match[1]) in (1, last + 1):
                last = int(match[1])
                line = line[match.end() :]
            elif last > 1 and (match := _GLUED.match(line)) and int(match[0]) == last + 1:
                last += 1
                line = line[match.end() :]
            line = BULLET.sub("", line)
            if line == before:
                break
        kept.append(line)
    return "\n".join(kept)


def _glued(lines: Sequence[str]) -> bool:
    """Whether all lines have their number before them without a mark ("1加油", "2下锅")."""
    if len(lines) < 2 or not lines[0][:1].isdecimal():
        return False
    numbers = map(_GLUED.match, lines)
    return all(match and int(match[0]) == number for number, match in enumerate(numbers, 1))


def _split_numbered(text: str) -> str:
    """Lines that hold several numbered steps ("1、切丝；2。下锅"), cut at their numbers."""
    if not any(one.search(text) for one in (_NUMBERED_WITHIN, _GLUED_FROM_TWO, _FIRST_WITHIN)):
        return text
    return "\n".join(part for line in text.split("\n") for part in _numbered_parts(line))


def _numbered_parts(line: str) -> list[str]:
    parts = []
    if found := _FIRST_WITHIN.search(line):
        parts.append(line[: found.start()].strip())
        line = line[found.start() :]
    match = _INLINE.match(line)
    glued = _GLUED_FROM_TWO.search(line) and (found or "1" not in _INLINE.findall(line))
    if match or glued or _FROM_TWO.search(line):  # the first may lack its number
        number = int(match[1]) if match else 1
        before = rf"(?:{_WITHIN}|(?<=[{HAN}～…]))" if glued else _WITHIN
        while cut := re.search(rf"{before}{number + 1}[、.。](?!\d)", line):
            parts.append(line[: cut.start()].strip())
            line = line[cut.start() :]
            number += 1
    return [*parts, line]


def split_paragraph(text: str) -> str:
    """A recipe told in one paragraph, a sentence a line; one told in one sentence, some clauses."""
    told = told_lines(text)
    if len(told) != 1:
        return text
    parts = _joined(_SENTENCES.split(told[0]), LEAST_SENTENCE)
    if len(parts) == 1 and len(told[0]) >= LONG_SENTENCE:
        parts = _joined(_CLAUSES.split(told[0]), LEAST_CLAUSES)
    return text.replace(told[0], "\n".join(part.strip(" ，,") for part in parts))


def _joined(parts: Sequence[str], least: int) -> list[str]:
    """The parts, each with as many of those after it as it needs for its characters."""
    kept: list[str] = []
    for part in parts:
        if kept and (len(kept[-1]) < least or len(part) < LEAST_SENTENCE or _open(kept[-1])):
            kept[-1] += part
        else:
            kept.append(part)
    return kept


def _open(text: str) -> bool:
    """Whether a bracket is open at the end."""
    return text.count("（") + text.count("(") > text.count("）") + text.count(")")


def torn(text: str) -> str:
    """The end of a line that breaks off and could not be mended; "" if there is none."""
    found = (_MAY_BREAK_OFF.search(text) and _BREAKS_OFF.search(text)) or TORN.search(text)
    return text[: found.end()].rsplit("\n", 1)[-1][-20:] if found else ""
