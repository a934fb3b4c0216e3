"""The name of a recipe as a user would ask for it: the dish, without series, hashtags and signs."""

import re

from butler.corpus.rules.patterns import either
from butler.corpus.rules.text import HAN, letters

_ENDS = " @﹫。.!！?？~～,，、:：;；-—…·*|｜#＃“”\"'"
_BULLET = re.compile(r"^[●◆■◇□★☆▲△▼▽○◎•·※*#＃>☞—–_=|｜、，,。：:；;！!/\\.~～@\-\s]+")
HASHTAG = re.compile(r"#[^#\s]{1,20}#|(?<=\s)#\S+")
_LEAD_BRACKET = re.compile(r"^(?:[【\[〖][^】\]〗]*[】\]〗]|[“「『][^”」』]*[”」』])+(?=\s*\S)")
_SERIAL = re.compile(r"^第[\d一二三四五六七八九十]+[期集弹](?=\s*\S)")
_SHOW = re.compile(r"^[^《》]{0,8}《[^《》]*》[^《》—:：-]{0,10}(?:[-—]+|[:：])(?=\s*\S)")
_BOOK = re.compile(r"[《》【】\[\]〖〗“”「」『』\"]")
_LATIN = re.compile(
    rf"(?<=[{HAN}）)])\s+[A-Za-zÀ-ÿ][A-Za-zÀ-ÿ' -]*[ a-zA-ZÀ-ÿ]$"
    rf"|^[A-Za-zÀ-ÿ][A-Za-zÀ-ÿ' -]* (?=[{HAN}])"
)
_PARTS = re.compile(r"\s*(?:-{1,}|—+|–+|[|｜:：·•]|[~～](?!$)|//)\s*")
# A part of a name that says what the recipe is for, or where it stands, and names no dish.
SERIES = either(
    (
        r"^(?:宝宝|婴儿|幼儿|健康|营养)*辅食(?:\d+个?月.*)?$",
        r"^(?:快手|家常|下饭|减脂|减肥|懒人|宴客|年夜|私房|硬|网红|下酒|素|小|今日)*(?:菜谱|食谱|菜|餐|甜品|甜点|早餐|午餐|晚餐|下午茶|小吃|汤水|料理)$",
        r"^.*(?:私房菜|厨房|食堂|大轰趴|用餐吧|系列|日记|手作|手记|课堂|菜谱|食谱|美食|kitchen|Kitchen|料理)$",
        r"^第?[一二三四五六七八九十\d]+(?:期|集|弹|款|课|天|周|季)?$",
        r"^(?:简易|简单|方便|快手|零失败|超详细|详细|免揉|减肥|控油|适中|甜度适中|春|夏|秋|冬|午后|早安|晚安)+(?:版)?$",
        r"^[^版]{1,8}版(?:本)?$",
    )
)
# 美味, 鲜辣爽口: nothing but praise.
_PRAISE = re.compile(
    "^(?:超级?|最|很|非常|特别|无敌|简单|好吃|好喝|美味|香|酥|脆|鲜|嫩|软|糯|麻|辣|酸|甜|咸|爽口|可口|下饭|开胃|健康|营养|低脂|低卡|零失败|快手|懒人|必备|版|又|不腻|家常|的)+$"
)
_ASIDE = re.compile(
    r"[（(]+[^（）()]*(?:版|方子|自由|失败|详细|配方|经典|简单|超|附|含|好吃|周|第|早餐|减|教程|做法|比例|图|视频|懒人|免|无需|不用|口感|[A-Za-z]\d|法)[^（）()]*[)）]+|[（(]+[^\w（(）)]*[)）]+"
)
# 超简单的番茄炒鱼, 钳花包系列③, 山药糕极简版
_EASE = "简单|好吃|好喝|美味|易做|方便|快手|懒人|零失败|营养|健康|好做|香喷喷|美丽|漂亮"
_LEAD = re.compile(
    rf"^(?:做法)?(?:(?:超级?|巨|最|非常|特别|无敌)*(?:{_EASE})(?:又|且|到哭|到爆)?)+的(?=[{HAN}]{{2}})"
    rf"|^[我自]家的?(?=[{HAN}]{{2}})|^[一两三四五六七八九十]盘(?=[{HAN}]{{2}})"
    # Whose it is: 小李老师的戚风蛋糕, 李家厨房之糖醋里脊
    rf"|^[{HAN}]{{1,4}}(?:老师|大厨|师傅)的(?=[{HAN}]{{2}})|^[^之 ]{{3,8}}之(?=[{HAN}]{{3}})"
    rf"|^[^的 ]{{0,10}}(?:颜值高|爱上|上瘾|停不下来|健康|低脂|低卡|拉丝)的(?=[{HAN}]{{2}})"
    rf"|^(?:简易?|懒人|家常|升级|改良|快手|新手|菜谱抢滩)版的?(?=[{HAN}]{{2}})"
    rf"|^(?:超级?(?:简单|好吃|美味|下饭)的?|零失败的?|懒人版?|快手|原创|网红|(?:私房|秘制)+|美味(?!鲜)|香香的?|高?颜值|(?:在家)?(?:DIY|diy)|新手版?|(?:减肥|减脂|瘦身)(?:助手|神器|必备)|记录(?!自己|做|一))(?=[{HAN}]{{2}})"
)
_TAIL = re.compile(
    rf"(?<=[{HAN}]{{2}})的?做法$|系列[\d①-⑳一二三四五六七八九十]*$"
    r"| *[①-⑳Ⅰ-Ⅻ]+$|其[一二三四五六七八九十]$"
    rf"|(?<=[{HAN}]{{2}})(?:记录\d*|来[咯啦喽]|快手菜|试一?试|(?:[{HAN}]*\s)?哈哈+)$|(?:超|极)?(?:简单|简易|简|懒人|快手|家庭|家常|详细|升级|改良|新手)版(?:本)?$"
)
_REMARK = re.compile(
    r"[，,！!](?:超|巨|真|零|无需|不用|简单|好吃|美味|甜度|营养|健康|拿走|做法|香|又|懒人|快手|只需|教你|百吃|吃)[^，,]*$"
)
_STUTTER = re.compile(rf"([{HAN}])\1\1+")  # 炸炸炸薯条
# A name of no dish at all.
NO_DISH = either(
    (
        r"^(?:啦+|哈+|哦+|嗯+|早餐|午餐|晚餐|早午餐|下午茶|便当|甜品台?|美食|日常|随便|无题|测试|一日三餐|今日份?.{0,3}|[\d.]+)$",
        r"^(?:记录|分享|翻译|搬运|推荐|盘点|合集)",
        r"^(?:what|how|my|the) ",
        r"^(?:元气|营养|减脂|健康|宝宝|周末|一人食(?:快手)?)+的?(?:早餐|午餐|晚餐|餐)$",
        r"^(?:如何)?(?:清洗|挑选|保存|储存)|[猫狗][饭粮]\d*$|宠物|必备(?:饮料|饮品|美食|甜品)$",
        r"^给.{0,4}(?:老公|老婆|儿子|女儿|孩子|宝宝)|带饭\d*$",
        r"(?:日记|日常|打卡|记录|合集|大全|攻略|测评|食用指南|搭配|摆盘|便当)们?\d*$",
        r"第[一二三四五六七八九十\d]+天.{0,4}$|^好好吃饭$|的家常菜$|辅食记载$|^\d{4}年.*(?:餐|饭|蛋糕)$",
        r"(?:辅食|早餐|午餐|晚餐)[一二三四五六七八九十\d]+$",
        r"(?<![a-z])day ?\d*$",
    ),
    re.IGNORECASE,
)


