"""Recipes as Markdown files, one a file: a title, then sections (rules/sections.py tells which).

List marks, emphasis, links and pictures go; what they hold of text stays. Of the section of
amounts, lines that name an ingredient anew stand in for those of the ingredients.
"""

import re

from butler.corpus.records import Recipe
from butler.corpus.rules import sections
from butler.corpus.rules.text import letters

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_ITEM = re.compile(r"^(?:[-*+]|\d{1,3}[.)])\s+")
_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)|<[^>]+>")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(\*\*|__|`|(?<![*\w])\*(?=\S))(.+?)\1")
_ENDING = re.compile("(?:的?(?:家常)?做法|怎么做)$")
_NAME = re.compile(r"[^\d\s（(：:=＝，,]+")  # what an ingredient is called, before its amount


def recipe(text: str) -> Recipe:
    """The raw recipe in a Markdown text; what it lacks is empty, and rejected later."""
    name, kind = "", None
    parts: dict[str, list[str]] = {"ingredients": [], "amounts": [], "steps": []}
    for raw in text.splitlines():
        line = raw.strip()
        if heading := _HEADING.match(line):
            title = _plain(heading[2])
            if len(heading[1]) == 1 and not name:
                name = _ENDING.sub("", title)
            elif len(heading[1]) == 2:
                kind = sections.kind_of(title)
            elif kind and not sections.TOOLS.search(title):
                parts[kind].append(f"{title}：")
        elif kind and (plain := _plain(_ITEM.sub("", line))) and not _is_boilerplate(plain):
            parts[kind].append(plain)
    return Recipe(name, name, "\n".join(_listed(parts)), "\n".join(parts["steps"]), "")


def _listed(parts: dict[str, list[str]]) -> list[str]:
    """Each ingredient once, with its amount where one is told; no tools and no arithmetic."""
    amounts = [line for line in parts["amounts"] if not sections.ARITHMETIC.search(line)]
    told = {called(line): line for line in amounts if not line.endswith("：")}
    listed = []
    for line in parts["ingredients"]:
        if not sections.TOOL.search(line):
            listed.append(told.pop(called(line), line))
    known = [called(line) for line in listed]
    rest = [
        line
        for name, line in told.items()
        if not any(name in own or own in name for own in known if own)
    ]
    return [line for line in [*listed, *rest] if letters(line)]


def called(line: str) -> str:
    """What an ingredient's line calls it."""
    found = _NAME.match(line)
    return letters(found[0]) if found else letters(line)


def _is_boilerplate(line: str) -> bool:
    return bool(sections.BOILERPLATE.search(line))


def _plain(line: str) -> str:
    line = _LINK.sub(r"\1", _PICTURE.sub("", line))
    return _EMPHASIS.sub(r"\2", line).strip()
