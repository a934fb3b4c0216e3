"""Foods by the words that name them: whether a list of ingredients and the steps go together."""

import re
from collections.abc import Iterator
from functools import lru_cache

from butler.corpus.rules.amounts import QUANTITY
from butler.corpus.rules.patterns import either
from butler.corpus.rules.text import HAN

# Each kind once, the seasonings last.
_KINDS = (
    "鸡蛋|蛋[黄白清液]|皮蛋 面粉|[低高中]筋|[低高]粉 排骨 牛肉|牛腩|肥牛 羊肉|羊排 "
    "五花|猪肉|肉[末丝片丁馅糜]|里脊 鸡[翅腿胸肉爪] 鸭(?!蛋) 虾 蟹 兔 鹅肉|[烧卤]鹅 "
    "牛蛙|田鸡 鳝鱼?|鳗鱼? "
    "(?<![鲍章墨金管甲])鱼(?![香露丸糕腥]|豆腐|子酱|肝油|胶) 豆腐|千张|豆皮|腐皮 土豆|马铃薯|洋芋 "
    "番茄|西红柿|圣女果 茄子 黄瓜 白菜|娃娃菜 萝卜 南瓜 冬瓜 丝瓜 苦瓜 豆角|四季豆|豇豆 豆芽 "
    "芹菜|西芹 韭菜 菠菜 生菜 洋葱 [青红彩尖]椒 香菇(?!馒头|包)|冬菇 金针菇 木耳 银耳 "
    "莲藕|藕|莲菜 山药 红薯(?!粉)|地瓜(?!粉) 紫薯 玉米(?!油|淀粉) 花生(?!油) 核桃 红枣 莲子 绿豆 "
    "红豆 薏米 糯米 米饭|大米 面条|挂面 粉丝|粉条 年糕 牛奶 奶油 黄油 "
    "奶酪|芝士|马苏里拉|起司|乳酪|车达 酸奶 可可粉|巧克力 抹茶 苹果 香蕉 草莓 芒果 柠檬 菠萝|凤梨 "
    "木瓜 牛油果|鳄梨 榴莲 黄桃 蓝莓 雪梨 莴笋|莴苣 毛豆 芋头|香芋 "
    "火腿|香肠|腊肠|萨拉米 腊肉 海带|紫菜 "
    "花甲|蛤蜊|花蛤|蚬 生蚝|蚝(?!油)|牡蛎|海蛎 鱿鱼 西兰花 花菜 秋葵 百合 枸杞 桂圆 "
    "板栗|栗子 蘑菇|平菇|口蘑 油麦菜 空心菜 包菜|卷心菜|甘蓝 (?<![莴芦])笋 腐竹 豆干|香干 "
    "田螺|螺[丝蛳] 海参 鲍鱼 肥肠 猪[蹄脚手] 猪肝 咖喱 酸菜 豆豉 芝麻酱|麻酱 燕麦 "
    "豆沙(?!包) 肉松 椰[丝蓉] "
    "葱 姜(?!黄) 蒜 花椒 八角|大料 桂皮 香叶 干辣椒 豆瓣酱 "
    "生抽|酱油 老抽 蚝油|耗油 料酒|黄酒 冰糖|白糖|砂糖|红糖 醋 "
    "淀粉|生粉 芝麻 胡椒 酵母 蜂蜜"
)
_EACH_KIND = tuple(re.compile(kind) for kind in _KINDS.split(" "))
_ANY_FOOD = either(_KINDS.split(" "))
_SEVERAL = re.compile("[，,、；;。 ]|调料|佐料|配料")
# What steps call by a mark, 带*号的材料 or A料: a list that has none has lost it in cleaning.
_MARKED = re.compile(r"[*A-F](?=料|(?<=\*)号?的)(?<![0-9A-Za-z].)")
_SEASONING = " 葱 "  # and those after it
_FOOD = either(_KINDS[: _KINDS.index(_SEASONING)].split(" "))
_SAUCES = "酱汁料茶饮膏卤汤粉酒露浆子"  # the ends of their names, and of those of drinks
MOST_LINES = 4  # of a list, and of foods within a line, that may lack what the steps use


