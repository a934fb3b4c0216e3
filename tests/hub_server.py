"""A model hub on this machine that speaks what the two hubs' own client libraries ask for.

As huggingface_hub 0.36 and modelscope_hub 0.5 ask it, by their code; the hubs' own servers were not
to be reached. One model at one commit, in `folder`.
"""

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

MODEL = "someone/tiny"
COMMIT = "5ca1ab1e" * 5
TAG = "v1.0.0"
BRANCH = "master"
LARGE = (".safetensors", ".bin")  # kept in another place, as large files are


class HubServer(ThreadingHTTPServer):
    """What is served and what was asked: `asked` holds (method, file name, Range or "")."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.asked: list[tuple[str, str, str]] = []
        self.cut: dict[str, int] = {}  # file name: bytes after which its first answer ends
        self.damaged: set[str] = set()  # files whose bytes are not those that are listed

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def fetched(self) -> set[str]:
        """Return the names of the files whose bytes were sent."""
        return {name for method, name, _ in self.asked if method == "GET"}


@contextmanager
def serving(folder: Path) -> Iterator[HubServer]:
    """Serve the model in `folder` while the block runs."""
    server = HubServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def unreachable() -> str:
    """Return an address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Write nothing: the tests look at what was asked."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        if path.startswith("/api/v1/"):
            return self._modelscope(path.removeprefix("/api/v1/"), query)
        if path.startswith("/large/"):
            return self._bytes(path.removeprefix("/large/"), {})
        return self._hugging_face(path)

    def _hugging_face(self, path: str) -> None:
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = info or file
        if found is None or found[1] != MODEL:
            return self._hugging_face_error(401 if found else 404, "RepoNotFound")
        if found[2] != COMMIT:
            return self._hugging_face_error(404, "RevisionNotFound")
        if info:
            siblings = [self._sibling(one) for one in self.server.files()]
            return self._json({"id": MODEL, "sha": COMMIT, "siblings": siblings})
        source = self.server.folder / found[3]
        if not source.is_file():
            return self._hugging_face_error(404, "EntryNotFound")
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_sha256(source)[:40]}"'}
        if source.suffix not in LARGE:
            return self._bytes(found[3], headers)
        headers |= {
            "X-Linked-Etag": f'"{_sha256(source)}"',
            "X-Linked-Size": str(source.stat().st_size),
            "Location": f"{self.server.address}/large/{found[3]}",
        }
        self._send(302, b"", headers)

    def _sibling(self, path: Path) -> dict[str, object]:
        name, size = path.relative_to(self.server.folder).as_posix(), path.stat().st_size
        large = {"sha256": _sha256(path), "size": size, "pointerSize": 130}
        entry = {"rfilename": name, "size": size, "blobId": _sha256(path)[:40]}
        return entry | ({"lfs": large} if path.suffix in LARGE else {})

    def _hugging_face_error(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _modelscope(self, path: str, query: dict[str, list[str]]) -> None:
        asked = re.fullmatch(r"models/([^/]+/[^/]+)/(revisions|repo/files|repo)", path)
        if asked is None or asked[1] != MODEL:
            return self._modelscope_error("the model is not found")
        if asked[2] == "revisions":
            revisions = {"Branches": [{"Revision": BRANCH}], "Tags": [{"Revision": TAG}]}
            return self._json({"Code": 200, "Data": {"RevisionMap": revisions}, "Success": True})
        if query["Revision"][0] not in (COMMIT, TAG, BRANCH):
            return self._modelscope_error("the revision is not found")
        if asked[2] == "repo":
            return self._bytes(query["FilePath"][0], {})
        files = [
            {"Path": one.name, "Size": one.stat().st_size, "Sha256": _sha256(one), "Type": "blob"}
            for one in self.server.files()
            if one.parent == self.server.folder
        ]
        return self._json({"Code": 200, "Data": {"Files": files}, "Success": True})

    def _modelscope_error(self, message: str) -> None:
        body = json.dumps({"Code": 10010205001, "Message": message, "Success": False})
        self._send(404, body.encode(), {"Content-Type": "application/json"})

    def _bytes(self, name: str, headers: dict[str, str]) -> None:
        """Send a file, or the rest of it that is asked for; the first time perhaps cut short."""
        content = (self.server.folder / name).read_bytes()
        if name in self.server.damaged:
            content = bytes([content[0] ^ 1]) + content[1:]
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.command, name, wanted))
        status, total = 200, len(content)
        if wanted:
            start = int(re.fullmatch(r"bytes=(\d+)-\d*", wanted)[1])
            content, status = content[start:], 206
            headers = headers | {"Content-Range": f"bytes {start}-{total - 1}/{total}"}
        cut = self.server.cut.pop(name, None) if self.command == "GET" else None
        self._send(status, content, headers | {"Accept-Ranges": "bytes"}, cut)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
