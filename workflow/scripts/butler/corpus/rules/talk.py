"""Talk beside the recipe: of pictures and videos, of the cook and the family, praise, farewells.

What is talk is told by clause (up to a comma) or by sentence. A clause with a word of PICTURE goes;
one with a word of CHATTER goes unless it tells something to do (DOING); a line in which nothing of
cooking is left (COOKING) goes whole.
"""

import re

from butler.corpus.rules.patterns import any_sought, either, sought

_SEEN = "(?:图片|图示|图中|图上|图(?![案形钉腾章书])|视频|视屏)"
# Only these words go, as what is around them tells what to do: 切成如图的条 is 切成条.
PICTURE_WORDS = any_sought(
    (
        r"[（(【][^（）()【】\n]{0,40}(?:(?<![意贪企])图(?![案形钉腾章书])|视频|视屏|照片|拍照|忘[了记]?拍|补拍)[^（）()【】\n]{0,40}[)）】]",
        rf"(?:就会?|会|是)?(?:[如见看]|参[考照见]|请看|按照?|像|似|同|和|跟)(?:以)?[上下左右]?[面边]?(?:我)?(?:[这那]张)?{_SEEN}"
        r"[一二三四五六七八九\d]*(?:所示|示|显示|(?:[上中里]?的?(?:这样|那样|那般|样子|状态|形状|大小|程度|感觉|效果|水位|位置|方法|步骤)))?[上中里]?的?"
        r"[：:]?",
        rf"[至到成]?(?:差不多)?(?:就?是)?(?:成为?)?{_SEEN}[上中里]?(?:所示|显示|呈现)?的?(?:这样|那样|样子|状态|形状|大小|程度|感觉|效果|细腻度|颜色)",
        r"手法图[一二三四五六七八九\d]*[，,]?",
        r"图[一二三四五六七八九\d]+[：:，,是为]?",
    )
)
_PICTURES = (
    "(?<![意地企贪力试版构绘])图(?![案形钉腾章书])",
    "视频|视屏|照片|相片|照相|相机|镜头|摄影|美颜|滤镜|录像",
    "拍照|补拍|没拍|[没未]有?(?:来得及)?拍|忘[了记]?(?:了)?(?:拍|照)|拍(?:摄|了?几?张|下来|美|不出)",
    "特写|上镜|晒图|发图|朋友圈|直播",
)
PICTURE = either(_PICTURES)
_FAMILY = (
    "老公|老婆|女儿|儿子|闺女|婆婆|公公|老妈|老爸|姐妹|姐姐|妹妹|弟弟|哥哥|奶奶|爷爷|外婆|姥姥|(?<!辣)妹子|小盆友|熊孩子|(?<!娃)娃(?!娃)"
    "|朋友(?!圈)|同学|同事|邻居|闺蜜|亲们|亲爱的|厨友|网友|帮友|小伙伴|小仙女|主妇|吃货|各位|大家"
)
# The words of a clause that is talk whatever it tells to do.
_PERSONALS = (
    "我|俺|咱|本人|楼主|笔者|小编|人家|厨房小白",
    _FAMILY,
    "下次|下回|今天|今儿|昨[天晚]|这次|上次|上回|那天|当时|本来|原来想|原方",
    "[今去]年(?!糕)|那年|前[天几]|不是打广告|广告|强迫症|随便[炒做弄放煮]了|凑合|将就|有点[裂糊焦丑过]|翻车",
    "(?:是|成|像|如|到|就)(?:是)?(?:下面)?(?:这样(?!做)|这个?样子|这种样子|这[个种]状态|酱紫)|这样子(?!做)",
    "以上(?:的?配方|的?材料|的?用料|的?食材|的?量|是)|(?:配方|方子)(?:的?量|是|适用|可做)|适用于|本(?:配方|食谱|方)",
    "[?？]|呢(?=[，,。！!~～…]|$)|好吗|像不像|锵锵|可惜|遗憾|据说|反正|估计|秘诀|厉害|放心吃|告辞|不好意思",
    "忘[记了]|偷懒|懒得|拿走|不谢|谢谢|感谢|不喜勿喷|勿喷|吐槽|收藏|交作业|评论|留言|提问|分享|附上|记录",
    "凭感觉|佛系|那叫一个|绝了|不会形容|真的(?!空)|麦德龙|盒马|沃尔玛|山姆|家乐福|永辉|大润发|卖场|货架|开市客|[Cc]ostco|宜家|三只松鼠|淘宝|某宝|京东|天猫|拼多多|网购|网上(?=[看买搜找说查学的])|优惠|牌子|品牌|超市|商场|菜市?场",
    "菜谱|食谱|方子|更新|哈哈|嘻嘻|呵呵|嘿嘿|嘿|哎呀|唉|天呐|天哪|喵|艾玛|妈呀|抱歉|对不起|不好意思|说实话|啰嗦|废话",
)
PERSONAL = either(_PERSONALS)
# The words of a clause that is talk if it tells nothing to do.
_CHATTERS = (
    "好吃|好喝|美味(?!鲜)|可口|香喷喷|香香|诱人|食欲|口水|太[香棒赞美爱满好]|超级?[香赞棒好爱美鲜快软]|真[香棒赞好鲜]|好香|喷香",
    "(?:会|就|真|很|特别|非常|超级?|好|更|还)(?:很|更)?[香鲜甜脆嫩糯萌]|也很|挺好|的那种|完美|很棒|真棒|太棒|棒棒|赞|幸福|满足|开心(?!果)|成就|回味|人间|不错|绝了|巴适|杠杠|惊艳|期待|解馋|馋|爱上|百吃不厌|停不下来|过瘾|满意|成功|失败",
    "味道|口感|一级|下饭|开胃|爽口|外酥里[嫩软]|外焦里嫩|入口|香气|香味(?!出)|满屋|唇齿|色香味|令人|忘怀|心花|鲜美|鲜香(?!菇)|浓郁|难忘",
    "孩子|小朋友|宝宝|宝贝|家人|妈妈|爸爸|老人|家里|自己(?!喜)|有人|别人|生活|人生|早餐|晚餐|下午茶|周末|冬天|夏天|季节",
    "品尝|尝尝|好像|大概就是|没用|太差|难看|不美观|开吃|开动|开喝|享用|享受|尽情|慢慢吃|大功告成|完工|搞定|搞掂|完成|大功|收工|光盘|吃光|抢光|吃完|齐活|成品|终于",
    "做好[啦了]|就好[啦了咯]|好[啦咯喽]|出炉[啦咯喽]|上桌|来一[碗块杯口份个]|一口|开饭|吃[吧啦咯]|妥了|妥妥|OK|ok|Ok|[Bb]iu|bingo|[Bb]ingo|咕噜|完毕|结束|可以吃|即可食用",
    "试试|试一试|动手|学会|看起来|看上去|看着|看看|看到|卖相|颜值|美美|漂亮|好看|可爱|萌|亮[个个]?相|出[场镜]|登场|衣服|排排",
    "有没有|是不是|对不对|怎么样|为什么|对吧|是吧|吧？|哇|嗷|耶|啦啦|[铛当噔]{2}|么么|[Mm]ua|呜|啊呜|[Tt]ips?|碎碎念|PS|ps|ヾ|hh",
    "其实|觉得|认为|喜欢|最爱|爱吃|懒人|简单|容易|方便(?!面)|轻松|省事|健康|营养|养生|减肥|热量|卡路里|便宜|划算|性价比",
    "这是|这样子|像这样|就这样|是这样|如此|这款|这种(?!状态)|这个(?!时候|状态|程度)|买|原因|道理|据说|听说|传说|推荐|建议|介绍|灵魂|精髓",
)
CHATTER = either(_CHATTERS)
# Whole texts are searched for it, too: MULTILINE, so that it is found where a line ends.
_ANY = any_sought((*_PICTURES, *_PERSONALS, *_CHATTERS), re.MULTILINE)
# What tells to do something to food.
_ACTIONS = (
    "[切剁煮炒蒸炸煎拌腌炖焯揉擀搅洗泡撒淋卤焖熬捞撈盛刷剪卷裹捏铺抹涂掰浸晾滤沥磨倒放加翻醒剥挤筛淘兑搓揪摊削刨刮戳塞填撕榨煲涮烙煸煨扣折叠拧拌蘸沾裱]"
    "|[烤烧](?![箱盘架网鸭])|压(?!力)|调[成入好匀味料汁]|勾芡|[大中小]火|[开关收]火|收汁|打[发散匀成碎]|静置|冷[藏冻却]|融化|软化|溶化|发酵|松弛"
    "|预热|解冻|装[入盘进袋碗瓶好]|包[好住上入裹起成]|盖[上好住]|取[出下]|拿出|脱模|去[皮籽核壳骨筋腥根蒂除掉]|分[成割次]|成[团形型]|上[色汽气锅桌盘]"
    "|出锅|起锅|下锅|入锅|点缀|装饰|备用|待用|准备|断生|变[色软黄白]|金黄|沸腾|水开|烧开|出[水油汁香]|点火|油热|揉|拉[长丝成]|对半|摆[盘放在]|整[形理]|造型"
)
_DOINGS = (
    _ACTIONS,
    r"分钟|小时|\d+ ?(?:克|g|ml|毫升|度|℃|寸|cm|厘米|秒)|过夜|半天|一[晚夜]",
    "夹|串|绑|系[上紧]|画|贴|垫|移|转[入到]|连接|固定|吃[时前]",
)
DOING = either(_DOINGS)
# What speaks of cooking at all.
COOKING = either(
    (
        *_DOINGS,
        "[油盐糖醋酱水火锅粉面肉鱼蛋奶米菜葱姜蒜馅模圆钟克勺碗盘袋盒瓶刀筷箱皮汁汤料块条片丝丁末段泥块瓣粒液酒虾蟹鸡鸭鹅牛羊猪豆瓜果茶椒菇芋薯卜茄藕笋]",
        "[匀净干湿软硬热凉冷烫熟透稠浓稀厚薄细粗混入取打煎匀黄缝圈]|冰|形|层|份|次",
    )
)
# "我会先放生菜" is 先放生菜: the cook goes, the deed stays.
SELF = sought(
    r"(?<![给让帮替])(?:我们|咱们|我|俺|本人|咱)(?:这里|这边|自己|基本|所以|一般|通常|习惯|比较|是|会|都|就|还|也|只|又|再|便|一直|个人)*"
    rf"(?=(?:[先再把将用放加取选开接]|分|(?:{_ACTIONS})))"
)
TONE = sought(
    r"[哈哦喔呦哟啦咯呀嘛噢嗷喽呐哒吧]+(?=[，,。！!？?；;~～…、 ]|$)"
    r"|(?<!\d)[~～]+(?=[，,。！!？?；;]|$)|(?<=[。！!])[~～]+",
    re.MULTILINE,
)
# What cutting leaves: 切块，。
_DANGLING = sought("[，,、：:]+(?=[。！!；;])|[，,、]+$", re.MULTILINE)
_HAN = re.compile("[\u4e00-\u9fff]")
_BRACKETS = re.compile(r"[（(【「][^（）()【】「」\n]*[）)】」]")
_END = "，,。！!？?；;…"
_HELD = r"[（(【“「][^（）()【】“”「」\n]*[）)】”」]|[~～](?=\d)"  # what parts no clauses
_BETWEEN_HAN = "(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])"  # a space that does
_CLAUSE = re.compile(
    rf"(?:{_HELD}|(?!{_BETWEEN_HAN})[^{_END}~～\n])*(?:[{_END}]|[~～](?!\d)|{_BETWEEN_HAN})+"
    rf"|(?:{_HELD}|[^{_END}~～\n])+"
)


