"""How well a tiny base answers exams and continues text, by greedy decoding."""

import random

import torch
from tokenizers import Tokenizer

from butler.chat_template import ChatTemplate
from butler.demo.exam import SUBJECTS, ExamQuestion, make_benchmark, prompt
from butler.demo.pretraining import BOS, TEMPLATE, writer
from butler.demo.tiny_model import TinyInternLM2
from butler.demo.tiny_tokenizer import EOS, IM_END

PRACTISED = 25  # questions of a subject


def exam_prompt(shots: list[ExamQuestion], question: ExamQuestion) -> str:
    """Return the prompt of `question` after answered `shots`, BOS included."""
    messages = []
    for shot in shots:
        messages.append({"role": "user", "content": prompt(shot)})
        messages.append({"role": "assistant", "content": shot.answer})
    messages.append({"role": "user", "content": prompt(question)})
    return BOS + ChatTemplate.load(TEMPLATE).render(messages)


@torch.no_grad()
def greedy(model: TinyInternLM2, tokenizer: Tokenizer, text: str, limit: int) -> str:
    """Return at most `limit` tokens continuing `text`, up to a stop token."""
    device = next(model.parameters()).device
    tokens = tokenizer.encode(text, add_special_tokens=False).ids
    start = len(tokens)
    while len(tokens) < start + limit:
        best = int(model(torch.tensor([tokens], device=device))[0, -1].argmax())
        if best in (EOS, IM_END):
            break
        tokens.append(best)
    return tokenizer.decode(tokens[start:])


def exam_accuracy(
    model: TinyInternLM2, tokenizer: Tokenizer, asked: list[tuple[list[ExamQuestion], ExamQuestion]]
) -> float:
    """Return the share of questions whose first generated token is the right letter."""
    right = 0
    for shots, question in asked:
        right += greedy(model, tokenizer, exam_prompt(shots, question), 1) == question.answer
    return right / len(asked)


def benchmark_accuracy(
    model: TinyInternLM2, tokenizer: Tokenizer, shots: int, splits: tuple[str, ...] = ("val",)
) -> dict[str, float]:
    """Return subject -> accuracy on `splits` of the demo benchmark, `shots` shots from dev."""
    scores = {}
    for subject, questions in make_benchmark().items():
        dev = questions["dev"][:shots]
        asked = [(dev, question) for split in splits for question in questions[split]]
        scores[subject] = exam_accuracy(model, tokenizer, asked)
    return scores


def practised_accuracy(model: TinyInternLM2, tokenizer: Tokenizer) -> dict[str, float]:
    """Return subject -> accuracy on fresh 5-shot questions about facts that were practised."""
    rng = random.Random("practised 1")
    scores = {}
    for subject in SUBJECTS:
        pool = [fact for name in writer().relations[subject] for fact in writer().examined[name]]
        asked = []
        for _ in range(PRACTISED):
            questions = [writer().examiner.ask(rng.choice(pool), rng) for _ in range(6)]
            asked.append((questions[:5], questions[5]))
        scores[subject] = exam_accuracy(model, tokenizer, asked)
    return scores
