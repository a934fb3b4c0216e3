"""Which environment trains a base: known before the first job, so that only that one is built."""

from pathlib import Path

from butler.errors import ButlerError
from butler.families import FAMILIES, TRAINER, family_of
from butler.hf_folder import read_config
from butler.settings.training_stage import BaseSettings


def trainer_of(base: BaseSettings, repository: Path) -> str:
    """Return the tool (envs/TOOL.lock) that trains a base, by its config.json or base.architecture.

    A folder whose config.json cannot be read, or is of no known family, has the usual one: its
    check tells what is wrong with it.

    Raises:
        ButlerError: if base.architecture is not what the folder's config.json names.
    """
    named = architecture_of(repository / base.model)
    if named is not None and base.architecture not in (None, named):
        raise ButlerError(
            f"config: base.architecture is {base.architecture}, but {base.model}/config.json names "
            f"{named}; leave base.architecture out"
        )
    family = FAMILIES.get(named or base.architecture or "")
    return family.trainer if family else TRAINER


def architecture_of(folder: Path) -> str | None:
    """Return the architecture of a folder's config.json, if it is one of those known."""
    try:
        return family_of(read_config(folder), str(folder)).architecture
    except (OSError, AttributeError, ButlerError):
        return None
