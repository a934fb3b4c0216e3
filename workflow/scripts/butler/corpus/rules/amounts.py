"""The amount of a line of ingredients: mended where it is torn, chat about it is 适量."""

import re

from butler.corpus.rules.patterns import either
from butler.corpus.rules.text import HAN, UNITS

NUMBER = r"(?:\d+(?:[./~～-]\d+)*|[半一二两三四五六七八九十几数]{1,2})"
MEASURE = rf"(?:大|小)?(?:{UNITS}|节|听|罐|瓶|份|kg|g|G|ml|ML|mL)"
VAGUE = "适量|少许|若干|少量|些许|一点点?|一些"
QUANTITY = rf"(?:(?:约|大约)?{NUMBER} ?{MEASURE}(?:左右)?|{VAGUE})"

BULLETS = re.compile(
    r"^(?:[●◆■◇□★☆▲△▼▽○◎•·※*#>☞—–_=+|、，,。：:；;！!/\\①-⑳❶-❿》]|[-.~～](?!\d)"
    r"|\d{1,2}(?:[.)）](?!\d)|、(?!\d)) ?|@|\s)+",
    re.MULTILINE,
)
_HASHED = re.compile(r"^[#＃]+\s*([^#＃:：]{1,20})[#＃:：]*$")

# Scraping tore amounts apart: "克面粉 250" and "克6抹茶" have them in another place, "克盐" has
# lost the number. Words that only look like a measure are left alone.
_NO_UNIT = (
    "克[力里东林什拉罗]|个[头人别性]|只[要有是]|根[据茎块须]|[颗粒]粒|滴水|块[菌根茎]|片[糖皮儿]|条[纹状斑]"
    "|朵拉|包[菜心子]|头菜|杯面|把子|支竹|张飞|[袋盒杯碗瓶罐听]装|两|半|度|秒|寸|分|小时|碗[豆仔]|勺子|瓶子|袋子|罐头|份量|团子|枝竹"
)
_UNIT = rf"(?!{_NO_UNIT})({UNITS}|瓶|罐|听|份|团|捆|束|枝|g|ml)"
_LOST = (
    "克|毫升|大勺|小勺|汤匙|茶匙|勺|匙|个|只|瓣|颗|粒|根|滴|朵|块|片|条|碗|张|罐|份|袋|盒|包|杯|瓶|听|盏"
    "|斤|捆|束|枝|节|把|段|头|小把|小块|g|ml"
)
# What a chatty amount is made of: 看个人口味添加即可 is 适量.
_LIKING = (
    "(?:心情|口味|喜好|爱好|喜爱|喜欢|需要|需求|情况|感觉|习惯|食量|人数|饭量|实际情况|水分|数量"
    "|意|便|缘)"
)
CHATTY = (
    r"(?:看|按照|按|依照|依据|依|根据|凭|随|照|视|更具)(?:着|自己的?|个人的?|各人的?|大家的?|家人的?|你的?|自身)*"
    rf"{_LIKING}(?:的|自己|适当|酌情|添加|加入|增减|调整|放|加|来|而定|决定|选择|准备|即可|就好|就行|就可以|吧|哈|啦|了|，)*"
    r"|喜欢(?:什么|吃什么)(?:就)?(?:放|加)(?:什么|点什么)?(?:其[他它])?"
    r"|(?:喜欢|想)(?:放|加|吃)?多少(?:就)?(?:放|加|吃)?(?:多少)?"
    r"|看着(?:放|加|下|办)(?:吧|就好|就行)?|自己看着办|酌情(?:添加|增减)?|你懂的|可有可无"
    r"|多多益善|没过[^，。]{1,6}(?:就行|即可|就好)。?|一丢丢|越多越好|加不加(?:均可|都行)|可加可不加|可不加|可多放点?|有无(?:都可|均可|皆可)|适量安排|安排|量大点|建议少放|一捏捏|一捏|可选(?![（）]|[原材用配辅调]料|食材|工具)"
    r"|看(?:天气|吸水性?|颜色)|自己看|有时(?!令)|偶尔|[按照](?:颜值|需放?)|随机|[多酌]量|能吃多少[^，。]?多少|有啥放啥|来吧|都行|左右?可调整|可调整|用多少|放的时候尝尝"
    r"|慢慢加入|(?:八分满|成团|铺满[^，。]{1,4})(?:即可|就行|为止)|够铺?满?[^，。]{0,4}克|不限克?|[多少]多的|早上的饭量|同[^，。]{1,3}量一样|跟[^，。]差不多|越大越好|可自选（或无）|多?多放点?|一丢丢"
    r"|balabala|照完相后挤汁|淋一遍[^，。]{1,8}的量|过都用"
    rf"|(?:个人|自己的?){_LIKING}(?:适量|添加|即可|调整|放|加|增减)*|(?:看|随)(?:自己|个人|你|着)(?:啦|吧|了|的)?"
)
_CHATTY_AMOUNT = re.compile(f"^(?:{CHATTY})")
# The same behind what it is of: 盐（你懂的）, 葱花看喜欢.
_CHATTY_ASIDE = re.compile(rf"[（(](?:{CHATTY})[）)]|(?<=[{HAN}）)])(?:{CHATTY})$")
_TALK = (
    "我|你|他|她|因为|喜欢|喜好|个人|口味|自己|根据|买|家里|超市|如果|懒|爱吃|不吃|怕|嫌|原方|方子"
    "|怎么|赶脚|就是|所谓|啦|今天|这次|这边|拳头|上次|孩子|宝宝|心情|习惯|推荐|建议|朋友|只剩|没用完|淘宝|某宝|图|老公|老妈|妈妈|灵魂|今儿"
)
# Each is (what is found in a line, what stands there instead); gone through until none is found.
MENDED: tuple[tuple[re.Pattern[str], str], ...] = (
    (_HASHED, r"\1："),
    (BULLETS, ""),
    # 食材：腐竹, 石材胡萝卜, 用料3. 红豆泥: the heading of all is none of one
    (
        re.compile(
            rf"^(?:[食石]材|用料|材料|原料|配料|主料|辅料)\d*[:：.、 ]*(?=[{HAN}\d]+[\d 克])(?!包)"
        ),
        "",
    ),
    # 200g克酸奶, 一勺克牛奶, 50m|料酒, 半个柠檬柠檬汁, 2个西瓜的皮西瓜皮, 淡奶油总统牌, 先将1勺生抽
    (
        re.compile(rf"^({NUMBER} ?{MEASURE})(?<![两几])(?!{_NO_UNIT})(?:克|毫升|勺|个)(?=[{HAN}])"),
        r"\1",
    ),
    (re.compile(rf"^(\d+)m[|丨](?=[{HAN}])"), r"\1ml"),
    (
        re.compile(rf"^({NUMBER} ?{MEASURE})(?P<whose>[{HAN}]{{2,3}})(?:的[{HAN}])?(?=(?P=whose))"),
        r"\1",
    ),
    (re.compile(rf"^用量[：:]({QUANTITY})食材[：:]"), r"\1"),
    (re.compile(r"^\d(?=适量|少许)"), ""),
    (
        re.compile(
            rf"^(?:数量|(?:n|很多|好多|许多|无数) ?{MEASURE}|\d+(?:块钱|元)的?"
            rf"|(?:适量)?多放?一?[点些])(?=[{HAN}])"
        ),
        "适量",
    ),
    (re.compile(rf"(?<=[{HAN}])l(?=[张块个只根片])|^[lI](?=\d+ ?[克g])"), "1"),
    (re.compile(r"(?<=\d)[oO](?=[克g])"), "0"),
    (re.compile(rf"^(\d{{3,4}})(?!\d|{UNITS})(?=[{HAN}]{{2,6}}$)"), r"\1克"),
    (re.compile(rf"^({QUANTITY})(?:用料|材料)\d+[.、]? ?(?=[{HAN}])"), r"\1"),
    (re.compile(rf"(?<=[{HAN}]{{2}})[{HAN}]{{2}}牌$|^(?:先|再|然后)?将(?=\d)"), ""),
    # 来几颗红枣, 适量几朵木耳, 各少许盐; 好几个鸡翅
    (
        re.compile(
            rf"^(?:可|来|抓|切|取|准备|点缀|起码|至少|好(?=几)|各(?=适量|少许)"
            rf"|(?:{VAGUE})[，,]?(?={NUMBER} ?{MEASURE}))(?={QUANTITY}[{HAN}])"
        ),
        "",
    ),
    # 6.7个小米椒, 180.190克面粉 are from one to the other
    (
        re.compile(
            r"^(2(?=\.3)|3(?=\.4)|5(?=\.6)|6(?=\.7)|7(?=\.8)|8(?=\.9)|4(?=\.5[片粒颗瓣]))\.(\d)"
            r"(?=[个只片粒颗根瓣朵枚])"
        ),
        r"\1-\2",
    ),
    (re.compile(r"^(\d\d+0)\.(\d\d+0)(?=克|g|毫升|ml)"), r"\1-\2"),
    (re.compile(r"(?<=\d) ?tb ?sps?"), "汤匙"),
    (re.compile(r"(?<=\d) ?tsps?"), "茶匙"),
    (
        re.compile(
            r"^(\d|1\d)(?=(?:[鸡鸭鹅皮全咸]?蛋[黄清白]?|鸡?[腿翅爪]|鸡?翅[中根尖]|土豆|洋葱|番茄|西红柿"
            "|柠檬|苹果|香蕉|青椒|茄子|黄瓜|胡萝卜)$)"
        ),
        r"\1个",
    ),
    # 玉米25克淀粉; 姜各15克
    (
        re.compile(
            rf"^([低中高]筋|玉米|红薯|木薯|土豆|小麦|无盐)(\d+(?:\.\d+)?(?:克|g))([{HAN}]{{1,3}})$"
        ),
        r"\2\1\3",
    ),
    (re.compile(rf"^((?!.?[葱姜蒜青红])[{HAN}]{{1,5}}|[葱姜蒜])各({QUANTITY})$"), r"\2\1"),
    # 蛋黄糊用20克糖, 切丁少许火腿, 量杯1杯糯米: what it is for or how stands behind it
    (
        re.compile(
            rf"^((?!适)[{HAN}]{{1,4}}用|切[丁片丝段碎末块]|[{HAN}]{{0,5}}[量饭]?[杯碗])({QUANTITY})(?!左右)([{HAN}]{{2,8}})$"
        ),
        r"\2\3（\1）",
    ),
    # 少许木耳少许, 10颗红枣（适量）; 500克金针菇一包
    (re.compile(rf"^({QUANTITY})([{HAN}]{{1,8}})(?:{VAGUE}|[（(](?:{VAGUE})[）)])$"), r"\1\2"),
    (
        re.compile(rf"^({QUANTITY})((?:(?!{NUMBER})[{HAN}]){{2,8}})({NUMBER}{MEASURE})$"),
        r"\1\2（\3）",
    ),
    (re.compile(rf"(?<=[{HAN}])(?:混合|搅拌|拌匀|调匀)[在于]?[^，：:]{{0,8}}(?:备用|待用)$"), ""),
    (re.compile("[①-⑳❶-❿]"), ""),
    (re.compile(rf"^(?:少于|非常少|少放)(?=[{HAN}])"), "少许"),
    # 50+200克了猪油, 3-4个吧口蘑
    (re.compile(rf"(?<=[\d一二两三四五半][克g个勺片根])[了吧](?=[{HAN}])"), ""),
    # 200g+低粉, 50g+/-黄油; 3勺A 酱油, 高筋粉（）; 5*6个番茄; 一根山药 一根; 腊肉主料, 糖调料
    (re.compile(rf"^(\d+(?:\.\d+)?(?:g|克|ml|毫升))(?:\+/?-?|-)(?=[{HAN}])"), r"\1"),
    (re.compile(rf"(?<=[勺克g个])[A-E] (?=[{HAN}])|[（(](?: ?|{UNITS}|g)[)）]"), ""),
    (re.compile(rf"^(\d)\*(\d)(?={UNITS})"), r"\1~\2"),
    (re.compile(rf"^({QUANTITY})([{HAN}]{{2,8}}) (?:{QUANTITY})$"), r"\1\2"),
    (re.compile(rf"(?<=[{HAN}]{{2}})(?<![锅底配])[主辅]料$"), ""),
    (re.compile("(?<=[糖盐粉油醋酒姜葱蒜根个半片])[调配香]料$"), ""),
    # 0粒大杏仁1, 0大勺生抽; 奶油馅（约20
    (re.compile(rf"^0((?:{UNITS})[{HAN}]+)(\d)$"), r"\g<2>0\1"),
    (re.compile(rf"^0 ?{MEASURE}(?=[{HAN}])"), "适量"),
    (re.compile(rf"(?<=[{HAN}])(?<!适量|少许|若干)[（(][^（）()]*$"), ""),
    # 低粉 120
    (re.compile(rf"^([{HAN}]{{0,5}}[粉糖面油奶水]) ?(\d{{2,4}})$"), r"\2克\1"),
    # 克面粉 250, 克6抹茶, 克盐
    (
        re.compile(
            rf"^{_UNIT}([^\d\s:：，,]{{1,20}}?)[:： 。]*"
            r"(\d+(?:[./~～-]\d+)*|[一二两三四五六七八九十半几]{1,2})$"
        ),
        r"\3\1\2",
    ),
    (re.compile(rf"^{_UNIT} ?(\d+(?:[./~～-]\d+)*)(?=[{HAN}])"), r"\2\1"),
    (re.compile(r"^(克|毫升)([A-Za-z]+\d+) (\d+)$"), r"\3\1\2"),
    (re.compile(rf"^(?!{_NO_UNIT})(?:{_LOST})[#：: ]?(?=[{HAN}])"), ""),
    # 个（350克）茄子3, 1/4个#肉末腌制
    (
        re.compile(
            rf"^{_UNIT}([（(][^（）()\d]*\d[^（）()]*[)）])([{HAN}]{{1,12}})[:： 。]*"
            r"(\d+(?:[./~～-]\d+)*)$"
        ),
        r"\4\1\3\2",
    ),
    (re.compile(rf"^{QUANTITY}[#＃]([{HAN}]{{2,8}})$"), r"\1："),
    # 适量克姜丝, 蛋黄1个克, 1个一个鸡蛋, 4\1只老鸭, 1:1小勺蜂蜜
    (re.compile(rf"^({VAGUE})(?!{_NO_UNIT})(?:{_LOST})(?=[{HAN}（(])"), r"\1"),
    (re.compile(rf"^([{HAN}]{{1,8}}(?:\d+(?:\.\d+)?(?:{UNITS})|{VAGUE}))(?:{_LOST})$"), r"\1"),
    (re.compile(rf"^(\d+)(?P<again>{UNITS})[一1](?P=again)"), r"\1\2"),
    (re.compile(r"^(\d)\\(\d)"), r"\2/\1"),
    (re.compile(rf"^([\d半一二两三]+(?P<twice>{UNITS}))(?P=twice)"), r"\1"),
    # 500大米 is weighed; 20虾 is not
    (
        re.compile(
            rf"^(\d{{2,4}})(?!\d|{UNITS}|[份寸年日号目天月倍多只颗余来几元块]|[大小][勺匙把片块碗杯袋包颗个只根条节朵])"
            rf"(?=[{HAN}]{{0,5}}(?:[粉糖面米奶油水肉酱浆酪馅豆]|淇淋|蛋[白清黄液])(?:[（(]|$))"
        ),
        r"\1克",
    ),
    # 200g或者根据自己喜好藕
    (re.compile(rf"^({QUANTITY})(?:或者?|，)?(?:{CHATTY}|可不放)的?(?=[{HAN}]{{1,6}}$)"), r"\1"),
    # 适量，腌排骨一小时腌料：生抽
    (re.compile(rf"^{QUANTITY}，[^，：:]*?([{HAN}]{{1,2}}料[:：].*)$"), r"\1"),
    (re.compile(rf"^({QUANTITY})?(?:如图|见图|图中)(?=[{HAN}])"), r"\1"),
    (_CHATTY_AMOUNT, "适量"),
    (_CHATTY_ASIDE, ""),
    (re.compile("^适量(?:份?量(?!杯)|加够|就好|即可|就行)"), "适量"),
    (re.compile(rf" *-{{2,}} *([{HAN}]{{1,8}})(?= |$)"), r"（\1）"),
    (re.compile(rf"^({VAGUE})[，,到 ]?(?:{VAGUE})(?=[{HAN}])"), r"\1"),
    # （圆粒的）糯米 is 糯米（圆粒的）
    (re.compile(rf"^([（(][^（）()]+[）)]) ?([{HAN}\d][^（）()]*)$"), r"\2\1"),
    (re.compile(rf"[（(「〖][^（）()」〗]*(?:{_TALK})[^（）()」〗]*[)）」〗]"), ""),
    # 半个菠萝 Pineapple, 辣椒粉(chili powder), 10汤匙Cornstarch玉米淀粉
    (re.compile(rf"(?<=[{HAN}）)]) ?[A-Za-z][A-Za-z' ]{{2,}}$|[（(][A-Za-z][A-Za-z' ]+[)）]"), ""),
    (re.compile(rf"^({QUANTITY}) ?[A-Z][a-z]+(?: [A-Za-z]+)* ?(?=[{HAN}])"), r"\1"),
    # 适量。蒜, 棉花糖。适量, 8个(自制)酸辣椒
    (re.compile(rf"^({QUANTITY})[，,。.] ?([{HAN}]{{1,6}})$"), r"\1\2"),
    (re.compile(rf"^([{HAN}]{{1,8}})[。，,：: ]+({VAGUE})$"), r"\2\1"),
    (
        re.compile(rf"^({QUANTITY}) ?([（(][^（）()]+[）)]) ?([{HAN}A-Za-z]+)(?=[（(]|$)"),
        r"\1\3\2",
    ),
    # 1节，好吃。藕; 20克表面材料：蛋液; 盐3g黑胡椒2g腌肉料：
    (re.compile(rf"^({QUANTITY})[，,][^：:]*。([{HAN}（）A-Za-z]{{1,12}})$"), r"\1\2"),
    (re.compile(rf"^({QUANTITY})([{HAN}]{{2,8}}[:：]) ?(.+)$"), r"\2\1\3"),
    (re.compile(rf"^(.*[\d ].*?[\dg克只个勺 ])([{HAN}]{{2,5}}[:：])$"), r"\2\1"),
    (re.compile(rf"^({QUANTITY}，.*?[。，；])([{HAN}]{{2,8}}[:：].*)$"), r"\2\1"),
    (re.compile(rf"(?<=[^\s（(])[、，,;；。.~～!！*+ ]+$|(?<=[{HAN}]{{2}})等$"), ""),
)
# Whether any of them is found: most lines are as they should be. What begins a line is looked for
# there only.
_FOUND = [pattern.pattern for pattern, _ in MENDED]
_AMOUNT_FIRST = f"({QUANTITY})"  # read once for all that begin with it
_AT_START = [found.removeprefix("^") for found in _FOUND if found.startswith("^")]
_AFTER_AMOUNT = [
    found.removeprefix(_AMOUNT_FIRST)
    for found in _AT_START
    if found.startswith(_AMOUNT_FIRST) and not found.startswith(_AMOUNT_FIRST + "?")
]
_BEGINS = either(
    (
        f"(?:{QUANTITY})(?:{'|'.join(_AFTER_AMOUNT)})",
        CHATTY,
        *(
            one
            for one in _AT_START
            if one.removeprefix(_AMOUNT_FIRST) not in _AFTER_AMOUNT and one != f"(?:{CHATTY})"
        ),
    )
)
_HOLDS = either(found for found in _FOUND if not found.startswith("^"))


def mended(line: str) -> str:
    """`line` with its amount in order, without chat about it."""
    while _BEGINS.match(line) or _HOLDS.search(line):
        before = line
        for pattern, instead in MENDED:
            line = pattern.sub(instead, line)
        if line == before:
            break
    for size in (2, 3, 4):  # 5颗菠菜叶菠菜叶
        if line[-size:] == line[-2 * size : -size] and line[-size:].isalpha():
            return mended(line[:-size])
    return line
