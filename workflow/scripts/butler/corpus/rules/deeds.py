"""Lines that tell something to do, and those that only look so: captions, verdicts, ingredients."""

import re
from functools import lru_cache

from butler.corpus.rules.patterns import either
from butler.corpus.rules.talk_words import ACTIONS, DEED
from butler.corpus.rules.text import HAN

# Nothing to do: what is said of a thing (烤好的); names of dishes and tools with a verb in them.
_SAID_OF = either(
    (
        rf"[按搅]?(?:{ACTIONS}|做|买|发|熟|调|打|包|备|弄|串|夹|混合|处理|清理|称|过筛|分|剩|选|准备)[制酵发味拌煮泡切烤熟软炸入]?(?:好|完|熟|过|后|出来|成|匀|干净?|碎|软|凉|完成|出|发|化|开|出锅)?[之以]?[了后]?(?<!用)的"
        f"|[{HAN}](?:好|完|后|过|剩|时|出来)的|[花蛋春饭糕寿司菜肉饼]卷|[肉羊鸡牛]串|[炒焖烩拌盖煲炖][饭面粉蛋]|煎[饼蛋]|烤[肉鸡鱼箱盘架网鸭]|炸[鸡酱]|泡[菜芙打椒]|卤[肉味水]|烧[饼烤卖]|蒸[蛋锅笼]|打蛋[器盆]|[裱]花[袋嘴]|(?:[沙角黄肉菜糖面餐汤]|汉堡)包(?=[。！!]?$)|面包|刮刀|筛网|搅拌[机器]|料理机|加工",
    )
)
_SHORT, _NAME = 24, 10  # characters of a line that may be a caption, a dish's name
CAPTION = re.compile(
    "^(?:"
    r"(?![^\n]*(?:[至到成呈为用把将画]|(?:小时|分钟)(?!后的)|好像))[^\n，,]{0,16}(?:样子|模样|状态|效果|近照|细节|成品|[截切断剖]面|合集|大集合|集合|对比|形状|[来后]的颜色)"
    rf"|[^\n，,]{{0,9}}?(?:{ACTIONS}|做|包|打|发|熟|弄|备|调)[制酵发拌煮切]?(?:好|完|熟|成|完成)了|[^\n，,]{{0,4}}[煮炖烤蒸]好(?=[！!])"
    r")[。！!…]*$"
)
# A whole short line that tells how it went: 已经变软了, 脱模成功, 准备开吃, 用小砂锅煮的.
VERDICT = re.compile(
    "^(?:"
    "(?:(?![加入铺放倒把将淋撒用取再])[^，。]){0,8}(?:已经|正在)[^，。]{1,10}[了中]?"
    "|[^，。]{0,8}(?:不错|成功|完美|可爱|漂亮|好香|真香|喷香|太香|容易脱模)了?"
    "|这就[^，。]{1,4}(?: [^，。]*)?|(?:可以|马上|就|便|能)*准备(?:享用|开吃|开动|开喝)了?"
    "|(?:准备|马上|就|便|能)+(?:可以)?[喝吃]了?|可以喝了?"
    "|(?:一[道碗盘份])?(?:香喷喷|美味|好吃|热腾腾|可口|诱人|鲜美)[^，。]{2,20}(?:享用|出锅|出炉|上桌|可以吃|完成|好)了?"
    r"|用[^，。]{1,8}[煮炒炸烤蒸炖做煎拌]的"
    "|好了[，,][^，。]{2,10}(?:做好|完成|出炉|出锅)了?|[^，。！]{0,14}(?:口感|欲罢不能)|(?:早上|晚上|中午|之前|刚刚?)拍的|打算做[^，。]{1,8}"
    "|一[碗盘份锅道杯][^，。]{2,16}(?:做好|出锅)了?"
    # 打掉的边角料, 过凉水后捞出的豆芽
    f"|(?:(?![上入进下放加倒取撒把将用铺盖淋抹刷涂])[{HAN}]){{1,6}}[出掉]的(?:(?!{ACTIONS})[{HAN}]){{2,5}}"
    f"|一[碗盘道](?:(?![倒放加入淋撒])[{HAN}]){{1,6}}的(?:(?![倒放加入淋撒])[{HAN}]){{2,10}}"
    f"|[加放切炒煮蒸炸烤拌][好完了][^，。]{{0,5}}的|[{HAN}]{{1,2}}了(?=[…。])"
    rf"|(?=[{HAN}]{{0,6}}[，, ]?[\d.]+ ?[克g毫m])(?![^\n]*(?:{ACTIONS}))"
    rf"(?:[\d.]+ ?(?:克|g|ml|毫升|grams?) ?[{HAN}]{{1,6}}"
    rf"|[{HAN}]{{1,6}}[，, ]?[\d.]+ ?(?:克|g|ml|毫升))"
    r"|[^，。]{0,8}(?<![分切])(?:装|得|卷)[了到][\d一二两三四五六七八九十几][^，。]{0,10}"
    r"|(?:一?共|总共)[\d一二两三四五六七八九十]+[^，。]{1,5}"
    r"|(?!重复)[^，。]{0,10}(?:进行中|过程|的选择|制作\d)|(?:关于|补充)[^，。]{0,6}|(?:关键步骤|注意|重点)"
    # 所用低脂奶粉, 正好20个, 出品1, 可以不加
    rf"|所[用需](?:(?!{ACTIONS})[^，。]){{2,8}}|也?可以?不[加放]|祝[^，。]+"
    r"|(?:正好|刚好|一斤|还?可以有|出品)[^，。]{0,3}[\d一二两三四五六七八九十几][多来几]{0,2}[个张条块只片]?[^。]{0,8}|\d+[个张条块只]"
    # 简易版酱烧老豆腐完成, 这道简单的蒸萝卜就出锅了, 如果揉面没揉好
    r"|(?:(?![就即后再把将用放淋撒加倒挤入到至上])[^，。、]){2,16}(?:完成|成功|搞定|诞生)了?"
    r"|(?:(?![把将放加倒入后再到分])[^，。])*的(?:(?![把将放加倒入后再到分])[^，。])+就[好成]了"
    r"|(?:如果|要是|假如)(?:(?![就可则更再直的])[^，。！；]){1,14}"
    r"|(?:虽然|因为|由于)(?:(?![所就把将要可])[^。])*了"
    r"|(?:(?![后晚天久时])[^，。]){0,8}(?:(?:特别|非常|[很真也更]|超级?)好[吃喝]|好吃$|棒极了)[^，。]{0,2}"
    r"|(?:适量)+|制作提示|等待|观察|凝固|再来[一二两几][^，。]{1,6}"
    rf"|\d+(?:\.\d+)?(?:厘米|cm)左右|[{HAN}]{{2,8}}(?:成品\d+[克个g]|口味[{HAN}]{{1,2}}(?<=[饼豆糕包酥卷]))"
    ")[。！!….：:； ]*$"
)
# The same beside something to do: 焖好的状态，打一颗鸡蛋.
_STATE = "的(?:状态|[截切]面)"
_MAY_BE_SEEN = re.compile(_STATE)
_SEEN = f"(?:(?![至到成呈为把将用像])[^，。；：\n]){{1,10}}[好后完锅]{_STATE}"
_CAPTION_CLAUSE = re.compile(rf"^{_SEEN}[，,]|[，。]{_SEEN}[。！]?$", re.MULTILINE)
_SERVED = re.compile(
    rf"((?:(?![即可就后再熟最关直马时分])[{HAN}]){{2,10}})出[锅炉]了?[。！!…]*$"
)  # 发糕出锅
# A line of any length that tells what was used: 食材：蛋1个, 糖 20克、盐 1克、油 5克, 用了5个蛋.
USED = re.compile(
    rf"^(?:(?:准备)?(?:食材|材料|原料|主料|辅料|配料|用料)：(?![^\n]*(?:{ACTIONS}))[^。]*"
    rf"|(?:这里)?(?:选择的|选用的|用的)(?![^\n]*(?:{ACTIONS}))[^。]*|用了[\d一两二三半][^。]*"
    rf"|(?:\d?[{HAN}]{{2,4}}：)?(?:[{HAN}]{{1,6}} ?"
    rf"(?:[\d半一两二三]+ ?(?:[克个勺g包根片瓣条]|ml|毫升|汤匙|茶匙)"
    rf"|少许|适量)(?:[、，, ]+|[{HAN}]{{1,3}}：|$)){{3,}}"
    ")[。！!…. ]*$"
)
_MARKS, _CAPTION_ENDS = "。！!…", "子样态果照节品面集合比状色了好"  # what a caption ends with
PLAIN_DONE = re.compile(
    "(?:(?:就|便|也|已经?|都|即)(?:可以|算|这样)?(?:做好|好|成|出锅|出炉|上桌|可以|享用|开吃)了?|(?:做好|制作完成|完成|大功告成|搞定)了?|(?<!和)(?:好|成|出锅|出炉|上桌)了)"
    "[。！!…，, ]*$"
)