def without_talk(text: str) -> str:
    """Steps without talk of pictures, of people, praise and farewells."""
    while (bare := TONE.sub("", PICTURE_WORDS.sub("", SELF.sub("", text)))) != text:
        text = _DANGLING.sub("", bare)
    told = _told if _ANY.search(text) else _cooking
    return "\n".join(filter(None, map(told, text.split("\n"))))


def _told(line: str) -> str:
    """What a line tells of cooking, "" if nothing."""
    if not _HAN.search(line):
        return line  # other languages have talk of their own, that is not known here
    if not _ANY.search(line):
        return _cooking(line)
    line = _BRACKETS.sub(lambda found: "" if _is_talk(found[0]) else found[0], line)
    clauses = [found[0] for found in _CLAUSE.finditer(line)]
    kept = [clause for clause in clauses if not _is_talk(clause)]
    if len(kept) == len(clauses):
        return _cooking(line)
    told = "".join(kept).strip(" ，,")
    return _told(told) if DOING.search(told) else ""


def _cooking(line: str) -> str:
    """A line without talk, "" if it has no word of cooking."""
    return line if COOKING.search(line) or not _HAN.search(line) else ""


def _is_talk(clause: str) -> bool:
    if PICTURE.search(clause) or PERSONAL.search(clause):
        return True
    return bool(CHATTER.search(clause)) and not DOING.search(clause)
