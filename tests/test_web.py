"""What the web page asks of the servers, and the HTML it makes of their answers."""

import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("openai")

import web
from butler.errors import ButlerError
from butler.web.ask import ChatOptions, Reply, Served, ask, question, served_by
from butler.web.view import show
from scripted_api import MODEL, RECIPE, Api, scripted_api


@pytest.fixture
def api():
    with scripted_api() as running:
        yield running


def reply(text: str, **more: object) -> Reply:
    return Reply("w4", text=text, **{"done": True, "finish": "stop", **more})


def test_a_recipe_is_shown_as_ingredients_and_numbered_steps() -> None:
    html = show(reply(RECIPE))
    assert "<ul><li>3个西红柿</li>" in html
    assert html.count("<li>") == 6
    # The list numbers them itself.
    assert "<ol><li>西红柿切块。</li><li>鸡蛋打散炒熟。</li>" in html
    assert "按以下方法制作" not in html


def test_nothing_of_an_answer_becomes_markup() -> None:
    html = show(Reply("<i>m</i>", text="<script>x</script>", error="<img src=x>", done=True))
    for tag in ("<script", "<img", "<i>"):
        assert tag not in html
    assert "<b>" not in show(reply(RECIPE))


def test_an_answer_is_shown_while_it_grows() -> None:
    cut = RECIPE.index("方法")
    html = show(reply(RECIPE[:cut], done=False))
    assert "<li>少许盐</li></ul>" in html and "按以下" not in html
    assert "正在想" in show(reply("", done=False))
    assert "没有写出内容" in show(reply(" \n"))


def test_text_that_is_no_recipe_is_shown_as_it_is() -> None:
    assert "<p>您好</p><p>想吃什么？</p>" in show(reply("您好\n想吃什么？"))


def test_a_cut_answer_says_so() -> None:
    assert "没有写完" in show(reply(RECIPE, finish="length", first=0.1, seconds=1.0))


@pytest.mark.parametrize(
    ("dish", "asked"),
    [("红烧肉", "红烧肉的做法"), (" 红烧肉怎么做 ", "红烧肉怎么做"), ("鱼的做法", "鱼的做法")],
)
def test_a_dish_becomes_the_question_of_training(dish: str, asked: str) -> None:
    assert question(dish) == asked


def test_the_settings_reach_the_server(api: Api) -> None:
    settings = ChatOptions("系统", 0.3, 0.5, 7, 1.1, 99, 5)
    [last] = list(ask(served_by(api.url), "鱼的做法", settings))[-1]
    assert (last.text, last.finish, last.done, last.error) == (RECIPE, "stop", True, "")
    [sent] = api.requests
    assert sent["messages"] == [
        {"role": "system", "content": "系统"},
        {"role": "user", "content": "鱼的做法"},
    ]
    wanted = {"temperature": 0.3, "top_p": 0.5, "top_k": 7, "repetition_penalty": 1.1}
    wanted |= {"max_tokens": 99, "seed": 5, "model": MODEL, "stream": True}
    assert {name: sent[name] for name in wanted} == wanted


def test_two_models_answer_side_by_side_and_grow(api: Api) -> None:
    lengths = []
    for replies in ask(served_by(api.url) * 2, "鱼的做法", ChatOptions()):
        lengths.append([len(one.text) for one in replies])
    assert len(lengths) > 2 and lengths == sorted(lengths)
    assert lengths[-1] == [len(RECIPE)] * 2


def test_leaving_ends_the_request(api: Api) -> None:
    api.pause = 0.2
    answers = ask(served_by(api.url), "鱼的做法", ChatOptions())
    while not next(answers)[0].text:
        pass
    answers.close()
    assert api.left.wait(5)


def test_a_refusal_is_the_servers_sentence(api: Api) -> None:
    models = served_by(api.url)
    api.refuse = "the prompt has 900 tokens"
    [last] = list(ask(models, "鱼的做法", ChatOptions()))[-1]
    assert last.error == "the prompt has 900 tokens"


def test_a_server_that_is_gone_is_told(api: Api) -> None:
    gone = Served("x", "http://127.0.0.1:9/v1")
    [last] = list(ask([gone], "鱼的做法", ChatOptions()))[-1]
    assert "没有响应" in last.error and last.done
    with pytest.raises(ButlerError, match="nobody answers at http://127.0.0.1:9/v1"):
        served_by(gone.url)
    with pytest.raises(ButlerError, match="foo is no address of an API"):
        served_by("foo")


def test_the_log_of_a_server_that_does_not_come_up_stays(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "empty").mkdir()
    args = web.parse_args([str(tmp_path / "empty"), "--engine", "reference", "--threads", "1"])
    with pytest.raises(ButlerError, match="its log .* ends: ") as caught, ExitStack() as stack:
        web.start(args, stack)
    assert Path(str(caught.value).split("its log ")[1].split(" ends: ")[0]).is_file()


def test_a_port_that_is_none_is_refused_before_a_server_starts(capsys) -> None:
    with pytest.raises(SystemExit):
        web.parse_args(["w4", "--port", "99999"])
    assert "argument --port: 99999 is not in 0..65535" in capsys.readouterr().err


def test_a_port_in_use_is_told_before_a_model_is_loaded(tmp_path, monkeypatch) -> None:
    started = []
    monkeypatch.setattr(web, "start", lambda *given: started.append(given))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ButlerError, match=f"cannot listen on 127.0.0.1:{port}: .*--port"):
            web.main([str(tmp_path), "--port", str(port)])
    assert not started


def test_workspaces_of_one_name_are_refused(tmp_path) -> None:
    for folder in ("a/w4", "b/w4"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ButlerError, match="both named w4"):
        web.model_names([tmp_path / "a/w4", tmp_path / "b/w4"])
    with pytest.raises(ButlerError, match="is no folder; make it with: snakemake "):
        web.model_names([tmp_path / "c"])
