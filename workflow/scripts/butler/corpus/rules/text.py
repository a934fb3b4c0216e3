"""Characters of a text: one spelling for what means the same, nothing that cannot be read.

`spell` takes a text of any number of lines, and its rules look past no line feed; spelling a text
that is spelt changes nothing. `chinese` adds what is right between Han characters only: no spaces
in quantities and at full-width punctuation, words for food emoji, no faces made of letters.
"""

import re
import unicodedata

HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
NOT_HAN = re.compile(f"[^{HAN}]+")
_NOT_LATIN = re.compile("[^A-Za-zªº\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]+")

# NFKC over everything would turn （ ， ： ！ into ASCII, 1½ into 11⁄2, ① into 1 and m² into m2.
# It is applied to these ranges only, where it loses nothing: full-width digits, letters and
# arithmetic signs, half-width katakana and its punctuation, radicals, Latin ligatures, units (㎝).
_SAFE_NFKC = (
    (0xFF10, 0xFF19),
    (0xFF21, 0xFF3A),
    (0xFF41, 0xFF5A),
    (0xFF61, 0xFF9F),
    (0x2E80, 0x2FDF),
    (0x3371, 0x337A),
    (0x3380, 0x33DF),
    (0xFB00, 0xFB06),
)
_SAFE_SIGNS = "％＋－／．＝＊＆＃＠"
_SIGNS = {
    "➕": "+",
    "➖": "-",
    "✖": "×",
    "➗": "÷",
    "➡": "→",
    "⁄": "/",
    "⋯": "…",
    "\ufe52": ".",
    "‼": "！",
    "⁉": "！",
}
_FRACTIONS = {c: unicodedata.normalize("NFKC", c).replace("⁄", "/") for c in "½¼¾⅓⅔⅛⅜⅝⅞⅕⅖⅗⅘⅙⅚"}

