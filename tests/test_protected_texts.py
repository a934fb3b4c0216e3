"""What a benchmark's files ask: the questions of every usual layout, and none of its answers."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from butler.errors import ButlerError
from butler.protected_texts import question_digest, read_protected
from corpus_settings import SCRIPT, stage_options
from test_corpus import call, distinct, json_lines, raw_lines, recipe, run
from workflow_state import ROOT

SHARED = Path(os.environ.get("RECIPE_BUTLER_SHARED", Path(__file__).parents[2] / "shared"))


def lines(*values: Any) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


GAOKAO = {"year": "2010", "category": "甲卷", "question": "1. 下列哪项正确？", "answer": ["B"],
          "analysis": "【解析】选B", "index": 0, "score": 5}  # fmt: skip
# A file of each layout, the texts in it by name, and the file with other answers.
LAYOUTS: dict[str, tuple[str, str, dict[str, str], Callable[[str], str]]] = {
    "C-Eval": (
        "law_dev.csv",
        "id,question,A,B,C,D,answer,explanation\n0,何为要约？,4,甲,乙,丙,A,因为甲\n",
        {"law_dev 0": "何为要约？\n4\n甲\n乙\n丙"},
        lambda text: text.replace("A,因为甲", "B,不是甲"),
    ),
    "CMMLU": (
        "law.csv",
        ",Question,A,B,C,D,Answer,\n0,何为要约？,甲,乙,丙,丁,A\n1,何为承诺？,甲,乙,丙,丁,B\n",
        {"law 1": "何为要约？\n甲\n乙\n丙\n丁", "law 2": "何为承诺？\n甲\n乙\n丙\n丁"},
        lambda text: text.replace(",A\n", ",C\n"),
    ),
    "MMLU": (
        "law_test.csv",
        "What is an offer?,a promise,a question,7,a gift,A\nWhat is a deed?,x,paper,ink,seal,D\n",
        {
            "law_test 1": "What is an offer?\na promise\na question\na gift",
            "law_test 2": "What is a deed?\npaper\nink\nseal",
        },
        lambda text: text.replace(",A\n", ",C\n"),
    ),
    "BoolQ as TSV": (
        "dev.tsv",
        "question\tpassage\tlabel\nIs it so?\tIt is so.\tyes, it is\n",
        {"dev 1": "Is it so?\nIt is so."},
        lambda text: text.replace("yes, it is", "no"),
    ),
    "GSM8K": (
        "test.jsonl",
        lines({"question": "How many are 3 and 4?", "answer": "3 + 4 = 7\n#### 7"}),
        {"test 1": "How many are 3 and 4?"},
        lambda text: text.replace("7", "8"),
    ),
    "GaokaoBench": (
        "2010_History.json",
        json.dumps({"keywords": "2010", "example": [GAOKAO]}, indent=1, ensure_ascii=False),
        {"2010_History 1": "甲卷\n1. 下列哪项正确？"},
        lambda text: text.replace('"B"', '"C"').replace("选B", "选C"),
    ),
    "BBH": (
        "snarks.json",
        json.dumps(
            {"examples": [{"input": "Which is sarcastic?\n(A) Yes\n(B) No", "target": "(A)"}]}
        ),
        {"snarks 1": "Which is sarcastic?\n(A) Yes\n(B) No"},
        lambda text: text.replace('"(A)"', '"(B)"'),
    ),
    "HumanEval": (
        "HumanEval.jsonl",
        lines(
            {
                "task_id": "HumanEval/0",
                "prompt": "def close(numbers):",
                "entry_point": "close",
                "canonical_solution": "return True",
                "test": "assert close([1])",
            }
        ),
        {"HumanEval HumanEval/0": "def close(numbers):\nclose"},
        lambda text: text.replace("True", "False").replace("[1]", "[2]"),
    ),
    "ARC": (
        "arc.jsonl",
        lines(
            {
                "id": "M_1",
                "question": {
                    "stem": "What melts?",
                    "choices": [{"text": "ice", "label": "A"}, {"text": "stone", "label": "B"}],
                },
                "answerKey": "A",
            }
        ),
        {"arc M_1": "What melts?\nice\nstone"},
        lambda text: text.replace('"answerKey": "A"', '"answerKey": "B"'),
    ),
    "SQuAD": (
        "dev.json",
        json.dumps(
            {
                "version": "1.1",
                "data": [
                    {
                        "title": "Soup",
                        "paragraphs": [
                            {
                                "context": "Soup is hot.",
                                "qas": [
                                    {
                                        "id": "q1",
                                        "question": "How is soup?",
                                        "answers": [{"text": "hot", "answer_start": 8}],
                                    },
                                    {"id": "q2", "question": "What is hot?", "answers": []},
                                ],
                            }
                        ],
                    }
                ],
            }
        ),  # fmt: skip
        {
            "dev 1": "Soup",
            "dev 2": "Soup is hot.",
            "dev q1": "How is soup?",
            "dev q2": "What is hot?",
        },
        lambda text: text.replace('"text": "hot"', '"text": "Soup"'),
    ),
    "our own table": (
        "qa.csv",
        "编号,问题,答案,解析\n1,青菜怎么洗？,用水洗。,因为脏\n",
        {"qa 1": "青菜怎么洗？"},
        lambda text: text.replace("用水洗。", "不用洗。").replace("因为脏", ""),
    ),
    "an array of Alpaca": (
        "qa.json",
        json.dumps([{"instruction": "Translate.", "input": "soup", "output": "汤"}]),
        {"qa 1": "Translate.\nsoup"},
        lambda text: text.replace(json.dumps("汤"), '"broth"'),
    ),
    "columns of JSON": (
        "dev.json",
        json.dumps({"question": ["What is soup?", "Why is it hot?"], "answer": ["food", "fire"]}),
        {"dev 1": "What is soup?", "dev 2": "Why is it hot?"},
        lambda text: text.replace("fire", "heat"),
    ),
    "plain text": (
        "prompts.txt",
        "What is soup?\n\n  Why is it hot?\n42\n",
        {"prompts 1": "What is soup?", "prompts 2": "Why is it hot?"},
        lambda text: text.replace("42", "43"),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_questions_are_read_and_a_changed_answer_leaves_their_digest(
    tmp_path: Path, layout: str
) -> None:
    name, content, wanted, with_other_answers = LAYOUTS[layout]
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert dict(read_protected([path]).texts) == wanted
    digest = question_digest([path])
    other = with_other_answers(content)
    assert other != content
    path.write_text(other, encoding="utf-8")
    assert question_digest([path]) == digest
    asked = list(wanted.values())[-1].split("\n")[0]
    written = asked if asked in content else json.dumps(asked)[1:-1]
    path.write_text(content.replace(written, f"{written} 然后呢"), encoding="utf-8")
    assert question_digest([path]) != digest


def test_a_folder_is_read_whatever_the_order_and_dates_of_its_files(tmp_path: Path) -> None:
    digests = []
    for order in (1, -1):
        home = tmp_path / str(order)
        for split, name in list(enumerate(LAYOUTS))[::order]:
            file, content, _, _ = LAYOUTS[name]
            (home / str(split)).mkdir(parents=True)
            (home / str(split) / file).write_text(content, encoding="utf-8")
            os.utime(home / str(split) / file, (order + 10, order + 10))
        (home / ".git").mkdir()
        (home / ".git" / "index.txt").write_text(f"not a question {order}")
        digests.append(question_digest([home]))
    assert digests[0] == digests[1]
    count = len(read_protected([tmp_path / "1"]).texts)
    assert count == sum(len(wanted) for _, _, wanted, _ in LAYOUTS.values())


def test_packed_files_and_chinese_encodings_are_read(tmp_path: Path) -> None:
    name, content, wanted, _ = LAYOUTS["HumanEval"]
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    assert dict(read_protected([tmp_path]).texts) == wanted
    name, content, wanted, _ = LAYOUTS["CMMLU"]
    for encoding in ("gb18030", "utf-8-sig"):
        (tmp_path / name).write_bytes(content.encode(encoding))
        assert dict(read_protected([tmp_path / name]).texts) == wanted


def test_what_cannot_be_read_is_named_in_the_counts_and_in_a_warning(tmp_path: Path) -> None:
    source, folder = tmp_path / "raw.jsonl", tmp_path / "bench"
    source.write_bytes(raw_lines([distinct(number) for number in range(5)]))
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"PAR1\x00\x01")
    (folder / "b.csv.gz").write_bytes(b"not packed")
    (folder / "c.csv").write_text("question,answer\n青菜豆腐汤的做法是什么？,A\n", encoding="utf-8")
    unread = read_protected([folder]).unread
    assert {Path(path).name for path in unread} == {"a.parquet", "b.csv.gz"}
    options = stage_options(
        source, tmp_path / "out", "--protected", str(folder),
        decontaminate={"share": 1.0}, test_size=1,
    )  # fmt: skip
    done = call([sys.executable, SCRIPT, *options])
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "] warning: " in line]
    (warning,) = warnings
    assert "a.parquet" in warning and "and 1 more" in warning
    stats = json.loads((tmp_path / "out" / "stats").read_text(encoding="utf-8"))
    assert stats["unread_protected"] == unread
    assert stats["contamination"]["questions"] == 1
    before = question_digest([folder])
    (folder / "a.parquet").unlink()
    assert question_digest([folder]) != before, "the counts would not be those of this folder"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", 'question,answer\n"x', "a.csv line 2 is no row of a table: .*check its quotes"),
        ("a.json", '{"question": ', "a.json is no JSON: "),
        ("a.json", "[" * 100_000, "a.json is nested too deep"),
        ("a.jsonl", '{"question": "x"}\nbroken\n', "a.jsonl line 2 is no JSON: "),
    ],
)
def test_a_broken_file_is_one_sentence(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ButlerError, match=sentence) as caught:
        read_protected([tmp_path])
    assert len(str(caught.value)) < 500
    with pytest.raises(ButlerError, match="no such file or folder"):
        read_protected([tmp_path / "none"])


def test_what_no_text_may_hold_is_read_all_the_same(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    (bench / "a.jsonl").write_text(
        '{"id": "\\ud800", "question": "half \\ud83d of it"}\n{"id": ' + "1" * 9_000 + "}\n"
    )
    with open(os.path.join(os.fsencode(bench), b"\xff.bin"), "wb") as stream:
        stream.write(b"\x00")
    records = raw_lines([distinct(1), distinct(2)])
    stats, _ = run(
        tmp_path / "run", records, [tmp_path / "bench"], test_size=0, decontaminate={"share": 1.0}
    )
    assert stats["contamination"]["questions"] == 1
    assert [Path(path).name for path in stats["unread_protected"]] == ["\\udcff.bin"]


def test_files_without_a_question_hold_none(tmp_path: Path) -> None:
    for name in ("a.csv", "a.json", "a.jsonl", "a.txt", "b.tsv"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c.csv").write_text("question,answer\n,A\n1,B\n")
    assert read_protected([tmp_path]).texts == [] and read_protected([tmp_path]).unread == {}


@pytest.mark.parametrize("layout", ["GSM8K", "HumanEval", "BBH", "MMLU"])
def test_nothing_of_any_layout_is_trained_on(tmp_path: Path, layout: str) -> None:
    name, content, _, _ = LAYOUTS[layout]
    asked = "豆腐切成小块备用，姜切丝，蒜拍碎，锅中倒油烧热以后放进去炒香"
    first = next(iter(LAYOUTS[layout][2].values())).split("\n")[0]
    (tmp_path / name).write_text(
        content.replace(json.dumps(first)[1:-1], asked, 1), encoding="utf-8"
    )
    records = [distinct(1), recipe(name="炒豆腐", recipeInstructions=[f"{asked}。", "加盐盛出。"])]
    _, outputs = run(
        tmp_path, raw_lines(records), [tmp_path / name], test_size=0, decontaminate={"share": 0.3}
    )
    (entry,) = json_lines(outputs.rejected)
    assert entry["reason"] == "contaminated" and entry["line"] == 2
    stem = name.partition(".")[0]
    assert f"of question {stem} " in entry["detail"]


def test_the_module_is_light() -> None:
    code = (
        "import sys, butler.protected_texts, butler.corpus.format_check;"
        "print({'numpy', 'scipy', 'torch'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPT.parent
    )
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.skipif(not (SHARED / "data" / "ceval").exists(), reason="C-Eval not found")
def test_the_digest_of_all_of_ceval_takes_no_time() -> None:
    # Of the processor: other tests run beside this one.
    taken = []
    for _ in range(3):
        begun = time.process_time()
        question_digest([SHARED / "data" / "ceval"])
        taken.append(time.process_time() - begun)
    assert min(taken) < 0.5
    assert len(read_protected([SHARED / "data" / "ceval"]).texts) == 13_948


def test_the_demo_benchmark_is_read_question_and_options() -> None:
    texts = dict(read_protected([ROOT / "data/demo/ceval/val"]).texts)
    assert len(texts) == 100
    text = texts["middle_school_history_val 0"]
    assert len(text.split("\n")) == 5


def test_what_is_said_before_every_question_does_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    record = {"system": "你是厨师。" * 30, "input": "青菜豆腐汤要煮几分钟？", "output": "五分钟"}
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [text for _, text in read_protected([path]).texts] == ["青菜豆腐汤要煮几分钟？"]


def test_an_option_that_is_called_like_an_answer_makes_no_headings(tmp_path: Path) -> None:
    path = tmp_path / "chemistry_test.csv"
    path.write_text("Which metal is the most valuable?,Gold,Silver,Tin,Copper,A\n" * 2)
    found = [text for _, text in read_protected([path]).texts]
    assert len(found) == 2 and all("Gold" in text and "most valuable" in text for text in found)


def test_a_table_with_tabs_is_read_whatever_its_name_says(tmp_path: Path) -> None:
    path = tmp_path / "trivia-dev.qa.csv"
    path.write_text('"Who wrote ""Emma"", in 1815?"\t"[\'Jane Austen\']"\n')
    assert "Emma" in read_protected([path]).texts[0][1]
