"""A recipe as a training sample: question, answer, and what rules it out."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
import orjson

from butler.chat_template import MARKER
from butler.corpus.adverts import has_contact, tells_contact
from butler.corpus.code_points import Array
from butler.corpus.draw import drawn_for
from butler.corpus.recipe import CleanRecipe, Rejected, is_heading
from butler.corpus.text import LEAST_SHARE, SCRIPTS
from butler.corpus.utf8 import MOST, write_conversations
from butler.settings.corpus_stage import CorpusSettings

INGREDIENTS_HEADER = "您需要准备以下食材:"
STEPS_HEADER = "按以下方法制作:"
MAX_NAME = 60  # characters
_CONTENT = blake2b(digest_size=16)


def stable_hash(*parts: object) -> int:
    """A 64-bit hash that is the same on every machine and in every run."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def answer(ingredients: str, steps: str) -> str:
    """The asked form: a header, one ingredient per line, a header, one step per line."""
    return f"{INGREDIENTS_HEADER}\n{ingredients}\n{STEPS_HEADER}\n{steps}"


class Questions:
    """A recipe's name in one of the keyword forms, drawn by seed and name.

    `forms` maps the ending of a question ("的做法") to its weight, in the order to draw in. Forms
    that the record's own keywords do not have are left out, unless they have none of them.
    """

    def __init__(self, forms: Mapping[str, float], seed: int) -> None:
        self._endings = tuple(forms)
        self._marks = [f"{ending}\n" for ending in forms]
        self._weights = np.array(list(forms.values()))
        self._seed = seed

    def ask(self, names: Sequence[str], keywords: Sequence[str]) -> list[str]:
        """The questions of recipes with these names and keywords, one keyword a line."""
        words = [text.replace(" ", "") + "\n" for text in keywords]
        own = np.array([[mark in text for text in words] for mark in self._marks])
        own[:, ~own.any(axis=0)] = True
        # The first ending whose weight and those before it are more than what was drawn.
        bounds = np.cumsum(own * self._weights[:, None], axis=0)
        chosen = (bounds <= self._drawn(names) * bounds[-1]).sum(axis=0)
        last = len(self._endings) - 1 - own[::-1].argmax(axis=0)
        endings = [self._endings[at] for at in np.minimum(chosen, last).tolist()]
        pairs = zip(names, endings, strict=True)
        return [name if name.endswith(ending) else name + ending for name, ending in pairs]

    def _drawn(self, names: Sequence[str]) -> Array:
        """A number from 0 to 1 for each name."""
        return drawn_for(self._seed, "question", names) / 2.0**64


def content_key(text: bytes | memoryview) -> bytes:
    """16 bytes, equal for recipes with the same ingredients (in any order) and steps.

    Args:
        text: the letters() of the ingredients in ascending order, a line feed after each, another
            line feed, and those of the steps in a row: punctuation, spaces and letter case do not
            count.
    """
    hashed = _CONTENT.copy()  # faster than a new one
    hashed.update(text)
    return hashed.digest()


class Conversations:
    """Questions and answers as lines of XTuner's JSON, many at a time, with one system prompt.

    `start` is what every line begins with; lines() leaves it out, and so do the spools.
    """

    def __init__(self, system: str) -> None:
        self.start = b'{"conversation":[{"system":' + orjson.dumps(system) + b',"input":"'

    def recipes(self, asked: Sequence[str], codes: Array, bounds: Array) -> tuple[Array, Array]:
        """lines() of recipes: their ingredients are the first text, their steps the second."""
        before, between, _ = answer("\0", "\0").split("\0")
        return self.lines(asked, codes, bounds, before, between)

    def lines(
        self, asked: Sequence[str], codes: Array, bounds: Array, before: str = "", between: str = ""
    ) -> tuple[Array, Array]:
        """The lines after their start, one after another (uint8), and how long each is.

        An answer is `before`, a text, `between`, and another text.

        Args:
            asked: the questions, none with a NUL.
            codes: the code points of the texts, a line feed after each.
            bounds: where in `codes` each first text begins, each second, and what follows it,
                as int64 [3, records].
        """
        questions = np.frombuffer(
            "".join(f"{one}\0" for one in asked).encode("utf-32-le"), np.uint32
        )
        pieces = [
            b'","output":"' + orjson.dumps(before)[1:-1],
            orjson.dumps(between)[1:-1],
            b'"}]}\n',
        ]
        sizes = np.empty(len(asked), np.int64)
        room = MOST * (len(questions) + int((bounds[2] - bounds[0]).sum()))
        written = np.empty(room + sum(map(len, pieces)) * len(asked), np.uint8)
        arrays = tuple(np.frombuffer(piece, np.uint8) for piece in pieces)
        return written[
            : write_conversations(questions, codes, bounds, arrays, written, sizes)
        ], sizes


def judge(recipe: CleanRecipe, settings: CorpusSettings, searched: bool = False) -> None:
    """Reject a recipe that would teach the wrong thing; one `searched` is known to hold no contact.

    Raises:
        Rejected: chat_marker, contact, too_short, too_long or other_language.
    """
    text = answer("\n".join(recipe.ingredients), "\n".join(recipe.steps))
    _judge_marker(recipe.name, text)
    if not searched and has_contact(text):
        raise Rejected("contact", "a contact detail that could not be cut out")
    body = sum(map(len, recipe.ingredients + recipe.steps))
    if len(recipe.name) > MAX_NAME:
        raise Rejected("too_long", f"the name has {len(recipe.name)} characters")
    if body > settings.max_chars:
        raise Rejected("too_long", f"{body} characters")
    told = sum(map(len, recipe.steps))
    if told < settings.min_chars:
        raise Rejected("too_short", f"{told} characters in the steps")
    steps = sum(not is_heading(step) for step in recipe.steps)
    if steps < settings.recipes.min_steps:
        raise Rejected("too_short", f"{steps} step{'s' * (steps != 1)}")
    judge_language("".join(recipe.ingredients + recipe.steps), settings.language)


def judge_pair(question: str, text: str, settings: CorpusSettings) -> None:
    """Reject a ready question and its answer by what holds for any text.

    Raises:
        Rejected: chat_marker, contact, too_short, too_long or other_language.
    """
    _judge_marker(question, text)
    if tells_contact(f"{question}\n{text}"):
        raise Rejected("contact", "a contact detail that could not be cut out")
    told = len(text.replace("\n", ""))
    if len(question) + told > settings.max_chars:
        raise Rejected("too_long", f"{len(question) + told} characters")
    if told < settings.min_chars:
        raise Rejected("too_short", f"{told} characters in the answer")
    judge_language(question + text, settings.language)


def _judge_marker(name: str, text: str) -> None:
    """Reject what a chat template would take for its own.

    Raises:
        Rejected: chat_marker.
    """
    if marker := MARKER.search(f"{name}\n{text}"):
        raise Rejected("chat_marker", f"the text holds {marker[0]!r}")


def judge_language(text: str, language: str | None) -> None:
    """Reject a text of another language than the configured one; None takes all.

    Raises:
        Rejected: other_language.
    """
    if language is None:
        return
    script, share_of = SCRIPTS[language]
    share = share_of(text)
    if share < LEAST_SHARE:
        found = f"{share:.0%} of the letters are {script}, fewer than {LEAST_SHARE:.0%}"
        raise Rejected("other_language", f"{found} (corpus.language: {language})")
