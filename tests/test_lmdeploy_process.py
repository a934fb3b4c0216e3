"""What serve.py does around LMDeploy's server: no file of ours reaches it, and it ends with us."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from real_tools import SCRIPTS

# Stands in for LMDeploy's server: what serve.py does around it is what is tested.
SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(" ".join(os.listdir("/proc/self/fd")).encode())

HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
DRIVER = """
import os, sys
import serve

os.dup2(os.open("/dev/null", os.O_RDONLY), 77, inheritable=True)
serve.READY_TIMEOUT_S = {ready}
serve.STOP_TIMEOUT_S = 1
serve.lmdeploy_command = lambda args, name, port: [sys.executable, "-c", {code!r}, str(port)]
serve.run_cli(serve.main)
"""


def driver(code, tmp_path, *more, ready=60):
    program = DRIVER.format(code=code, ready=ready)
    command = [sys.executable, "-c", program, "--workspace", str(tmp_path)]
    command += [
        "--engine",
        "lmdeploy",
        "--port",
        "0",
        "--port-file",
        str(tmp_path / "port"),
        *more,
    ]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_lmdeploy_gets_no_open_file_of_ours_and_ends_with_us(tmp_path):
    process = driver(SERVER, tmp_path)
    port = tmp_path / "port"
    end = time.monotonic() + 30
    while not port.exists() and time.monotonic() < end:
        time.sleep(0.1)
    url = f"http://127.0.0.1:{port.read_text().strip()}/v1/models"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        assert "77" not in answer.read().decode().split()
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not port.exists()
    with pytest.raises(OSError):
        opener.open(url, timeout=5)


def test_lmdeploys_failure_is_ours(tmp_path):
    process = driver("import sys; sys.exit(3)", tmp_path, "--queue", "4")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 3
    assert not (tmp_path / "port").exists()
    assert "note: LMDeploy has no --queue and serves without\n" in said
    assert "--timeout" not in said, "which was not given"


def test_a_server_that_never_answers_is_ended_with_one_sentence(tmp_path):
    deaf = "import os, signal, sys, time\n"
    deaf += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    deaf += "print('PID', os.getpid(), file=sys.stderr, flush=True)\ntime.sleep(60)"
    process = driver(deaf, tmp_path, ready=2)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "does not answer on http://127.0.0.1:" in said and "after 2 s" in said
    assert "Traceback" not in said and not (tmp_path / "port").exists()
    assert not Path("/proc", said.split("PID ")[1].split()[0]).exists()
