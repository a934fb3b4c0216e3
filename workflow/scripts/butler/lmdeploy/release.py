"""The two releases of LMDeploy that serve, and what each can do."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from butler.errors import ButlerError

FACES = ("api", "chat", "gradio")


@dataclass(frozen=True)
class Release:
    """A release as config.yaml names it.

    `tool` is its environment (envs/TOOL.lock) and `version` the one that the lock pins; `exact`
    says that no other will do, else any newer one may serve. `workspaces` says whether TurboMind
    loads what `lmdeploy convert` wrote; a release that does not takes model folders as they are.
    """

    name: str
    tool: str
    version: str
    exact: bool
    workspaces: bool
    faces: tuple[str, ...]

    def accepts(self, installed: str) -> bool:
        """Say whether an installed LMDeploy of that version is this release."""
        if self.exact:
            return installed == self.version
        return number(installed) >= number(self.version)


# 0.8.0 to 0.9.2 still write workspaces, but serve noise from them, with exit code 0.
RELEASES = {
    "0.7.3": Release("0.7.3", "lmdeploy", "0.7.3", True, True, FACES),
    "latest": Release("latest", "lmdeploy-latest", "0.18.0", False, False, ("api", "chat")),
}
CONVERTER = RELEASES["0.7.3"]  # also calibrates and makes the AWQ model, whatever serves it


def number(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, so that versions compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


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


def int8_policy(version: str) -> int:
    """Return the quant_policy that means an int8 KV cache: 4 until LMDeploy 0.3, 8 since 0.4."""
    return 4 if number(version) < (0, 4) else 8


def check_quant_policy(policy: int, version: str) -> None:
    """Check that a quant_policy means what we mean by it: no quantisation or int8.

    Raises:
        ButlerError: if it means something else in that version.
    """
    int8 = int8_policy(version)
    if policy in (0, int8):
        return
    meaning = {4: "an int4 cache since 0.4", 8: "nothing before 0.4"}.get(policy, "nothing")
    raise ButlerError(
        f"quant_policy {policy} means {meaning} to LMDeploy {version}; "
        f"write {int8} for an int8 KV cache or 0 for none"
    )
