"""The models that the page offers: of servers that it starts itself, and of APIs that run."""

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai

from butler.errors import ButlerError
from butler.serve.model_server import RunningServer, ServerPlan, running_server

TIMEOUT_S = 600.0
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


class OwnServer:
    """A server that the page starts, and starts again when it has ended."""

    def __init__(self, plan: ServerPlan, folder: Path) -> None:
        """Start nothing yet; the server's log will lie in `folder`."""
        self._plan, self._folder = plan, folder
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._server: RunningServer | None = None

    def runs(self) -> bool:
        """Say whether the process is there."""
        return self._server is not None and self._server.process.poll() is None

    def url(self) -> str:
        """Return the address of its API, once it answers there.

        Raises:
            ButlerError: if it does not come up.
        """
        with self._lock:
            if self._server is None or not self.runs():
                self._stack.close()
                running = running_server(self._plan, self._folder)
                self._server = self._stack.enter_context(running)
            return f"{self._server.url}/v1"

    def close(self) -> None:
        """End it."""
        self._stack.close()


@dataclass(frozen=True)
class Served:
    """A model, and the API that serves it: at an address that ends in /v1, or the page's own."""

    name: str
    at: str | OwnServer
    api_key: str | None = None

    def url(self) -> str:
        """Return the API's address; an own server that has ended is started for it.

        Raises:
            ButlerError: if it does not come up.
        """
        return self.at if isinstance(self.at, str) else self.at.url()

    def ended(self) -> bool:
        """Say whether it is an own server that does not run."""
        return isinstance(self.at, OwnServer) and not self.at.runs()

    def machine(self) -> str | None:
        """Return the host that it runs on, which is "" for this machine."""
        host = urlsplit(self.at).hostname if isinstance(self.at, str) else ""
        return "" if host in _THIS_MACHINE else host


def _outside(url: str) -> bool:
    """Say whether `url` may be asked for through a proxy: one on this machine must not."""
    return urlsplit(url).hostname not in _THIS_MACHINE


def client_of(url: str, api_key: str | None) -> openai.AsyncOpenAI:
    """Return a client of the API at `url`."""
    http = httpx.AsyncClient(trust_env=_outside(url), timeout=TIMEOUT_S)
    return openai.AsyncOpenAI(
        base_url=url, api_key=api_key or "none", http_client=http, max_retries=2
    )


def served_by(url: str, api_key: str | None = None) -> list[Served]:
    """Return the models of a running API; `url` is its address with or without /v1.

    Raises:
        ButlerError: if it cannot be asked.
    """
    if not url.startswith(("http://", "https://")):
        raise ButlerError(f"{url} is no address of an API; give one such as http://127.0.0.1:23333")
    base = url.rstrip("/").removesuffix("/v1") + "/v1"
    http = httpx.Client(trust_env=_outside(base), timeout=TIMEOUT_S)
    try:
        with openai.OpenAI(base_url=base, api_key=api_key or "none", http_client=http) as client:
            models = client.models.list().data
    except openai.APIConnectionError as error:
        raise ButlerError(f"nobody answers at {base}; start that server first") from error
    except openai.OpenAIError as error:
        said = server_sentence(error) or str(error)
        raise ButlerError(f"the API at {base} does not tell its models: {said}") from error
    return [Served(model.id, base, api_key) for model in models]


def server_sentence(error: Exception) -> str:
    """Return the sentence that a server refused with; "" if it sent none."""
    body = getattr(error, "body", None)
    return str(body.get("message") or "") if isinstance(body, dict) else ""
