"""serve.py with TurboMind on a real GPU, as tests start it, wait for it and ask it."""

import json
import subprocess
import time
import urllib.request
from pathlib import Path

from real_tools import SCRIPTS, python_of

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def serve(tool: str, workspace: Path, folder: Path, *more: str) -> subprocess.Popen:
    """Start serve.py in a tool's environment; its output and its port go to files in `folder`."""
    command = [python_of(tool), str(SCRIPTS / "serve.py"), "--workspace", str(workspace)]
    command += ["--engine", "turbomind", "--port", "0", "--port-file", str(folder / "port"), *more]
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
