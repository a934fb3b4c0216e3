r"""Make a benchmark of over 10,000 public questions: of what feeling a sentence of a review is.

The sentences are those of MultiEmo in Chinese, as BIG-bench 1.0.0 has them, whose
sdist on PyPI holds all its tasks:

    pip download --no-deps --no-binary :all: bigbench==1.0.0 && tar xzf bigbench-1.0.0.tar.gz
    python benchmarks/public_questions.py --out q.jsonl \
        --tasks bigbench-1.0.0/bigbench/benchmark_tasks

Ask them with `{name: feeling, kind: qa, path: q.jsonl, metric: exact_match, max_new_tokens: 4}`.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import ButlerError

from butler.errors import run_cli
from butler.files import atomic_write_text

WORDS = {"positive": "正面", "negative": "负面", "neutral": "中性", "ambivalent": "矛盾"}
REVIEWS = {"hotels": "酒店", "medicine": "医疗", "products": "商品", "reviews": "教师"}
SHORTEST = 6  # letters of a sentence that says anything
ASK = "下面这句{kind}评价的情感是{words}还是{last}？只用一个词回答。\n{text}"


def examples(tasks: Path, kind: str) -> list[dict[str, Any]]:
    """Return the examples of a task.

    Raises:
        ButlerError: if they are not there.
    """
    path = tasks / "multiemo" / f"{kind}_sentence_zh" / "task.json"
    if not path.is_file():
        raise ButlerError(f"{path} is missing: --tasks takes benchmark_tasks of BIG-bench's sdist")
    return list(json.loads(path.read_text(encoding="utf-8"))["examples"])


def questions(tasks: Path, each: int, draw: random.Random) -> Iterator[dict[str, str]]:
    """Yield up to `each` questions of every kind of review, no sentence twice."""
    *words, last = WORDS.values()
    seen: set[str] = set()
    for kind, name in REVIEWS.items():
        found = examples(tasks, kind)
        draw.shuffle(found)
        kept = 0
        for one in found:
            text, scores = one["input"].strip(), one["target_scores"]
            if kept == each or len(text) < SHORTEST or text in seen:
                continue
            seen.add(text)
            kept += 1
            asked = ASK.format(kind=name, words="、".join(words), last=last, text=text)
            yield {"question": asked, "answer": WORDS[max(scores, key=scores.get)]}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--each", type=int, default=3000, help="questions of each kind of review")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    found = list(questions(args.tasks, args.each, draw))
    draw.shuffle(found)
    lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in found)
    atomic_write_text(args.out, "".join(lines))
    print(f"{len(found):,} questions")


if __name__ == "__main__":
    run_cli(main)
