"""Recipes as Markdown files, one a file: a title, then sections of ingredients and of steps.

Sections are told by their headings; of both kinds there may be several, and other sections are
left out. List marks, emphasis, links and pictures go; what they hold of text stays.
"""

import re
from typing import Any

_INGREDIENTS = re.compile("原料|食材|材料|用料|配料|调料|计算|ingredient", re.IGNORECASE)
_STEPS = re.compile("操作|步骤|做法|制作|方法|流程|steps?$|instruction|direction", re.IGNORECASE)
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_ITEM = re.compile(r"^(?:[-*+]|\d{1,3}[.)])\s+")
_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(\*\*|__|`|(?<![*\w])\*(?=\S))(.+?)\1")
_ENDING = re.compile("(?:的?(?:家常)?做法|怎么做)$")


def recipe(text: str) -> dict[str, Any]:
    """The raw recipe in a Markdown text; what it lacks is empty, and rejected later."""
    name, section = "", None
    parts: dict[str, list[str]] = {"recipeIngredient": [], "recipeInstructions": []}
    for line in text.splitlines():
        if heading := _HEADING.match(line.strip()):
            title = _plain(heading[2])
            if len(heading[1]) == 1 and not name:
                name = _ENDING.sub("", title)
            elif len(heading[1]) > 2 and section:
                parts[section].append(f"{title}：")
            else:
                section = _section(title)
        elif section and (plain := _plain(_ITEM.sub("", line.strip()))):
            parts[section].append(plain)
    return {"name": name, "dish": name, **parts, "keywords": []}


def _section(title: str) -> str | None:
    if _INGREDIENTS.search(title):
        return "recipeIngredient"
    return "recipeInstructions" if _STEPS.search(title) else None


def _plain(line: str) -> str:
    line = _LINK.sub(r"\1", _PICTURE.sub("", line))
    return _EMPHASIS.sub(r"\2", line).strip()
