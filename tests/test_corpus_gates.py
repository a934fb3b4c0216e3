"""The gates let no line pass that a rule would change, and chunks come out as single records do."""

import ast
import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba.core.registry import CPUDispatcher

from butler.corpus import gates
from butler.corpus.adverts import has_contact
from butler.corpus.chunk import Style, make_samples
from butler.corpus.clean import clean_sections
from butler.corpus.folding import Grams, Letters
from butler.corpus.gates import CLEAN, END, INGREDIENT_START, RULES, STEP_START, Lines
from butler.corpus.recipe import (
    Rejected,
    clean_ingredients,
    clean_section,
    clean_steps,
    parse,
    scrub_name,
)
from butler.corpus.sample import Conversations, answer, content_key, judge
from butler.corpus.text import (
    BREAKS,
    clean_line,
    letters,
    respell,
    respell_lines,
    respelled,
    tidy,
    tidy_lines,
)
from corpus_settings import corpus_settings
from test_corpus_properties import PIECES, RECORDS, TEXT, UNSEEN
from test_corpus_text import recipe

PACKAGE = Path(gates.__file__).parent
SCRIPTS = PACKAGE.parents[1]
CONTACTS = (
    "微信 公 众 号 公众号 薇 V v w x q Q 群 号 : ： http :// www. a.cn @ 某 1380013 138 -8000 8000 "
    "ha we chat weixin 扣扣 加我 我的店 淘宝店铺 搜索 关注 下单 店 小红书 手机 扫码 二维码 信 "
    "领食谱 同款 链接 "
    "12345 cook_ 百度搜 私信 ſ K İ 微 . 徽 加微 是 企鹅 抖音 快手 id .xyz .io .be .me .app "
    "1380 0138 000 138 001 38000 010 8888 — – 一三八 零零一三八零零零 幺 ﹫ ftp 。"
)
ANY = st.one_of(
    TEXT,
    st.lists(st.sampled_from(CONTACTS.split() + PIECES.split() + UNSEEN), max_size=9).map("".join),
    st.text(st.characters(codec="utf-8"), max_size=10),
    st.from_regex(
        r"(第?[一二三123]{1,2}|\(2\)|step ?2|[①❷]|2)[、.:： 步骤]{0,2}[切一2]{0,3}", fullmatch=True
    ),
    st.from_regex(r"[克个勺大小g]{1,2}[盐糖一2]{0,3} ?[0-9]{0,3}", fullmatch=True),
)
LINES = st.lists(ANY.map(lambda text: text.replace("\n", "")), min_size=1, max_size=6)


def loops() -> list[tuple[ModuleType, CPUDispatcher]]:
    """The compiled loops of the corpus stage, with their modules."""
    modules = [import_module(f"butler.corpus.{path.stem}") for path in PACKAGE.glob("*.py")]
    members = [(module, one) for module in modules for one in vars(module).values()]
    return [
        (module, one)
        for module, one in members
        if isinstance(one, CPUDispatcher) and one.__module__ == module.__name__
    ]


def test_loops_use_what_stands_in_their_own_file() -> None:
    # They are kept compiled for as long as that file does not change.
    assert loops()
    for module, loop in loops():
        tree = ast.parse(inspect.getsource(module))
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        used = set(loop.py_func.__code__.co_names) & imported
        assert used <= {"np"}, (module.__name__, loop.__name__)


