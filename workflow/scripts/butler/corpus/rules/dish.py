"""Which records are of one dish or question, so that train and test never share one.

The corpus names the dish of 43 % of its records; the others say "Unknown". A recipe is known by
two keys, its dish's and its name's, both without ornament, sizes and remarks. Recipes that share
either key, directly or through others, are one dish. A ready question is known by its letters,
but for a form of asking for a recipe at its end.
"""

import re
from functools import lru_cache

from butler.corpus.rules.text import letters

_BRACKET = re.compile(r"[（(【\[《「『<{][^）)】\]》」』>}]*[）)】\]》」』>}]")
_ORNAMENT = (
    "自制|自创|家常|家庭|简易版?|简单|快手|懒人|网红|私房|秘制|超级|超|无敌|好吃到?|美味|零失败|零基础|万能|经典|传统|正宗"
    "|健康|营养|完美|最爱|爱心|我家|妈妈|外婆|宝宝|新手|必备|详细|独家|创意|百变|香喷喷|史上最|不一样"
)
_LEAD = re.compile(rf"^(?:(?:{_ORNAMENT})的?)+")
_FORM = "的?(?:家常|详细|简单|最正宗)?(?:做法|制作|方法|教程|食谱|菜谱)|怎么做"  # of a question
_ASKED = re.compile(f"(?:{_FORM})$")
_TAIL = re.compile(
    rf"(?:{_FORM}|[一-鿿]{{0,3}}版|系列|合集"
    r"|第?[一二三四五六七八九十\d]+(?:弹|期|款)?|之[一二三四五六七八九十\d]+|v\d+)$"
)
_SIZE = re.compile(r"\d+(?:寸|人份|人|克|g|ml|个|分钟|连模|cm)")


@lru_cache(1 << 16)  # a few dishes have most of the recipes
def dish_key(name: str) -> str:
    """The bare dish in a name: 自制腌菜（超简单） → 腌菜. The whole name where nothing is left."""
    whole = letters(name)
    bare = letters(_BRACKET.sub("", name)) or whole
    while True:
        before = bare
        for pattern in (_SIZE, _LEAD, _TAIL):
            bare = _without(pattern, bare)
        if bare == before:
            return bare


def question_key(question: str) -> str:
    """What a ready question asks for: 红烧肉怎么做？ and 红烧肉的做法 are 红烧肉."""
    return _without(_ASKED, letters(question))


def _without(pattern: re.Pattern[str], bare: str) -> str:
    shorter = pattern.sub("", bare)
    return shorter if len(shorter) > 1 else bare
