"""What happens to a record, step by step: each takes it and gives it back, or says why it goes.

The steps are the whole of it: nothing is looked at before them and nothing after.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from butler.chat_template import MARKER
from butler.corpus.records import Pair, Recipe, Rejected
from butler.corpus.rules import adverts, answers, deeds, foods, ingredients, names, steps, talk
from butler.corpus.rules.cooking import uncooked
from butler.corpus.rules.text import (
    LEAST_SHARE,
    NOT_HAN,
    SCRIPTS,
    is_mostly,
    letters,
    share_of,
    spell,
)
from butler.settings.corpus_stage import CorpusSettings

Record = TypeVar("Record", Recipe, Pair)
Step = Callable[[Record], Record | Rejected]
MAX_NAME = 60  # characters
# Of a recipe's steps: where more of it is talk, what is left is no recipe; what may be a story.
MOST_TALK, SOME_TALK = 0.5, 0.2


def recipe_steps(settings: CorpusSettings) -> list[Step[Recipe]]:
    """What makes a clean recipe of a raw one."""
    return [
        spell_recipe,
        reject_markers,
        name_the_dish,
        clean_ingredients,
        clean_steps,
        take_out_talk,
        take_out_adverts,
        mend_what_is_left,
        reject_what_lacks_a_part,
        reject_talk,
        reject_what_is_torn,
        list_the_staple,
        reject_what_does_not_match,
        reject_markers,
        *_limits(settings),
    ]


def pair_steps(settings: CorpusSettings) -> list[Step[Pair]]:
    """What makes a clean pair of a question and an answer."""
    return [
        unescape_pair,
        reject_code,
        spell_pair,
        say_answer_once,
        take_out_contacts,
        *_pair_limits(settings),
    ]


def run(steps_of: Sequence[Step[Record]], record: Record) -> Record | Rejected:
    """The record after all steps, or why one of them rejected it."""
    for step in steps_of:
        left = step(record)
        if isinstance(left, Rejected):
            return left
        record = left
    return record


def spell_recipe(recipe: Recipe) -> Recipe:
    """One spelling in all fields."""
    recipe.name = spell(" ".join(recipe.name.split()))
    recipe.dish = spell(recipe.dish)
    recipe.ingredients = spell(recipe.ingredients)
    recipe.steps = spell(recipe.steps)
    return recipe


def name_the_dish(recipe: Recipe) -> Recipe | Rejected:
    """The name without ornament; the dish "" where the corpus does not know it."""
    if adverts.has_contact(recipe.name):
        return Rejected("advert", "the name holds a link or a contact detail")
    recipe.name = names.bare_name(adverts.BRAND.sub("", recipe.name))
    if not letters(recipe.name):
        return Rejected("no_name", "the name is missing or has no letters")
    if recipe.dish == "Unknown" or not letters(recipe.dish):
        recipe.dish = ""
    if names.NO_DISH.search(recipe.name):
        return Rejected("no_recipe", f"the name is that of no dish: {recipe.name[:20]}")
    return recipe


def clean_ingredients(recipe: Recipe) -> Recipe | Rejected:
    """Amounts mended, one ingredient a line, no tools."""
    recipe.ingredients = ingredients.clean_ingredients(
        ingredients.rejoined(recipe.ingredients, recipe.steps)
    )
    return recipe if recipe.ingredients else Rejected("no_ingredients", "no usable line is given")


def clean_steps(recipe: Recipe) -> Recipe | Rejected:
    """No numbers, placeholders and repeats; one paragraph becomes its sentences."""
    recipe.steps = steps.clean_steps(steps.told_plainly(recipe.steps))
    split = steps.split_paragraph(recipe.steps)
    if split != recipe.steps:
        recipe.steps = steps.clean_steps(split)
    return recipe if recipe.steps else Rejected("no_steps", "no usable line is given")


def take_out_talk(recipe: Recipe) -> Recipe:
    """No talk of pictures and people, no praise; notes what may be a story of one meal."""
    told = recipe.told = recipe.steps
    recipe.steps = deeds.without_caption(talk.without_talk(deeds.without_list(told)), recipe.name)
    if "\n" not in recipe.steps and recipe.steps != told:
        recipe.steps = steps.split_paragraph(recipe.steps)
    recipe.talk = len(told) - len(recipe.steps)
    recipe.cut |= recipe.steps != told
    recipe.story = recipe.talk > SOME_TALK * len(told) and talk.tells_story(told, recipe.steps)
    return recipe


def take_out_adverts(recipe: Recipe) -> Recipe | Rejected:
    """No links, contacts and makers' names."""
    told, listed = recipe.steps, recipe.ingredients
    recipe.ingredients = adverts.BRAND.sub("", listed)
    recipe.steps = adverts.BRAND.sub("", told)
    if _tells_contact(recipe):
        recipe.ingredients = adverts.without_contacts(recipe.ingredients)
        recipe.steps = adverts.without_contacts(recipe.steps)
        for left, what in ((recipe.ingredients, "ingredients"), (recipe.steps, "steps")):
            if not left:
                return Rejected("advert", f"nothing but adverts or contacts ({what})")
        if _tells_contact(recipe):
            return Rejected("contact", "a contact detail that could not be cut out")
    if recipe.ingredients != listed:
        recipe.ingredients = ingredients.clean_ingredients(spell(recipe.ingredients))
    recipe.cut |= recipe.steps != told
    return recipe