def bare_name(name: str) -> str:
    """The dish in a recipe's name; the name without its signs where none is told apart."""
    name = _STUTTER.sub(r"\1", HASHTAG.sub(" ", " ".join(name.split())))
    while True:
        before = name
        name = _BULLET.sub("", name).rstrip(_ENDS).strip()
        for pattern in (_ASIDE, _SERIAL, _LEAD_BRACKET, _SHOW, _LATIN, _REMARK, _LEAD, _TAIL):
            shorter = pattern.sub("", name).strip()
            if shorter != name and len(letters(shorter)) > 1:
                name = shorter
        name = _BOOK.sub("", name)
        name = _of_words(_of_parts(name))
        if name == before:
            return name


def _of_parts(name: str) -> str:
    """The part of a name in several that is the dish: the last that is no series."""
    parts = [part for part in _PARTS.split(name) if len(letters(part)) > 1]
    if len(parts) < 2:
        return name
    dishes = [part for part in parts if not SERIES.search(part)]
    return dishes[-1] if dishes else parts[-1]


def _of_words(name: str) -> str:
    """A name of several words without those that only praise or tell the series."""
    words = name.split(" ")
    if len(words) < 2:
        return name
    dishes = [word for word in words if not (_PRAISE.search(word) or SERIES.search(word))]
    return " ".join(dishes) if dishes and len(letters("".join(dishes))) > 1 else name
