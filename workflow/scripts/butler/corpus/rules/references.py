"""References to a step by its number: an answer has no numbers by which it could be looked up."""

import re

from butler.corpus.rules.patterns import either
from butler.corpus.rules.talk_words import ACTIONS
from butler.corpus.rules.text import HAN, UNITS

NOT_A_WORD = "(?![样致定下起般共直边个人])"  # 步骤二 is a step's number, 步骤一样 is none
# Of bare figures only 1 to 9 are steps.
_COUNT = rf"(?:\d{{1,2}}|[①-⑳]|[一二三四五六七八九十]{NOT_A_WORD})"
_STEP = (
    rf"步骤 ?{_COUNT}|(?<![\d.])\d(?:两个)?步骤"
    rf"|做法{_COUNT}(?=[中里的])|第{_COUNT}步(?:骤|(?=[{HAN}]{{1,4}}好的))"
)
_VERB = "[把将与和及入]"  # or a word that binds, before the figure
# What is taken from the step is named as well: 将步骤3中调好的料汁, 加入步骤1的蛋黄液.
_NAMED = re.compile(
    rf"(?:刚刚|刚才|之前|前面)?(?:(?:{_STEP})(?:中|里面?|内)?"
    rf"|(?:(?<={_VERB})|(?<=检查))(?:\d|[①-⑳])(?:中|里面?|内))"
    rf"(?:的(?!材料|原料|食材|东西|[盆碗锅])(?=[{HAN}]{{2}})"
    rf"|(?=[{HAN}]{{1,4}}好的[{HAN}]|(?![搅拌翻继再混有])[{HAN}]{{1,5}}的[{HAN}])"
    rf"|(?=[锅盆碗][中里内])|(?<=[中里内])(?!{ACTIONS}|[继再有的大小低高途间面边]|火)(?=[{HAN}]{{2}}))"
)
_IN_BRACKETS = re.compile(rf"[（(][^（）()\n]*?(?:{_STEP})[^（）()\n]*[）)]")
_NO_MEASURE = rf"(?![\d./]|{UNITS}|[a-zA-Z])"
_REFERENCE = either(
    (
        _STEP,
        rf"(?:(?<={_VERB})|(?<={_VERB}第))\d(?:[、和与+,，]\d)*(?=[中里](?![火小大高低筋脊型号等途间指勺匙杯碗])"
        "|[内倒加搅拌混筛进]|切拌|分次|的(?:材|原|食|混|液|面))",
        r"(?<=入)\d(?=[，。,]|$)",
        rf"(?:(?<={_VERB})|(?<=[在用]))[①-⑳]|[①-⑳](?=[中里内的和与])",
        r"(?<![\d.:：])\d[中里](?=继续|的|倒|加)|\d步中",
        rf"\+\d\+\d{_NO_MEASURE}|(?<![\d+.])\d\+\d\+\d{_NO_MEASURE}",
    ),
    re.MULTILINE,
)


def without_references(text: str) -> str:
    """Steps without the number of a step beside the name of what was made in it."""
    if not _REFERENCE.search(text):
        return text
    return _NAMED.sub("", _IN_BRACKETS.sub("", text))


def has_reference(text: str) -> bool:
    """Whether a step is named by its number alone: 把2倒回锅中."""
    return bool(_REFERENCE.search(text))
