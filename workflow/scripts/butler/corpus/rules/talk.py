"""Talk beside the recipe: of pictures and videos, of the cook and the family, praise, farewells.

What is talk is told by clause (up to a comma). A clause with a word of PICTURE or PERSONAL goes, so
does one with a word of CHATTER that tells nothing to do (DOING), or that says the dish is done.
Reasons (REASON: 味道更好) stay beside something to do. What hangs on a clause that went (DEPENDENT,
SUBORDINATE) goes with it, a sentence of which nothing to do is left goes whole, and so does a line
that tells nothing to do at all (DEED), such as the caption of a picture.
"""

import re
from functools import lru_cache

from butler.corpus.rules.deeds import PLAIN_DONE, tells_to_do
from butler.corpus.rules.patterns import either, needed
from butler.corpus.rules.talk_words import (
    ACT,
    ACTIONS,
    ANY,
    CHATTER,
    DEED,
    DOING,
    PERSONAL,
    PICTURE,
    REASON,
    STORY,
    TALK,
    WENT,
)
from butler.corpus.rules.text import HAN

_SEEN = "(?:图片|图示|图中|图上|图(?![案形钉腾章书])|视频|视屏)"
# Only these words go, as what is around them tells what to do: 切成如图的条 is 切成条.
PICTURE_WORDS = either(
    (
        *(
            rf"{opening}[^（）()【】\n]{{0,40}}(?:(?<![意贪企])图(?![案形钉腾章书])|视频|视屏|照片|拍照"
            rf"|忘[了记]?拍|补拍)[^（）()【】\n]{{0,40}}{closing}"
            for opening, closing in (("[（(]", "[)）]"), ("【", "】"))
        ),
        rf"(?:就会?|会|是)?(?:[如见看]|参[考照见]|请看|按照?|像|似|同|和|跟)(?:以)?[上下左右]?[面边]?(?:我)?(?:[这那]张)?{_SEEN}"
        r"(?:[一二三四五六七八九\d]+(?!样))?(?:所示|示|显示)?(?:[上中里]?的?(?:一样|这样|那样|那般|样子|状态|形状|大小|程度|感觉|效果|水位|位置|方法|步骤))?[上中里]?的?"
        r"[：:]?",
        rf"[至到成]?(?:差不多)?(?:就?是)?(?:成为?)?[上下]?{_SEEN}[上中里]?(?:所示|显示|呈现)?的?(?:这样|那样|样子|状态|形状|大小|程度|感觉|效果|细腻度|颜色)",
        rf"(?:最[后终])?(?:颜色|状态|样子|大小|形状|厚度|程度)(?:就|大概|差不多)?[如见像]{_SEEN}(?:所示)?",
        r"手法图[一二三四五六七八九\d]*[，,]?",
        r"图[一二三四五六七八九\d]+(?:[-~、]\d+)?[：:，,是为]?",
    )
)
# "我会先放生菜" is 先放生菜: the cook goes, the deed stays.
SELF = re.compile(
    r"(?<![给让帮替])(?:我们|咱们|我|俺|本人|咱)(?:这里|这边|自己|基本|所以|一般|通常|习惯|比较|会|都|就|还|也|只|又|再|便|一直|个人|来|要|需要|得|可以|现在|开始|直接)*"
    "(?![^，,。！!\n]{1,3}[多少糊错](?:[了啦，,。！!）)]|$))"
    rf"(?=(?:[先再把将放加取选开接]|用(?!的|过|了(?!\d))|分|(?:{ACTIONS}))(?!的))"
)
_PEOPLE = "(?:大家|各位|亲们|亲|小伙伴|朋友|盆友|宝宝|姐妹|同学|童鞋|宝妈|小主|妈妈)们?"
# Where a thing was bought goes, the thing stays: 超市买的油面筋冲洗一下.
BOUGHT = re.compile(
    f"(?:(?=[从在去超菜市网淘商店]))(?:从|在|去)?(?:超市|菜市?场|网上|淘宝|市场|商场|店里)(?:里|上)?(?:买|购)(?:回来|来|到|入)?的(?:那种|这种)?(?=[{HAN}])"
)
# Those who are spoken to go, what they are told stays: 大家可以加糖, 喜欢辣的朋友多放.
SPOKEN_TO = re.compile(
    rf"(?:(?=[所提建也请大各亲小朋盆宝姐同童妈你]))(?:(?:所以|提醒|建议|也请|请)?{_PEOPLE}(?=也?(?:最好|可以|可|要|需|记得|一定|请|根据|按|尽量|先|再|不要|别|千万|注意|自行|自由|酌情|如果|多[放加]|少[放加]))"
    rf"|(?<![教让给帮带陪爱迷想])你(?:自己的?|家里?的?|的)?(?=[{HAN}])(?!们|好)"
    rf"|(?<=的){_PEOPLE}(?=，?(?:也?可|也?请|就|自行|多|少|最好|不|要|直接|记得|再)))"
)
# What the cook did is to be done: 我只放了盐 is 放盐.
MY_DEED = re.compile(
    rf"(?<!因为){SELF.pattern}(?!用来)([^，,。！!；;\n了]{{1,3}})了"
    rf"(?![^，,。！!；;\n]*[的来])(?=[{HAN}])(?!有)"
)
_THIS = (
    "(?:这样|如此|如下(?:状态|样子|程度)|这个样子|这种样子|这[个种]?(?:状态|程度|形状|颜色)"
    "|酱紫|这个?样|这般|那样)"
)
_AS_SEEN = (
    "(?:出现|呈现)?[如像跟][上下]?(?:图|视频|照片)[片中里上]*(?:所示|呈现|显示|出现)?的?"
    "(?:样子|状态|程度)"
)
# What pointed at a picture, within something to do: 揉成这样就可以 is 揉好就可以.
LIKE_THIS = (
    (
        re.compile(
            r"(?<=[切剪揉擀捏卷做包打摊压剁])成(?:如|像)?(?:上|下|左|右)?图(?:片|中|示)*(?:所示|那样|这样|一样|的)*(?:状|样子|形状|大小|样)?(?=[，,。.！]|$)",
            re.MULTILINE,
        ),
        "好",
    ),
    (re.compile(rf"[如像按][上下]?图[中片]?(?:所示|示)?的([{HAN}])量"), r"适量\1"),
    # 打发到如视频中呈现的样子 is 打发好; 直至出现如图状态 goes whole
    (re.compile(rf"(?<=[{HAN}])(?<!直)[到至成]{_AS_SEEN}"), "好"),
    (re.compile(rf"(?:^|(?<=[，,。；\n]))(?:直?[到至])?{_AS_SEEN}[，,]?", re.MULTILINE), ""),
    (re.compile("这么(?:一?点)+"), "一点"),
    (re.compile(r"(?<=[成到至])这[种个](?=[^，,。！!\n]{3,14}的(?:样子|程度|状态))"), ""),
    (re.compile(rf"(?<=成){_THIS}的?(?=[宽细小薄厚长大条块片丁丝])"), ""),
    (
        re.compile(
            rf"((?:{ACTIONS})[拌发煮炸制匀揉软碎化]?)(?:的?差不多)?[成至到](?:大概|大致|类似|差不多)?{_THIS}子?(?:的(?:样子|状态|程度)?)?(?![做切包])"
        ),
        r"\1好",
    ),
    (
        re.compile(
            rf"(?:就|先|然后)?(?:就|像|照|按照?|如)(?:上面)?{_THIS}[子地的]?(?=(?:一[点次个层]|依次|慢慢|稍微|直接|反复)?(?:{ACTIONS}))"
        ),
        "",
    ),
)
# 切块开吃, 拌匀就可以大快朵颐了
_EATEN = re.compile(
    f"(?=[就便可准等开大享])(?<=[{HAN}])(?<![后来接时能即切掰撕的天就便以备待始])[就便]?(?:可以|准备|等待|开始)*"
    "(?:开[吃饭动喝]|大快朵颐|享[受用](?:美[食味]|大餐))[了啦]?(?=[，,。！!~…]|$)",
    re.MULTILINE,
)
TONE = either(
    (
        r"(?<![花毛])[哈哦喔呦哟啦咯呀嘛噢嗷喽呐哒吧啊]+(?=[，,。！!？?；;~～…、 ）)]|$)",
        "嗯+(?:[，,。！!…~]+|$)",
        "(?<=[去倒剪切拿]掉)了(?=[，。！]|$)",
        # 炒了7分钟 tells what was done, 炒7分钟 what is to be done; so do 加了一点糖 and 切成了三段
        "(?:(?<=[切煮炒蒸炸煎烤焖炖揉打搅腌泡发冻烧拌热放加倒撒刷涂淋抹挤铺分换洗榨压包擀剪滴取备])"
        "|(?<=[切分]成))(?<!共计.)(?<![一总]共.)(?<![因如]为.)(?<!如果.)(?<!挥发)了"
        r"(?=(?:大概|大?约|差不多)?[\d.~～一二两三四五六七八九十几半])(?![^，。！\n]{0,6}的)",
        "[Ee]njoy *$|^(?:小?贴士|温馨提示|小提示|[Tt]ips?|TIPS?|[Pp][Ss]|PS)[：:] ?",
        r"(?<!\d)[~～]+(?=[，,。！!？?；;]|$)|(?<=[。！!])[~～]+",
    ),
    re.MULTILINE,
)
_FACES = re.compile(
    rf"\[[{HAN}]{{1,2}}\]|-[._]+-|[=^+><TQoh](?:(?<==)\^_?\^=?|(?<=\^)_?\^|(?<=[+><T])[_.]+[+><T]|(?<=Q)AQ|(?<=o)rz|(?<=h)ia\w*)"
)
_WAVE = re.compile(f"(?<=[{HAN}])(?<![火一二三四五六七八九十半两几])[~～]+(?=[{HAN}])")
# A dish that is done, at the end of something to do: 出锅装盘一道美味的凉菜就完成了.
_DONE = "(?:做好|完成|制作完成|制作成功|大功告成|搞定|出锅|出炉|上桌|做成|好|成)"
TAIL = re.compile(
    r"(?:(?=[一这美香好超爽可]))(?:(?<=即可)|(?<=装盘)|(?<=出锅)|(?<=均匀))(?:[一这][道份碗盘款个锅]|美味|香喷喷|好吃|超级|爽口|可口)"
    rf"[^，,。！!；;\n]{{0,14}}?(?:就|便)?{_DONE}[了啦](?=[，,。！!；;~～]|$)",
    re.MULTILINE,
)
# What goes alone, in this order, and what stands there instead; what it needs is looked for first.
_ALONE = tuple(
    (re.compile(_THIS) if _THIS in pattern.pattern else needed(pattern), pattern, instead)
    for pattern, instead in (
        (MY_DEED, r"\1"),
        *((pattern, "") for pattern in (SELF, SPOKEN_TO, BOUGHT)),
        *LIKE_THIS,
        *((pattern, "") for pattern in (PICTURE_WORDS, _FACES, TAIL, _EATEN, TONE)),
        (_WAVE, "，"),
    )
)
# What cutting leaves: 切块，。
_DANGLING = re.compile("[，,：:]+(?=[。！!；;])|[，,]+$", re.MULTILINE)
_HAN = re.compile(f"[{HAN}]")
_BRACKETS = re.compile(r"[（(【「][^（）()【】「」\n]*[）)】」]")
_END = "，,。！!？?；;…"
_HELD = r"[（(【“「][^（）()【】“”「」\n]*[）)】”」]|[~～](?=\d)"  # what parts no clauses
_BETWEEN_HAN = f"(?<=[{HAN}]) (?=[{HAN}])"  # a space that does
_CLAUSE = re.compile(
    rf"(?:{_HELD}|(?!{_BETWEEN_HAN})[^{_END}~～\n])*(?:[{_END}]|[~～](?!\d)|{_BETWEEN_HAN})+"
    rf"|(?:{_HELD}|[^{_END}~～\n])+"
)
_STOPS = frozenset("。！!？?；;…")
# A clause that hangs on the one before it; what it tells to do stays without these words.
DEPENDENT = re.compile(
    "^ ?(?:"
    "以及|毕竟|当然|加上|就没|就是|就不|来看|已经|又(?!加|放|倒)|或者说|都是|所以|因此|因而|于是|不然|否则|要不然?|以免|免得|但是|但|不过|可是|然而|而且|并且|那么|那就|那|结果|而|这样|才|也就|就会|也会|会|应该|可能|感觉|主要|总之|尤其|特别是"
    ")|的[。！!；;…]*$"
)
_MERELY = re.compile(
    "^ ?(?:所以|因此|因而|于是|但是|但|不过|可是|然而|而且|并且|那么|结果|就是|那就?)"
)
_ADDS = re.compile("^ ?(?:以及|毕竟|不然|否则|免得|以免)")
# A clause that waits for the one after it.
SUBORDINATE = re.compile(
    "^ ?(?:"
    "如果|要是|假如|若是?|为了|当|除了|不管|无论|即使|尽管|只要|看到|等到"
    ")|[的地](?:话|时候)?[，,]$"
)
# A reason goes with what it was a reason for, whatever it names: 因为放了糖，所以很好吃.
_CAUSE = re.compile("^[^，,（(]{0,6}(?:因为|由于|因是|虽然|虽说|既然|考虑到)")
CONDITION = re.compile(
    "^ ?(?:如果|要是|假如|若是?|想要?|不?喜欢|不?爱|怕|嫌|没有|不想|不吃|口味|觉得|感觉)"
)
LEAST_PERSONS, LEAST_STORY = 0.008, 0.01  # words for each character


