"""An OpenAI-compatible API in this process that streams one fixed recipe and keeps the requests."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RECIPE = (
    "您需要准备以下食材:\n3个西红柿\n4个<b>鸡蛋</b>\n少许盐\n"
    "按以下方法制作:\n1. 西红柿切块。\n2. 鸡蛋打散炒熟。\n3. 下西红柿，加盐出锅。"
)
MODEL = "cook"


@dataclass
class Api:
    """Where the API is, what it was asked, and how it answers."""

    url: str = ""
    requests: list[dict] = field(default_factory=list)
    refuse: str = ""  # a sentence that is sent as 400 instead of an answer
    wait: float = 0.0  # seconds before the answer begins
    pause: float = 0.01  # seconds between pieces
    left: threading.Event = field(default_factory=threading.Event)  # a client went away


@contextmanager
def scripted_api() -> Iterator[Api]:
    """Serve while the block runs."""
    api = Api()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    api.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: Api

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        card = {"id": MODEL, "object": "model", "created": 0, "owned_by": "test"}
        self._json({"object": "list", "data": [card]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.api.requests.append(asked)
        if self.api.refuse:
            self._json({"error": {"message": self.api.refuse, "type": "invalid"}}, 400)
            return
        time.sleep(self.api.wait)
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for start in range(0, len(RECIPE), 2):
                self._event({"content": RECIPE[start : start + 2]})
                time.sleep(self.api.pause)
            self._event({}, "stop")
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.api.left.set()

    def _event(self, delta: dict, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": MODEL}
        self.wfile.write(f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass
