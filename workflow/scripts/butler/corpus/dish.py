"""Which recipes are of one dish, so that train and test never share one.

The corpus names the dish of 43 % of its records; the others say "Unknown". A recipe is known by
two keys, its dish's and its name's, both without ornament, sizes and remarks. Recipes that share
either key, directly or through others, are one dish.
"""

import re

from butler.corpus.text import letters

_BRACKET = re.compile(r"[（(【\[《「『<{][^）)】\]》」』>}]*[）)】\]》」』>}]")
_ORNAMENT = (
    "自制|自创|家常|家庭|简易版?|简单|快手|懒人|网红|私房|秘制|超级|超|无敌|好吃到?|美味|零失败|零基础|万能|经典|传统|正宗"
    "|健康|营养|完美|最爱|爱心|我家|妈妈|外婆|宝宝|新手|必备|详细|独家|创意|百变|香喷喷|史上最|不一样"
)
_LEAD = re.compile(rf"^(?:(?:{_ORNAMENT})的?)+")
_TAIL = re.compile(
    r"(?:的?(?:家常|详细|简单|最正宗)?(?:做法|制作|方法|教程|食谱|菜谱)|怎么做|[一-鿿]{0,3}版|系列|合集"
    r"|第?[一二三四五六七八九十\d]+(?:弹|期|款)?|之[一二三四五六七八九十\d]+|v\d+)$"
)
_SIZE = re.compile(r"\d+(?:\.\d+)?(?:寸|人份|人|克|g|ml|个|分钟|连模|cm)")


def dish_key(name: str) -> str:
    """The bare dish in a name: 自制腌菜（超简单） → 腌菜. The whole name where nothing is left."""
    whole = letters(name)
    bare = letters(_BRACKET.sub("", name)) or whole
    while True:
        before = bare
        for pattern in (_SIZE, _LEAD, _TAIL):
            shorter = pattern.sub("", bare)
            bare = shorter if len(shorter) > 1 else bare
        if bare == before:
            return bare


class DishGroups:
    """Union of keys that name the same dish; the group's name is its smallest key."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def join(self, *keys: str) -> None:
        """Declare that the keys name one dish."""
        first, *others = map(self.find, keys)
        for other in others:
            low, high = sorted((first, self.find(other)))
            self._parent[high] = low
            first = low

    def find(self, key: str) -> str:
        """The smallest key of the group of `key`; a new key is a group of its own."""
        root = key
        while (parent := self._parent.setdefault(root, root)) != root:
            root = parent
        while self._parent[key] != root:
            self._parent[key], key = root, self._parent[key]
        return root
