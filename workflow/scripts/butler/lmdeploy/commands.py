"""LMDeploy's command lines for a served folder: the API, the terminal chat, the Gradio page."""

import sys
from dataclasses import dataclass

from butler.errors import ButlerError
from butler.lmdeploy.served_folder import TEMPLATE, ServedFolder

# Of a folder's own code the releases since 0.8 ask; 0.7.3 always runs it and knows no such flag.
TRUST = "--trust-remote-code"


@dataclass(frozen=True)
class Request:
    """What the user chose: `face` is api, chat or gradio; `tp` GPUs, `session_len` in tokens.

    Pages of `allow_origins` may ask the API from a browser.
    """

    face: str
    name: str
    host: str
    port: int
    tp: int
    session_len: int
    max_batch: int
    trust_remote_code: bool = False
    api_key: str | None = None
    allow_origins: tuple[str, ...] = ()


def engine_options(folder: ServedFolder, tp: int, session_len: int) -> dict[str, object]:
    """Return the engine's settings for a folder, by their names in LMDeploy's configurations."""
    return {
        "tp": tp,
        "session_len": session_len,
        "quant_policy": folder.settings.quant_policy,
        "cache_max_entry_count": folder.settings.cache_max_entry_count,
    }


def command(folder: ServedFolder, request: Request) -> list[str]:
    """Return the command line that serves `folder`.

    Raises:
        ButlerError: if the folder's release of LMDeploy lacks what is asked for.
    """
    release = folder.release
    if request.face not in release.faces:
        raise ButlerError(
            f"LMDeploy {release.version} has no {request.face} page any more; use --as api or "
            f"--as chat, or a workspace of 0.7.3"
        )
    options: dict[str, object] = {"--backend": folder.backend, "--chat-template": "hf"}
    if release.workspaces:
        # 0.7.3 knows the template by our JSON; later ones take it from the tokenizer ("hf").
        options["--chat-template"] = folder.path / TEMPLATE
    for name, value in engine_options(folder, request.tp, request.session_len).items():
        options[f"--{name.replace('_', '-')}"] = value
    if request.face != "chat":
        options["--server-name"] = request.host
        options["--server-port"] = request.port
        options["--max-batch-size"] = request.max_batch
    if request.face == "api":
        options["--model-name"] = request.name
        if request.api_key:
            options["--api-keys"] = request.api_key
    origins: list[str] = []
    if request.face == "api":
        # Unless told, LMDeploy lets the pages of all sites ask; its own page needs no leave.
        own = f"http://{request.host}:{request.port}"
        origins = ["--allow-origins", *(request.allow_origins or (own,))]
    trust = [TRUST] if request.trust_remote_code and not release.workspaces else []
    words = {"api": ["serve", "api_server"], "chat": ["chat"], "gradio": ["serve", "gradio"]}
    flags = [str(word) for option in options.items() for word in option]
    # -P: what lies in the working directory is no module of LMDeploy's.
    program = [sys.executable, "-P", "-m", "lmdeploy"]
    return [*program, *words[request.face], str(folder.path), *flags, *origins, *trust]


def environment(face: str) -> dict[str, str]:
    """Return what LMDeploy's process needs in its environment beside ours."""
    if face == "gradio":
        # The page's library would otherwise ask its makers for news, and itself through a proxy.
        return {"GRADIO_ANALYTICS_ENABLED": "False", "NO_PROXY": "*", "no_proxy": "*"}
    return {}
