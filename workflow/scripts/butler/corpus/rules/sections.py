"""What the sections of a Markdown recipe are, told by their headings; the first kind counts."""

import re

STEPS = re.compile(
    "操作|步骤|做法|制作|制法|方法|流程|过程|steps?$|instruction|direction|method", re.IGNORECASE
)
AMOUNTS = re.compile("计算|用量|份量|分量|比例|amount|quantit", re.IGNORECASE)
TOOLS = re.compile(
    "^(?:必[备须需]|所需|需要|使用|可选|推荐|常用)?的?(?:工具|器具|厨具|设备|用具)|tools?$|equipment|utensil",
    re.IGNORECASE,
)
NOTES = re.compile(
    "附加|注意|小?贴士|提示|备注|说明|参考|资料|技巧|要点|介绍|简介|前言|营养|保存|常见问题|致谢|来源|notes?|tips?|nutrition|reference",
    re.IGNORECASE,
)
INGREDIENTS = re.compile("原料|食材|材料|用料|配料|调料|辅料|主料|调味|ingredient", re.IGNORECASE)
# Sentences of a template of such recipes, not of the cook.
BOILERPLATE = re.compile(
    "如果您?遵循本?指南|Issue|Pull ?request|预估烹饪难度|WARNING|^注[:：]"
    "|^(?:每(?:份|次|餐)|总量|份数|一份)[:：]?$"
    r"|^(?:每次制作前|总量[:：]?|按照?(?:上述|以上|一人份)|.{0,6}需要确定(?:计划)?)|的?(?:使用|计算)?上述条件"
    r"|^[^，。]{0,12}[=＝]",
    re.IGNORECASE,
)
# A line that says how many the dish is for, or when to take more: none of its ingredients.
_PEOPLE = r"[一二三四五六七八九十\d～~-] ?(?:人|人份|份)"
REMARK = re.compile(
    "^(?:注意|备注|提示|以[上下]|[上下]述|[下上]面|下列|该配方|本配方|每次|一般|如果|若|(?:可以?|请)?根据|建议|由于|这里|作为)"
    "|^(?:单人|鉴于|出于|准备时|工具[:：])|(?:[一每]份|[人份])[^，。]{0,8}(?:食用|吃|餐)"
    rf"|{_PEOPLE}(?:版本|食用.*|吃)?$"
    "|减半|加倍|等比例|正比|版本|计算部分|[用分份]量(?:为|是|均|取决)"
)
# What follows an ingredient and its amount: 姜 10g，一般买一头.
ASIDE = re.compile(
    "[，。；](?![^（(]*[)）])(?=[^（(]*(?:一般|根据|可以|不放|大概|最好|如果|数量|取决|注[:：]|超市)).*$"
)
LABEL = re.compile(r"^(?:(?:必[备须需]|可选)[:：]|\[(?:必[备须需]|可选)\])\s*")
# 食用油 is the 油 of the list; 酱油 is not.
PLAIN_KIND = re.compile("^(?:食用|植物|色拉|饮用|纯净|清|食|精|生|大|小|白)(?=.$)")
# For one portion: 肉量 = 份数 * 250 g is 肉 250 g, 盐 2g * 份数 is 盐 2g, 虾 = 2 斤 is 虾 2 斤.
PORTIONS = re.compile(r" *[*×] *(?:份数|人数)|(?:份数|人数) *[*×] *")
EQUALS = re.compile(
    r"^([^=＝，。\d]{1,12}?)(?:的?(?:数量|用量)|(?<=.)量)? *[=＝] *(?=[\d半一二两三四五六七八九十])"
)
# Any other line of amounts may be arithmetic, one of ingredients a tool.
ARITHMETIC = re.compile(r"[=＝≈*×÷]|份数|人数")
_TOOL = (
    "(?:锅|锅铲|铲子?|碗|盘子?|勺子?|筷子?|刀|砧板|菜板|案板|烤箱|微波炉|炉|灶|打蛋器|擀面杖|刷子|夹子?|盆|盖|机|秤|杯子?|模具"
    "|油纸|锡纸|保鲜膜|厨房纸|手套|牙签|竹签|漏勺|[滤筛烤]网|筛|温度计|电饭煲|电磁炉|剪刀|密封袋|容器|瓶子?|器|锡箔纸|铝箔纸"
    "|架子?|灶台|喷壶|笼屉|蒜臼|过滤袋|捣药罐|搅拌棒|[刮面]板|汤盅)"
)
TOOL = re.compile(
    rf"{_TOOL}(?: ?(?:若干|适量|[一二两三\d]+ ?[个只口把台张双根]))?(?:（[^）]*）|\([^)]*\))?$"
)


def kind_of(title: str) -> str | None:
    """What a section of this title holds: steps, amounts, ingredients; None: it is left out."""
    if NOTES.search(title):
        return None
    if TOOLS.search(title) and not INGREDIENTS.search(title):
        return None
    if AMOUNTS.search(title):
        return "amounts"
    if INGREDIENTS.search(title):
        return "ingredients"
    return "steps" if STEPS.search(title) else None
