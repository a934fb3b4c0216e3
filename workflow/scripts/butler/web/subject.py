"""What the models of a page were trained for."""

from dataclasses import dataclass

# FORMATS of butler/corpus/formats that bring recipes; its packages are not where the page runs.
RECIPE_FORMATS = ("xiachufang", "markdown")
DISHES = ("芹菜炒鸡蛋", "土豆烧排骨", "清炒丝瓜", "冬瓜排骨汤", "凉拌豆角", "香菇蒸蛋")  # to try


@dataclass(frozen=True)
class Subject:
    """The system text of training, and whether it was recipes.

    `ending` makes a dish's name a question ("的做法"); "" where it was no recipes. `tiny` is the
    size of a demo model in MiB, None of a model that is none.
    """

    system: str
    ending: str = ""
    tiny: float | None = None