# One character of traditional Chinese for another of simplified, each before its own: recipes are
# asked for in simplified Chinese, and the rules of talk are written in it.
_TRADITIONAL = (
    "丟丢並并乾干亂乱佈布佔占來来個个們们偽伪備备傳传債债傾倾僅仅價价兌兑內内兩两凈净凍冻凱凯則则剛刚創创劃划劍剑劑剂勁劲動动務务勝胜勞劳勻匀匯汇區区協协卻却厭厌參参叢丛員员問问啟启"
    "喚唤喬乔單单嘗尝噸吨嚐尝嚮向圍围園园圓圆圖图團团執执堅坚報报場场塊块塗涂壓压壞坏壯壮壺壶夠够夾夹奪夺妝妆婦妇孫孙學学實实寧宁寫写寶宝將将專专尋寻對对導导層层嶺岭帶带幫帮幹干幾几"
    "庫库廚厨廠厂廢废廣广張张強强彈弹彎弯後后徑径從从復复徹彻態态慣惯慮虑應应懶懒懸悬戲戏戶户捨舍捲卷掃扫掛挂採采揀拣換换揮挥損损搖摇搗捣摺折撈捞撥拨撲扑撻挞撿捡擁拥擇择擊击擋挡據据"
    "擠挤擰拧擱搁擴扩擺摆擾扰攔拦攝摄攤摊攪搅攬揽敗败敘叙敵敌數数斂敛斃毙斷断於于時时晉晋晝昼暈晕暫暂曬晒書书會会東东條条楊杨楓枫極极榮荣構构槍枪樂乐樓楼標标樣样樹树橋桥機机檔档檢检"
    "檳槟檸柠櫃柜櫻樱欄栏權权欖榄歐欧歡欢歲岁歷历歸归殘残殺杀殼壳氈毡氣气決决沒没沖冲況况洩泄淨净淺浅渦涡測测湊凑湯汤準准溝沟溫温滄沧滅灭滬沪滯滞滲渗滷卤滾滚滿满漁渔漢汉漬渍漲涨漸渐"
    "漿浆潑泼潔洁潛潜潤润澀涩澆浇濃浓濕湿濟济濺溅濾滤瀏浏瀝沥瀟潇灑洒灘滩灣湾為为烏乌無无煉炼煙烟煩烦熱热熾炽燈灯燉炖燒烧燙烫燜焖營营燦灿燭烛爍烁爐炉爛烂爭争爺爷牆墙狀状狹狭獅狮獎奖"
    "獨独獲获獻献現现瑪玛環环瓊琼產产畢毕畫画異异當当疊叠瘋疯發发盞盏盡尽監监盤盘盧卢眾众睏困瞭了矯矫確确碼码磚砖礎础祕秘禮礼種种稱称穀谷穌稣積积穩稳窩窝窮穷竅窍競竞筆笔筍笋節节範范"
    "篤笃篩筛簡简簽签簾帘籃篮籠笼籤签粵粤糝糁糞粪糧粮糰团紀纪約约紅红紋纹納纳純纯紗纱紙纸級级紛纷細细紹绍終终組组結结絕绝絞绞絡络給给絨绒統统絲丝綁绑經经綜综綠绿維维綱纲網网綿绵緊紧"
    "緒绪線线緣缘編编緩缓練练縮缩縱纵總总績绩織织繞绕繡绣繩绳繪绘繫系繼继續续纖纤罈坛羅罗義义習习翹翘聖圣聞闻聯联聰聪聲声聽听脅胁脈脉脫脱脹胀腎肾腦脑腫肿腸肠膚肤膠胶膩腻膽胆臉脸臍脐"
    "臘腊臟脏臨临臺台與与興兴舉举舊旧艙舱艷艳莊庄莖茎莢荚莧苋華华菸烟萊莱萬万葉叶葷荤蒞莅蓋盖蓮莲蔔卜蔣蒋蔥葱蔭荫薑姜薦荐薺荠藍蓝藝艺藥药蘆芦蘇苏蘋苹蘭兰蘿萝處处虛虚號号蝕蚀蝦虾蝸蜗"
    "蟲虫蟶蛏蟻蚁蠔蚝蠟蜡蠶蚕衆众術术衛卫衝冲裏里補补裝装裡里製制複复褲裤襯衬見见規规視视親亲覺觉覽览觀观觸触訂订計计訊讯討讨訓训記记訣诀訪访設设許许訴诉註注評评詞词試试話话該该詳详"
    "誇夸誤误說说誰谁課课調调請请論论諸诸講讲謝谢證证識识譜谱議议護护讀读變变讓让豐丰豔艳豬猪貓猫負负財财貢贡貨货販贩貫贯責责貴贵買买費费貼贴賀贺資资賓宾賞赏賣卖賦赋質质賬账購购贈赠"
    "贊赞趕赶趙赵跡迹踐践躍跃車车軋轧軌轨軍军軟软軸轴較较載载輔辅輕轻輛辆輝辉輥辊輪轮輸输輾辗轉转轟轰辦办辭辞農农迴回逕径這这連连週周進进遊游運运過过達达違违遙遥遜逊遞递遠远適适遲迟"
    "遷迁選选遺遗邊边郵邮鄉乡鄭郑醃腌醜丑醞酝醬酱釀酿釋释釐厘針针釣钓鈉钠鈕钮鈣钙鉀钾鉗钳鉤钩銀银銅铜鋁铝鋒锋鋪铺鋼钢錄录錐锥錘锤錢钱錦锦錫锡錯错鍋锅鍵键鍾钟鎖锁鎮镇鏟铲鏡镜鐘钟鐵铁"
    "鐺铛鑊镬鑑鉴鑲镶長长門门閃闪閉闭開开閒闲間间閩闽閱阅闆板闊阔關关陣阵陰阴陳陈陸陆陽阳隊队階阶際际隨随險险隱隐隻只雖虽雙双雛雏雜杂雞鸡離离難难雲云電电霧雾靈灵靜静頁页頂顶項项順顺"
    "須须預预頓顿領领頭头頰颊頸颈頻频顆颗題题額额顏颜願愿類类顧顾顯显風风颱台飄飘飛飞飯饭飲饮飼饲飽饱飾饰餃饺餅饼養养餌饵餓饿餘余餛馄餡馅館馆餵喂餾馏饅馒饈馐饋馈饞馋馬马馳驰駝驼騙骗"
    "騰腾驅驱驗验驚惊驟骤髒脏體体髮发鬆松鬍胡鬧闹魚鱼魯鲁魷鱿鮑鲍鮪鲔鮮鲜鯉鲤鯊鲨鯖鲭鯛鲷鯽鲫鰱鲢鰻鳗鱈鳕鱔鳝鱖鳜鱗鳞鱘鲟鱸鲈鳥鸟鳳凤鳴鸣鴨鸭鴿鸽鵝鹅鵪鹌鶉鹑鷹鹰鹵卤鹹咸鹼碱鹽盐麗丽"
    "麥麦麩麸麪面麯曲麵面麼么麽么黃黄點点黨党黴霉齊齐齋斋齒齿齡龄龍龙龜龟煑煮焼烧剝剥"
)
_SIMPLIFIED = str.maketrans(_TRADITIONAL[::2], _TRADITIONAL[1::2])
_ANY_TRADITIONAL = re.compile(f"[{''.join(map(chr, _SIMPLIFIED))}]")

