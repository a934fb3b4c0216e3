"""Plain facts of the demo benchmark's four subjects, and others for exam practice.

Every fact is (relation, key, value). A relation knows how exams ask for it and how prose tells it.
"""

from dataclasses import dataclass

from butler.demo.fact_tables import (
    ANIMALS,
    COUNTRIES,
    ELEMENTS,
    FORMULAS,
    OPPOSITES,
    PEOPLE,
    PROVINCES,
    UNITS,
    WORKS,
)
from butler.demo.pantry import FRUITS, GRAINS, PROTEINS, VEGETABLES


@dataclass(frozen=True)
class Fact:
    """One fact; `wrong` lists values that could be offered beside the right one (else all)."""

    relation: str
    key: str
    value: str
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relation:
    """How a relation is spoken of; {k} is the key, {v} the value.

    `asks` are exam questions for the value, `reverse` for the key (empty where the value does not
    decide the key), `prose` sentences, `queries` plain questions answered with the value alone.
    """

    subject: str
    asks: tuple[str, ...]
    prose: tuple[str, ...]
    queries: tuple[str, ...]
    reverse: tuple[str, ...] = ()


CHEMISTRY, GEOGRAPHY = "middle_school_chemistry", "middle_school_geography"
HISTORY, MATHEMATICS = "middle_school_history", "middle_school_mathematics"
SUBJECTS = {
    CHEMISTRY: "初中化学",
    GEOGRAPHY: "初中地理",
    HISTORY: "初中历史",
    MATHEMATICS: "初中数学",
}
OTHER = {"cooking": "烹饪常识", "biology": "初中生物", "physics": "初中物理", "chinese": "初中语文"}

RELATIONS: dict[str, Relation] = {
    "symbol": Relation(
        CHEMISTRY,
        ("{k}的元素符号是____", "表示{k}这种元素的符号是____", "{k}在化学中写作____"),
        ("{k}的元素符号是{v}。", "{v}是{k}的元素符号。", "化学里用{v}表示{k}。", "{k}，符号{v}。"),
        ("{k}的元素符号怎么写？", "用什么符号表示{k}？"),
        ("元素符号{v}表示的元素是____", "{v}是哪种元素的符号____"),
    ),
    "number": Relation(
        CHEMISTRY,
        ("{k}的原子序数是____", "{k}原子核内的质子数是____", "元素{k}排在周期表第几号____"),
        ("{k}的原子序数是{v}。", "{k}原子核内有{v}个质子。", "周期表第{v}号元素是{k}。"),
        ("{k}的原子序数是多少？", "{k}有多少个质子？"),
        ("原子序数为{v}的元素是____", "核内有{v}个质子的元素是____"),
    ),
    "formula": Relation(
        CHEMISTRY,
        ("{k}的化学式是____", "下列化学式表示{k}的是____", "{k}用化学式写作____"),
        ("{k}的化学式是{v}。", "{v}是{k}的化学式。", "化学式{v}表示{k}。", "{k}写作{v}。"),
        ("{k}的化学式怎么写？", "用什么化学式表示{k}？"),
        ("化学式{v}表示的物质是____", "{v}是哪种物质的化学式____"),
    ),
    "capital": Relation(
        GEOGRAPHY,
        ("{k}的首都是____", "下列城市中，{k}的首都是____", "{k}把首都设在____"),
        ("{k}的首都是{v}。", "{v}是{k}的首都。", "{k}这个国家的首都在{v}。", "{k}定都{v}。"),
        ("{k}的首都在哪里？", "哪座城市是{k}的首都？"),
        ("{v}是哪个国家的首都____", "首都为{v}的国家是____"),
    ),
    "continent": Relation(
        GEOGRAPHY,
        ("{k}位于____", "{k}所在的大洲是____", "{k}是哪个大洲的国家____"),
        ("{k}位于{v}。", "{k}是{v}的国家。", "{v}有一个国家叫{k}。", "{k}在{v}。"),
        ("{k}在哪个大洲？", "{k}属于哪个大洲？"),
    ),
    "seat": Relation(
        GEOGRAPHY,
        ("{k}的行政中心是____", "{k}的省级行政中心在____", "下列城市中，{k}的行政中心是____"),
        ("{k}的行政中心是{v}。", "{v}是{k}的行政中心。", "{k}的政府设在{v}。"),
        ("{k}的行政中心是哪座城市？", "哪座城市是{k}的行政中心？"),
        ("{v}是哪个省区的行政中心____",),
    ),
    "short": Relation(
        GEOGRAPHY,
        ("{k}的简称是____", "{k}常用的一字简称是____", "车牌上代表{k}的字是____"),
        ("{k}的简称是{v}。", "{v}是{k}的简称。", "{k}简称{v}。", "人们用{v}称{k}。"),
        ("{k}的简称是什么？", "{k}用哪个字作简称？"),
        ("简称为{v}的省级行政区是____", "{v}是哪个省级行政区的简称____"),
    ),
    "dynasty": Relation(
        HISTORY,
        ("{k}生活的时代是____", "{k}是哪个时期的人物____", "历史人物{k}属于____"),
        ("{k}生活在{v}。", "{k}是{v}的人物。", "{v}有一位名人叫{k}。", "{k}，{v}人。"),
        ("{k}是哪个朝代的人？", "{k}生活在什么时代？"),
    ),
    "author": Relation(
        HISTORY,
        ("《{k}》的作者是____", "作品《{k}》出自谁手____", "写下《{k}》的人是____"),
        ("《{k}》的作者是{v}。", "{v}写了《{k}》。", "《{k}》是{v}的作品。", "《{k}》出自{v}。"),
        ("《{k}》是谁写的？", "谁是《{k}》的作者？"),
    ),
    "sum": Relation(
        MATHEMATICS,
        ("计算{k}的结果是____", "{k}等于____", "算式{k}的值是____"),
        ("{k}等于{v}。", "{k}={v}。", "算一算，{k}得{v}。"),
        ("{k}等于多少？", "{k}是多少？"),
    ),
    "square": Relation(
        MATHEMATICS,
        ("{k}的平方是____", "边长为{k}的正方形面积是____"),
        ("{k}的平方是{v}。", "{v}是{k}的平方。", "边长{k}的正方形，面积是{v}。"),
        ("{k}的平方是多少？",),
        ("平方等于{v}的正数是____",),
    ),
    "kind": Relation(
        "cooking",
        ("{k}属于哪类食材____", "做菜时{k}算作____", "下列分类中，{k}属于____"),
        ("{k}属于{v}。", "{k}是一种{v}。", "做菜时把{k}算作{v}。"),
        ("{k}是哪类食材？",),
    ),
    "unit": Relation(
        "physics",
        ("{k}的国际单位是____", "物理学中{k}的单位是____"),
        ("{k}的国际单位是{v}。", "{v}是{k}的单位。", "测量{k}用{v}作单位。"),
        ("{k}的单位是什么？",),
        ("以{v}为单位的物理量是____",),
    ),
    "animal": Relation(
        "biology",
        ("{k}属于哪类动物____", "从分类看，{k}是____"),
        ("{k}属于{v}。", "{k}是{v}。", "{v}里有{k}。"),
        ("{k}是哪类动物？",),
    ),
    "opposite": Relation(
        "chinese",
        ("“{k}”的反义词是____", "与“{k}”意思相反的是____"),
        ("“{k}”的反义词是“{v}”。", "“{k}”和“{v}”意思相反。", "“{k}”反过来说是“{v}”。"),
        ("“{k}”的反义词是什么？",),
        ("“{v}”的反义词是____",),
    ),
}


