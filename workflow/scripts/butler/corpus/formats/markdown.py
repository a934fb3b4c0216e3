"""Recipes as Markdown files, one a file: a title, then sections (rules/sections.py tells which).

List marks, emphasis, links, pictures and tables go; what they hold of text stays. Of the section of
amounts, lines that name an ingredient anew stand in for those of the ingredients.
"""

import re
from collections.abc import Iterator

from butler.corpus.records import Recipe
from butler.corpus.rules import sections
from butler.corpus.rules.text import HAN, letters

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_ITEM = re.compile(r"^(?:[-*+]|\d{1,3}[.)])\s+")
_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)|<[^>]+>")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_ROW = re.compile(r"^\|(.*?)\|?$")
_BELOW_HEADINGS = re.compile(r"^\|?(?: *:?-+:? *\|)+(?: *:?-+:?)?$")  # of a table
_EMPHASIS = re.compile(r"(\*\*|__|`|(?<![*\w])\*(?=\S))(.+?)\1")
_ENDING = re.compile("(?:的?(?:家常)?做法|怎么做)$")
_HEADS = re.compile(r"^[^，。]{1,20}[:：]$")
_LONGEST_HEADING = 8  # characters of a line that names what is listed below it
_BRACKETS = re.compile(r"[（(][^（()）]*[)）]")
_AMOUNT = re.compile(r"\d|适量|少许|若干")
_WORD = re.compile(f"[{HAN}]|[A-Za-z]{{3}}")
_COUNTED = re.compile(
    "(?<=.)[一二两三四五六七八九十半][个根片颗只瓣块条斤把勺包粒头朵]$"
)  # 八角三个
_OR = re.compile("/|或者?")
_NAME = re.compile(r"[^\d\s（(：:=＝，,]+")  # what an ingredient is called, before its amount


def recipe(text: str) -> Recipe:
    """The raw recipe in a Markdown text; what it lacks is empty, and rejected later."""
    name, kind, of_tools = "", None, False
    parts: dict[str, list[str]] = {"ingredients": [], "amounts": [], "steps": []}
    items: set[str] = set()
    for line in _lines(text):
        if heading := _HEADING.match(line):
            title, depth = _plain(heading[2]), len(heading[1])
            if depth == 1 and not name:
                name = _ENDING.sub("", title)
            elif depth == 2:
                kind = sections.kind_of(title)
            of_tools = depth > 2 and bool(
                sections.TOOLS.search(title) or (kind != "steps" and sections.NOTES.search(title))
            )
            plain = f"{title}：" if depth > 2 else ""
        else:
            plain = _told(line)
            if _ITEM.match(line):
                items.add(plain)
            elif kind == "ingredients" and 0 < len(plain) <= _LONGEST_HEADING:
                of_tools = bool(sections.TOOLS.search(plain))
        if kind and plain and not of_tools:
            parts[kind].append(plain)
    for listed in ("ingredients", "amounts"):
        parts[listed] = _without_remarks(parts[listed], items)
    return Recipe(name, name, "\n".join(_listed(parts)), "\n".join(parts["steps"]), "")


def _lines(text: str) -> Iterator[str]:
    """The lines, a row of a table as an item of a list; without a table's headings."""
    lines = list(map(str.strip, text.splitlines()))
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if _BELOW_HEADINGS.match(line) or _BELOW_HEADINGS.match(below):
            continue
        row = _ROW.match(line)
        yield f"- {' '.join(row[1].replace('|', ' ').split())}" if row else line


def _told(line: str) -> str:
    """What a line tells, without the marks of Markdown; "" if it is none of the recipe's."""
    plain = _plain(_ITEM.sub("", line))
    plain = sections.EQUALS.sub(r"\1 ", sections.PORTIONS.sub("", plain))
    return "" if line.startswith("```") or sections.BOILERPLATE.search(plain) else plain


def _without_remarks(lines: list[str], items: set[str]) -> list[str]:
    """What a section lists, with its headings; of text without any list, each line."""
    if not items.isdisjoint(lines):
        lines = [line for line in lines if line in items or _HEADS.search(line)]
    kept = []
    for line in lines:
        line = sections.ASIDE.sub("", sections.LABEL.sub("", line))
        if _HEADS.search(line) or not (
            sections.REMARK.search(_BRACKETS.sub("", line)) or not _WORD.search(line)
        ):
            kept.append(line)
    return kept


def _listed(parts: dict[str, list[str]]) -> list[str]:
    """Each ingredient once, with its amount where one is told; no tools and no arithmetic."""
    none = (sections.ARITHMETIC, sections.TOOL)
    amounts = [line for line in parts["amounts"] if not any(one.search(line) for one in none)]
    told = {called(line): line for line in amounts if not _HEADS.search(line)}
    listed: list[str] = []
    for line in parts["ingredients"]:
        if sections.TOOL.search(line):
            continue
        own = called(line)
        if own not in told and not _HEADS.search(line) and not _AMOUNT.search(line):
            own = next((name for name in told if _is_same(name, line)), own)
            if own not in told and own in map(called, listed):
                continue
        listed.append(told.pop(own, line))
    known = [called(line) for line in listed]
    rest = [line for name, line in told.items() if not any(_is_kind(name, own) for own in known)]
    return [line for line in [*listed, *rest] if letters(line)]


def _is_same(name: str, line: str) -> bool:
    """Whether the amounts' `name` is what a line lists: 白醋 of 白醋/米醋, 食用油 of 油."""
    found = _NAME.match(line)
    names = [letters(one) for one in _OR.split(found[0])] if found else []
    return name in names or any(_is_kind(name, own) for own in names)


def _is_kind(name: str, own: str) -> bool:
    """Whether one of two names is a kind of the other: 嫩豆腐 and 豆腐, 食用油 and 油."""
    shorter, longer = sorted((name, own), key=len)
    if len(shorter) < 2:
        return shorter == sections.PLAIN_KIND.sub("", longer)
    return longer.endswith(shorter)


def called(line: str) -> str:
    """What an ingredient's line calls it."""
    found = _NAME.match(line)
    return letters(_COUNTED.sub("", found[0])) if found else letters(line)


def _plain(line: str) -> str:
    line = _LINK.sub(r"\1", _PICTURE.sub("", line))
    return _EMPHASIS.sub(r"\2", line).strip()
