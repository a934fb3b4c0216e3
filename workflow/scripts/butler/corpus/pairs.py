"""Ready questions and answers: one spelling, no adverts, no contacts; nothing of recipes."""

from collections.abc import Mapping

from butler.corpus.adverts import has_contact, scrub
from butler.corpus.clean import Columns
from butler.corpus.formats.base import Pair
from butler.corpus.recipe import Rejected
from butler.corpus.text import clean_line, letters, split_lines


def clean_pairs(pairs: Mapping[int, Pair]) -> tuple[Columns, dict[int, Rejected]]:
    """Clean numbered pairs as columns: the question is name and only ingredient, the answer steps.

    Returns also why the others are rejected, by their number.
    """
    columns, rejected = Columns(), {}
    for row, pair in pairs.items():
        try:
            question, answer = clean_pair(pair)
        except Rejected as why:
            rejected[row] = why.bare()
            continue
        columns.rows.append(row)
        columns.names.append(question)
        columns.dishes.append("")
        columns.ingredients.append(question)
        columns.steps.append(answer)
        columns.keywords.append("")
    return columns, rejected


def clean_pair(pair: Pair) -> tuple[str, str]:
    """The question on one line, and the answer's lines.

    Raises:
        Rejected: no_question or no_answer if nothing is there, advert if nothing else was.
    """
    question = clean_line(" ".join(pair.question.split()))
    if not letters(question):
        raise Rejected("no_question", "the question is missing or has no letters")
    if has_contact(question):
        raise Rejected("advert", "the question holds a link or a contact detail")
    lines = split_lines(pair.answer)
    if not any(map(letters, lines)):
        raise Rejected("no_answer", "the answer is missing or has no letters")
    kept = [clean for line in lines if (clean := clean_line(scrub(line)))]
    if not any(map(letters, kept)):
        raise Rejected("advert", "nothing but adverts or contacts (answer)")
    return question, "\n".join(kept)