def tells_story(before: str, after: str) -> bool:
    """Whether the steps tell how somebody cooked once, also in what is left of them.

    That is seen from words of persons in them before talk was taken out, and of a story after it.
    """
    persons, story = len(PERSONAL.findall(before)), len(STORY.findall(after))
    return story > 1 and persons > LEAST_PERSONS * len(before) and story > LEAST_STORY * len(after)


def without_talk(text: str) -> str:
    """Steps without talk of pictures, of people, praise and farewells."""
    bare = _without_words(text)
    if bare != text:  # no word reaches past its line
        lines = zip(text.split("\n"), bare.split("\n"), strict=True)
        text = "\n".join(now if now == was else _settled(now) for was, now in lines)
    return "\n".join(filter(None, map(_told, text.split("\n"))))


def _settled(line: str) -> str:
    """A line without these words, also where cutting one has made another."""
    while (bare := _without_words(line := _DANGLING.sub("", line))) != line:
        line = bare
    return line


def _without_words(text: str) -> str:
    """`text` without the words that go alone."""
    for characters, pattern, instead in _ALONE:
        if characters.search(text):
            text = pattern.sub(instead, text)
    return text


@lru_cache(1 << 12)
def _told(line: str) -> str:
    """What a line tells of cooking, "" if nothing."""
    if not _HAN.search(line):
        return line  # other languages have talk of their own, that is not known here
    if not ANY.search(line):
        return line if tells_to_do(line) else ""
    told = line
    while True:  # from the inner brackets to the outer
        bare = _BRACKETS.sub(lambda found: "" if _is_talk(found[0]) else found[0], told)
        if bare == told:
            break
        told = bare
    kept, sentences = [""], _sentences(told)
    for number, sentence in enumerate(sentences, 1):
        after_cut = number > 1 and not kept[-1]
        kept.append(_sentence_told(sentence, "。" if number < len(sentences) else "", after_cut))
    told = "".join(kept).strip(" ，,")
    if told == line:
        return line if tells_to_do(line) else ""
    return _told(told) if told else ""  # 很下饭的菜，快来试试 ends with its first clause now


