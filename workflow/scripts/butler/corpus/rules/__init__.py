"""The rules of the corpus: each stands here once, as a pattern, and holds for every record.

text: spelling; recipe: names, amounts, step numbers; pictures and chatter: talk beside the recipe;
adverts: links, contacts, brands; dish: which names are one dish; sections: headings of Markdown
recipes; answers: ready questions and answers.
"""
