"""A stand-in for a model server in tests of what evaluation does when one misbehaves.

Takes the command line of workflow/scripts/serve.py and answers by a script given in the
environment: BUTLER_TEST_ANSWER (fixed text, or `echo` for the last user turn), BUTLER_TEST_MODE
(`crash` before serving, `idle` without ever serving, `die` with the third question, `fail` with
status 500), BUTLER_TEST_CUT (the answer to a last user turn with this text in it comes late, and
ends at its limit). Every request is appended to BUTLER_TEST_REQUESTS.
"""

import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

MODE = os.environ.get("BUTLER_TEST_MODE", "")
REQUESTS = Path(os.environ["BUTLER_TEST_REQUESTS"])
LOCK = Lock()


class Handler(BaseHTTPRequestHandler):
    model = ""
    asked = 0

    def reply(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        models = {"data": [{"id": self.model, "owned_by": "recipe-butler"}]}
        self.reply(models if "models" in self.path else {"status": "ok"})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOCK:
            Handler.asked += 1
            with REQUESTS.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(request, ensure_ascii=False) + "\n")
        if MODE == "die" and Handler.asked >= 3:
            print("out of memory in layer 7", file=sys.stderr, flush=True)
            os._exit(9)
        if MODE == "fail":
            self.reply({"error": {"message": "no"}}, 500)
            return
        answer = os.environ.get("BUTLER_TEST_ANSWER", "B")
        asked = request["messages"][-1]["content"]
        if answer == "echo":
            answer = asked
        cut = os.environ.get("BUTLER_TEST_CUT", "no such text") in asked
        if cut:
            time.sleep(0.3)
        message = {"role": "assistant", "content": answer}
        choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
        self.reply(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": self.model,
                "choices": [choice],
            }
        )

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("script")
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--port-file", required=True, type=Path)
    arguments, _ = parser.parse_known_args()
    if MODE == "crash":
        print("no such workspace: weights are missing", file=sys.stderr)
        sys.exit(3)
    if MODE == "idle":
        REQUESTS.with_suffix(".pid").write_text(str(os.getpid()))
        time.sleep(60)
    Handler.model = arguments.model_name
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    REQUESTS.with_suffix(".pid").write_text(str(os.getpid()))
    arguments.port_file.write_text(str(server.server_port))
    server.serve_forever()


if __name__ == "__main__":
    main()