# Food emoji stand for a word when a quantity or a verb comes before them ("3个🥚").
_FOOD_WORDS = (
    "🥚鸡蛋 🍅番茄 🥕胡萝卜 🥔土豆 🌽玉米 🍠红薯 🥛牛奶 🍋柠檬 🍓草莓 🍌香蕉 🍎苹果 "
    "🍊橙子 🍇葡萄 🍉西瓜 🍍菠萝 🥭芒果 🍑桃子 🍒樱桃 🍐梨 🥝猕猴桃 🥑牛油果 🍆茄子 "
    "🥒黄瓜 🥦西兰花 🌶辣椒 🧄大蒜 🧅洋葱 🍄蘑菇 🥜花生 🌰栗子 🍯蜂蜜 🧂盐 🧈黄油 🧀奶酪 "
    "🍚米饭 🍞面包 🍤虾 🦐虾 🦀螃蟹 🦞小龙虾 🐟鱼 🐔鸡 🍗鸡腿 🍖肉 🥩牛排 🥓培根 🍫巧克力 "
    "🍺啤酒 🍷红酒 ☕咖啡 🍵茶 🧊冰块 💧水 🥬青菜 🎃南瓜 🔥火"
)
FOOD = {word[0]: word[1:] for word in _FOOD_WORDS.split()}
_EMOJI = "[\U0001f000-\U0001faff\u2600-\u2775\u2794-\u27bf\u2b00-\u2bff\u231a-\u23ff]"
_FOOD = "".join(FOOD)
_MEASURE = "0-9半一二两三四五六七八九十几个只克颗粒根勺片块瓣条把杯升滴包匙斤gl"
# Long sets of characters are slow to search: a range that holds them goes first.
_FOOD_WORD = re.compile(
    rf"(?=[☕\U0001f300-\U0001faff])([{_FOOD}])(?<=[{_MEASURE}加放入打切将用和拌配量小大关开转中+、，].)\1*"
)
_EMOJI_RUN = re.compile(f"{_EMOJI}+")
# Faces and hands stand where a sentence ends without a full stop; 草莓🍓酱 is one word.
_FACES = "\U0001f600-\U0001f64f\U0001f90c-\U0001f93e\U0001f970-\U0001f97a\U0001f440-\U0001f450☺✌"
_FACE = re.compile(f"[{_FACES}]+")
_PICTURE = re.compile(f"[{_EMOJI[1:-1]}{_FACES}{_FOOD}]")
_KEYCAP = re.compile("([0-9])\ufe0f?\u20e3\ufe0f?")
_MIXED_NUMBER = re.compile(f"(\\d) ?([{''.join(_FRACTIONS)}])")

