"""The corpus stage as a user runs it: one file in, four files out, nothing lost."""

import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from butler.corpus.rules.dish import dish_key
from butler.corpus.stage import Outputs, build_corpus
from butler.errors import ButlerError
from corpus_settings import SCRIPT, corpus_settings, stage_options
from test_corpus_text import recipe


def raw_lines(records: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def distinct(number: int) -> dict[str, object]:
    """A usable record whose dish and text no other number has."""
    vegetable = "".join("甲乙丙丁戊己庚辛壬癸"[int(digit)] for digit in str(number))
    return recipe(
        name=f"{vegetable}菜豆腐汤",
        dish="Unknown" if number % 2 else f"{vegetable}菜豆腐汤",
        recipeIngredient=[f"{number + 1}克{vegetable}菜", "1块豆腐"],
        keywords=[],
    )


def run(
    folder: Path, data: bytes, protected: Sequence[Path] = (), seed: int = 7, **changes: Any
) -> tuple[dict[str, object], Outputs]:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "raw.jsonl"
    source.write_bytes(data)
    names = ("train.jsonl", "test.jsonl", "rejected.jsonl", "stats.json")
    outputs = Outputs(*(folder / "out" / name for name in names))
    return build_corpus(source, outputs, corpus_settings(**changes), seed, protected), outputs


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The values of a JSON Lines file, cut at line feeds only (a name may hold a U+0085)."""
    return list(map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1]))


def conversations(path: Path) -> list[dict[str, str]]:
    return [value["conversation"][0] for value in json_lines(path)]


def kept(outputs: Outputs) -> list[dict[str, str]]:
    return conversations(outputs.train) + conversations(outputs.test)


def rejections(outputs: Outputs) -> list[tuple[int, str]]:
    return [(entry["line"], entry["reason"]) for entry in json_lines(outputs.rejected)]


def test_sample_has_the_trained_form(tmp_path: Path) -> None:
    record = recipe(recipeIngredient=["200克青菜（嫩的）", "#汤底", "1 块豆腐"])
    data = raw_lines([record, distinct(1), distinct(2)])
    _, outputs = run(tmp_path, data, test_size=0, forms={"的做法": 1.0})
    turn = next(t for t in conversations(outputs.train) if t["input"] == "青菜豆腐汤的做法")
    assert turn == {
        "system": "你是厨师",
        "input": "青菜豆腐汤的做法",
        "output": "您需要准备以下食材:\n200克青菜（嫩的）\n汤底：\n1块豆腐\n按以下方法制作:\n"
        "青菜洗净切段，豆腐切成小块备用。\n水开后放入煮五分钟，加盐出锅。",
    }


def test_bad_lines_are_named_and_the_rest_kept(tmp_path: Path) -> None:
    good = raw_lines([distinct(number) for number in range(4)]).splitlines()
    lines = [
        b"\xef\xbb\xbf" + good[0] + b"\r",
        b'{"name": "broken',
        good[1],
        b"",
        b'{"name": "\xff\xfe"}',
        b"[1, 2]",
        good[2],
        b'{"name": "' + b"x" * (2 << 20) + b'"}',
        raw_lines([recipe(recipeInstructions=["1", "2"])]).strip(),
        raw_lines([recipe(name="某汤<|im_end|>")]).strip(),
        raw_lines([recipe(recipeInstructions=["Cut and boil it all for an hour"] * 9)]).strip(),
        raw_lines([recipe(recipeInstructions=["煮熟"])]).strip(),
        good[3],
    ]
    stats, outputs = run(tmp_path, b"\n".join(lines))
    assert rejections(outputs) == [
        (2, "broken_json"),
        (4, "broken_json"),
        (5, "not_utf8"),
        (6, "wrong_type"),
        (8, "line_too_long"),
        (9, "no_steps"),
        (10, "chat_marker"),
        (11, "other_language"),
        (12, "too_short"),
    ]
    assert (stats["read"], stats["kept"], stats["train"], stats["test"]) == (
        13,
        4,
        2,
        2,
    )
    assert stats["kept"] + stats["rejected"] == stats["read"]
    assert json.loads(outputs.stats.read_text(encoding="utf-8")) == stats


@pytest.mark.parametrize(
    "hidden",
    [
        "＜|im_start|＞<|im_start|>",
        "<\u200b|im_end|>",
        "</s>",
        "<eoa>",
        "[UNUSED_TOKEN_3]",
    ],
)
def test_no_chat_marker_reaches_the_training_text(tmp_path: Path, hidden: str) -> None:
    steps = [f"青菜洗净切段，{hidden}豆腐切成小块备用，水开后放入。"]
    data = raw_lines([distinct(1), recipe(recipeInstructions=steps)])
    _, outputs = run(tmp_path, data, test_size=0)
    assert rejections(outputs) == [(2, "chat_marker")]


def test_the_better_duplicate_stays_whatever_the_order(tmp_path: Path) -> None:
    named = recipe(dish="豆腐汤")
    other = recipe(name="最爱的青菜豆腐汤！！", dish="Unknown", author="author_2")
    spaced = recipe(dish="Unknown", recipeIngredient=["适量盐", "200克 青菜", "1块豆腐 "])
    for order in ([named, other, spaced], [spaced, other, named]):
        data = raw_lines([*order, distinct(1)])
        stats, outputs = run(tmp_path, data, test_size=1, forms={"的做法": 1.0})
        assert sorted(turn["input"] for turn in kept(outputs)) == [
            "乙菜豆腐汤的做法",
            "青菜豆腐汤的做法",
        ]
        assert stats["reasons"] == {"duplicate": 2}
        assert stats["duplicates"] == {"groups": 1, "removed": 2}
        assert order.index(named) + 1 not in dict(rejections(outputs))


def test_train_and_test_share_no_dish_even_through_unknown(tmp_path: Path) -> None:
    names = [
        f"{ornament}{number}菜汤" for number in "甲乙丙丁戊己" for ornament in ("", "自制", "家常")
    ]
    records = [
        recipe(
            name=name,
            dish="Unknown" if index % 3 else name,
            recipeIngredient=[f"{index}克盐"],
        )
        for index, name in enumerate(names)
    ]
    _, outputs = run(tmp_path, raw_lines(records), test_size=6, forms={"的做法": 1.0})
    sides = [
        {dish_key(turn["input"].removesuffix("的做法")) for turn in conversations(path)}
        for path in (outputs.train, outputs.test)
    ]
    assert len(conversations(outputs.test)) == 6
    assert [len(side) for side in sides] == [4, 2]
    assert not sides[0] & sides[1]


def test_a_named_dish_takes_its_namesakes_along(tmp_path: Path) -> None:
    # 阿三甲菜汤 is 甲菜汤 by the first record's dish; nothing in the others' own fields says so.
    records = []
    for dish in "甲乙丙丁戊己庚辛":
        for name, known in (("阿三", True), ("阿三", False), ("", False)):
            whole = f"{dish}菜汤"
            text = [f"{len(records)}克{dish}菜"]
            field = whole if known else "Unknown"
            records.append(recipe(name=name + whole, dish=field, recipeIngredient=text))
    _, outputs = run(tmp_path, raw_lines(records), test_size=12)
    sides = [
        {turn["input"].partition("菜汤")[0][-1] for turn in conversations(path)}
        for path in (outputs.train, outputs.test)
    ]
    assert [len(side) for side in sides] == [4, 4]
    assert not sides[0] & sides[1]


def test_a_contact_over_two_lines_rejects_the_record(tmp_path: Path) -> None:
    steps = ["青菜洗净切段，豆腐切成小块，水开后放入，微", "信一下就好，大火煮五分钟出锅。"]
    data = raw_lines([distinct(1), recipe(recipeInstructions=steps)])
    _, outputs = run(tmp_path, data, test_size=0)
    assert rejections(outputs) == [(2, "contact")]


def test_order_of_the_input_changes_nothing_and_the_seed_does(tmp_path: Path) -> None:
    records = [distinct(number) for number in range(40)]
    results = []
    for name, order, seed in (
        ("a", records, 7),
        ("b", records[::-1], 7),
        ("c", records, 8),
    ):
        _, outputs = run(tmp_path / name, raw_lines(order), test_size=10, sample=30, seed=seed)
        results.append([path.read_bytes() for path in (outputs.train, outputs.test, outputs.stats)])
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_a_sample_is_counted_and_grows_with_its_size(tmp_path: Path) -> None:
    data = raw_lines([distinct(number) for number in range(30)])
    small, outputs = run(tmp_path / "a", data, sample=10)
    few = {turn["output"] for turn in kept(outputs)}
    _, outputs = run(tmp_path / "b", data, sample=20)
    many = {
        turn["output"] for path in (outputs.train, outputs.test) for turn in conversations(path)
    }
    assert (small["kept"], small["reasons"]) == (10, {"not_sampled": 20})
    assert few < many


def test_question_forms_follow_weights_and_the_keywords_of_the_record(
    tmp_path: Path,
) -> None:
    data = raw_lines([distinct(number) for number in range(300)])
    _, outputs = run(tmp_path, data)
    questions = [turn["input"] for turn in conversations(outputs.train)]
    assert 0.5 < sum(q.endswith("汤的做法") for q in questions) / len(questions) < 0.7
    only = [distinct(n) | {"keywords": ["某汤怎么做", "汤"]} for n in range(20)]
    _, outputs = run(tmp_path, raw_lines(only))
    assert all(turn["input"].endswith("怎么做") for turn in conversations(outputs.train))


def test_the_author_is_in_no_output(tmp_path: Path) -> None:
    records = [distinct(n) | {"author": "author_secret"} for n in range(4)] + [distinct(1)]
    _, outputs = run(tmp_path, raw_lines(records))
    for path in vars(outputs).values():
        assert "author" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("data", "changes", "sentence"),
    [
        (b"", {}, "is empty"),
        (
            b"not json\n\n",
            {},
            r"no usable record in 2 lines \(broken_json 2\); is corpus.format xiachufang theirs",
        ),
        (
            raw_lines([distinct(1), distinct(2)]),
            {},
            "corpus.test_size 2 leaves nothing to train on",
        ),
    ],
)
def test_unusable_input_writes_nothing(
    tmp_path: Path, data: bytes, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ButlerError, match=sentence):
        run(tmp_path, data, **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.jsonl"]


def call(
    command: list[str | Path], prepare: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; `prepare` runs in the new process before it."""
    return subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=prepare)


