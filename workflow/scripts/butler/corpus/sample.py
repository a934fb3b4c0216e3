"""A recipe as a training sample: question, answer, and what rules it out."""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate

from butler.corpus.adverts import has_contact
from butler.corpus.recipe import Recipe, Rejected, is_heading
from butler.corpus.text import chinese_share, letters

INGREDIENTS_HEADER = "您需要准备以下食材:"
STEPS_HEADER = "按以下方法制作:"

# Anything that a chat template of any family could take for its own: <|im_start|>, <eoa>, </s>,
# [INST], <<SYS>>, [UNUSED_TOKEN_146]. A record with one is rejected, not mended.
MARKER = re.compile(
    r"<\|[^<>\n]{0,60}\|>|<\|(?:im_|endof|system|user|bot|assistant|plugin|interp|action)"
    r"|</?(?:s|unk|pad|bos|eos|eo[ahsct]|tok[a-z]*|start_of_turn|end_of_turn|mask|cls|sep)>"
    r"|\[/?(?:INST|SYS)\]|<</?SYS>>|\[UNUSED_TOKEN_\d+\]|<0x[0-9A-F]{2}>|▁",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Limits:
    """What a usable recipe has.

    `min_steps` counts step lines, `min_chars` the characters of the steps, `max_chars` those of
    ingredients and steps; `min_chinese` is the share of Han characters among their letters.
    """

    min_steps: int = 1
    min_chars: int = 20
    max_chars: int = 1500
    min_chinese: float = 0.5


def stable_hash(*parts: object) -> int:
    """A 64-bit hash that is the same on every machine and in every run."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def answer(recipe: Recipe) -> str:
    """The asked form: a header, one ingredient per line, a header, one step per line."""
    return "\n".join(
        (INGREDIENTS_HEADER, *recipe.ingredients, STEPS_HEADER, *recipe.steps),
    )


def question(recipe: Recipe, forms: Mapping[str, float], seed: int) -> str:
    """The recipe's name in one of the keyword forms, drawn by seed and name.

    Args:
        forms: ending of the question ("的做法") to its weight, in the order to draw in.

    Forms that the record's own keywords do not have are left out, unless it has none of them.
    """
    own = {ending for word in recipe.keywords for ending in forms if word.strip().endswith(ending)}
    usable = {ending: forms[ending] for ending in forms if ending in own or not own}
    draw = stable_hash(seed, "question", recipe.name) / 2**64 * sum(usable.values())
    bounds = list(accumulate(usable.values()))
    ending = list(usable)[min(bisect_right(bounds, draw), len(usable) - 1)]
    return recipe.name if recipe.name.endswith(ending) else recipe.name + ending


def content_key(recipe: Recipe) -> bytes:
    """16 bytes, equal for recipes with the same ingredients (in any order) and steps.

    Letters and digits are compared, not punctuation, spaces or letter case.
    """
    ingredients = "\n".join(sorted(map(letters, recipe.ingredients)))
    steps = letters("".join(recipe.steps))
    return blake2b(f"{ingredients}\n\n{steps}".encode(), digest_size=16).digest()


def judge(recipe: Recipe, limits: Limits) -> None:
    """Reject a recipe that would teach the wrong thing.

    Raises:
        Rejected: chat_marker, contact, too_short, too_long or not_chinese.
    """
    text = answer(recipe)
    whole = f"{recipe.name}\n{text}"
    body = sum(map(len, recipe.ingredients + recipe.steps))
    if marker := MARKER.search(whole):
        raise Rejected("chat_marker", f"the text holds {marker[0]!r}")
    if has_contact(text):
        raise Rejected("contact", "a contact detail that could not be cut out")
    if len(recipe.name) > 60:
        raise Rejected("too_long", f"the name has {len(recipe.name)} characters")
    if body > limits.max_chars:
        raise Rejected("too_long", f"{body} characters")
    told = sum(map(len, recipe.steps))
    if told < limits.min_chars:
        raise Rejected("too_short", f"{told} characters in the steps")
    steps = sum(not is_heading(step) for step in recipe.steps)
    if steps < limits.min_steps:
        raise Rejected("too_short", f"{steps} step{'s' * (steps != 1)}")
    share = chinese_share("".join(recipe.ingredients + recipe.steps))
    if share < limits.min_chinese:
        raise Rejected("not_chinese", f"{share:.0%} of the letters are Chinese")