def test_a_loop_runs_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_bytes(b"")  # no folder
    loop = tmp_path / "loop.py"
    loop.write_text(
        "from butler.corpus.compiled import compiled\n"
        "@compiled\n"
        "def twice(number):\n"
        "    return 2 * number\n"
        "print(twice(3))\n"
    )
    own = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "PYTHONPATH": str(SCRIPTS)}
    environment = {key: value for key, value in os.environ.items() if "NUMBA" not in key} | own
    command = [sys.executable, str(loop)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout == "6\n", done.stderr


FORKED = """
from pathlib import Path
import numpy as np
from butler.corpus.chunk import Style
from butler.corpus.contaminate import OverlapRule, Protected
from butler.corpus.near import NearRule
from butler.corpus.read import Chunk
from butler.corpus.processes import Processes
from butler.corpus.select import Gatherer
from butler.corpus.worker import Job, compile_loops
from corpus_settings import corpus_settings
from test_corpus_gates import loops

protected = Protected(["豆腐切成小块备用，姜切丝，蒜拍碎"], OverlapRule(13, 0.5))
style = Style(corpus_settings(min_chars=28), 0)
job = Job("xiachufang", style, Path({folder!r}), NearRule(0.7, 5), 13, protected)
compile_loops(job)
before = [len(loop.signatures) for _, loop in loops()]
processes = Processes(job, 1)
outcome, = processes.outcomes([Chunk(0, "x", first=1, entries={lines!r})])
assert outcome.entries == 2 and len(outcome.names.split(b"\\0")) == 2, outcome
gatherer = Gatherer()
gatherer.add(outcome)
train = job.folder / "train"
with processes.copying(gatherer.table(), [(np.arange(2), train)]):
    pass
assert train.read_bytes().count(b"\\n") > 1
assert before == [len(loop.signatures) for _, loop in loops()]
"""


def test_what_is_forked_has_all_loops_compiled(tmp_path: Path) -> None:
    steps = [
        "1、豆腐切成小块备用，姜切丝，蒜拍碎，见⑩。",
        "2、加微信cook1234567",
        "放盐和㎝胡椒粉，  撒葱花！！",
        "如图",
    ]
    recipes = [recipe(recipeInstructions=steps, name=name) for name in ("豆腐😋", "ﬀ豆腐")]
    code = FORKED.format(folder=str(tmp_path), lines=list(map(orjson.dumps, recipes)))
    paths = os.pathsep.join([str(SCRIPTS), str(Path(__file__).parent)])
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": paths})


@settings(max_examples=400, deadline=None)
@given(LINES)
def test_a_line_that_needs_nothing_is_changed_by_no_rule(texts: list[str]) -> None:
    lines = Lines("\n".join(texts) + "\n")
    contacts = lines.contacts()
    kinds = ((STEP_START, clean_steps), (INGREDIENT_START, clean_ingredients))
    for start, clean in kinds:
        for text, need, contact in zip(texts, lines.needs(start), contacts, strict=True):
            if not need & CLEAN:
                assert clean_line(text) == text
                if not need & RULES:
                    assert clean([text]) == [text]
            if not contact:
                assert not has_contact(text)
    for text, need in zip(texts, lines.needs(END), strict=True):
        if not need:
            assert scrub_name(text) == text


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.from_regex(
            r"第?[0-9]{1,2}[步、.:：]{0,2} ?[切第一图3]{0,2}[，。]?([2-4][、.])?[切成片]{0,3}",
            fullmatch=True,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_numbered_steps_leave_what_the_rules_leave(steps: list[str]) -> None:
    texts = ["\n".join(filter(None, map(clean_line, steps)))]
    rejected = clean_sections(texts, STEP_START)
    try:
        expected = clean_section(steps, "no_steps")
    except Rejected as why:
        assert why.reason == "advert" or rejected[0].reason == why.reason
    else:
        assert texts == ["\n".join(expected)]


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_a_text_without_marks_of_a_contact_holds_none_across_its_lines(texts: list[str]) -> None:
    text = "\n".join(texts)
    if has_contact(text):
        assert Lines(text + "\n").contacts().any()


def test_ideographs_are_alike() -> None:
    marks = gates.table().known
    for first, last in ((0x3400, 0x4DBF), (0x4E00, 0x9FFC), (0x20000, 0x2A6DD)):
        for code in range(first, last + 1):
            char = chr(code)
            assert not respelled(char) and char.isalpha() and letters(char) == char
            assert not marks[code] & gates.CHAR


@settings(deadline=None)  # the first call compiles
@given(LINES)
def test_letters_of_many_lines_are_those_of_each(texts: list[str]) -> None:
    assert Letters(Lines("\n".join(texts) + "\n")).lines() == [letters(text) for text in texts]


def grams(texts: list[str]) -> Grams:
    """The letters of texts of one line each."""
    return Letters(Lines("\n".join(texts) + "\n")).grams()


@settings(deadline=None)
@given(LINES, st.data())
def test_a_text_of_several_lines_has_their_letters(texts: list[str], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(texts)), unique=True).map(sorted))
    chosen = data.draw(st.lists(st.booleans(), min_size=len(cuts), max_size=len(cuts)))
    ranges = [(a, b) for a, b, own in zip(cuts, cuts[1:], chosen, strict=False) if own]
    of_lines = Letters(Lines("\n".join(texts) + "\n"))
    found = of_lines.grams(*np.array(ranges, np.int64).reshape(-1, 2).T)
    expected = ["".join(map(letters, texts[a:b])) for a, b in ranges]
    assert found.sizes.tolist() == list(map(len, expected))
    assert found.codes.tobytes().decode("utf-32-le") == "".join(expected)
    both = Grams.joined([found, grams(texts)])
    assert both.sizes.tolist() == list(map(len, [*expected, *map(letters, texts)]))


