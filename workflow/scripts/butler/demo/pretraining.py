"""The tiny base's pretraining text: prose, short questions and exam practice, in seeded shards.

The benchmark stays out of it: no practice question is about a fact that the benchmark asks for
(those facts are told as prose, short questions and true-or-false only), and the dishes of the demo
corpus and the answer form of the recipe assistant do not occur.
"""

import random
from collections.abc import Callable, Iterable
from functools import cache

from butler.chat_template import ChatTemplate
from butler.demo.exam import (
    LETTERS,
    Examiner,
    ExamQuestion,
    benchmark_facts,
    make_benchmark,
    prompt,
)
from butler.demo.facts import OTHER, RELATIONS, SUBJECTS, Fact, all_facts
from butler.demo.methods import Dish
from butler.demo.prose import cooking_chat, cooking_prose, free_dishes
from butler.demo.raw_records import corpus_dishes
from butler.errors import ButlerError
from butler.recipe_form import INGREDIENTS_HEADING, STEPS_HEADING

PRETRAINING_SEED = 2026
TEMPLATE = "internlm2_chat"
BOS, EOS = "<s>", "</s>"
ANSWER_FORM = tuple(one.rstrip(":") for one in (INGREDIENTS_HEADING, STEPS_HEADING))
_SYSTEMS = ("你是一个有用的助手。", "请认真回答问题。", "你是一位耐心的老师。")
_SAME = ("下列选项中，写着“{}”的是____", "请选出“{}”____", "哪一项是“{}”____")


def benchmark_texts() -> frozenset[str]:
    """Return the wordings of all benchmark questions."""
    splits = [split for splits in make_benchmark().values() for split in splits.values()]
    return frozenset(question.text for split in splits for question in split)


