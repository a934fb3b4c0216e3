"""The hubs that a base model can come from, each through its own client library.

A hub is asked for one revision: first for the names of its files, so that nothing is fetched
that is not wanted, then for files by name. What was fetched stays in the cache of the library; what
was cut off goes on where it stopped.
"""

import glob
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from butler.errors import NO_SPACE, ButlerError
from butler.manifest import hashes
from butler.progress import progress, say

TRIES = 5  # that a download which breaks off is taken up again, by us or by the library
GB = 1e9
BLOCK = 512  # bytes; what st_blocks counts


class HubUnreachableError(ButlerError):
    """The hub does not answer; what was fetched before may do."""


@dataclass(frozen=True)
class HubFile:
    """A file at the top of a model's repository; `sha256` in hex, None where the hub has none."""

    name: str
    bytes: int
    sha256: str | None


class Hub(Protocol):
    """One model at one revision of a hub; every method raises ButlerError, one sentence."""

    def files(self) -> list[HubFile]:
        """Return the files at the top of the repository."""

    def fetch(self, files: Iterable[HubFile]) -> Path:
        """Download files that are not there yet; return the folder that holds them."""

    def cached(self) -> Path | None:
        """Return the folder of what was fetched of this revision before, None if nothing was."""


class HuggingFaceHub:
    """A model of the Hugging Face hub, or of the mirror in HF_ENDPOINT (huggingface_hub).

    The library compares sizes; large files are compared with the hub's SHA-256 here.
    """

    def __init__(self, model: str, revision: str) -> None:
        self.model, self.revision = model, revision

    def files(self) -> list[HubFile]:
        """Return the files at the top of the repository."""
        from huggingface_hub import HfApi

        with self._told():
            info = HfApi().model_info(self.model, revision=self.revision, files_metadata=True)
        return [
            HubFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None)
            for one in info.siblings or []
            if "/" not in one.rfilename
        ]

    def fetch(self, files: Iterable[HubFile]) -> Path:
        """Download files that are not there yet; return the folder that holds them."""
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.file_download import repo_folder_name

        wanted = list(files)
        store = Path(constants.HF_HUB_CACHE) / repo_folder_name(
            repo_id=self.model, repo_type="model"
        )
        patterns = [glob.escape(one.name) for one in wanted]
        with _fetching(self.model, wanted, store / "blobs"), self._told():
            for tried in range(1, TRIES + 1):
                try:
                    folder = snapshot_download(
                        self.model, revision=self.revision, allow_patterns=patterns
                    )
                    break
                except Exception as error:
                    if tried == TRIES or not _broken_off(error):
                        raise
                    say("base_model", f"the download broke off ({_reason(error)}); going on")
                    time.sleep(2**tried / 2)
            _compare(Path(folder), wanted, self.model)
        return Path(folder)

    def cached(self) -> Path | None:
        """Return the folder of what was fetched of this revision before, None if nothing was."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(
                snapshot_download(self.model, revision=self.revision, local_files_only=True)
            )
        except LocalEntryNotFoundError:
            return None

    @contextmanager
    def _told(self) -> Iterator[None]:
        from huggingface_hub import constants, errors
        from requests import RequestException

        hub = f"the Hugging Face hub ({constants.ENDPOINT})"
        try:
            yield
        except errors.RevisionNotFoundError as error:
            raise _no_revision(hub, self.model, self.revision) from error
        except errors.GatedRepoError as error:
            raise ButlerError(
                f"{hub} gives '{self.model}' only to those who accepted its terms; accept them "
                "there and set HF_TOKEN to your token"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise _no_model(hub, self.model, "HF_TOKEN") from error
        except (errors.HfHubHTTPError, RuntimeError) as error:  # the latter is hf_xet's
            raise _failed(hub, self.model, error) from error
        except (RequestException, ConnectionError, errors.LocalEntryNotFoundError) as error:
            raise _unreachable(hub, self.model, "HF_ENDPOINT", error) from error


class ModelScopeHub:
    """A model of ModelScope, or of the hub in MODELSCOPE_ENDPOINT (modelscope_hub).

    ModelScope calls a revision what is a branch, a tag or a commit. A branch is refused, since it
    moves; a tag can be moved too, but is not meant to be. The library compares each file with the
    SHA-256 that the hub names.
    """

    def __init__(self, model: str, revision: str) -> None:
        from modelscope_hub import HubApi, HubConfig

        self.model, self.revision = model, revision
        config = HubConfig()
        # Clients up to 1.37 kept all revisions of a model in one folder of the cache, which the
        # library still takes. A cache below has none.
        config.cache_dir = config.cache_dir / "recipe-butler"
        self._api, self._config = HubApi(config), config

    def files(self) -> list[HubFile]:
        """Return the files at the top of the repository."""
        from modelscope_hub import NotExistError

        with self._told():
            branches, _ = self._api.legacy.list_revisions_detail(self.model, "model")
            if self.revision in [one.get("Revision") for one in branches]:
                raise ButlerError(
                    f"base.revision {self.revision} is a branch of '{self.model}', which moves; "
                    "pin a commit or a tag"
                )
            try:
                found = self._api.list_repo_files(
                    self.model, "model", revision=self.revision, recursive=False
                )
            except NotExistError as error:
                raise _no_revision(self._hub, self.model, self.revision) from error
        return [HubFile(one.path, one.size, one.sha256) for one in found if not one.is_dir]

    def fetch(self, files: Iterable[HubFile]) -> Path:
        """Download files that are not there yet; return the folder that holds them."""
        wanted = list(files)
        # 0 is an unknown size too.
        listed = [
            {"Path": one.name, "Size": one.bytes or None, "Sha256": one.sha256} for one in wanted
        ]
        with _fetching(self.model, wanted, self._config.cache_dir / "models"), self._told():
            return self._api.download_repo(
                self.model, "model", revision=self.revision, file_list=listed
            )

    def cached(self) -> Path | None:
        """Return the folder of what was fetched of this revision before, None if nothing was."""
        from modelscope_hub import CacheNotFound

        try:
            return self._api.download_repo(
                self.model, "model", revision=self.revision, local_files_only=True
            )
        except CacheNotFound:
            return None

    @property
    def _hub(self) -> str:
        return f"ModelScope ({self._config.endpoint})"

    @contextmanager
    def _told(self) -> Iterator[None]:
        import modelscope_hub as library

        try:
            yield
        except library.NotExistError as error:
            raise _no_model(self._hub, self.model, "MODELSCOPE_API_TOKEN") from error
        except library.NetworkError as error:
            raise _unreachable(self._hub, self.model, "MODELSCOPE_ENDPOINT", error) from error
        except library.FileDownloadError as error:
            first = next(iter(error.failed_files.values()), error)
            raise _failed(self._hub, self.model, first) from error
        except library.HubError as error:
            raise _failed(self._hub, self.model, error) from error


HUBS: dict[str, type[HuggingFaceHub] | type[ModelScopeHub]] = {
    "huggingface": HuggingFaceHub,
    "modelscope": ModelScopeHub,
}


def open_hub(name: str, model: str, revision: str) -> Hub:
    """Return `model` at `revision` of the hub that base.hub names."""
    # Both libraries draw bars, which a log cannot show; tqdm reads this when it is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    return HUBS[name](model, revision)


@contextmanager
def _fetching(model: str, files: list[HubFile], store: Path) -> Iterator[None]:
    """Say how far a download is by what lies in the folder `store` that it is written to."""
    total = sum(one.bytes for one in files) / GB
    before = _stored(store)

    def status() -> str:
        return f"{(_stored(store) - before) / GB:.1f} GB of {model} fetched, {total:.1f} wanted"

    with progress("base_model", status):
        yield


def _compare(folder: Path, files: list[HubFile], model: str) -> None:
    """Raise ButlerError unless files have the SHA-256 that the hub lists for them."""
    listed = [one for one in files if one.sha256]
    found = hashes([folder / one.name for one in listed])
    for one, digest in zip(listed, found, strict=True):
        if digest != one.sha256:
            raise ButlerError(
                f"{one.name} of '{model}' came damaged: its SHA-256 is not the one that the hub "
                f"lists; remove {(folder / one.name).resolve()} and start again"
            )


def _stored(folder: Path) -> int:
    """Return the bytes on the disk below a folder, whose files may come and go."""
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.lstat().st_blocks * BLOCK
        except FileNotFoundError:
            continue
    return found


def _broken_off(error: Exception) -> bool:
    """Whether an error of huggingface_hub is a connection that ended too early."""
    from huggingface_hub.errors import LocalEntryNotFoundError
    from requests import ConnectionError as NoConnection
    from requests import Timeout
    from requests.exceptions import ChunkedEncodingError

    if isinstance(error, LocalEntryNotFoundError):  # it did not begin
        return False
    cut = "Consistency check failed" in str(error)
    # hf_xet, which fetches large files where the hub offers it, has RuntimeError for all.
    return cut or isinstance(error, NoConnection | Timeout | ChunkedEncodingError | RuntimeError)


def _reason(error: BaseException) -> str:
    """Return the system's own word in an error, or else the error's first line."""
    text = str(error).strip()
    told = re.search(r"\[Errno -?\d+\] ([\w -]+)", text)
    return told[1] if told else (text.splitlines() or [type(error).__name__])[0].rstrip(".")


def _no_revision(hub: str, model: str, revision: str) -> ButlerError:
    return ButlerError(
        f"{hub} has no revision {revision} of '{model}'; set base.revision to one that it has"
    )


def _no_model(hub: str, model: str, token: str) -> ButlerError:
    return ButlerError(
        f"{hub} has no model '{model}' that you may read; correct base.model or base.hub, or set "
        f"{token} to your token if it is private"
    )


def _failed(hub: str, model: str, error: BaseException) -> ButlerError:
    if NO_SPACE in str(error):
        return ButlerError(f"{NO_SPACE} for '{model}'; free some and start again")
    return ButlerError(
        f"{hub} did not give all of '{model}' ({_reason(error)}); start again, and it goes on "
        "where it stopped"
    )


def _unreachable(hub: str, model: str, variable: str, error: BaseException) -> ButlerError:
    return HubUnreachableError(
        f"{hub} cannot be reached for '{model}' ({_reason(error)}); set {variable} to a mirror, or "
        "download the model elsewhere and give its folder as base.model"
    )