@settings(deadline=None)
@given(st.lists(st.text("abc", max_size=20), min_size=1, max_size=5), st.integers(1, 14))
def test_equal_runs_have_equal_hashes_and_no_run_crosses_texts(
    texts: list[str], length: int
) -> None:
    hashes, counts = grams(texts).hashes(length)
    runs = [text[at : at + length] for text in texts for at in range(len(text) - length + 1)]
    assert counts.tolist() == [max(len(text) - length + 1, 0) for text in texts]
    named = dict(zip(runs, hashes.tolist(), strict=True))
    assert [named[run] for run in runs] == hashes.tolist()
    assert len(set(named.values())) == len(named)


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_lines_are_respelt_together_as_one_by_one(texts: list[str]) -> None:
    lines = [text for text in texts if not BREAKS.search(text)] or [""]
    respelt = respell_lines(lines)
    assert respelt == [respell(line) for line in lines]
    assert tidy_lines(respelt) == [tidy(line) for line in respelt]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.from_regex(r'[一é😋"\\\\/,\n]{0,6}', fullmatch=True),
            st.text(st.characters(codec="utf-8"), max_size=6),
            st.from_regex(r'[一二"\\\\/,\n\x00-\x20]{0,6}', fullmatch=True),
        ),
        max_size=4,
    )
)
def test_conversations_hold_what_json_writes_for_each(parts: list[tuple[str, str, str]]) -> None:
    conversations = Conversations('系"统\\')
    texts = [f"{text}\n" for part in parts for text in part[1:]]
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    ends = np.cumsum([0, *map(len, texts)])
    bounds = np.stack((ends[:-1:2], ends[1::2], ends[2::2]))
    found, sizes = conversations.recipes([part[0] for part in parts], codes, bounds)
    rests = [rest + b"\n" for rest in found.tobytes().split(b"\n")[:-1]]
    assert sizes.tolist() == list(map(len, rests))
    lines = [conversations.start + rest for rest in rests]
    for line, (asked, ingredients, steps) in zip(lines, parts, strict=True):
        turn = {"system": '系"统\\', "input": asked, "output": answer(ingredients, steps)}
        assert line == orjson.dumps({"conversation": [turn]}, option=orjson.OPT_APPEND_NEWLINE)


@pytest.mark.parametrize("again", [False, True])
@settings(max_examples=150, deadline=None)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=5), language=st.sampled_from(["zh", "en", None])
)
@example(records=[{"name": "青菜", "recipeIngredient": ["http://a.cn/1"]}], language="zh")
def test_a_chunk_is_its_records_one_by_one(
    again: bool, records: list[dict[str, object]], language: str | None
) -> None:
    style = Style(corpus_settings(forms={"的做法": 1.0}, language=language), 3)
    batch, rejected = make_samples(records * (1 + again), style)
    samples = b"".join(batch.samples).splitlines(keepends=True)
    found = dict(zip(batch.rows, zip(batch.contents, samples, strict=True), strict=True))
    for row, record in enumerate(records * (1 + again)):
        try:
            recipe = parse(record)
            judge(recipe, style.settings)
        except Rejected as why:
            assert rejected[row].reason == why.reason
            continue
        content, sample = found[row]
        text = answer("\n".join(recipe.ingredients), "\n".join(recipe.steps))
        assert text.encode().replace(b"\n", b"\\n") in sample or "\\" in text or '"' in text
        ingredients = sorted(map(letters, recipe.ingredients))
        known_by = "".join(f"{line}\n" for line in [*ingredients, ""])
        known_by += "".join(map(letters, recipe.steps))
        assert content == content_key(known_by.encode())
