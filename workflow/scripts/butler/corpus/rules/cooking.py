"""Whether steps cook what the dish's name says is cooked: some recipes end before that."""

import re

from butler.corpus.rules.patterns import either

# A machine cooks by its mode; what is only taken out (出锅) tells of no heat.
_HEAT = either(
    (
        "(?<![出起])锅|[煮炒蒸炸煎烤炖焖煲烧烘焗卤熬煨烙烫焯涮汆爆火灶烩炝灼滚热炕焙微笼沸壶档]",
        r"[\d十] ?(?:度|℃|°)",
        "水开|开水|出炉|上色|金黄|模式|按键|功能|程序|面包机|饼铛|豆浆机|破壁机|三明治机|早餐机|压力",
    )
)
# Dough that is filled or shaped first and cooked last, and what cooks it.
_SHAPED = re.compile(
    "饺(?!子?[皮馅])|(?:馄饨|云吞)(?!皮)|抄手|包子|馒头|花卷|粽|汤圆|元宵|烧[卖麦]|[菜肉素馅豆沙黄酱香]包$"
)
_SHAPING = re.compile("包(?![菜心装机])|捏|剂子|[擀搓揉卷]")
_COOKED = re.compile(
    r"(?<![出起])锅|[蒸煮煎炸烤烙炖炒滚笼沸汤]|水开|开水|微波|饼铛|上汽|[\d十] ?(?:度|℃|°)"
)
_BY_HEAT = re.compile("(?<!不用)(?<![不免无])[炒煎炸烤蒸煮炖焖煲烧卤焗烙烘焙]")
_BAKED = re.compile(
    "^(?!.*(?:不用|[免冻冰]|慕斯)).*(?:蛋糕|面包|吐司|饼干|曲奇|戚风|饼$|披萨|蛋挞|司康|泡芙|[马麦]芬|酥$)"
)
_FLOUR = re.compile("面粉|[低高中]筋|[低高]粉")


def uncooked(name: str, ingredients: str, steps: str) -> bool:
    """Whether the steps lack the cooking: 炒肉 without any heat, dumplings that are only filled."""
    if _SHAPED.search(name):
        shaping = _SHAPING.search(steps)
        if not _COOKED.search(steps, shaping.start() if shaping else 0):
            return True
    heated = _BY_HEAT.search(name) or (_BAKED.search(name) and _FLOUR.search(ingredients))
    return bool(heated) and not _HEAT.search(steps)
