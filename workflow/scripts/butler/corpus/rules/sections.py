"""What the sections of a Markdown recipe are, told by their headings; the first kind counts."""

import re

STEPS = re.compile(
    "操作|步骤|做法|制作|制法|方法|流程|过程|steps?$|instruction|direction|method", re.IGNORECASE
)
AMOUNTS = re.compile("计算|用量|份量|分量|比例|amount|quantit", re.IGNORECASE)
TOOLS = re.compile(
    "^(?:必备|所需|需要|使用)?的?(?:工具|器具|厨具|设备|用具)|tools?$|equipment|utensil",
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
# A line of amounts may be arithmetic ("肉量 = 份数 * 250 g"), one of ingredients a tool.
ARITHMETIC = re.compile(r"[=＝≈*×÷]|份数|人数")
TOOL = re.compile(
    "(?:锅|锅铲|铲子?|碗|盘子?|勺子?|筷子?|刀|砧板|菜板|案板|烤箱|微波炉|炉|灶|打蛋器|擀面杖|刷子|夹子?|盆|盖|机|秤|杯子?|模具|油纸|锡纸|保鲜膜|厨房纸|手套|牙签|竹签|漏勺|滤网|筛|温度计|电饭煲|电磁炉|剪刀|密封袋|容器|瓶子?)(?:（[^）]*）|\\([^)]*\\))?$"
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