# A line that lists an ingredient: 橄榄油 适量, 两根玉米, 西红柿，2只；
_SOME = "适量|少许|若干|少量"
_MANY = (
    r"(?:\d+(?:[./~～-]\d+)*|[半一二两三四五六七八九十几]) ?"
    "(?:[大小]勺|[茶汤]匙|毫升|[克勺斤两个只根片块瓣条颗粒杯包袋盒碗张朵头段]|g|ml)"
)
_LISTED = re.compile(
    rf"^(?![^\n]*(?:{ACTIONS}))(?:[{HAN}][{HAN}、]{{0,7}}[，,：: ]*(?:{_MANY}|{_SOME}|\d+)"
    rf"|(?:{_MANY}|{_SOME})[{HAN}]{{1,8}})[。；;]*$"
)


def without_list(text: str) -> str:
    """Steps without the ingredients that are listed once more before them, under any first line."""
    lines = text.split("\n")
    first = next((at for at in range(1, len(lines)) if not _LISTED.match(lines[at])), len(lines))
    if first > 3 or (_LISTED.match(lines[0]) and lines[0][-1] not in "许量"):  # 油少许 is a step
        return "\n".join(lines[first:])
    return text


def without_caption(text: str, name: str) -> str:
    """Steps without a line that is the dish's name: it stood below a picture of the dish."""
    if _MAY_BE_SEEN.search(text):
        text = _CAPTION_CLAUSE.sub("", text)
    if name not in text:
        return text
    return "\n".join(line for line in text.split("\n") if line.strip(_MARKS) != name)


@lru_cache(1 << 12)  # lines are asked about again after each cut
def tells_to_do(line: str) -> bool:
    """Whether a line is a step: a heading of some, or something to do."""
    if USED.match(line):
        return False
    if len(line) > _SHORT:
        return bool(DEED.search(line))
    if VERDICT.match(line) or ((done := _SERVED.match(line)) and not DEED.search(done[1])):
        return False
    if line[-1] in "：:】":
        return True
    if not DEED.search(line):
        return False
    if line.rstrip(_MARKS)[-1:] in _CAPTION_ENDS and CAPTION.search(line):
        return False
    if "的" not in line and len(line) > _NAME:
        return bool(DEED.search(PLAIN_DONE.sub("", line)))
    return bool(DEED.search(PLAIN_DONE.sub("", _SAID_OF.sub("", line))))
