"""The rules of the corpus: each stands here once, as a pattern, and holds for every record.

text: spelling; names, ingredients, steps: the parts of a recipe; talk: what is told beside it;
adverts: links, contacts, brands; foods: whether a list and its steps go together; dish: which names
are one dish; sections: headings of Markdown recipes; answers: ready questions and answers.
patterns is how they are looked for.
"""