# What dishes are made of by the end of their names: what they are called, what the list has then,
# and what the steps use of it (盖饭 and 拌饭 may be told without the rice).
_STAPLES = tuple(
    tuple(map(re.compile, patterns))
    for patterns in (
        (
            "(?<![淋打扒])面$",
            "(?<![椒姜])面(?!酱)|乌冬|[米河意绿]粉|粉[丝皮]|米线|[高中低][筋粉]|通心|空心|[子饨凉面]皮|麦|豆腐丝|魔芋",
            "面(?!酱)",
        ),
        ("[汤炒拌意]粉$", "面|[米河意薯肠心]粉|米线|粉[丝条皮]", "粉"),
        ("饭$", "[饭麦谷面]|(?<!玉)米", "(?<![配在碗])(?:米(?!饭)|饭(?!上))"),
        ("(?<![素果蚌贝螺蟹虾蚬鱼])肉$", "肉|里脊|排|五花|[猪牛羊鸡鸭兔鹅驴]|[腩肘腿蹄筋]", "肉"),
        ("粥$", "米|麦|粥|谷|豆|薏|面|藜|粮|饭", "粥|[煮熬焖]"),
        ("(?<!蛋)饺子?$", "面|筋|[高低中]粉|皮|饺", "饺|包|皮|馅"),
        (
            "吐司|馒头|[^月]饼|挞|包子?$|馍|披萨|蛋糕",
            "面|粉|皮|筋|包|饼|馍|吐司|馒头|麦|(?<!玉)米|薯|芋|糕",
            "面[粉团糊]|和面|[馄面]皮|馒头|馍|蛋糕[片胚卷]",
        ),
    )
)
# The same by a name that a list can have.
_STAPLE = re.compile("面条|意面|挂面|米饭|大米|饺子皮|馄饨皮|云吞皮|米粉|粉丝|河粉|米线|吐司|挞皮")
_NOTE = re.compile("[（(].*")  # behind a name
# A list of these alone is that of a sauce, or lacks what they season.
_SEASONS = re.compile(
    rf"(?:{QUANTITY}|适当)?[{HAN}]{{0,4}}(?:盐巴?|糖|油|醋|酱|[抽酒精水鲜]|鸡粉|(?<![青彩尖])椒[粉面碎末丝]?"
    "|(?<!洋)葱[花段白末丝]?|姜[片丝末]?|蒜[头瓣片末蓉]?|大料|八角|桂皮|香叶|草果|孜然粉?|[生淀]粉|豆?豉)"
)


@lru_cache(1 << 12)
def _kind_of(word: str) -> re.Pattern[str]:
    """What finds the food that a word names, by all its names."""
    return next(kind for kind in _EACH_KIND if kind.match(word + "。"))


def named_in(text: str) -> bool:
    """Whether `text` names a food."""
    return bool(_ANY_FOOD.search(text))


def with_staple(name: str, ingredients: str, steps: str) -> str:
    """The list with the rice, noodles or wrappers that it takes for granted and the steps use."""
    for listed, _ in _lacking_staples(_NOTE.sub("", name), ingredients):
        for found in _STAPLE.finditer(steps):
            if listed.search(found[0]):
                return f"适量{found[0]}\n{ingredients}"
    return ingredients


def _lacking_staples(bare: str, ingredients: str) -> Iterator[tuple[re.Pattern[str], ...]]:
    """What such a dish is made of, where the list has none: as lists and as steps name it."""
    for called, listed, used in _STAPLES:
        if called.search(bare) and not listed.search(ingredients):
            yield listed, used


def unlisted(name: str, ingredients: str, steps: str) -> str:
    """What a list lacks: the food that the name tells, or most of what the steps use; else ""."""
    if (mark := _MARKED.search(steps)) and mark[0] not in ingredients:
        return mark[0]
    seasonings_alone = named_in(ingredients) and not _FOOD.search(ingredients)
    for found in _FOOD.finditer(name):
        word = name[max(found.start() - 1, 0) : found.end()] if found[0] == "鱼" else found[0]
        if set(word) & set(ingredients) or not (seasonings_alone or found[0] in steps):
            continue  # part of the word is enough: 龙骨 for 排骨, 海白鲳 for 鲳鱼
        if not _kind_of(found[0]).search(ingredients):
            return found[0]
    bare = _NOTE.sub("", name)
    if any(used.search(steps) for _, used in _lacking_staples(bare, ingredients)):
        return f"what {bare} is made of"
    last = bare[-1:]
    is_used = last in steps and last not in ingredients and last not in _SAUCES
    if is_used and all(map(_SEASONS.fullmatch, ingredients.split("\n"))):
        return bare
    lines = ingredients.count("\n") + 1 + len(_SEVERAL.findall(ingredients))
    if lines > MOST_LINES:
        return ""
    kinds = {_kind_of(word): word for word in _ANY_FOOD.findall(steps)}
    lacks = [word for kind, word in kinds.items() if not kind.search(ingredients)]
    foods = sum(bool(_FOOD.match(word)) for word in lacks)
    most = 2 * lines + (2 if foods > 1 else 4) if lines > 1 else 2  # seasonings often go unsaid
    return "、".join(lacks) if len(lacks) >= most else ""


