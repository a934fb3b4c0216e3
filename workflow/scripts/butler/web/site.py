"""The web application: the page in each language, and nothing that asks for other machines."""

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout

import gradio as gr
import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from gradio import routes
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from butler.web.words import LANGUAGES, Words, language_of

# An answer laid out as Markdown may name an image elsewhere: the browser does not ask for it.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
# Gradio's page asks for a script of a CDN, connects to one for fonts, and names a manifest that a
# page below / has not.
_ELSEWHERE = re.compile(
    r'<script\s+src="https?://[^>]*></script>|<link\s+rel="(?:preconnect|manifest)"[^>]*>'
)


class _OwnOnly:
    """Sends POLICY with every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self._app(scope, receive, sending)


def _without_elsewhere(loader: jinja2.BaseLoader) -> jinja2.BaseLoader:
    """Return a loader of the same templates without what asks for other machines."""

    def load(name: str) -> str:
        source, _, _ = loader.get_source(routes.templates.env, name)
        return _ELSEWHERE.sub("", source)

    return jinja2.FunctionLoader(load)


def site(page: Callable[[Words, str], gr.Blocks]) -> FastAPI:
    """Return the application; `page` makes a page of its words and the other one's address."""
    env = routes.templates.env
    assert env.loader is not None
    env.loader = _without_elsewhere(env.loader)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_OwnOnly)

    @app.get("/")
    def choose(request: Request) -> RedirectResponse:
        """Go to the page in the browser's language; a relative address, below any proxy's path."""
        return RedirectResponse(f"{language_of(request.headers.get('accept-language', ''))}/")

    for code, words in LANGUAGES.items():
        [other] = LANGUAGES.keys() - {code}
        blocks = page(words, f"../{other}/")
        # Gradio prints "new /zh", which tells a user nothing.
        with redirect_stdout(io.StringIO()):
            app = gr.mount_gradio_app(app, blocks, f"/{code}", show_api=False, show_error=False)
    return app