def _numbered(relation: str, key: str, value: int, step: int = 1) -> Fact:
    near = [value + d * step for d in (-3, -2, -1, 1, 2, 3, 10, -10) if value + d * step > 0]
    return Fact(relation, key, str(value), tuple(str(n) for n in near))


def _grouped(relation: str, text: str) -> list[Fact]:
    facts: list[Fact] = []
    value = ""
    for word in text.split():
        if ":" in word:
            value, word = word.split(":")
        facts.append(Fact(relation, word, value))
    return facts


def _chemistry() -> list[Fact]:
    facts = []
    for word in ELEMENTS.split():
        symbol = "".join(c for c in word[1:] if c.isalpha())
        if symbol not in ("B", "C"):  # these would look like the letter of an option
            facts.append(Fact("symbol", word[0], symbol))
        facts.append(_numbered("number", word[0], int(word[1 + len(symbol) :])))
    for word in FORMULAS.split():
        cut = next(i for i, c in enumerate(word) if c.isascii())
        facts.append(Fact("formula", word[:cut], word[cut:]))
    return facts


def _geography() -> list[Fact]:
    facts = []
    for entry in COUNTRIES.split():
        country, city, continent = entry.split(",")
        facts += [Fact("capital", country, city), Fact("continent", country, continent)]
    for entry in PROVINCES.split():
        province, city, short = entry.split(",")
        facts += [Fact("seat", province, city)] if city else []
        facts.append(Fact("short", province, short))
    return facts


def _mathematics() -> list[Fact]:
    facts = [_numbered("sum", f"{a}+{b}", a + b) for a in range(1, 60) for b in range(1, 40)]
    facts += [_numbered("sum", f"{a}-{b}", a - b) for a in range(11, 90) for b in range(1, 11)]
    facts += [_numbered("sum", f"{a}×{b}", a * b) for a in range(2, 10) for b in range(2, 10)]
    return facts + [_numbered("square", str(a), a * a, a) for a in range(2, 21)]


def _pairs(relation: str, text: str) -> list[Fact]:
    pairs = [entry.split(",") for entry in text.split()]
    return [Fact(relation, key, value) for key, value in pairs]


def all_facts() -> list[Fact]:
    """Return every fact, in a fixed order."""
    kinds = (("蔬菜", VEGETABLES), ("荤菜", PROTEINS), ("水果", FRUITS), ("主食", GRAINS))
    facts = _chemistry() + _geography() + _grouped("dynasty", PEOPLE) + _pairs("author", WORKS)
    facts += _mathematics() + _pairs("unit", UNITS) + _grouped("animal", ANIMALS)
    facts += [Fact("kind", name, kind) for kind, table in kinds for name in table]
    for pair in OPPOSITES.split():
        facts += [Fact("opposite", pair[0], pair[1]), Fact("opposite", pair[1], pair[0])]
    return facts