def _tells_contact(recipe: Recipe) -> bool:
    """Whether there is a contact in any line, or from one line to the next."""
    return adverts.has_contact(f"{recipe.ingredients}\n{recipe.steps}".replace("\n", " "))


def mend_what_is_left(recipe: Recipe) -> Recipe:
    """The same rules once more where steps were cut, until they find nothing."""
    while recipe.cut:
        told = recipe.steps
        recipe.steps = steps.clean_steps(spell(told))
        if recipe.steps != told:
            recipe.steps = talk.without_talk(recipe.steps)
        recipe.cut = recipe.steps != told
    return recipe


def reject_markers(recipe: Recipe) -> Recipe | Rejected:
    """Text that a chat template takes for its own; at the end too, as cutting may make one."""
    return _marker(recipe.name, recipe.ingredients, recipe.steps) or recipe


def reject_what_lacks_a_part(recipe: Recipe) -> Recipe | Rejected:
    """A recipe has an ingredient and a step that is no heading."""
    for text, reason in ((recipe.ingredients, "no_ingredients"), (recipe.steps, "no_steps")):
        if not text or not ingredients.told_lines(text):
            return Rejected(reason, "no usable line is given")
    return recipe


def reject_talk(recipe: Recipe) -> Recipe | Rejected:
    """What was told mostly beside the recipe is none, unless what is left is one by itself."""
    share = recipe.talk / len(recipe.told)
    if not (share > MOST_TALK or recipe.story):
        return recipe
    if foods.cooks_what_is_listed(recipe.ingredients, recipe.steps):
        return recipe
    if recipe.story:
        return Rejected("talk", "the steps tell how somebody cooked once")
    return Rejected("talk", f"{share:.0%} of the steps are talk")


def reject_what_is_torn(recipe: Recipe) -> Recipe | Rejected:
    """A line that breaks off, where nothing follows that it could be joined with."""
    if line := steps.torn(recipe.steps):
        return Rejected("torn_steps", f"a step breaks off: {line}")
    return recipe


def list_the_staple(recipe: Recipe) -> Recipe:
    """Rice, noodles and the like are listed, which many lists take for granted."""
    recipe.ingredients = foods.with_staple(recipe.name, recipe.ingredients, recipe.steps)
    return recipe


def reject_what_does_not_match(recipe: Recipe) -> Recipe | Rejected:
    """A list that lacks what the steps use, or steps that use little of the list."""
    if lacking := foods.unlisted(recipe.name, recipe.ingredients, recipe.steps):
        return Rejected("not_listed", f"the ingredients lack {lacking[:40]}")
    if line := foods.run_together(recipe.ingredients):
        return Rejected("torn_ingredients", f"several ingredients in a line: {line[:20]}")
    if line := ingredients.of_several(recipe.ingredients, recipe.steps):
        return Rejected("torn_ingredients", f"an amount is of several: {line[:20]}")
    if few := foods.unused(recipe.ingredients, recipe.steps):
        return Rejected("steps_missing", f"the steps name {few} ingredients")
    if uncooked(recipe.name, recipe.ingredients, recipe.steps):
        return Rejected("steps_missing", "the steps end before the dish is cooked")
    return recipe


