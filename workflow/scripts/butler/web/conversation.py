"""A conversation as Gradio's Chatbot keeps it, and as a model is asked it."""

import re
from collections.abc import Sequence
from typing import Any

from butler.web.ask import Messages, Reply
from butler.web.words import Words

# Gradio takes a message for HTML also where it renders no Markdown. A word joiner (no width) after
# these two letters leaves nothing that could be read as a tag or an entity.
_MARKUP = re.compile("([<&])")
JOINER = "\u2060"
NOTE = "\n\n⚠ "
_ASKING = ("做", "怎", "如何", "教", "?", "？")
_LONGEST_NAME = 16  # characters of a dish


def shown(text: str) -> str:
    """Return `text` so that Gradio shows it letter by letter."""
    return _MARKUP.sub(rf"\1{JOINER}", text)


def written(text: str) -> str:
    """Return what `shown` was given."""
    return re.sub(f"([<&]){JOINER}", r"\1", text)


def note(reply: Reply, words: Words) -> str:
    """Return what the reader must know of an answer that is not whole; "" of one that is."""
    if reply.fault:
        return words.faults[reply.fault] + (f" ({reply.said})" if reply.said else "")
    if reply.finish == "length":
        return words.unfinished
    return words.empty if reply.done and not reply.text.strip() else ""


def as_message(reply: Reply, words: Words, named: bool) -> dict[str, Any]:
    """Return the reply as a message of the Chatbot, under its model's name if `named`."""
    content = f"{reply.model}\n\n" if named else ""
    content += shown(reply.text.strip())
    if said := note(reply, words):
        content += NOTE + shown(said)
    return {"role": "assistant", "content": content, "metadata": {"id": reply.model}}


def model_of(message: dict[str, Any]) -> str:
    """Return whose answer a message is."""
    return str((message.get("metadata") or {}).get("id", ""))


def answer_of(message: dict[str, Any]) -> str:
    """Return what the model wrote of a message that `as_message` made."""
    content = message["content"].removeprefix(f"{model_of(message)}\n\n")
    return written(content.partition(NOTE)[0]).strip()


def question(text: str, ending: str) -> str:
    """Return what is asked: the name of a dish alone becomes a question, as in training.

    `ending` makes it one ("的做法"); "" where the model was trained with no recipes.
    """
    text = text.strip()
    name = len(text) <= _LONGEST_NAME and re.fullmatch(r"[\u3400-\u9fff]+", text)
    return text + ending if name and not any(word in text for word in _ASKING) else text


def conversation(
    history: Sequence[dict[str, Any]], message: str, model: str, ending: str
) -> Messages:
    """Return what `model` is asked: the turns before, and now `message`.

    Of a turn it gets its own answer, and another model's where it was not asked; a turn without
    an answer is left out. Only what a conversation begins with can be a dish's name alone.
    """
    turns: list[tuple[str, dict[str, str]]] = []
    for entry in history:
        if entry["role"] == "user":
            turns.append((entry["content"], {}))
        elif turns and (answer := answer_of(entry)):
            turns[-1][1].setdefault(model_of(entry), answer)
    messages: Messages = []
    for asked, answers in turns:
        if answers:
            answer = answers.get(model) or next(iter(answers.values()))
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": message})
    messages[0]["content"] = question(messages[0]["content"], ending)
    return messages