def _sentences(line: str) -> list[list[str]]:
    """The clauses of a line by sentence."""
    found: list[list[str]] = [[]]
    for clause in _CLAUSE.finditer(line):
        found[-1].append(clause[0])
        if clause[0][-1] in _STOPS:
            found.append([])
    return [clauses for clauses in found if clauses]


def _sentence_told(clauses: list[str], stop: str, cut: bool) -> str:
    """What a sentence tells to do, with its reasons; `stop` where its end has gone.

    `cut` says that what stood before it has gone.
    """
    whole = "".join(clauses)
    goes = [_is_talk(clause) for clause in clauses] if TALK.search(whole) else []
    chatty = any(goes) or bool(REASON.search(whole))
    if not any(goes):
        if chatty and not ACT.search(whole):
            return ""
        return whole if not cut else "" if _ADDS.search(whole) else _MERELY.sub("", whole)
    deeds = [not go and bool(ACT.search(one)) for one, go in zip(clauses, goes, strict=True)]
    if not any(deeds):
        return ""
    for at in range(len(clauses) - 1):  # 喜欢辣的，多放辣椒
        followed = not goes[at + 1] and DEED.search(clauses[at + 1])
        if goes[at] and followed and CONDITION.search(clauses[at]):
            goes[at] = _is_beside(clauses[at])
    kept = _without_what_hangs(clauses, goes, deeds, cut)
    if kept and kept[-1][-1] not in _STOPS and clauses[-1][-1] in _STOPS:
        kept[-1] = kept[-1].rstrip(" ，,、") + stop
    told = "".join(kept)
    return told if ACT.search(told) else ""


def _without_what_hangs(
    clauses: list[str], goes: list[bool], deeds: list[bool], cut: bool
) -> list[str]:
    """The clauses that stay: without those that go and those that hang on them."""
    kept: list[str] = []
    for clause, talk, deed in zip(clauses, goes, deeds, strict=True):
        if talk:
            cut = True
            while kept and (
                _CAUSE.search(kept[-1])
                or (SUBORDINATE.search(kept[-1]) and not DOING.search(kept[-1]))
            ):
                kept.pop()
        elif cut and DEPENDENT.search(clause):
            bare = _MERELY.sub("", clause)
            if deed and bare != clause:
                kept.append(bare)
                cut = False
        elif not (cut and not deed and REASON.search(clause)):
            kept.append(clause)
            cut = False
    return kept


def _is_beside(clause: str) -> bool:
    """Whether a clause is talk whatever it tells to do."""
    return bool(PICTURE.search(clause) or PERSONAL.search(clause) or WENT.match(clause))


def _is_talk(clause: str) -> bool:
    if _is_beside(clause):
        return True
    return bool(CHATTER.search(clause)) and not DOING.search(PLAIN_DONE.sub("", clause))
