"""The two releases of LMDeploy that serve, what each can do, and what its settings mean."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from butler.errors import ButlerError
from butler.schemes import KV_CACHES, KVScheme, Variant
from butler.versions import numbers

FACES = ("api", "chat", "gradio")


@dataclass(frozen=True)
class Release:
    """A release as config.yaml names it.

    `tool` is its environment (envs/TOOL.lock) and `version` the one that the lock pins; `exact`
    says that no other will do, else any newer one may serve. `workspaces` says whether TurboMind
    loads what `lmdeploy convert` wrote; a release that does not takes model folders as they are.
    `newest_capability` is the major number of the newest compute capability in its engine's wheel.
    """

    name: str
    tool: str
    version: str
    exact: bool
    workspaces: bool
    faces: tuple[str, ...]
    newest_capability: int

    def accepts(self, installed: str) -> bool:
        """Say whether an installed LMDeploy of that version is this release."""
        if self.exact:
            return installed == self.version
        return numbers(installed) >= numbers(self.version)


# 0.8.0 to 0.9.2 still write workspaces, but serve noise from them, with exit code 0.
RELEASES = {
    "0.7.3": Release("0.7.3", "lmdeploy", "0.7.3", True, True, FACES, 9),
    "latest": Release("latest", "lmdeploy-latest", "0.18.0", False, False, ("api", "chat"), 12),
}
CONVERTER = RELEASES["0.7.3"]  # also calibrates and makes the AWQ model, whatever serves it


def release_of(version: str) -> Release:
    """Return the release that a served folder's recorded version belongs to.

    Raises:
        ButlerError: if it is neither of the two.
    """
    for release in RELEASES.values():
        if release.accepts(version):
            return release
    known = " or ".join(f"lmdeploy: {name}" for name in RELEASES)
    raise ButlerError(
        f"LMDeploy {version} is no release that is served here: TurboMind loads another version's "
        f"workspace as noise; make the folder again with {known}"
    )


def installed_version() -> str | None:
    """Return the version of LMDeploy in this environment, not imported; None if it is absent."""
    spec = importlib.util.find_spec("lmdeploy")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)['\"]", text)
    return found.group(1) if found else None


def check_installed(release: Release, installed: str | None) -> None:
    """Check that the LMDeploy in this environment is the one that a folder asks for.

    Raises:
        ButlerError: if it is missing or another.
    """
    python = f".envs/{release.tool}/bin/python"
    if installed is None:
        raise ButlerError(f"lmdeploy is not installed here; run with {python}")
    if not release.accepts(installed):
        raise ButlerError(
            f"the folder is for LMDeploy {release.version}, but {installed} is installed here and "
            f"would serve noise or fail; run with {python}"
        )


def norms_unread(release: Release) -> str:
    """Return what a sentence says of a model whose norms of queries and keys TurboMind lacks.

    Of a workspace it reads projections and biases, and no norm of queries and keys: it computes
    with whatever lies in their memory (LMDeploy 0.7.3,
    src/turbomind/models/llama/LlamaDecoderLayerWeight.cc, loadModel).
    """
    return (
        f"norms of queries and keys, which TurboMind of LMDeploy {release.version} does not load "
        "from a workspace: it would serve noise"
    )


def kv_scheme(policy: int, version: str) -> KVScheme:
    """Return how a release of LMDeploy holds its KV cache with that quant_policy.

    Raises:
        ButlerError: if the number means nothing to it.
    """
    known = {one.policy(numbers(version)): one for one in KV_CACHES.values()}
    policies = {code: one for code, one in known.items() if code is not None}
    if policy not in policies:
        choice = ", ".join(f"{code} ({one.name})" for code, one in policies.items())
        raise ButlerError(
            f"quant_policy {policy} means nothing to LMDeploy {version}; write one of {choice}"
        )
    return policies[policy]


def serves(release: Release, variant: Variant) -> bool:
    """Say whether a release has weights and KV cache of a variant."""
    version = numbers(release.version)
    return variant.weights.since <= version and variant.kv.policy(version) is not None


def quant_policy(scheme: KVScheme, release: Release) -> int:
    """Return the quant_policy that has a release hold its KV cache so.

    Raises:
        ButlerError: if it cannot.
    """
    policy = scheme.policy(numbers(release.version))
    if policy is None:
        raise ButlerError(f"LMDeploy {release.version} has no {scheme.name} KV cache")
    return policy
