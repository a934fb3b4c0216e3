"""Small benchmarks on disk for the tests of evaluation."""

import csv
import json
from pathlib import Path

SYSTEM = "你是厨师"
ANSWER = "您需要准备以下食材:\n盐\n白菜\n按以下方法制作:\n拌匀"


def write_ceval(folder: Path, subjects: dict[str, str], shots: int = 5) -> Path:
    """Write a C-Eval folder; `subjects` maps a name to the right answers of its val rows."""
    header = ["id", "question", "A", "B", "C", "D", "answer", "explanation"]
    for subject, answers in subjects.items():
        for split, letters in (("dev", "B" * shots), ("val", answers), ("test", "A")):
            path = folder / split / f"{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(header)
                for number, letter in enumerate(letters):
                    row = [number, f"{split}题{number}____,\n“引号”", 1, 2, 3, 4, letter, "因为"]
                    writer.writerow(row)
    return folder


def write_recipes(path: Path, count: int, system: str = SYSTEM) -> Path:
    turns = [
        {"system": system, "input": f"第{number}道菜的做法", "output": ANSWER}
        for number in range(count)
    ]
    lines = [json.dumps({"conversation": [turn]}, ensure_ascii=False) for turn in turns]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
