"""OpenCompass' data sets by their names: what is read of them, and what is refused before a run.

All entries are read in one process of OpenCompass' environment, since one takes seconds to start.
"""

import json
import subprocess
from pathlib import Path

import pytest

from evaluation_data import OPENCOMPASS, write_ceval, write_gsm8k
from real_tools import SCRIPTS
from workflow_state import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not OPENCOMPASS.exists(), reason=f"{OPENCOMPASS} is not built"),
]
PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from butler.benchmarks.registry import read_benchmark
from butler.errors import ButlerError

found = {}
for name, entry in json.loads(sys.argv[1]).items():
    kind, settings = read_benchmark(json.dumps(entry))
    try:
        read = kind.read(settings, Path(sys.argv[2]), None)
        sets = kind.data_sets(settings, Path(sys.argv[2]), Path("sheet"))
        found[name] = {"questions": [asdict(one) for one in read], "sets": sets}
    except ButlerError as error:
        found[name] = {"error": str(error)}
json.dump(found, open(sys.argv[3], "w"))
"""


def entry(dataset: str, path: str, **changed: object) -> dict:
    fixed = {"name": "exam", "kind": "opencompass", "dataset": dataset, "path": path}
    return fixed | {"max_new_tokens": 8} | changed


LAW = {"parts": ["ceval-law"]}
GAOKAO = {"parts": ["GaokaoBench_2010-2013_English_MCQs"]}
READ = {
    "five shots": entry("ceval_gen", "ceval", **LAW),
    "two shots": entry("ceval_gen", "few", **LAW, shots=2),
    "no shots": entry("ceval_gen", "few", **LAW, shots=0),
    "another split": entry("ceval_gen", "ceval", **LAW, split="dev"),
    "own length": entry("gsm8k_gen", "gsm8k", max_new_tokens=None),
    "other case": entry("GSM8K_gen", "gsm8k"),
    "a folder of files": entry("mgsm_gen", "mgsm", parts=["mgsm_en", "mgsm_zh"]),
    "one file": entry("gsmhard_gen", "hard/test.jsonl"),
    "the folder of one file": entry("gsmhard_gen", "hard"),
    "lists of answers": entry("GaokaoBench_gen", "gaokao", **GAOKAO),
}
REFUSED = {
    "unknown": (
        entry("cevall_gen", "ceval"),
        "benchmark exam: OpenCompass has no data set cevall_gen; close to it: ceval_gen",
    ),
    "by perplexity": (
        entry("ceval_ppl", "ceval", **LAW),
        "asks for no answer that is written out (PPLInferencer); take ceval_",
    ),
    "judged": (entry("PubMedQA_llmjudge_gen", "ceval"), "judged by another language model"),
    "unknown part": (
        entry("ceval_gen", "ceval", parts=["ceval-lwa"]),
        "OpenCompass has no part ceval-lwa of it; close to it: ceval-law",
    ),
    "missing split": (
        entry("ceval_gen", "ceval", **LAW, split="exam"),
        "benchmark exam: ceval-law has no split exam",
    ),
    "missing file": (
        entry("ceval_gen", "holes", **LAW),
        "OpenCompass cannot load ceval-law from path holes (FileNotFoundError",
    ),
    "missing data": (entry("mgsm_gen", "mgsm", parts=["mgsm_de"]), "mgsm/mgsm_de.tsv, which is"),
    "no path": (entry("gsm8k_gen", "nowhere"), "exam: gsm8k_gen needs"),
    "another layout": (
        entry("gsm8k_gen", "ceval"),
        "OpenCompass cannot load gsm8k from path ceval (FileNotFoundError",
    ),
    "another column": (
        entry("gsm8k_gen", "columns"),
        "gsm8k at path columns has no column question; it has frage, answer",
    ),
    "no JSON": (
        entry("gsm8k_gen", "broken"),
        "cannot load gsm8k from path broken (JSONDecodeError",
    ),
    "no question": (entry("ceval_gen", "none", **LAW), "ceval-law"),
    "no answers": (
        entry("ceval_gen", "ceval", **LAW, split="test"),
        "ceval-law at path ceval has no right answers (column answer is empty)",
    ),
    "few examples": (
        entry("ceval_gen", "few", **LAW),
        "ceval-law at path few has 4 examples, but its prompt shows 5",
    ),
    "fixed examples": (
        entry("gsm8k_gen", "gsm8k", shots=0),
        "shots of gsm8k cannot be changed: its configuration fixes the examples",
    ),
    "no length": (
        entry("ceval_gen", "ceval", **LAW, max_new_tokens=None),
        "does not say how long an answer to ceval-law is; set max_new_tokens",
    ),
    "no mean": (
        entry("GaokaoBench_gen", "gaokao", parts=["GaokaoBench_2010-2022_English_Reading_Comp"]),
        "its score is no mean over questions",
    ),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What OpenCompass' environment makes of all entries."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    entries = READ | {name: one for name, (one, _) in REFUSED.items()}
    out = folder / "found.json"
    done = subprocess.run(
        [OPENCOMPASS, "-c", PROGRAM, json.dumps(entries), folder, out],
        capture_output=True,
        text=True,
        cwd=SCRIPTS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def write_data(folder: Path) -> None:
    write_ceval(folder / "ceval", {"law": "ABCD"})
    tests = folder / "ceval" / "test" / "law_test.csv"
    tests.write_text("id,question,A,B,C,D\n0,q,1,2,3,4\n")
    write_ceval(folder / "holes", {"law": "ABCD"})
    (folder / "holes" / "test" / "law_test.csv").unlink()
    write_ceval(folder / "few", {"law": "ABCD"}, shots=4)
    write_ceval(folder / "none", {"law": ""})
    write_gsm8k(folder / "gsm8k", [3, 1200])
    write_gsm8k(folder / "columns", [3])
    write_gsm8k(folder / "broken", [3])
    for name, old, new in (("columns", "question", "frage"), ("broken", "{", "(")):
        path = folder / name / "test.jsonl"
        path.write_text(path.read_text().replace(old, new))
    for language, question in (("en", "How much is 3?"), ("zh", "三是多少？")):
        path = folder / "mgsm" / f"mgsm_{language}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{question}\t3\n", encoding="utf-8")
    (folder / "hard").mkdir()
    (folder / "hard" / "test.jsonl").write_text('{"input": "7?", "target": 7.0}\n' * 5)
    write_gaokao(folder / "gaokao", "2010-2013_English_MCQs", ["A", "B"])
    write_gaokao(folder / "gaokao", "2010-2022_English_Reading_Comp", ["ABCD", "B", "AC"])


def write_gaokao(folder: Path, name: str, answers: list[str]) -> None:
    """Write questions of a GAOKAO-BENCH folder, each with a letter for each part of it."""
    examples = [
        {"index": index, "question": f"第{index}题", "answer": list(letters)}
        for index, letters in enumerate(answers)
    ]
    path = folder / "Multiple-choice_Questions" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"example": examples}), encoding="utf-8")


@pytest.mark.parametrize("name", READ)
def test_what_is_read(found: dict[str, dict], name: str) -> None:
    assert "error" not in found[name], found[name]
    expected = {
        "another split": ("dev题0____,\n“引号”\nA. 1\nB. 2\nC. 3\nD. 4", "B"),
        "own length": ("How much is 3?", "It is so.\n#### 3"),
        "other case": ("How much is 3?", "It is so.\n#### 3"),
        "a folder of files": ("How much is 3?", "3"),
        "one file": ("7?", "7.0"),
        "the folder of one file": ("7?", "7.0"),
        "lists of answers": ("第0题", '["A"]'),
    }
    exam = ("val题0____,\n“引号”\nA. 1\nB. 2\nC. 3\nD. 4", "A")
    first = found[name]["questions"][0]
    assert (first["question"], first["reference"]) == expected.get(name, exam)


def test_settings_change_what_is_asked_and_nothing_else(found: dict[str, dict]) -> None:
    five, two, none = (found[name]["sets"][0] for name in ("five shots", "two shots", "no shots"))
    assert five["infer_cfg"]["retriever"]["fix_id_list"] == [0, 1, 2, 3, 4]
    assert two["infer_cfg"]["retriever"]["fix_id_list"] == [0, 1]
    assert none["infer_cfg"]["retriever"]["type"].endswith("ZeroRetriever")
    assert none["infer_cfg"]["prompt_template"] == five["infer_cfg"]["ice_template"]
    assert five["eval_cfg"] == two["eval_cfg"] == none["eval_cfg"]
    lengths = {
        name: one["sets"][0]["infer_cfg"]["inferencer"]["max_out_len"]
        for name, one in found.items()
        if "sets" in one
    }
    assert lengths.pop("own length") == 512
    assert set(lengths.values()) == {8}
    assert [one["dataset"] for one in found["a folder of files"]["questions"]] == [
        "mgsm_en",
        "mgsm_zh",
    ]
    assert {one["group"] for one in found["five shots"]["questions"]} == {"ceval-humanities"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(found: dict[str, dict], name: str) -> None:
    said = found[name].get("error", "nothing")
    assert REFUSED[name][1] in said
    assert said.startswith("benchmark exam: ") and "\n" not in said and len(said) < 700


def test_a_refused_benchmark_leaves_no_sheet(tmp_path: Path) -> None:
    """As a user sees it: one line, and nothing half-written."""
    out = tmp_path / "exam.jsonl"
    given = json.dumps(entry("cevall_gen", "data/demo/ceval"))
    command = [OPENCOMPASS, SCRIPTS / "questions.py", "--benchmark", given]
    command += ["--repository", ROOT, "--session-len", "2048", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: {REFUSED['unknown'][1]}{done.stderr.partition('ceval_gen')[2]}"
    assert list(tmp_path.iterdir()) == []
