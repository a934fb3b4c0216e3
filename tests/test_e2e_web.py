"""The web page in a real browser: asked, streamed, compared, stopped, on a phone."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
httpx = pytest.importorskip("httpx")

from browser import chromium
from real_tools import ROOT, SCRIPTS, python_of
from scripted_api import MODEL, Api, scripted_api
from tiny_workspace import Tiny

pytestmark = pytest.mark.e2e
DISH = "#dish textarea, #dish input"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise AssertionError("not up in 120 s: " + log.read_text())


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    assert process.wait(30) == 128 + 15


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny().build(tmp_path_factory.mktemp("web") / "tiny")


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with scripted_api() as running:
        yield running


@pytest.fixture(scope="module")
def url(workspace: Path, api: Api) -> Iterator[str]:
    """Yield the page's address: of a workspace that it serves itself, and of a running API."""
    port, log = free_port(), workspace.parent / "log"
    command = [python_of("lmdeploy"), SCRIPTS / "web.py", workspace, "--api", api.url]
    command += ["--engine", "reference", "--port", str(port)]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        wait_until_up(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    with browser.new_context(viewport={"width": 1100, "height": 900}) as context:
        yield opened(context, url)


def opened(context: Any, url: str) -> Any:
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(DISH, timeout=60000)
    return page


def choose(page: Any, box: str, name: str) -> None:
    page.click(f"{box} input")
    page.locator(box).get_by_role("option", name=name, exact=True).click()


def test_a_streamed_recipe_arrives(page: Any, api: Api) -> None:
    choose(page, "#first", MODEL)
    api.pause = 0.1
    page.fill(DISH, "西红柿炒鸡蛋")
    page.click("#go")
    page.wait_for_selector("#left .answer.growing li")
    page.wait_for_selector("#left .answer.done")
    assert page.locator("#left ul li").all_inner_texts() == [
        "3个西红柿",
        "4个<b>鸡蛋</b>",
        "少许盐",
    ]
    assert page.locator("#left ol li").count() == 3
    assert api.requests[-1]["messages"][-1]["content"] == "西红柿炒鸡蛋的做法"
    assert "厨师" in api.requests[-1]["messages"][0]["content"]
    assert "seed" not in api.requests[-1] or api.requests[-1]["seed"] is None


def test_settings_are_folded_away_and_count(page: Any, api: Api) -> None:
    choose(page, "#first", MODEL)
    api.pause = 0.0
    assert not page.locator("#system textarea").is_visible()
    page.click("text=更多设置")
    page.fill("#system textarea", "你只做素菜")
    page.fill("#longest input[type=number]", "64")
    page.fill("#seed textarea, #seed input", "7")
    page.fill(DISH, "豆腐")
    page.keyboard.press("Enter")
    page.wait_for_selector("#left .answer.done")
    sent = api.requests[-1]
    assert sent["messages"][0] == {"role": "system", "content": "你只做素菜"}
    assert (sent["max_tokens"], sent["seed"]) == (64, 7)


def test_two_models_are_compared_side_by_side(page: Any, api: Api) -> None:
    api.pause = 0.0
    choose(page, "#first", MODEL)
    choose(page, "#second", "tiny")
    page.get_by_role("button", name="香菇蒸蛋").click()
    page.wait_for_selector("#left .answer.done")
    page.wait_for_selector("#right .answer.done", timeout=60000)
    assert page.locator("#right .model").inner_text() == "tiny"
    assert page.locator("#right .failed").count() == 0
    left, right = (page.locator(f"#{side} .answer").bounding_box() for side in ("left", "right"))
    assert left["x"] + left["width"] <= right["x"] and abs(left["y"] - right["y"]) < 2


def test_an_answer_can_be_stopped(page: Any, api: Api) -> None:
    choose(page, "#first", MODEL)
    api.pause, api.left = 0.3, type(api.left)()
    page.fill(DISH, "鱼")
    page.click("#go")
    page.wait_for_selector("#left .answer.growing li")
    page.click("#stop")
    assert api.left.wait(10)


def test_a_refusal_and_an_empty_question_are_told(page: Any, api: Api) -> None:
    choose(page, "#first", MODEL)
    page.click("#go")
    page.wait_for_selector("text=先写一道菜名")
    api.refuse = "the prompt has 900 tokens"
    try:
        page.fill(DISH, "鱼")
        page.click("#go")
        page.wait_for_selector("#left .failed")
        assert "900 tokens" in page.locator("#left .failed").inner_text()
    finally:
        api.refuse = ""


def test_on_a_phone_nothing_is_cut_off(browser: Any, url: str, api: Api) -> None:
    api.pause = 0.0
    phone = {"viewport": {"width": 375, "height": 800}, "is_mobile": True, "has_touch": True}
    with browser.new_context(**phone) as context:
        page = opened(context, url)
        choose(page, "#first", MODEL)
        choose(page, "#second", "tiny")
        page.get_by_role("button", name="清炒丝瓜").click()
        page.wait_for_selector("#right .answer.done", timeout=60000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        left, right = (
            page.locator(f"#{side} .answer").bounding_box() for side in ("left", "right")
        )
        assert right["y"] >= left["y"] + left["height"]


def test_the_hosted_app_starts_by_its_environment(workspace: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    settings = {"MODEL_PATH": str(workspace), "PORT": str(port), "HOST": "127.0.0.1"}
    command = [python_of("lmdeploy"), ROOT / "deploy" / "app.py"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=os.environ | settings
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}", process, log)
    finally:
        stop(process)
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"MODEL_PATH": ""}
    )
    assert done.returncode == 1 and done.stderr.startswith("error: MODEL_PATH is not set")