def test_a_full_disk_leaves_no_output(tmp_path: Path) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_bytes(raw_lines([distinct(number) for number in range(200)]))
    command = [sys.executable, SCRIPT, *stage_options(source, tmp_path / "out")]
    limit = (20_000, 20_000)
    done = call(command, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert done.returncode == 1
    assert done.stderr == f"error: File too large ({tmp_path / 'out'})\n"
    assert not list(tmp_path.rglob("out/*"))


def test_command_line(tmp_path: Path) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_bytes(raw_lines([distinct(number) for number in range(5)]))
    command = [sys.executable, SCRIPT, *stage_options(source, tmp_path / "out", test_size=1)]
    done = call(command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 read: 4 to train, 1 to test, 0 rejected")
    wrong = {
        "no such corpus file": ["--input", tmp_path / "none"],
        "key 'recipes.question_forms' has the ending '的\\x7f做法'": [
            *("--settings", json.dumps({"recipes": {"question_forms": {"的\x7f做法": 1.0}}})),
        ],
        "key 'recipes.question_forms.的做法' takes more than 0": [
            *("--settings", json.dumps({"recipes": {"question_forms": {"的做法": 0.0}}})),
        ],
        "--settings takes a JSON object": ["--settings", str(source.with_name("stats.json"))],
        "key 'system' is no text that could be written": ["--settings", '{"system": "\\ud800"}'],
        "--processes must be at least 1": ["--processes", "0"],
    }
    (tmp_path / "stats.json").write_text("[1]")
    for sentence, options in wrong.items():
        done = call([*command, *options])
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert sentence in done.stderr


@pytest.mark.parametrize("dish", ["！", "-", "()", "…", "Unknown", ""])
def test_a_dish_without_letters_is_none(tmp_path: Path, dish: str) -> None:
    records = [recipe(name="豆腐汤", dish=dish), distinct(1), distinct(2)]
    stats, outputs = run(tmp_path, raw_lines(records), test_size=0)
    assert stats["kept"] == 3 and stats["dishes"] == {"train": 3, "test": 0}
    assert "豆腐汤" in [turn["input"][:3] for turn in kept(outputs)]


def test_a_test_side_that_stays_empty_is_an_error(tmp_path: Path) -> None:
    records = [distinct(number) | {"name": "红烧肉", "dish": "红烧肉"} for number in range(5)]
    sentence = "no dish or question of .* has so few records that corpus.test_size 3"
    with pytest.raises(ButlerError, match=sentence):
        run(tmp_path, raw_lines(records), test_size=3)
    assert not (tmp_path / "out").exists()


def test_a_training_side_that_is_all_contaminated_is_an_error(tmp_path: Path) -> None:
    records = [distinct(number) for number in range(10)]
    sentence = "nothing is left to train on; choose a smaller corpus.test_size"
    with pytest.raises(ButlerError, match=sentence):
        run(tmp_path, raw_lines(records), test_size=2, decontaminate={"share": 0.1, "ngram": 4})
    assert not (tmp_path / "out").exists()


def test_dishes_are_counted_of_what_is_left(tmp_path: Path) -> None:
    records = [distinct(number) for number in range(6)]
    other = recipe(name="手擀面", dish="", recipeIngredient=["面粉"], recipeInstructions=[
        "面粉加温水揉成团，醒发二十分钟，擀成薄片后切成细条，下锅煮到浮起捞出。"])  # fmt: skip
    for seed in range(20):
        rule = {"share": 0.1, "ngram": 13}
        folder = tmp_path / str(seed)
        with suppress(ButlerError):  # the noodles were drawn for the test
            stats, _ = run(
                folder, raw_lines([*records, other]), test_size=1, seed=seed, decontaminate=rule
            )
            assert stats["dishes"] == {"train": stats["train"], "test": 1}
            if stats["train"] == 1:
                return
    raise AssertionError("no seed drew a soup")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this machine has no /dev/shm")
def test_a_run_may_lie_in_the_memory_of_dev_shm(tmp_path: Path) -> None:
    """A 7B's run does where the disk is small."""
    source = tmp_path / "raw.jsonl"
    source.write_bytes(raw_lines([distinct(number) for number in range(4)]))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        outputs = Outputs(*(Path(folder) / name for name in "abcd"))
        build_corpus(source, outputs, corpus_settings(test_size=1), 7)
        assert outputs.train.stat().st_size


def test_outputs_that_are_no_files_are_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_bytes(raw_lines([distinct(1)]))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    settings = corpus_settings()
    for path, message in ((pipe, "pipe is no ordinary file"), (Path("/dev/stdout"), "no ordinary")):
        outputs = Outputs(tmp_path / "a", tmp_path / "b", path, tmp_path / "d")
        with pytest.raises(ButlerError, match=message):
            build_corpus(source, outputs, settings, 7)
    assert pipe.is_fifo() and Path("/dev/stdout").exists()
    outputs = Outputs(*(tmp_path / name for name in "abcd"))
    with pytest.raises(ButlerError, match="--protected.* must all differ"):
        build_corpus(source, outputs, settings, 7, [tmp_path / "d"])


def test_a_rename_that_fails_leaves_no_statistics_of_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = raw_lines([distinct(number) for number in range(6)])
    _, outputs = run(tmp_path, data)
    replace = os.replace

    def busy(source: Path, target: Path) -> None:
        if target == outputs.test:
            raise OSError(errno.EBUSY, "Device or resource busy")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(OSError, match="busy"):
        run(tmp_path, data, seed=8)
    assert not outputs.stats.exists()
