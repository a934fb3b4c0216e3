"""What the web page asks of the servers, and what it shows of their answers."""

import asyncio
import json
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("openai")

import web
from butler.corpus.formats import FORMATS
from butler.errors import ButlerError
from butler.lmdeploy.engine_settings import EngineSettings
from butler.lmdeploy.served_folder import write_record
from butler.lmdeploy.workspace_files import CONFIG
from butler.serve.model_server import ServerPlan
from butler.web.ask import ChatOptions, Fault, Reply, ask
from butler.web.conversation import (
    answer_of,
    as_message,
    conversation,
    question,
    shown,
    written,
)
from butler.web.feedback import check_writable, keep
from butler.web.models import OwnServer, Served, served_by
from butler.web.subject import DISHES, RECIPE_FORMATS
from butler.web.words import EN, LANGUAGES, ZH, language_of
from scripted_api import MODEL, RECIPE, Api, scripted_api

ASKED = [{"role": "user", "content": "鱼的做法"}]


@pytest.fixture
def api():
    with scripted_api() as running:
        yield running


def reply(text: str, **more: object) -> Reply:
    return Reply("w4", text=text, **{"done": True, "finish": "stop", **more})


def asked(models: list[Served], options: ChatOptions | None = None, in_turn=False) -> list[Reply]:
    """Return the replies once all are there."""

    async def last() -> list[Reply]:
        turns = [ASKED] * len(models)
        return [one async for one in ask(models, turns, options or ChatOptions(), in_turn)][-1]

    return asyncio.run(last())


def user(text: str) -> dict:
    return {"role": "user", "content": text, "metadata": None}


@pytest.mark.parametrize("text", [RECIPE, "a < b &lt; <think>x</think> &", "![](http://x/y.png)"])
@pytest.mark.parametrize("named", [True, False])
def test_an_answer_is_shown_letter_by_letter_and_read_back_whole(text: str, named: bool) -> None:
    message = as_message(reply(text, finish="length"), ZH, named)
    assert answer_of(message) == text
    assert message["content"].startswith("w4\n\n") == named
    assert written(shown(text)) == text
    # What HTML takes for a tag or an entity begins with < or & and a letter, /, ! or #.
    assert not any(two in message["content"] for two in ("<t", "</", "&l", "<b"))


@pytest.mark.parametrize("words", LANGUAGES.values(), ids=LANGUAGES)
def test_an_answer_that_is_not_whole_says_so_in_the_chat(words) -> None:
    for one, said in (
        (reply(RECIPE, finish="length"), words.unfinished),
        (reply(" \n"), words.empty),
        (reply("", fault=Fault.TOO_LONG, said="900 tokens"), words.faults[Fault.TOO_LONG]),
    ):
        assert said in as_message(one, words, True)["content"]
    assert (
        "900 tokens"
        in as_message(reply("", fault=Fault.TOO_LONG, said="900 tokens"), words, 1)["content"]
    )
    assert set(words.faults) == set(Fault)
    # Of an answer that has not begun nothing is written that would stay once it is stopped.
    assert as_message(reply("", done=False), words, True)["content"] == "w4\n\n"
    assert as_message(reply("", done=False), words, False)["content"] == ""


@pytest.mark.parametrize(
    ("dish", "wanted"),
    [
        ("红烧肉", "红烧肉的做法"),
        (" 红烧肉怎么做 ", "红烧肉怎么做"),
        ("鱼的做法", "鱼的做法"),
        ("hello", "hello"),
        ("长" * 12000, "长" * 12000),
    ],
)
def test_a_dish_becomes_the_question_of_training(dish: str, wanted: str) -> None:
    assert question(dish, "的做法") == wanted
    assert question(dish, "") == dish.strip()


def test_a_model_is_asked_its_own_conversation() -> None:
    fp16, w4 = (as_message(Reply(name, f"{name}<b>"), ZH, True) for name in ("fp16", "w4"))
    failed = as_message(Reply("w4", fault=Fault.GONE, done=True), ZH, True)
    history = [user("鱼"), fp16, w4, user("stopped"), user("肉"), fp16, failed]
    assert conversation(history, "谢谢", "w4", "的做法") == [
        {"role": "user", "content": "鱼的做法"},
        {"role": "assistant", "content": "w4<b>"},
        {"role": "user", "content": "肉"},
        {"role": "assistant", "content": "fp16<b>"},
        {"role": "user", "content": "谢谢"},
    ]
    assert conversation([], "鱼", "w4", "的做法") == ASKED