UNITS = (
    "毫升|公斤|公克|分钟|小时|大勺|小勺|茶匙|汤匙|克|斤|两|升|勺|匙|个|只|根|片|块|瓣|条|颗|粒|杯|把"
    "|滴|包|袋|盒|枚|碗|张|朵|株|棵|支|段|度|秒|寸|℃|°C"
)
_LATIN_UNITS = r"(?:kg|g|mg|ml|l|cc|cm|mm|oz|lb|tbsp?|tsp|mins?)s?(?![A-Za-z])"
# A pattern that begins with what is rare is searched for many times as fast as one that looks back.
_SPACE_IN_QUANTITY = re.compile(rf" (?<=\d )(?=(?:{UNITS})|{_LATIN_UNITS})", re.IGNORECASE)
_PUNCTUATION = "[，。！？；：、（）《》【】“”]"
_SPACE_AT_PUNCTUATION = re.compile(f" (?:(?<={_PUNCTUATION} )|(?={_PUNCTUATION}))")
_BREAKS = re.compile("[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")  # where str.splitlines cuts, too
_BLANKS = re.compile("  +")
_EDGES = re.compile(" \n[ \n]*|\n[ \n]+")  # empty lines, and spaces where a line begins or ends
# Each mark by itself, as a pattern that asks for the same again is slow to search.
_REPEATED = re.compile("|".join(f"{re.escape(mark) * 2}+" for mark in "！!？?，,、~～；;"))
# Of two marks the stronger is meant: 翻炒。，加老抽; 适量油、，倒入.
_STRUCK_AGAIN = re.compile(
    rf"{_REPEATED.pattern}|……+|\.\.\.\.+|。。+|、[，。；]|"
    + "|".join(f"{mark}[，、]+" for mark in "。！？；，")
    + "|。！|！。"
)
# The most frequent of what is no letter, nor has one in its compatibility form.
NEVER_LETTERS = "，。！？、：；（）“”～…·《》【】° "
_NEVER_LETTERS = re.compile(f"[{NEVER_LETTERS}]+")
_NOT_LETTERS = re.compile(r"[\W_]+")