def _limits(settings: CorpusSettings) -> list[Step[Recipe]]:
    def reject_lengths(recipe: Recipe) -> Recipe | Rejected:
        body = len(recipe.ingredients) + len(recipe.steps)
        count = len(ingredients.told_lines(recipe.steps))
        if len(recipe.name) > MAX_NAME:
            return Rejected("too_long", f"the name has {len(recipe.name)} characters")
        if body > settings.max_chars:
            return Rejected("too_long", f"{body} characters")
        if len(recipe.steps) < settings.least_chars:
            return Rejected("too_short", f"{len(recipe.steps)} characters in the steps")
        if count < settings.recipes.min_steps:
            return Rejected("too_short", f"{count} step{'s' * (count != 1)}")
        return recipe

    def reject_language(recipe: Recipe) -> Recipe | Rejected:
        return _language(recipe.ingredients + recipe.steps, settings.language) or recipe

    return [reject_lengths, reject_language]


def unescape_pair(pair: Pair) -> Pair:
    r"""Line feeds that stand as \n in two characters."""
    pair.question, pair.answer = answers.unescaped(pair.question), answers.unescaped(pair.answer)
    return pair


def reject_code(pair: Pair) -> Pair | Rejected:
    """A block of code: the spelling below takes the spaces that begin its lines."""
    if answers.CODE_BLOCK.search(f"{pair.question}\n{pair.answer}"):
        return Rejected("code", "a block of code, which would lose its indentation here")
    return pair


def spell_pair(pair: Pair) -> Pair | Rejected:
    """One spelling; what is right between Han characters is done to Chinese pairs alone."""
    chinese = is_mostly(pair.question + pair.answer, NOT_HAN)
    pair.question, pair.answer = spell(pair.question, chinese), spell(pair.answer, chinese)
    if not letters(pair.question):
        return Rejected("no_question", "the question is missing or has no letters")
    if not letters(pair.answer):
        return Rejected("no_answer", "the answer is missing or has no letters")
    return pair


def say_answer_once(pair: Pair) -> Pair | Rejected:
    """No text twice, no heading at the end that nothing follows."""
    pair.answer = answers.without_empty_heading(answers.said_once(pair.answer))
    if not letters(pair.answer):
        return Rejected("no_answer", "the answer is nothing but headings")
    return pair


def take_out_contacts(pair: Pair) -> Pair | Rejected:
    """No sentence that tells how to reach somebody."""
    if adverts.tells_contact(pair.question):
        return Rejected("advert", "the question holds a link or a contact detail")
    if adverts.tells_contact(pair.answer):
        lines = map(adverts.without_contact, pair.answer.split("\n"))
        pair.answer = "\n".join(filter(None, lines))
        if not letters(pair.answer):
            return Rejected("advert", "nothing but links or contact details (answer)")
    return pair


def _pair_limits(settings: CorpusSettings) -> list[Step[Pair]]:
    def reject_markers(pair: Pair) -> Pair | Rejected:
        found = adverts.tells_contact(f"{pair.question}\n{pair.answer}")
        return _marker(pair.question, pair.answer) or _contact(found) or pair

    def reject_lengths(pair: Pair) -> Pair | Rejected:
        told = len(pair.answer)
        if len(pair.question) + told > settings.max_chars:
            return Rejected("too_long", f"{len(pair.question) + told} characters")
        if told < settings.least_chars:
            return Rejected("too_short", f"{told} characters in the answer")
        return pair

    def reject_language(pair: Pair) -> Pair | Rejected:
        return _language(pair.question + pair.answer, settings.language) or pair

    return [reject_markers, reject_lengths, reject_language]


def _marker(*texts: str) -> Rejected | None:
    """What a chat template would take for its own."""
    marker = next(filter(None, map(MARKER.search, texts)), None)
    return Rejected("chat_marker", f"the text holds {marker[0]!r}") if marker else None


def _contact(found: bool) -> Rejected | None:
    return Rejected("contact", "a contact detail that could not be cut out") if found else None


def _language(text: str, language: str | None) -> Rejected | None:
    """A text of another language than the configured one; None takes all."""
    if language is None:
        return None
    script, others = SCRIPTS[language]
    if is_mostly(text, others):
        return None
    share = share_of(text, others)
    found = f"{share:.0%} of the letters are {script}, fewer than {LEAST_SHARE:.0%}"
    return Rejected("other_language", f"{found} (corpus.language: {language})")
