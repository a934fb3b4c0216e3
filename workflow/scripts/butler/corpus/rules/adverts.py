"""Adverts, links and contact details: cut from a line, or the line dropped.

The rule of recipes, from the smallest cut to the largest:
1. a bracket that holds a link or a contact goes with its brackets;
2. a clause (up to a comma) with a link or an @name goes;
3. a sentence that asks for contact (WeChat, QQ, official account, phone, shop, group) goes;
4. what is left of such a line is kept only if it still speaks of cooking.

Of questions and answers, whatever they are about, only sentences go that tell how to reach
somebody: 版权, 二维码 or 客服 may be what a corpus teaches.
"""

import re

from butler.corpus.rules.patterns import either
from butler.corpus.rules.text import HAN

_URL = r"[A-Za-z0-9\-._~:/?#@!$&*+;=%]"
LINK = either(
    (
        rf"(?:(?:https?|ftp)\s*[:：]\s*//|www\s*[.。])(?:{_URL}|。(?=[A-Za-z0-9]))*",
        r"(?<![A-Za-z0-9.@])[A-Za-z][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*"
        r"\.(?:com|cn|net|org|tv|cc|xyz|top|info|io|be|me|app|shop|vip|site|club)\b"
        rf"(?:/{_URL}*)?",
        r"(?<![a-z])spm=[a-z0-9.]+",
    ),
    re.IGNORECASE,
)
_GAP = "[ .—–-]"  # within a telephone number
_NEAR = "[^，,。！？!?；;~～（）()\n]"
CONTACT = either(
    (
        r"[微薇威徽][ .]?信|加微 ?[a-z0-9:：]|公 ?众 ?号|公号|微博|v ?信|we ?chat|weixin|扣扣",
        r"(?<![a-z])(?:v ?x|w ?x)(?![a-z])|加 ?我 ?[vq](?![a-z])",
        r"(?<![a-z])[vq] ?[:：] ?[a-z0-9]{4}|q ?q ?(?:群|号|是|[:：]|\d{5})|企鹅 ?[号:：]? ?\d{5}",
        r"(?:加|进|入|交流|美食|烘焙|学习|粉丝|吃货)群|群号|拉你|加好友|验证码|昵称",
        r"扫码|扫一扫(?:二|微|下|关)|二维码|客服|官方商城|旗舰店|淘宝店铺?|优惠(?:购买|券)",
        rf"领(?:食谱|红包|资料)|同款{_NEAR}{{0,6}}链接|网店|微店|旺旺|我的?店|店铺[名号:：]|搜索?店",
        rf"代购|包邮|批发(?!市场)|诚招|招代理|(?:欢迎|联系|需要|直接){_NEAR}{{0,4}}下单|咨询|私信",
        r"直播间|(?:抖音|快手|小红书)(?:[号:：@]|id)|关注(?:我|公|店|微|本)|并关注",
        rf"(?:欢迎|请|记得|求|感谢|谢谢)关注|搜索{_NEAR}{{0,20}}关注|百度搜",
        r"手机[号:：]|电话|热线|联系(?:我|方式|人)|版权|转载|侵权|注明出处",
        rf"1[3-9]\d{_GAP}?\d{{4}}{_GAP}?\d{{4}}|1[3-9]\d{_GAP}\d{{3}}{_GAP}\d{{5}}",
        rf"1[3-9]\d\d{_GAP}\d{{4}}{_GAP}\d{{3}}|0\d{{2,3}}{_GAP}\d{{4}}{_GAP}\d{{4}}",
        r"\d{3,4}-\d{7,8}|\d{7,}|[一幺][三四五六七八九][零〇一二三四五六七八九]{9}",
        r"(?<![a-z])[a-z_]{2,}-?\d{5,}|[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+",
    ),
    re.IGNORECASE,
)
_HANDLE = re.compile(r"[@﹫] ?\w+")
_BRAND_OF = (
    "爱他美|海底捞|味好美|李锦记|太太乐|金龙鱼|福临门|鲁花"
    "|欧丽薇兰|海天|厨邦|千禾|六月鲜|东古|欣和|恒顺|王致和"
    "|安佳|爱氏晨曦|雀巢|伊利|蒙牛|德运|乐斯福|燕牌"
    "|安琪|新良|金像|王后|美玫|水手|中粮|香满园|河套|五得利|白燕|日清"
    "|法芙娜|可可百利|(?<![做炒煮蒸熬烤煎炸拌调腌泡洗切弄包揉打发装喝吃])好时|味全|展艺|舒可曼|韩国幸福"
    "|百钻|妙可蓝多|百吉福|多美鲜|蓝风车|铁塔|雪印|森永|若竹|宇治"
    "|三能|学厨|长帝|海氏|九阳|苏泊尔|北鼎|摩飞|凯伍德"
    "|卡士(?!达)|柏翠|东菱|双立人|利仁|飞利浦|博世|西门子|COUSS|couss|UKOEO"
    "|cook ?100|COOK ?100|QS|土佬帽|阿胶牌|桃李|双汇|雨润"
    "|金锣|荷美尔|圣农|大喜大|丘比|亨氏|好乐门|味之素"
    "|雪天|中盐|凤球唛|金象|三象|康巴赫|古越龙山|乐葵"
    "|王守义|川崎|金典|兰雀(?:优尼特)?|胡姬花|立顿|德芙|特仑苏|安慕希|新东阳|桂格|莫斯利安|君乐宝"
)
# A maker's name before what it made: 海底捞麻辣调料 is 麻辣调料. 老干妈 is what it is called.
BRAND = either(
    (
        rf"[（(](?:(?:或|or|、|/| )*(?:{_BRAND_OF}|[{HAN}]{{1,4}}牌)牌?)+[）)]",
        rf"(?:{_BRAND_OF})(?:牌的?|家的?|(?=[ ·]?(?:\d|[{HAN}]{{2}})))[ ·]?",
        r"[A-Za-z]{3,}(?: [A-Za-z]+)?(?=铸铁锅|不粘锅|珐琅锅|烤箱|厨师机|面包机|破壁机|料理机"
        r"|电饭煲|模具|吐司盒)",
        r"(?:[A-Za-z]+ )?[A-Za-z]+-?\d+[A-Za-z0-9-]*"
        "(?=(?:智能|多功能)?(?:蒸?烤箱|风炉|料理|厨师机|面包机|破壁机|电饭煲))",
    )
)
_TOKEN = "\ue000"  # stands for a link; private characters are gone from clean text
_BRACKET = re.compile(r"[（(【\[《][^（）()【】\[\]《》]*[）)】\]》]")
_SENTENCE = re.compile(r"(?<=[。！？!?；;])|(?<=[~～])(?=\D)")
_CLAUSE = re.compile(r"(?<=[，,。！？!?；;])|(?=[（(【\[])")
_COOKING = re.compile(
    "[切炒煮蒸烤炸煎拌倒放腌炖焯揉擀搅洗泡撒淋剁卤焖熬捞盛冷热烧刷剪压装卷包裹滚捏铺抹涂撕掰浸晾晒滤沥磨"
    "油盐糖醋酱水火锅粉面肉鱼蛋奶米菜葱姜蒜发酵馅模圆钟克勺]"
)
_EDGE = " ，,、：:；;"