def test_recipes_are_those_of_the_corpus_stage() -> None:
    assert set(RECIPE_FORMATS) == {name for name, form in FORMATS.items() if form.recipes}


def run_of(folder: Path, **corpus: object) -> Path:
    """Return a workspace of a run whose corpus was so configured."""
    (folder / "results").mkdir()
    (folder / "results/config.yaml").write_text(json.dumps({"corpus": corpus}), encoding="utf-8")
    workspace = folder / "workspaces/w4"
    workspace.mkdir(parents=True)
    return workspace


def test_the_page_of_a_model_of_another_domain_speaks_of_no_dishes(tmp_path: Path) -> None:
    workspace = run_of(tmp_path, format="alpaca", system="你是律师", recipes={"question_forms": {}})
    subject = web.subject_of(web.parse_args([str(workspace)]))
    assert subject.system == "你是律师"
    for words, dish in ((ZH, "菜怎么"), (EN, "dish")):
        said = words.about(subject) + words.hint(subject)
        assert dish not in said and not any(one in said for one in DISHES)
        assert words.tiny.format(mib=0) in said


def test_the_page_of_a_model_of_recipes_says_how_to_ask_for_a_dish(tmp_path: Path) -> None:
    forms = {"的家常做法": 1.0, "的做法": 6.0}
    workspace = run_of(tmp_path, format="markdown", system="s", recipes={"question_forms": forms})
    subject = web.subject_of(web.parse_args([str(workspace), "--system", "你是厨师"]))
    assert (subject.system, subject.ending) == ("你是厨师", "的做法")
    assert "问一道菜怎么做" in ZH.about(subject) and "how a dish is made" in EN.about(subject)
    assert ZH.hint(subject).endswith("芹菜炒鸡蛋怎么做") and "芹菜炒鸡蛋" in EN.hint(subject)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("fr,zh-TW;q=0.5", "zh"),
        ("en;q=0.1, zh;q=0.2", "zh"),
        ("fr", "en"),
        ("", "en"),
        ("zh;q=x", "en"),
    ],
)
def test_the_language_is_the_browsers(accepted: str, language: str) -> None:
    assert language_of(accepted) == language


def test_both_languages_fill_in_the_same() -> None:
    for name, text in vars(ZH).items():
        if isinstance(text, str):
            other = getattr(EN, name)
            assert [one.split("}")[0] for one in text.split("{")[1:]] == [
                one.split("}")[0] for one in other.split("{")[1:]
            ], name


def test_the_settings_reach_the_server(api: Api) -> None:
    [last] = asked(served_by(api.url), ChatOptions("系统", 0.3, 0.5, 7, 1.1, 99, 5))
    assert (last.text, last.finish, last.done, last.fault) == (RECIPE, "stop", True, None)
    [sent] = api.requests
    assert sent["messages"] == [{"role": "system", "content": "系统"}, *ASKED]
    wanted = {"temperature": 0.3, "top_p": 0.5, "top_k": 7, "repetition_penalty": 1.1}
    wanted |= {"max_tokens": 99, "seed": 5, "model": MODEL, "stream": True}
    assert {name: sent[name] for name in wanted} == wanted


@pytest.mark.parametrize("in_turn", [False, True])
def test_two_models_answer_at_once_or_in_turn_and_grow(api: Api, in_turn: bool) -> None:
    lengths: list[list[int]] = []

    async def watch() -> None:
        models = served_by(api.url) * 2
        async for replies in ask(models, [ASKED] * 2, ChatOptions(), in_turn):
            lengths.append([len(one.text) for one in replies])

    asyncio.run(watch())
    assert len(lengths) > 2 and lengths == sorted(lengths)
    assert lengths[-1] == [len(RECIPE)] * 2
    assert all(one == len(RECIPE) for one, other in lengths if other and in_turn)


@pytest.mark.parametrize("begun", [False, True])
def test_leaving_ends_the_request(api: Api, begun: bool) -> None:
    api.pause, api.wait = 0.2, 0.0 if begun else 2.0

    async def leave() -> None:
        answers = ask(served_by(api.url), [ASKED], ChatOptions())
        async for [one] in answers:
            if bool(one.text) == begun and api.requests:
                break
        await answers.aclose()

    asyncio.run(leave())
    assert api.left.wait(5)


