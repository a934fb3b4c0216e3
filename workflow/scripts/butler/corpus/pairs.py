"""Ready questions and answers: one spelling, no contacts; nothing of recipes."""

from collections.abc import Mapping

from butler.corpus.adverts import tells_contact, without_contact
from butler.corpus.clean import Columns
from butler.corpus.formats.entry import Pair
from butler.corpus.recipe import Rejected
from butler.corpus.text import LEAST_SHARE, clean_line, han_share, letters, split_lines


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
        # Ingredients count in any order, the lines of a question do not.
        columns.ingredients.append(question.replace("\n", " "))
        columns.steps.append(answer)
        columns.keywords.append("")
    return columns, rejected


def clean_pair(pair: Pair) -> tuple[str, str]:
    """The lines of the question, and those of the answer.

    Raises:
        Rejected: no_question or no_answer if nothing is there, advert if nothing else was.
    """
    chinese = han_share(pair.question + pair.answer) >= LEAST_SHARE
    question = "\n".join(split_lines(pair.question, chinese))
    if not letters(question):
        raise Rejected("no_question", "the question is missing or has no letters")
    if tells_contact(question):
        raise Rejected("advert", "the question holds a link or a contact detail")
    lines = split_lines(pair.answer, chinese)
    if not any(map(letters, lines)):
        raise Rejected("no_answer", "the answer is missing or has no letters")
    kept = [clean for line in lines if (clean := clean_line(without_contact(line), chinese))]
    if not any(map(letters, kept)):
        raise Rejected("advert", "nothing but links or contact details (answer)")
    return question, "\n".join(kept)
