"""Talk beside the recipe: of pictures and videos, of the cook and the family, praise, farewells.

What is talk is told by clause (up to a comma). A clause with a word of PICTURE or PERSONAL goes, so
does one with a word of CHATTER that tells nothing to do (DOING), or that says the dish is done.
Reasons (REASON: 味道更好) stay beside something to do. What hangs on a clause that went (DEPENDENT,
SUBORDINATE) goes with it, a sentence of which nothing to do is left goes whole, and so does a line
that tells nothing to do at all (DEED), such as the caption of a picture.
"""

import re
from functools import lru_cache

from butler.corpus.rules.patterns import either, needed
from butler.corpus.rules.text import HAN

_SEEN = "(?:图片|图示|图中|图上|图(?![案形钉腾章书])|视频|视屏)"
# Only these words go, as what is around them tells what to do: 切成如图的条 is 切成条.
PICTURE_WORDS = either(
    (
        *(
            rf"{opening}[^（）()【】\n]{{0,40}}(?:(?<![意贪企])图(?![案形钉腾章书])|视频|视屏|照片|拍照"
            rf"|忘[了记]?拍|补拍)[^（）()【】\n]{{0,40}}{closing}"
            for opening, closing in (("[（(]", "[)）]"), ("【", "】"))
        ),
        rf"(?:就会?|会|是)?(?:[如见看]|参[考照见]|请看|按照?|像|似|同|和|跟)(?:以)?[上下左右]?[面边]?(?:我)?(?:[这那]张)?{_SEEN}"
        r"(?:[一二三四五六七八九\d]+(?!样))?(?:所示|示|显示)?(?:[上中里]?的?(?:一样|这样|那样|那般|样子|状态|形状|大小|程度|感觉|效果|水位|位置|方法|步骤))?[上中里]?的?"
        r"[：:]?",
        rf"[至到成]?(?:差不多)?(?:就?是)?(?:成为?)?[上下]?{_SEEN}[上中里]?(?:所示|显示|呈现)?的?(?:这样|那样|样子|状态|形状|大小|程度|感觉|效果|细腻度|颜色)",
        rf"(?:最[后终])?(?:颜色|状态|样子|大小|形状|厚度|程度)(?:就|大概|差不多)?[如见像]{_SEEN}(?:所示)?",
        r"手法图[一二三四五六七八九\d]*[，,]?",
        r"图[一二三四五六七八九\d]+(?:[-~、]\d+)?[：:，,是为]?",
    )
)
_PICTURES = (
    "(?<![意地企贪力试版构绘])图(?![案形钉腾章书])",
    "视频|视屏|照片|相片|照相|相机|镜头|摄影|美颜|滤镜|录像",
    "拍照|补拍|没拍|[没未]有?(?:来得及)?拍|忘[了记]?(?:了)?(?:拍|照)|拍(?:摄|了?几?张|下来|美|不出)",
    "特写|俯拍|侧拍|近景|全景|上镜|晒图|发图|朋友圈|直播|全家福|合照|合影",
)
PICTURE = either(_PICTURES)
_FAMILY = (
    "老公|老婆|女儿|儿子|闺女|婆婆|公公|老妈|老爸|姐妹|姐姐|妹妹|弟弟|哥哥|奶奶|爷爷|外婆|姥姥|(?<!辣)妹子|小盆友|熊孩子|(?<!娃)娃(?!娃)"
    "|朋友(?!圈)|同学|同事|邻居|隔壁|闺蜜|亲们|亲爱的|厨友|网友|帮友|小伙伴|小仙女|主妇|吃货|各位|大家"
)
# The words of a clause that is talk whatever it tells to do.
_PERSONALS = (
    "我|俺|咱|本人|楼主|笔者|小编|人家|厨房小白|没经验|词穷",
    _FAMILY,
    "下次|下回|今天|今儿|昨[天晚]|这次|上次|上回|那天|当时|本来|原来想|原方",
    "[今去]年(?!糕)|那年|前[天几]|不是打广告|广告|强迫症|随便[炒做弄放煮切]了|凑合|将就|有点[裂糊焦丑过]|翻车",
    "(?:是|成|像|如|到|就)(?:是)?(?:下面)?(?:这样(?!做)|这个?样子|这种样子|这[个种]状态|酱紫)|这样子(?!做)",
    "(?:配方|方子)(?:的?量|是|适用|可做)|适用于|本(?:配方|食谱|方)",
    "(?:这样|这个样子|这种样子|这个状态|酱紫|这幅模样)(?:子)?(?:的|了|就(?:好|行|可以|成)了?)?(?=[，,。！!；;~…]|$)|是多少|怎么办|如何[^，。]{0,8}$|说好的|(?<![如果若是])用的(?:是|就是)[^，。]{1,12}(?=[，。！]|$)",
    "第一次|有木有|忽略|残忍|治愈|貌美|难以言|下不了手|你们|自家(?!制)|有点[多少]|没有很多|姿势|不知道|没想到|听天由命|看个人|羡慕|辛苦|奖励|流口水|惊喜|拿手",
    r"[\d一二三四五六七八九十几]块钱|元[一左][斤包袋右]|家里(?:只剩|正好|刚好|有现成|还有)|没办法|错误示范|掌声|鼓掌|今后|推出|行动起来|不用说了|一次便|分两个锅",
    "居然|竟然|只好|好不容易|突发奇想|说的比较多|换了个|当玩|心情大好|可耻|陶醉|感觉像买|最近在|以前是|深夜|不摆拍|入镜|无法形容|绝配|快多了|只能[放留]着|胶原蛋白|香飘飘|哇塞|大爱|巨[麻辣香]|撸剧|睡觉去|明天要|集体照|因为懒|[露的]帖|长胖|笑笑|这模样|满[室屋]|好多好多|原滋原味|按耐|关注获取|分了[0-9一二两三四五]次|具?有[^，。]{0,14}功效|便秘|症状|止咳|留念|造起来|留了吗|暖宫|拍出来|减分|歪打正着|走你|捂脸|哎呦|懒人早餐|嘚瑟|被夹|合个影|疫情|心理阴影|普及|表扬|抽风|滥竽|送人|没[吃喝]完|打扫一空|值得拥有|[某抖]音|一口下去|[咬吃]一口就|省着点|就剩|以前自己|厂家|实测|没时间|麻麻|妈咪|后来|好舒服|一直很满意|没关系|他爸|大好",
    "秒杀|谁吃谁|神器|爱你|Fighting|duang|恋上|美滋滋|珠联璧合|保你|好不好|虐心|悲催|一秒变|凑热闹|奸细|真心|抓狂|吃奶|搬砖|同志|博友|百度|发帖|反面教材|懒腰|缺一不可|老少皆宜|最好不过|剩下来|消耗掉|大师|粉丝们",
    "(?:^|[，。])这[就都也]?是[^，,。]{1,16}(?=[，,。！]|$)",
    "老板|摊主|店家|师傅|男票|女票|男友|女友|媳妇|先生|(?<![往从向到在])这边|个人(?=[觉感认原不比更]|喜欢|习惯)|童鞋|米娜桑|让帮",
    # 简单好吃的蛏子蒸粉, but not 美味的汤汁倒入碗中
    "(?:好吃|好喝|美味|香喷喷|热烘烘|热腾腾|可口|爽口|鲜香|鲜美|软糯|诱人|脆爽|开胃|下饭|嫩滑)[^，。！]{0,6}的(?:(?![倒放加淋撒入装盛浇切拌铺取])[^，,。！]){1,12}(?=[。！~]|$)",
    "[?？]|呢(?=[，,。！!~～…]|$)|好吗|像不像|锵锵|可惜|遗憾|据说|话说|反正|估计|秘诀|诀窍|窍门|[一二三四五六七八九十几多]年前|厉害|放心吃|告辞|不好意思",
    "(?<![别要])忘[记了]|偷懒|懒得|拿走|不谢|谢谢|感谢|不喜勿喷|勿喷|吐槽|收藏|交作业|评论|留言|提问|分享|附上|记录",
    "凭感觉|佛系|那叫一个|绝了|不会形容|真的(?!空)|麦德龙|盒马|沃尔玛|山姆|家乐福|永辉|大润发|卖场|货架|开市客|[Cc]ostco|宜家|三只松鼠|淘宝|某宝|京东|天猫|拼多多|网购|网上(?=[看买搜找说查学的])|优惠|牌子|品牌|超市|商场|菜市?场",
    "菜谱|食谱|方子|更新|哈哈|嘻嘻|呵呵|嘿嘿|嘿|哎呀|唉|天呐|天哪|喵|艾玛|妈呀|抱歉|对不起|不好意思|说实话|啰嗦|废话",
)
PERSONAL = either(_PERSONALS)
# The words of a clause that is talk if it tells nothing to do.
_CHATTERS = (
    "好吃|好喝|美味(?!鲜)|可口|香喷喷|香香|诱人|食欲|口水|太[香棒赞美爱满好]|超级?[香赞棒好爱美鲜快软细松嫩]|真[香棒赞好鲜]|好香|喷香|[很好真]软$",
    "(?:真|很|特别|非常|超级?|好)(?:很)?[香鲜甜脆嫩糯萌酥Q]|嚼劲|做工|惬意|完美|有滋有味|曼妙|照样|晚膳|挺好|的那种|完美|很棒|真棒|太棒|棒棒|赞|幸福|满足|开心(?!果)|成就|回味|人间|巴适|杠杠|惊艳|期待|解馋|馋|爱上|百吃不厌|停不下来|过瘾|满意|成功|失败",
    "一点[都也]不|一级|下饭|唇齿|色香味|令人|忘怀|心花|难忘|外酥里[嫩软]|外焦里嫩|宝贝|家人|妈妈|爸爸|生活|人生|下午茶",
    "品尝|尝尝|没用|太差|不美观|开吃|开动|开喝|享用|享受|尽情|慢慢吃|大功告成|完工|搞定|搞掂|大功|收工|光盘|吃光|抢光|吃完|齐活|成品|终于|放心",
    "做好[啦了]|好[啦咯喽]|出炉[啦咯喽]|来一[碗块杯口份个]|一口|开饭|吃[吧啦咯]|妥了|妥妥|OK|ok|Ok|[Bb]iu|bingo|[Bb]ingo|咕噜|完毕|结束(?![后前时])|可以吃|即可食用|就完成",
    "试一试|动手|卖相|颜值|美美|可爱|萌|亮[个个]?相|出[场镜]|登场|衣服|排排",
    "有没有|是不是|对不对|怎么样|为什么|对吧|是吧|哇|嗷|耶|啦啦|[铛当噔]{2}|么么|[Mm]ua|呜|啊呜|[Tt]ips?|碎碎念|PS|ps|ヾ|hh",
    "孩子|小孩|大人|宝宝|老人|家里|自己|全家|一家人|外面[卖买]|外卖|[上下]班|饭店|餐厅|早餐|晚餐|周末|爱吃|喜欢|觉得|认为|推荐|不错|也很|学会|看起来|看上去|漂亮|好看|难看|试试|尝试|健康|营养|养生|极佳|极了|共勉",
    "完成(?![后之时的以])|上桌|就好$|买|开胃|爽口|鲜香(?!菇)",
    "最爱|懒人|减肥|热量|卡路里|便宜|划算|性价比",
    "(?:^|[，。])这[就都也]?是|(?:^|[，。])这样的|道理|听说|传说|介绍|灵魂|精髓",
)
CHATTER = either(_CHATTERS)
# What a clause may tell beside something to do, but no sentence alone.
_REASONS = (
    "味道|口感|口味|松软|蓬松|内部组织|甜味|甜度|入口|香气|香味(?!出)|鲜美|浓郁|[香鲜甜脆嫩糯软]的?$|大概就是|好像|有人|别人|冬天|夏天|季节",
    "看到|看看|看着|容易|方便(?!面)|简单|轻松|省事|如此|这款|这种(?!状态)|这个(?!时候|状态|程度)|原因|建议|其实",
    "以上(?:的?配方|的?材料|的?用料|的?食材|的?量|是)",
)
REASON = either(_REASONS)
_TALK = either((*_PICTURES, *_PERSONALS, *_CHATTERS))
# Whole texts are searched for it, too: MULTILINE, so that it is found where a line ends.
_ANY = either((*_PICTURES, *_PERSONALS, *_CHATTERS, *_REASONS), re.MULTILINE)
# What tells to do something to food.
_ACTIONS = (
    "放(?![心假弃松])|翻(?!车)|[切剁煮炒蒸炸煎拌腌炖焯揉擀搅洗泡撒淋卤焖熬捞撈盛刷剪卷裹捏铺抹涂掰浸晾滤沥磨倒加醒剥挤筛淘兑搓揪摊削刨刮戳塞填撕榨煲涮烙煸煨扣折叠拧拌蘸沾裱]"
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
# What is more than these beside a reason, and what a line may tell to do that has none.
_STEPS = (
    *_DOINGS,
    "置(?!信)|[浇扒捣敲砸摔砍舀挖划拣择摘烫煨爆氽汆灼煅烘焙焗熏燻晒冰冻冲送抓扭绕扎缠捆掀揭抽拔剔拆斩拍铲插洒捻碾酿焐控擦扯嵌粘溶熔炝澆鋪點燙煑蓋進焼燒燉剝]",
    "混[合匀进]|分[离開开出装]|隔[水夜]|过[筛滤水油凉]|倾|注入|[加倒浸灌]|[打赶](?![败圆])|[熄关开点]火|起[油锅]|[热烧]油|[热烧][一个]?[锅水]|锅[热开]|油[温锅]"
    "|调[至到小大成]|[和好成]面|[和活揉]成|下入|[备切整]好|备[料菜齐]|改刀|称[重取出量]|处理|清理|收拾|宰杀|治净|飞水|抄水|按(?!照|摩|自己|个人|口味|喜|需|人|各)",
    "对折|平分|等分|粉碎|密封|回温|回软|回锅|挤",
)
ACT = either(_STEPS)
_WEAK = (
    "摆|挑|片[开成]|喷|抠|拼|黏|糖渍|换|穿|码|配[好上以成]|弄|备|下(?![面一次方午列图层半来去班])|入(?![口味])|拿|取|选|启动|开启|设[置定]|模式|按键",
    "装(?!饰品)|盖|包(?![菜子心装])|捧|端|提起|推|拉|拨|滚|甩|震|摇|晃|抖|等(?:待|[^，。]{0,10}[后时再到凉开])|待|晾|放|留|保[存持温鲜]|保温|继续|重复|反复|持续|控制|保证|确保|检查|观察|注意|避免|防止|不要|切忌|切记|千万|别(?=[太让把搅用])|不[能可宜][^思]|勿",
    "做[成好出]|制作|制成|用(?![的了量料])|发[至到好酵]|膨胀|凝固|收[干水]|沥|挂|吊|煲|佐|搭配|食用|享用|趁热|出[炉爐锅鍋笼]|离火|即[可成]|[切剝煎蒸]|一分|垫|掏|过一遍|围|合[上在并]|捂|闷|关|擠|炼",
    r"\d|[一二三四五六七八九十两半几数][大小汤茶]?[勺匙杯碗克斤两升条只个颗片根块瓣]|适量|少许",
)
# A line tells something to do if one of these is in it, but for what is said of a thing (烤好的肉).
DEED = either((*_STEPS, *_WEAK))
# "我会先放生菜" is 先放生菜: the cook goes, the deed stays.
SELF = re.compile(
    r"(?<![给让帮替])(?:我们|咱们|我|俺|本人|咱)(?:这里|这边|自己|基本|所以|一般|通常|习惯|比较|会|都|就|还|也|只|又|再|便|一直|个人|来|要|需要|得|可以|现在|开始|直接)*"
    rf"(?=(?:[先再把将放加取选开接]|用(?!的|过|了(?!\d))|分|(?:{_ACTIONS}))(?!的))"
)
_PEOPLE = "(?:大家|各位|亲们|亲|小伙伴|朋友|盆友|宝宝|姐妹|同学|童鞋|宝妈|小主|妈妈)们?"
# Where a thing was bought goes, the thing stays: 超市买的油面筋冲洗一下.
BOUGHT = re.compile(
    f"(?:(?=[从在去超菜市网淘商店]))(?:从|在|去)?(?:超市|菜市?场|网上|淘宝|市场|商场|店里)(?:里|上)?(?:买|购)(?:回来|来|到|入)?的(?:那种|这种)?(?=[{HAN}])"
)
# Those who are spoken to go, what they are told stays: 大家可以加糖, 喜欢辣的朋友多放.
SPOKEN_TO = re.compile(
    rf"(?:(?=[所提建也请大各亲小朋盆宝姐同童妈你]))(?:(?:所以|提醒|建议|也请|请)?{_PEOPLE}(?=也?(?:最好|可以|可|要|需|记得|一定|请|根据|按|尽量|先|再|不要|别|千万|注意|自行|自由|酌情|如果|多[放加]|少[放加]))"
    rf"|(?<![教让给帮带陪爱迷想])你(?:自己的?|家里?的?|的)?(?=[{HAN}])(?!们|好)"
    rf"|(?<=的){_PEOPLE}(?=，?(?:也?可|也?请|就|自行|多|少|最好|不|要|直接|记得|再)))"
)
_THIS = "(?:这样|这个样子|这种样子|这[个种]?(?:状态|程度|形状|颜色)|酱紫|这个?样|这般|那样)"
# What pointed at a picture, within something to do: 揉成这样就可以 is 揉好就可以.
LIKE_THIS = (
    (
        re.compile(
            r"(?<=[切剪揉擀捏卷做包打摊压剁])成(?:如|像)?(?:上|下|左|右)?图(?:片|中|示)*(?:所示|那样|这样|一样|的)*(?:状|样子|形状|大小|样)?(?=[，,。.！]|$)",
            re.MULTILINE,
        ),
        "好",
    ),
    (re.compile(rf"(?<=成){_THIS}的?(?=[宽细小薄厚长大条块片丁丝])"), ""),
    (
        re.compile(
            rf"((?:{_ACTIONS})[拌发煮炸制匀揉软碎化]?)(?:的?差不多)?[成至到](?:大概|大致|类似|差不多)?{_THIS}子?(?:的(?:样子|状态|程度)?)?(?![做切包])"
        ),
        r"\1好",
    ),
    (
        re.compile(
            rf"(?:就|先|然后)?(?:就|像|照|按照?|如)(?:上面)?{_THIS}[子地的]?(?=(?:一[点次个层]|依次|慢慢|稍微|直接|反复)?(?:{_ACTIONS}))"
        ),
        "",
    ),
)
TONE = re.compile(
    r"[哈哦喔呦哟啦咯呀嘛噢嗷喽呐哒吧]+(?=[，,。！!？?；;~～…、 ）)]|$)"
    r"|嗯+(?:[，,。！!…~]+|$)|(?<=[去倒剪切拿]掉)了(?=[，。！]|$)"
    # 炒了7分钟 tells what was done, 炒7分钟 what is to be done
    r"|(?<=[切煮炒蒸炸煎烤焖炖揉打搅腌泡发冻烧拌热放])(?<!共计.)(?<![一总]共.)了"
    r"(?=[\d.~～一二两三四五六七八九十几半]+ ?个?(?:分钟|半?小时|次|遍|秒))"
    r"|^(?:小?贴士|温馨提示|小提示|[Tt]ips?|TIPS?|[Pp][Ss]|PS)[：:] ?"
    r"|(?<!\d)[~～]+(?=[，,。！!？?；;]|$)|(?<=[。！!])[~～]+",
    re.MULTILINE,
)
_FACES = re.compile(
    r"[=^+><TQoh](?:(?<==)\^_?\^=?|(?<=\^)_?\^|(?<=[+><T])[_.][+><T]|(?<=Q)AQ|(?<=o)rz|(?<=h)ia\w*)"
)
_WAVE = re.compile(f"(?<=[{HAN}])(?<![火一二三四五六七八九十半两几])[~～]+(?=[{HAN}])")
# A dish that is done, at the end of something to do: 出锅装盘一道美味的凉菜就完成了.
_DONE = "(?:做好|完成|制作完成|制作成功|大功告成|搞定|出锅|出炉|上桌|做成|好|成)"
TAIL = re.compile(
    r"(?:(?=[一这美香好超爽可]))(?:(?<=即可)|(?<=装盘)|(?<=出锅)|(?<=均匀))(?:[一这][道份碗盘款个锅]|美味|香喷喷|好吃|超级|爽口|可口)"
    rf"[^，,。！!；;\n]{{0,14}}?(?:就|便)?{_DONE}[了啦](?=[，,。！!；;~～]|$)",
    re.MULTILINE,
)
# What goes alone, in this order, and what stands there instead; the characters come first.
_ALONE = tuple(
    (needed(pattern), pattern, instead)
    for pattern, instead in (
        *((pattern, "") for pattern in (SELF, SPOKEN_TO, BOUGHT)),
        *LIKE_THIS,
        *((pattern, "") for pattern in (PICTURE_WORDS, _FACES, TAIL, TONE)),
        (_WAVE, "，"),
    )
)
# What cutting leaves: 切块，。
_DANGLING = re.compile("[，,、：:]+(?=[。！!；;])|[，,、]+$", re.MULTILINE)
_HAN = re.compile(f"[{HAN}]")
_BRACKETS = re.compile(r"[（(【「][^（）()【】「」\n]*[）)】」]")
_END = "，,。！!？?；;…"
_HELD = r"[（(【“「][^（）()【】“”「」\n]*[）)】”」]|[~～](?=\d)"  # what parts no clauses
_BETWEEN_HAN = f"(?<=[{HAN}]) (?=[{HAN}])"  # a space that does
_CLAUSE = re.compile(
    rf"(?:{_HELD}|(?!{_BETWEEN_HAN})[^{_END}~～\n])*(?:[{_END}]|[~～](?!\d)|{_BETWEEN_HAN})+"
    rf"|(?:{_HELD}|[^{_END}~～\n])+"
)
_STOPS = frozenset("。！!？?；;…")
# A clause that hangs on the one before it; what it tells to do stays without these words.
DEPENDENT = re.compile(
    "^ ?(?:"
    "以及|毕竟|当然|加上|就没|已经|又(?!加|放|倒)|或者说|都是|所以|因此|因而|于是|不然|否则|要不然?|以免|免得|但是|但|不过|可是|然而|而且|并且|那么|那就|那|结果|而|这样|才|也就|就会|也会|会|应该|可能|感觉|主要|总之|尤其|特别是"
    ")"
)
_MERELY = re.compile("^ ?(?:所以|因此|因而|于是|但是|但|不过|可是|然而|而且|并且|那么|结果|那就?)")
_DID_NOT = re.compile("没有?(?:再|加|放|用|切|买|做)")
_ADDS = re.compile("^ ?(?:以及|毕竟|不然|否则|免得|以免)")
# A clause that waits for the one after it.
SUBORDINATE = re.compile(
    "^ ?(?:"
    "因为|由于|虽然|虽说|如果|要是|假如|若是?|既然|为了|当|除了|不管|无论|即使|尽管|只要|考虑到|看到|等到"
    ")|[的地](?:话|时候)?[，,]$"
)
CONDITION = re.compile(
    "^ ?(?:如果|要是|假如|若是?|想要?|不?喜欢|不?爱|怕|嫌|没有|不想|不吃|口味|觉得|感觉)"
)
# Nothing to do: what is said of a thing (烤好的); names of dishes and tools with a verb in them.
_SAID_OF = either(
    (
        rf"(?:{_ACTIONS}|做|买|发|熟|调|打|包|备|弄|串|夹|混合|处理|清理|称|过筛|分|剩|选|准备)[制酵发味拌煮泡切烤熟软炸入]?(?:好|完|熟|过|后|出来|成|匀|干净?|碎|软|凉|完成|出|发|化|开|出锅)?[之以]?[了后]?(?<!用)的"
        f"|[{HAN}](?:好|完|后|过|剩|时|出来)的|[花蛋春饭糕寿司菜肉饼]卷|[肉羊鸡牛]串|[炒焖烩拌盖煲炖][饭面粉蛋]|煎[饼蛋]|烤[肉鸡鱼箱盘架网鸭]|炸[鸡酱]|泡[菜芙打]|卤[肉味水]|烧[饼烤卖]|蒸[蛋锅笼]|打蛋[器盆]|[裱]花[袋嘴]|刮刀|筛网|搅拌[机器]|料理机|加工",
    )
)
_SHORT, _NAME = 24, 10  # characters of a line that may be a caption, a dish's name
CAPTION = re.compile(
    "^(?:"
    r"(?![^\n]*(?:[至到成呈为用把将画]|小时|分钟|好像))[^\n，,]{0,16}(?:样子|模样|状态|效果|近照|细节|成品|[截切断剖]面|合集|大集合|集合|对比)"
    rf"|[^\n，,]{{0,9}}?(?:{_ACTIONS}|做|包|打|发|熟|弄|备|调)[制酵发拌煮切]?(?:好|完|熟|成|完成)了|[^\n，,]{{0,4}}[煮炖烤蒸]好(?=[！!])"
    r")[。！!…]*$"
)
# A whole short line that tells how it went: 已经变软了, 脱模成功, 准备开吃, 用小砂锅煮的.
VERDICT = re.compile(
    "^(?:"
    "(?:已经|正在)[^，。]{1,10}[了中]?"
    "|[^，。]{0,8}(?:不错|成功|完美|可爱|漂亮|好香|真香|喷香|太香|容易脱模)了?"
    "|这就[^，。]{1,4}(?: [^，。]*)?|(?:可以|马上|就|便|能)*准备(?:享用|开吃|开动|开喝)了?"
    "|(?:准备|马上|就|便|能)+(?:可以)?[喝吃]了?|可以喝了?"
    "|(?:一[道碗盘份])?(?:香喷喷|美味|好吃|热腾腾|可口|诱人|鲜美)[^，。]{2,20}(?:享用|开吃|出锅|出炉|上桌|可以吃|完成|好)了?"
    r"|用[^，。]{1,8}[煮炒炸烤蒸炖做煎拌]的"
    "|好了[，,][^，。]{2,10}(?:做好|完成|出炉|出锅)了?|[^，。！]{0,14}(?:口感|欲罢不能)|(?:早上|晚上|中午|之前|刚刚?)拍的|打算做[^，。]{1,8}"
    "|一[碗盘份锅道杯][^，。]{2,16}(?:做好|完成|出锅|搞定|诞生)了?"
    f"|[加放切炒煮蒸炸烤拌][好完了][^，。]{{0,5}}的|[{HAN}]{{1,2}}了(?=[…。])"
    "|(?:共计|一共|总共)[^，。]{0,3}了[^，。]{1,9}"
    rf"|(?=[{HAN}]{{0,6}}[，, ]?[\d.]+ ?[克g毫m])(?![^\n]*(?:{_ACTIONS}))"
    rf"(?:[\d.]+ ?(?:克|g|ml|毫升|grams?) ?[{HAN}]{{1,6}}"
    rf"|[{HAN}]{{1,6}}[，, ]?[\d.]+ ?(?:克|g|ml|毫升))"
    r"|[^，。]{0,8}(?<![分切])(?:做|装|得|卷)[了到][\d一二两三四五六七八九十几][^，。]{0,10}|分了[\d一二两三四五六七八九十]+[个份块]"
    r"|(?:一?共|总共)[\d一二两三四五六七八九十]+[^，。]{1,5}"
    r"|[^，。]{0,10}(?:进行中|的?制作过程|制作\d)|(?:关于|补充)[^，。]{0,6}|(?:关键步骤|注意|重点)"
    rf"|\d+(?:\.\d+)?(?:厘米|cm)左右|[{HAN}]{{2,8}}(?:成品\d+[克个g]|口味[{HAN}]{{1,2}}(?<=[饼豆糕包酥卷]))"
    ")[。！!….：:； ]*$"
)
# A line of any length that tells what was used: 食材：蛋1个, 糖 20克、盐 1克、油 5克, 用了5个蛋.
USED = re.compile(
    rf"^(?:(?:准备)?(?:食材|材料|原料|主料|辅料|配料|用料)：(?![^\n]*(?:{_ACTIONS}))[^。]*"
    rf"|(?:这里)?(?:选择的|选用的|用的)(?![^\n]*(?:{_ACTIONS}))[^。]*|用了[\d一两二三半][^。]*"
    rf"|(?:[{HAN}]{{1,6}} ?(?:[\d半一两二三]+ ?(?:[克个勺g包根片瓣]|ml|毫升|汤匙|茶匙)"
    r"|少许|适量)(?:[、，, ]+|$)){3,}"
    ")[。！!…. ]*$"
)
_MARKS, _CAPTION_ENDS = "。！!…", "子样态果照节品面集合比了好"  # what a caption ends with
_PLAIN_DONE = re.compile(
    "(?:(?:就|便|也|已经?|都|即)(?:可以|算|这样)?(?:做好|好|成|出锅|出炉|上桌|可以|享用|开吃)了?|(?:做好|制作完成|完成|大功告成|搞定)了?|(?<!和)(?:好|成|出锅|出炉|上桌)了)"
    "[。！!…，, ]*$"
)


# Words of one who tells what was done, not what is to be done.
STORY = either(
    (
        "其实|实在|以前|最近|只能|干脆|心情|舒服|满意|好像|感觉|果然|毕竟|不想|突然|顺便|就去|就拿",
        "[换用做]了|买|了(?=[。，！ ])|所以|这个|就是|已经|还是",
    )
)


def tells_story(before: str, after: str) -> bool:
    """Whether the steps tell how somebody cooked once, also in what is left of them.

    That is seen from words of persons in them before talk was taken out, and of a story after it.
    """
    persons, story = len(PERSONAL.findall(before)), len(STORY.findall(after))
    return story > 1 and persons > LEAST_PERSONS * len(before) and story > LEAST_STORY * len(after)


LEAST_PERSONS, LEAST_STORY = 0.008, 0.01  # words for each character


def without_talk(text: str) -> str:
    """Steps without talk of pictures, of people, praise and farewells."""
    bare = _without_words(text)
    if bare != text:  # no word reaches past its line
        lines = zip(text.split("\n"), bare.split("\n"), strict=True)
        text = "\n".join(now if now == was else _settled(now) for was, now in lines)
    told = _told if _ANY.search(text) else _step
    return "\n".join(filter(None, map(told, text.split("\n"))))


def without_caption(text: str, name: str) -> str:
    """Steps without a line that is the dish's name: it stood below a picture of the dish."""
    if name not in text:
        return text
    return "\n".join(line for line in text.split("\n") if line.strip(_MARKS) != name)


def _settled(line: str) -> str:
    """A line without these words, also where cutting one has made another."""
    while (bare := _without_words(line := _DANGLING.sub("", line))) != line:
        line = bare
    return line


def _without_words(text: str) -> str:
    """`text` without the words that go alone."""
    for characters, pattern, instead in _ALONE:
        if characters.search(text):
            text = pattern.sub(instead, text)
    return text


@lru_cache(1 << 12)
def _told(line: str) -> str:
    """What a line tells of cooking, "" if nothing."""
    if not _HAN.search(line):
        return line  # other languages have talk of their own, that is not known here
    if not _ANY.search(line):
        return line if _tells_to_do(line) else ""
    told = line
    while True:  # from the inner brackets to the outer
        bare = _BRACKETS.sub(lambda found: "" if _is_talk(found[0]) else found[0], told)
        if bare == told:
            break
        told = bare
    kept, sentences = [""], _sentences(told)
    for number, sentence in enumerate(sentences, 1):
        after_cut = number > 1 and not kept[-1]
        kept.append(_sentence_told(sentence, "。" if number < len(sentences) else "", after_cut))
    told = "".join(kept).strip(" ，,")
    return told if told and _tells_to_do(told) else ""


def _step(line: str) -> str:
    """A line without talk, "" if it tells nothing to do."""
    return line if not _HAN.search(line) or _tells_to_do(line) else ""


def _sentences(line: str) -> list[list[str]]:
    """The clauses of a line by sentence."""
    found: list[list[str]] = [[]]
    for clause in _CLAUSE.finditer(line):
        found[-1].append(clause[0])
        if clause[0][-1] in _STOPS:
            found.append([])
    return [clauses for clauses in found if clauses]


def _sentence_told(clauses: list[str], stop: str, cut: bool) -> str:
    """What a sentence tells to do, with its reasons; `stop` where its end has gone.

    `cut` says that what stood before it has gone.
    """
    whole = "".join(clauses)
    goes = [_is_talk(clause) for clause in clauses] if _TALK.search(whole) else []
    chatty = any(goes) or bool(REASON.search(whole))
    if not any(goes):
        if chatty and not ACT.search(whole):
            return ""
        return whole if not cut else "" if _ADDS.search(whole) else _MERELY.sub("", whole)
    deeds = [not go and bool(ACT.search(one)) for one, go in zip(clauses, goes, strict=True)]
    if not any(deeds):
        return ""
    for at in range(len(clauses) - 1):  # 喜欢辣的，多放辣椒
        followed = not goes[at + 1] and DEED.search(clauses[at + 1])
        if goes[at] and followed and CONDITION.search(clauses[at]):
            goes[at] = bool(PICTURE.search(clauses[at]) or PERSONAL.search(clauses[at]))
    kept = _without_what_hangs(clauses, goes, deeds, cut)
    if kept and kept[-1][-1] not in _STOPS and clauses[-1][-1] in _STOPS:
        kept[-1] = kept[-1].rstrip(" ，,、") + stop
    told = "".join(kept)
    return told if ACT.search(told) else ""


def _without_what_hangs(
    clauses: list[str], goes: list[bool], deeds: list[bool], cut: bool
) -> list[str]:
    """The clauses that stay: without those that go and those that hang on them."""
    kept: list[str] = []
    for clause, talk, deed in zip(clauses, goes, deeds, strict=True):
        if talk:
            cut = True
            while kept and SUBORDINATE.search(kept[-1]) and not DOING.search(kept[-1]):
                kept.pop()
        elif cut and DEPENDENT.search(clause):
            bare = _MERELY.sub("", clause)
            if deed and bare != clause and not _DID_NOT.search(clause):
                kept.append(bare)
                cut = False
        elif not (cut and not deed and REASON.search(clause)):
            kept.append(clause)
            cut = False
    return kept


def _is_talk(clause: str) -> bool:
    if PICTURE.search(clause) or PERSONAL.search(clause):
        return True
    return bool(CHATTER.search(clause)) and not DOING.search(_PLAIN_DONE.sub("", clause))


@lru_cache(1 << 12)  # lines are asked about again after each cut
def _tells_to_do(line: str) -> bool:
    """Whether a line is a step: a heading of some, or something to do."""
    if USED.match(line):
        return False
    if len(line) > _SHORT:
        return bool(DEED.search(line))
    if VERDICT.match(line):
        return False
    if line[-1] in "：:】":
        return True
    if not DEED.search(line):
        return False
    if line.rstrip(_MARKS)[-1:] in _CAPTION_ENDS and CAPTION.search(line):
        return False
    if "的" not in line and len(line) > _NAME:
        return bool(DEED.search(_PLAIN_DONE.sub("", line)))
    return bool(DEED.search(_PLAIN_DONE.sub("", _SAID_OF.sub("", line))))
