"""What a model was trained on, for whoever chats with it."""

import os
from pathlib import Path

from pydantic import ConfigDict

from butler.settings.section import Section
from butler.yaml_files import read_yaml

CONFIG = Path(__file__).resolve().parents[3] / "config" / "config.yaml"


class _Kept(Section):
    """Part of a configuration; what else it has is for the stages, and may be an older run's."""

    model_config = ConfigDict(extra="ignore")


class _Recipes(_Kept):
    question_forms: dict[str, float] = {}


class TrainedCorpus(_Kept):
    """What a chat takes of a configuration's section `corpus`."""

    system: str
    format: str = ""
    recipes: _Recipes = _Recipes()


class _Configuration(_Kept):
    corpus: TrainedCorpus


def trained_corpus(folder: Path | None) -> TrainedCorpus:
    """Return the configuration's section `corpus`.

    It is that of the run in which `folder` was made (build/merged, workspaces/fp16), if it lies in
    one that kept its configuration, else the repository's.

    Raises:
        ButlerError: if that file is no configuration, naming its first wrong key.
    """
    path = CONFIG
    if folder:
        # No link is followed: a scenario's folder is links to what its stages made.
        kept = Path(os.path.abspath(folder)).parent.parent / "results" / "config.yaml"
        path = kept if kept.is_file() else CONFIG
    found = read_yaml(path)
    return _Configuration.check(found if isinstance(found, dict) else {}, str(path)).corpus
