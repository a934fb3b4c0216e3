"""serve.py with TurboMind on a real GPU, as tests start it, wait for it and ask it."""

import json
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from real_tools import SCRIPTS, python_of

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def serve(tool: str, workspace: Path, folder: Path, *more: str) -> subprocess.Popen:
    """Start serve.py in a tool's environment; its output and its port go to files in `folder`."""
    command = [python_of(tool), str(SCRIPTS / "serve.py"), "--workspace", str(workspace)]
    command += ["--engine", "lmdeploy", "--port", "0", "--port-file", str(folder / "port"), *more]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def wait_for_port(process: subprocess.Popen, folder: Path) -> str:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if (folder / "port").exists():
            return f"http://127.0.0.1:{(folder / 'port').read_text().strip()}"
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        time.sleep(0.2)
    raise AssertionError("not up in time: " + (folder / "log").read_text()[-3000:])


def post(url: str, body: dict) -> str:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with OPENER.open(request, timeout=60) as answer:
        return answer.read().decode()


def compare_on_our_page(folders: list[Path], scratch: Path, *more: str) -> None:
    """Serve two variants to our page, ask both there, and end it."""
    names = [path.name for path in folders]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python_of("lmdeploy"), str(SCRIPTS / "web.py"), "--engine", "lmdeploy"]
    command += ["--port", str(port), *more, *map(str, folders)]
    with (scratch / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 180
    while not answers(url):
        assert process.poll() is None and time.monotonic() < end, (scratch / "log").read_text()
        time.sleep(0.5)
    # Question, models, one after the other, system, temperature, top-p, top-k, repetition, most
    # tokens, seed.
    asked = ["西红柿炒鸡蛋", *names, False, "", 0, 1, 0, 1, 256, ""]
    client = f"gradio_client.Client({url + '/zh/'!r}, verbose=False)"
    code = f"import gradio_client, json; asked = json.loads({json.dumps(asked)!r}); "
    code += f"print(json.dumps({client}.predict(*asked, api_name='/chat')))"
    shown, status = json.loads(
        subprocess.check_output([python_of("lmdeploy"), "-c", code], text=True, timeout=120)
    )
    assert [one["content"].split("\n")[0] for one in shown] == names
    assert all("您需要准备以下食材" in one["content"] for one in shown), shown
    assert all(f"{name}：首字" in status for name in names)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + 15
    assert not answers(url)


def answers(url: str) -> bool:
    try:
        with OPENER.open(url + "/", timeout=5) as page:
            return page.status == 200
    except OSError:
        return False