class Writer:
    """Writes documents of every kind from one random stream."""

    def __init__(self) -> None:
        facts = all_facts()
        self.template = ChatTemplate.load(TEMPLATE)
        self.examiner = Examiner(facts)
        self.dishes: list[Dish] = free_dishes({dish.name for dish in corpus_dishes()})
        asked = benchmark_facts()
        self.told: dict[str, list[Fact]] = {}
        self.examined: dict[str, list[Fact]] = {}
        for fact in facts:
            self.told.setdefault(fact.relation, []).append(fact)
            if (fact.relation, fact.key) not in asked:
                self.examined.setdefault(fact.relation, []).append(fact)
        self.benchmark = benchmark_texts()
        self.relations: dict[str, list[str]] = {}
        for name, relation in RELATIONS.items():
            self.relations.setdefault(relation.subject, []).append(name)

    def _fact(self, rng: random.Random, table: dict[str, list[Fact]], subject: str) -> Fact:
        return rng.choice(table[rng.choice(self.relations[subject])])

    @staticmethod
    def _subject(rng: random.Random) -> str:
        if rng.random() < 0.2:
            return rng.choice(list(OTHER))
        return rng.choices(list(SUBJECTS), [1.0, 1.3, 1.0, 1.7])[0]

    def _chat(self, messages: list[dict[str, str]]) -> str:
        return BOS + self.template.render(messages, add_generation_prompt=False) + "\n"

    def _practice(self, rng: random.Random, subject: str, same: bool) -> ExamQuestion:
        fact = self._fact(rng, self.examined, subject)
        backwards = bool(RELATIONS[fact.relation].reverse) and rng.random() < 0.3
        question = self.examiner.ask(fact, rng, backwards)
        if not same:
            return question
        letter = rng.choice(LETTERS)
        text = rng.choice(_SAME).format(question.options[LETTERS.index(letter)])
        return ExamQuestion(subject, text, question.options, letter, fact)

    def exam(self, rng: random.Random, same_share: float = 0.15) -> str:
        """Return a chat of 1 to 6 practice questions of one subject, each with its letter."""
        subject = self._subject(rng)
        same = rng.random() < same_share
        messages = []
        if rng.random() < 0.15:
            messages.append({"role": "system", "content": rng.choice(_SYSTEMS)})
        for _ in range(rng.choice((1, 1, 2, 3, 4, 5, 6, 6, 6))):
            question = self._practice(rng, subject, same)
            messages.append({"role": "user", "content": prompt(question)})
            messages.append({"role": "assistant", "content": question.answer})
        return self._chat(messages)

    def facts_prose(self, rng: random.Random) -> str:
        """Return a paragraph of facts, those of the benchmark among them."""
        subject = self._subject(rng)
        lines = []
        for _ in range(rng.randint(3, 8)):
            fact = self._fact(rng, self.told, subject)
            for form in rng.sample(RELATIONS[fact.relation].prose, rng.choice((1, 1, 2))):
                lines.append(form.format(k=fact.key, v=fact.value))
        return BOS + rng.choice(("", "\n")).join(lines) + EOS

    def drill(self, rng: random.Random) -> str:
        """Return a column of sums."""
        facts = rng.choices(self.told["sum"], k=rng.randint(8, 20))
        return BOS + "\n".join(f"{fact.key}={fact.value}" for fact in facts) + EOS

    def queries(self, rng: random.Random) -> str:
        """Return a chat of questions without options, answered with the value alone.

        Of a benchmark fact they take the wordings in which the benchmark does not ask for it.
        """
        subject = self._subject(rng)
        messages = []
        for _ in range(rng.randint(1, 5)):
            fact = self._fact(rng, self.told, subject)
            relation, answer = RELATIONS[fact.relation], fact.value
            forms = relation.queries if rng.random() < 0.5 else relation.asks
            if relation.reverse and rng.random() < 0.25:
                forms, answer = relation.reverse, fact.key
            asked = [form.format(k=fact.key, v=fact.value) for form in forms]
            asked = [text for text in asked if text not in self.benchmark]
            messages.append({"role": "user", "content": rng.choice(asked)})
            messages.append({"role": "assistant", "content": answer})
        return self._chat(messages)

    def true_or_false(self, rng: random.Random) -> str:
        """Return a chat of statements to be judged 对 or 错."""
        subject = self._subject(rng)
        messages = []
        for _ in range(rng.randint(1, 5)):
            fact = self._fact(rng, self.told, subject)
            value, verdict = fact.value, "对"
            if rng.random() < 0.5:
                pool = fact.wrong or self.examiner.values[fact.relation]
                value, verdict = rng.choice([v for v in pool if v != fact.value]), "错"
            said = rng.choice(RELATIONS[fact.relation].prose).format(k=fact.key, v=value)
            messages.append({"role": "user", "content": f"判断对错：{said}"})
            messages.append({"role": "assistant", "content": verdict})
        return self._chat(messages)

    def cooking(self, rng: random.Random) -> str:
        """Return cooking prose or a chat on cooking."""
        if rng.random() < 0.35:
            return self._chat(cooking_chat(self.dishes, rng))
        return BOS + cooking_prose(self.dishes, rng) + EOS

    def document(self, rng: random.Random) -> str:
        """Return one document of the mix."""
        kinds: tuple[tuple[float, Callable[[random.Random], str]], ...] = (
            (0.40, self.exam),
            (0.54, self.facts_prose),
            (0.58, self.drill),
            (0.71, self.queries),
            (0.79, self.true_or_false),
            (1.00, self.cooking),
        )
        draw = rng.random()
        return next(write for limit, write in kinds if draw < limit)(rng)


@cache
def writer() -> Writer:
    """Return the process's one writer."""
    return Writer()


def shard(seed: int, number: int, documents: int) -> list[str]:
    """Return the documents of shard `number`; shards do not depend on one another."""
    rng = random.Random(f"pretraining {seed} {number}")
    return [writer().document(rng) for _ in range(documents)]


@cache
def forbidden() -> tuple[str, ...]:
    """Return the strings that must not occur in pretraining text.

    These are the answer form and the benchmark's questions at the beginning of a line; without
    the line's beginning 6+12 would be found in 26+12.
    """
    return (*ANSWER_FORM, *sorted(f"\n{text}" for text in benchmark_texts()))


def check_no_leak(texts: Iterable[str]) -> None:
    """Check that no document holds a benchmark question, a demo dish or the answer form.

    Raises:
        ButlerError: naming the first string found.
    """
    joined = "\n".join(texts)
    names = [dish.name for dish in corpus_dishes()]
    for text in (*forbidden(), *names):
        if text in joined:
            raise ButlerError(f"pretraining text holds {text.strip()!r}, which it must not")
