"""An answer as HTML: ingredients, numbered steps, and beneath them how it came about."""

import re
from html import escape

from butler.benchmarks.recipe.answer import INGREDIENTS_HEADING, STEPS_HEADING, parse_answer
from butler.web.ask import Reply

_NUMBERED = re.compile(r"^\s*(?:第?\d{1,2}[步.、)）:]|[（(]\d{1,2}[)）]|[①-⑳])\s*")
ENDS = {"length": "到了字数上限，没有写完", "stop": ""}


def show(reply: Reply) -> str:
    """Return one model's answer as HTML; everything that a model or a user wrote is escaped."""
    parts = [f'<header class="model">{escape(reply.model)}</header>']
    if reply.text.strip():
        parts.append(_answer(reply.text, growing=not reply.done))
    elif not reply.done:
        parts.append('<p class="waiting">正在想……</p>')
    elif not reply.error:
        parts.append('<p class="waiting">模型没有写出内容，换一种问法试试。</p>')
    if reply.error:
        parts.append(f'<p class="failed">没有得到回答：{escape(reply.error)}</p>')
    parts.append(f"<footer>{escape(_footer(reply))}</footer>")
    state = "done" if reply.done else "growing"
    return f'<article class="answer {state}">{"".join(parts)}</article>'


def _answer(text: str, growing: bool) -> str:
    """Return the recipe in its two parts, or the text as it stands where it is no recipe."""
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    # The beginning of a heading is no ingredient; it shows once it is known for one.
    last = lines[-1].replace("：", ":")
    headings = (INGREDIENTS_HEADING, STEPS_HEADING)
    if growing and any(heading.startswith(last) and heading != last for heading in headings):
        lines.pop()
    recipe = parse_answer("\n".join(lines))
    if not recipe.ingredients:
        return "".join(f"<p>{escape(line)}</p>" for line in lines if line not in headings)
    items = "".join(f"<li>{escape(line)}</li>" for line in recipe.ingredients)
    html = f"<h3>食材</h3><ul>{items}</ul>"
    if recipe.steps:
        steps = "".join(f"<li>{escape(_NUMBERED.sub('', line))}</li>" for line in recipe.steps)
        html += f"<h3>做法</h3><ol>{steps}</ol>"
    return html


def _footer(reply: Reply) -> str:
    if reply.first is None:
        return ""
    facts = [f"首字 {reply.first:.2f} 秒", f"共 {reply.seconds:.1f} 秒"]
    if reply.tokens and reply.seconds:
        facts.append(f"{reply.tokens} 词元，每秒 {reply.tokens / reply.seconds:.0f}")
    if ENDS.get(reply.finish, ""):
        facts.append(ENDS[reply.finish])
    return " · ".join(facts)