# Characters of amounts and of shapes, that tell no food; words that stand for all of the list.
_NO_FOOD = frozenset(
    "克勺个只根片块瓣条颗粒杯把适量少许大小半一二三四五六七八九十几两数的约左右新鲜生熟干白红黑青黄绿小末丝丁段碎毫升公斤碗盒包袋水油粉汁汤茶匙"
    "0123456789./~-～gGmlML（）() ，、：:"
)
_ALL_OF_IT = re.compile(
    "所有|材料|食材|原料|配料|用料|调料|辅料|主料|佐料|作料|香料|馅|酱汁|料汁|混合|全部|各种|其[他它]|[A-E]|以上|上述|大料|味汁|调味|五谷|杂粮|蔬菜|水果|[食药]材|腌|卤|一起"
)
LONGEST_LACKING = 140  # characters of steps that may lack one
LEAST_LISTED, LEAST_USED = 5, 0.4  # ingredients of a list, and the share of them that steps name
# Of what is left where talk was taken out: that share, or so many characters where "all" are named.
LEAST_LEFT, LEAST_TOLD = 0.5, 60


def unused(ingredients: str, steps: str) -> str:
    """How few of the ingredients the steps name, where some step must be missing; else ""."""
    if len(steps) > LONGEST_LACKING:
        return ""
    lines = [line for line in ingredients.split("\n") if line[-1] not in "：:】"]
    told = set(steps) - _NO_FOOD
    if sum(not told.isdisjoint(line) for line in lines) >= LEAST_USED * len(lines):
        return ""
    used, listed = _used(ingredients, steps)
    if listed < LEAST_LISTED or used >= LEAST_USED * listed or _ALL_OF_IT.search(steps):
        return ""
    return f"{used} of {listed}"


def cooks_what_is_listed(ingredients: str, steps: str) -> bool:
    """Whether steps that have lost what was talk still tell how to cook the ingredients."""
    used, listed = _used(ingredients, steps)
    if used and used >= LEAST_LEFT * listed:
        return True
    return len(steps) >= LEAST_TOLD and bool(_ALL_OF_IT.search(steps))


def _used(ingredients: str, steps: str) -> tuple[int, int]:
    """How many ingredients share a character with the steps that tells a food, and of how many."""
    told = set(steps) - _NO_FOOD
    lines = [line for line in ingredients.split("\n") if line[-1] not in "：:】"]
    listed = [name for line in lines if (name := set(line) - _NO_FOOD)]
    return sum(not name.isdisjoint(told) for name in listed), len(listed)


# Seasonings and spices by words that are none with the next one, as 土豆淀粉 and 鸡蛋豆腐 are.
_SPICE = (
    "生抽(?!酱油)|老抽(?!酱油)|料酒|[蚝耗酱麻香红]油|老?[香陈白米]醋|[白冰红砂]糖|鸡精|味精|鸡粉|八角(?!大料)"
    "|大料|桂皮|香叶|草果|甘草|[干青红]?花椒|干红?辣椒|小米[椒辣]|孜然|[生淀]粉|五香粉|[黑白]?胡椒粉|[黑白]胡椒"
    "|酵母|泡打粉|小苏打|炼乳|枸杞|红枣|葡萄干|桂圆|香菜|[青红线泡]椒|[大香小]葱|葱[花段]|[老生]姜"
    "|姜[片丝末]|大蒜|蒜[头瓣片末]|蒜蓉(?!豆瓣|.?辣?酱)|泡酸菜|泡萝卜|[温清]水|豆瓣酱|甜面酱|[黄番]茄酱"
    "|面粉|矿泉水|葱姜蒜|(?<=[姜蒜片头瓣末])葱|油(?=盐)|盐(?=.)|(?<=[精糖油])盐|糖(?=.)|(?<=盐)糖"
)
EACH_SPICE = re.compile(_SPICE)
SEVERAL_SPICES = f"(?:{_SPICE})(?:{_SPICE})+"
_SPICES = re.compile("[葱姜蒜椒角桂叶]{2,}")  # 葱姜蒜 is one line by custom
_APART = re.compile(r"[，,、；;+/和或与.。 （(：:\d]")


def run_together(ingredients: str) -> str:
    """A line of two foods as one word (老陈醋料酒), where a third of the list is so; else ""."""
    lines = ingredients.split("\n")
    found = [line for line in lines if _is_two(line)]
    return found[0] if len(found) > 1 and 3 * len(found) >= len(lines) else ""


def _is_two(line: str) -> bool:
    if len(line) < 4 or _APART.search(line) or _SPICES.search(line):
        return False
    return len({_kind_of(word) for word in _ANY_FOOD.findall(line)}) > 1
