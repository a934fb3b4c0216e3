"""Settings of the corpus stage."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from butler.corpus.formats import FORMATS
from butler.settings.section import Count, FileName, Positive, Section, Text

LEAST_ALIKE = 0.1  # below it nearly every pair of records is a near-duplicate of the other


class Recipes(Section):
    """What holds for the formats that bring recipes: xiachufang and markdown."""

    question_forms: dict[Text, Annotated[float, Field(gt=0)]] = Field(
        default_factory=lambda: {"的做法": 6.0, "怎么做": 2.0, "的家常做法": 2.0}, min_length=1
    )
    """endings of the question, by weight"""
    min_steps: Positive = 2

    @field_validator("question_forms")
    @classmethod
    def _printable(cls, forms: dict[str, float]) -> dict[str, float]:
        for ending in forms:
            if not ending.strip() or not ending.isprintable():
                raise ValueError(f"has the ending {ending!r}, which cannot be seen; write a text")
        return forms


class NearDuplicates(Section):
    """Which records are near-duplicates of another."""

    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Jaccard similarity (0.1 or more) from which one of two goes; 0: keep; null: 0.5 of recipes"""
    shingle: Annotated[int, Field(ge=2, le=100)] = 5
    """letters in an n-gram"""

    @field_validator("threshold")
    @classmethod
    def _apart(cls, threshold: float | None) -> float | None:
        if threshold and threshold < LEAST_ALIKE:
            raise ValueError(
                f"takes 0 or from {LEAST_ALIKE} to 1, found {threshold}: nearly every pair of "
                "records is that much alike"
            )
        return threshold


class Decontaminate(Section):
    """Which records hold a held-out record or a question of a benchmark."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.6
    """of a protected text's n-grams in one record; 0: keep"""
    ngram: Annotated[int, Field(ge=4, le=100)] = 13
    """letters in an n-gram"""


class CorpusSettings(Section):
    """From raw records to training and test conversations (docs/corpus.md)."""

    path: FileName = "data/demo/recipes.jsonl"
    """a file or a folder; plain, .gz or .zst"""
    format: Literal[tuple(FORMATS)] = "xiachufang"  # type: ignore[valid-type]
    language: Literal["zh", "en"] | None = "zh"
    """zh | en | null: records in another language are rejected; null keeps all"""
    system: str = (
        "你是一个经验丰富的专业厨师，用户提出自己想要做的菜肴时，"
        "你可以精确地回答出做菜的原料和做菜的方法"
    )
    """system prompt of every conversation; may be empty"""
    sample: Count = 0
    """records to keep at most, drawn by seed; 0 keeps all"""
    sample_from: Annotated[float, Field(gt=0, le=1)] = 0.2
    """share of the recipes of each length that the sample is drawn among: least in doubt; 1: all"""
    test_size: Positive = 60
    """records held out, all records of a dish or question together"""
    min_chars: Count | None = None
    """of a recipe's steps, or of an answer; null: 20 of a recipe, 1 of an answer"""
    max_chars: Positive = 400
    recipes: Recipes = Field(default_factory=Recipes)
    """for the formats xiachufang and markdown alone"""
    near_duplicates: NearDuplicates = Field(default_factory=NearDuplicates)
    decontaminate: Decontaminate = Field(default_factory=Decontaminate)

    @property
    def of_recipes(self) -> bool:
        """Whether the format brings recipes."""
        return FORMATS[self.format].recipes

    @property
    def weighs_doubt(self) -> bool:
        """Whether the sample is drawn among the recipes in which least is in doubt."""
        return self.of_recipes and self.sample > 0 and self.sample_from < 1

    @property
    def least_chars(self) -> int:
        """The fewest characters of a recipe's steps or of an answer."""
        if self.min_chars is None:
            return 20 if self.of_recipes else 1
        return self.min_chars

    @property
    def like_from(self) -> float:
        """The similarity from which two records are near-duplicates, 0 where none are."""
        if self.near_duplicates.threshold is None:
            return 0.5 if self.of_recipes else 0.0
        return self.near_duplicates.threshold

    @field_validator("system")
    @classmethod
    def _utf8(cls, system: str) -> str:
        try:
            system.encode()
        except UnicodeEncodeError:
            raise ValueError("is no text that could be written as UTF-8") from None
        return system

    @model_validator(mode="after")
    def _lengths(self) -> Any:
        if self.max_chars < self.least_chars:
            raise ValueError(
                f"corpus.max_chars {self.max_chars} is below corpus.min_chars {self.least_chars}, "
                "so no record could be kept; raise the one or lower the other"
            )
        return self
