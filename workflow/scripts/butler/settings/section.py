"""What all sections of the configuration have in common."""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from butler.errors import ButlerError
from butler.settings.messages import Place, first_wrong
from butler.yaml_files import read_yaml

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Limit = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]


def _file_name(name: str) -> str:
    if any(sign in name for sign in "{}\0"):
        raise ValueError(f"{name!r} holds a brace, which Snakemake takes for a wildcard; rename it")
    return name


FileName = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_file_name)]


class Section(BaseModel):
    """Settings that belong together; unknown keys and values of another type are refused.

    Strict: YAML's 60.0 is no integer and its `yes` no text. Every field has a description, which
    is the comment beside it in config/config.yaml.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def check(
        cls,
        values: Mapping[str, Any],
        where: str | Callable[[Place], str] = "config",
        beside: Collection[str] = (),
    ) -> Self:
        """Return the settings in `values`.

        `where` is what an error calls them, or says where a key of them stands. `beside` are
        keys that may be given beside these, and are taken out before.

        Raises:
            ButlerError: one sentence that names the first wrong key and what it takes.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            place, said = first_wrong(error, values, cls, beside)
            called = where if isinstance(where, str) else where(place)
            raise ButlerError(f"{called}: {said}") from None

    @classmethod
    def from_argument(cls, text: str, option: str = "--settings") -> Self:
        """Return the settings in a command line's argument, JSON or the name of a file with it.

        What it leaves out has its default; `option` is what an error calls the argument.

        Raises:
            ButlerError: one sentence that names the first wrong key and what it takes.
        """
        if text.lstrip().startswith("{"):
            try:
                values = json.loads(text)  # not as YAML, to which JSON's 2e-05 is a text
            except ValueError as error:
                raise ButlerError(f"{option} is not JSON: {error}") from None
        else:
            values = read_yaml(Path(text))
        if not isinstance(values, dict):
            raise ButlerError(f"{option} takes a JSON object, or the name of a file that holds one")
        return cls.check(values, option)

    def to_argument(self, *without: str) -> str:
        """Return the settings as JSON for a script's --settings, all but some.

        Keys stand in the order of the model; of a mapping within it in the order given, which may
        have a meaning (the forms of questions are drawn in it).
        """
        kept = self.model_dump(mode="json", exclude=set(without))
        return json.dumps(kept, ensure_ascii=False)