def has_contact(text: str) -> bool:
    """Whether `text` holds a link, an @name or a contact detail."""
    return bool(LINK.search(text) or CONTACT.search(text) or _HANDLE.search(text))


def _is_marked(text: str) -> bool:
    return _TOKEN in text or bool(CONTACT.search(text) or _HANDLE.search(text))


def without_contacts(text: str) -> str:
    """`text` without adverts and contact details."""
    return "\n".join(filter(None, map(scrub, text.split("\n"))))


def scrub(line: str) -> str:
    """`line` without adverts and contact details; empty if nothing about cooking is left."""
    while has_contact(line):
        shorter = _cut(LINK.sub(_TOKEN, line)).strip(_EDGE)
        if shorter == line or len(_COOKING.findall(shorter)) < 2:
            return ""
        line = shorter
    return line


def _cut(line: str) -> str:
    line = _BRACKET.sub(lambda match: "" if _is_marked(match[0]) else match[0], line)
    line = "".join(part for part in _SENTENCE.split(line) if not CONTACT.search(part))
    return "".join(part for part in _CLAUSE.split(line) if not _is_marked(part))


# How to reach somebody, in a text about anything; the words above may be what it is about.
REACH = either(
    (
        r"(?:https?|ftp) ?[:：] ?//|(?<![\w.])www\.\w",
        r"[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+",
        r"(?:[微薇威徽]信|(?<![a-z])(?:we ?chat|weixin|vx|wx|qq)|扣扣|企鹅)(?:群|号|账号|id)?"
        r"(?: ?[:：] ?[a-z0-9][a-z0-9_-]{4}| ?(?=[a-z_-]*\d)[a-z0-9_-]{5})",
        rf"(?<!\d)1[3-9]\d{_GAP}?\d{{4}}{_GAP}?\d{{4}}(?!\d)|(?<!\d)0\d{{2,3}}-\d{{7,8}}(?!\d)",
        r"(?<!\d)(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?!\d)|\+\d{1,3}[ -]?\d[\d -]{6,}\d",
    ),
    re.IGNORECASE,
)
# A link may have a question mark or a full stop in it.
_ANY_SENTENCE = re.compile(f"(?<=[。！？；])|(?<=[.!?;]) |(?<=[!?;])(?=[{HAN}])")


def tells_contact(text: str) -> bool:
    """Whether a text about anything tells how to reach somebody: a link, a number, an account."""
    return bool(REACH.search(text))


def without_contact(line: str) -> str:
    """`line` of a text about anything without the sentences that tell how to reach somebody."""
    if not tells_contact(line):
        return line
    kept = [part for part in _ANY_SENTENCE.split(line) if part and not tells_contact(part)]
    rest = (" " if " " in line else "").join(kept)
    return "" if tells_contact(rest) else rest