class _Spelling(dict[int, str]):
    """Character to its spelling, for str.translate; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if any(first <= code <= last for first, last in _SAFE_NFKC) or char in _SAFE_SIGNS:
            self[code] = unicodedata.normalize("NFKC", char)
        else:
            self[code] = _SIGNS.get(char) or _FRACTIONS.get(char) or _visible(char)
        return self[code]


def _visible(char: str) -> str:
    """A character as it may stand in a line: kept, made a space, or dropped."""
    kind = unicodedata.category(char)
    if kind in ("Cf", "Co", "Cn", "Cs", "Me") or "\ufe00" <= char <= "\ufe0f":
        return ""  # zero-width, private, unassigned, lone surrogate, keycap and variation marks
    if char in "\ufffc\ufffd":
        return ""  # what stood there is lost
    return " " if kind in ("Zs", "Zl", "Zp", "Cc") else char


_SPELLING = _Spelling()
# All but the characters that each stay as they are, whatever is beside them.
_UNUSUAL = re.compile("[^\n -~\u4e00-\u9ffc，。！？、：；（）“”～…℃°×]+")
# Faces made of letters: "O(∩_∩)O", "(^_-)".
_FACE_MARKS = "∩▽^´｀≧≦﹏ω艸๑"
_FACE_MARK = re.compile(f"[{re.escape(_FACE_MARKS)}]")
_LETTER_FACE = re.compile(
    rf"[oOヾ~～]?[（(](?=[^()（）\n]*[{_FACE_MARKS}])[^()（）\n{HAN}0-9]{{2,10}}[)）][oOﾉ~～]?(?:/~?)?"
)


def spell(text: str, chinese: bool = True) -> str:
    """`text` in one spelling: NFKC where safe, no unseen characters, no emoji, single spaces.

    It is cut into lines at every kind of break; empty lines are left out.
    """
    while (spelt := _tidy(_respell(text, chinese), chinese)) != text:
        text = spelt
    return text


def _respell(text: str, chinese: bool) -> str:
    unusual = _UNUSUAL.search(text)
    if unusual:
        text = _BREAKS.sub("\n", text)
    if chinese and _FACE_MARK.search(text):
        text = _LETTER_FACE.sub(" ", text)
    if not unusual:
        return text
    text = unicodedata.normalize("NFC", text)
    text = _KEYCAP.sub(r"\1. ", text)
    text = _MIXED_NUMBER.sub(r"\1 \2", text)
    text = _UNUSUAL.sub(lambda found: found[0].translate(_SPELLING), text)
    if _PICTURE.search(text):
        if chinese:
            text = _FOOD_WORD.sub(_food_word, text)
        text = _EMOJI_RUN.sub("", _FACE.sub(" ", text))
    return text


def _tidy(text: str, chinese: bool) -> str:
    """A respelt text with single spaces where they belong, and no repeated punctuation."""
    if " " in text or "\n\n" in text:
        text = _EDGES.sub("\n", _BLANKS.sub(" ", text))
    text = text.strip(" \n")
    if chinese and " " in text:
        text = _SPACE_IN_QUANTITY.sub("", text)
        text = _SPACE_AT_PUNCTUATION.sub("", text)
    return (_STRUCK_AGAIN if chinese else _REPEATED).sub(_struck_once, text)


def _struck_once(match: re.Match[str]) -> str:
    """A mark that stands several times, once; dots are an ellipsis, but two 。 are one."""
    mark, last = match[0][0], match[0][-1]
    if mark != last:
        return last if mark == "、" else mark
    return "……" if mark in "….。" and match[0] != "。。" else mark


def _food_word(match: re.Match[str]) -> str:
    """The word for a food emoji, or nothing where the word stands beside it already."""
    word = FOOD[match[1]]
    before, after = match.string[: match.start()], match.string[match.end() :]
    return "" if before.endswith(word) or after.startswith(word) else word


def simplified(text: str) -> str:
    """`text` in simplified Chinese, as far as one character stands for one."""
    return text.translate(_SIMPLIFIED) if _ANY_TRADITIONAL.search(text) else text


def letters(text: str) -> str:
    """`text` as compared with another: compatibility forms and case folded, letters and digits."""
    folded = fold(text if text.isalnum() else _NEVER_LETTERS.sub("", text))
    return folded if folded.isalnum() else _NOT_LETTERS.sub("", folded)


def fold(text: str) -> str:
    """`text` in compatibility forms and without case."""
    if not unicodedata.is_normalized("NFKC", text):  # which is slow to make, and fast to see
        text = unicodedata.normalize("NFKC", text)
    return text.casefold()


def share_of(text: str, others: re.Pattern[str]) -> float:
    """Share of a script among the letters of `text`, 0 to 1; `others` finds what is not of it."""
    return len(others.sub("", text)) / max(sum(map(str.isalpha, text)), 1)


def is_mostly(text: str, others: re.Pattern[str]) -> bool:
    """Whether share_of() is LEAST_SHARE or more."""
    own = len(others.sub("", text))
    return own > 0 and (own >= LEAST_SHARE * len(text) or share_of(text, others) >= LEAST_SHARE)


# What corpus.language counts, and the least share of it among the letters of a record.
SCRIPTS = {"zh": ("Han", NOT_HAN), "en": ("Latin", _NOT_LATIN)}
LEAST_SHARE = 0.5