def test_a_refusal_is_the_servers_sentence(api: Api) -> None:
    models = served_by(api.url)
    api.refuse = "temperature is -1"
    [last] = asked(models)
    assert (last.fault, last.said) == (Fault.REFUSED, "temperature is -1")


def test_a_server_that_is_gone_is_told(api: Api) -> None:
    gone = Served("x", "http://127.0.0.1:9/v1")
    [last] = asked([gone])
    assert last.fault == Fault.GONE and last.done
    with pytest.raises(ButlerError, match="nobody answers at http://127.0.0.1:9/v1"):
        served_by(gone.url())
    with pytest.raises(ButlerError, match="foo is no address of an API"):
        served_by("foo")


def test_what_runs_on_one_machine_is_known() -> None:
    here = ["http://localhost:1/v1", "http://127.0.0.1:2/v1", "http://[::1]:3/v1"]
    assert {Served("x", url).machine() for url in here} == {""}
    assert Served("x", "http://gpu1:1/v1").machine() == "gpu1"


def test_feedback_is_a_line_for_each_verdict(tmp_path) -> None:
    file = tmp_path / "feedback.jsonl"
    check_writable(file)
    answer = as_message(reply(RECIPE), ZH, True)
    history = [user("=鱼"), answer, user("later")]
    keep(file, history, 1, True)
    keep(file, history, 1, False)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["liked"] for line in lines] == [True, False]
    assert lines[0]["model"] == "w4"
    assert lines[0]["conversation"] == [
        {"role": "user", "content": "=鱼"},
        {"role": "assistant", "model": "w4", "content": RECIPE},
    ]
    with pytest.raises(ButlerError, match="name another file with --feedback, or --feedback none"):
        check_writable(tmp_path)


def test_the_log_of_a_server_that_does_not_come_up_stays(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    empty = tmp_path / "empty" / CONFIG
    empty.parent.mkdir(parents=True)
    empty.touch()
    args = web.parse_args([str(tmp_path / "empty"), "--engine", "reference", "--threads", "1"])
    with pytest.raises(ButlerError, match="its log .* ends: ") as caught, ExitStack() as stack:
        web.start(args, stack)
    assert Path(str(caught.value).split("its log ")[1].split(" ends: ")[0]).is_file()


def test_a_server_that_cannot_be_started_again_is_told(tmp_path, capfd) -> None:
    plan = ServerPlan(Path(sys.executable), tmp_path / "none", "x", "reference", 1)
    [last] = asked([Served("x", OwnServer(plan, tmp_path / "log"))])
    assert last.fault == Fault.NOT_STARTED
    assert "before it was ready; its log" in capfd.readouterr().err


def test_a_port_that_is_none_is_refused_before_a_server_starts(capsys) -> None:
    with pytest.raises(SystemExit):
        web.parse_args(["w4", "--port", "99999"])
    assert "argument --port: 99999 is not in 0..65535" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_told_before_a_model_is_loaded(tmp_path, monkeypatch, host) -> None:
    started: list[object] = []
    monkeypatch.setattr(web, "start", lambda *given: started.append(given))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [str(tmp_path), "--host", host, "--port", str(port), "--feedback", "none"]
        with pytest.raises(ButlerError, match=f"cannot listen on {host}:{port}: .*--port"):
            web.main(words)
    assert not started


def test_workspaces_of_one_name_are_refused(tmp_path) -> None:
    for folder in ("a/w4", "b/w4"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ButlerError, match="both named w4"):
        web.model_names([tmp_path / "a/w4", tmp_path / "b/w4"])
    with pytest.raises(ButlerError, match="is no folder; make it with: snakemake "):
        web.model_names([tmp_path / "c"])


def test_a_model_folder_is_served_by_its_own_release(tmp_path, monkeypatch):
    here, model = tmp_path / ".envs" / "lmdeploy", tmp_path / "awq"
    monkeypatch.setattr(sys, "prefix", str(here))
    model.mkdir()
    config = {"num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 1024}
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    (model / "model.safetensors").write_bytes(b"")
    (model / "chat_template.json").write_text("{}")
    settings = {"quant_policy": 8, "cache_max_entry_count": 0.4, "session_len": 320}
    write_record(model, "0.18.0", EngineSettings(**settings))
    with pytest.raises(ButlerError, match=r"awq is served .* snakemake .envs/lmdeploy-latest.json"):
        web.server_python(model)
    python = tmp_path / ".envs" / "lmdeploy-latest" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert web.server_python(model) == python
