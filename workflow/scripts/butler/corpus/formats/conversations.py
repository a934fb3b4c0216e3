"""Conversation files of the usual fine-tuning tools, one question and answer each.

A conversation of several turns is rejected: a question that leans on what was said before makes no
training sample of its own. System prompts in the files give way to the configured one.
"""

from typing import Any

from butler.corpus.formats.entry import field_of
from butler.corpus.records import Pair, Rejected

_ASKS, _ANSWERS = {"human", "user"}, {"gpt", "assistant", "bot"}


def alpaca(entry: Any) -> Pair:
    """{"instruction": …, "input": …, "output": …}; the input follows the instruction."""
    question = field_of(entry, "instruction")
    if entry.get("input") not in (None, ""):
        question = f"{question}\n{field_of(entry, 'input')}"
    return Pair(question, field_of(entry, "output"))


def sharegpt(entry: Any) -> Pair:
    """{"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}]}."""
    turns = _turns(entry, "conversations")
    told = [turn for turn in turns if not isinstance(turn, dict) or turn.get("from") != "system"]
    if len(told) != 2:
        raise Rejected("several_turns", f"{len(told)} messages, not a question and an answer")
    speakers = [field_of(turn, "from") for turn in told]
    if speakers[0] not in _ASKS or speakers[1] not in _ANSWERS:
        raise Rejected("wrong_type", f"messages from {' and '.join(speakers)}, not human and gpt")
    return Pair(field_of(told[0], "value"), field_of(told[1], "value"))


def xtuner(entry: Any) -> Pair:
    """{"conversation": [{"system": …, "input": …, "output": …}]}."""
    turns = _turns(entry, "conversation")
    if len(turns) != 1:
        raise Rejected("several_turns", f"{len(turns)} turns, not one")
    return Pair(field_of(turns[0], "input"), field_of(turns[0], "output"))


def _turns(entry: Any, key: str) -> list[Any]:
    if not isinstance(entry, dict):
        raise Rejected("wrong_type", f"the entry is a JSON {type(entry).__name__}, not an object")
    turns = entry.get(key)
    if not isinstance(turns, list):
        raise Rejected("wrong_type", f"{key} is no list")
    return turns
