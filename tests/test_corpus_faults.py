"""Kinds of faults that readers found in kept records, each through the real stage."""

from pathlib import Path

import pytest

from butler.corpus.rules.cooking import uncooked
from rule_walk import LEAD, PLAIN, answers, numbered, turns, usable
from test_corpus import run

# What a step is, and what is left of it; "" where it goes.
STEPS = {
    # What was done once is told as what is to be done.
    "加了150克面粉揉成团": "加150克面粉揉成团",
    "把面团分成了4个小剂子": "把面团分成4个小剂子",
    "因为放了一个土豆，盐少放": "因为放了一个土豆，盐少放",
    # What became of it, and how the cook felt.
    "虽然有点烤过头了": "",
    "锅里放不下了，剩了点菜和面烙了几个饼": "",
    "用同样的方法做了毛毛虫豆沙包": "",
    "擀开，最近发现这样特别快": "擀开",
    "还没切块就迫不及待地吃了，香滑": "",
    "撕开看看，云朵般细密": "",
    "看，一个个圆滚滚的汤圆": "",
    "很下饭的萝卜夹肉，快来试试吧！": "",
    "放冰箱里保存，没有防腐剂": "放冰箱里保存",
    "没有放黄油，揉匀": "揉匀",
    "没有放凉的面团不要切": "没有放凉的面团不要切",
    "切成条，盐放多了": "切成条",
    "炸好捞出，不要炸糊了": "炸好捞出，不要炸糊了",
    "倒入碗中，用的小勺": "倒入碗中",
    "做法很简单，加水煮开": "加水煮开",
    "最重要的一步来了，加水煮开": "加水煮开",
    "撒上芝麻，一个南瓜面包新鲜出炉！": "撒上芝麻",
    "把做好的面包出炉": "把做好的面包出炉",
    "抹面包棒极了": "",
    "切块开吃": "切块",
    "炒了大概5分钟": "炒大概5分钟",
    # What the cook did is to be done, and what hangs on a clause that goes goes with it.
    "我只放了白胡椒粉": "放白胡椒粉",
    "加盐拌匀，我这里放少啦": "加盐拌匀",
    "摊开放凉，因为是用高汤煮的，非常香": "摊开放凉",
    "加水煮开，我怕太浓，就是颜色浅了": "加水煮开",
    "包的时候忘拍了，就是将面团擀开": "将面团擀开",
    "我买的是干货，晒干的！把它切碎": "把它切碎",
    "我买了红糖，喜欢甜的，可以多放": "喜欢甜的，可以多放",
    # Pictures and places that are not there.
    "煮到这种没有血色的程度": "煮到没有血色的程度",
    "煎至如此后翻面": "煎好后翻面",
    "将虾仁打发到如视频中呈现的样子，装盘": "将虾仁打发好，装盘",
    "加白糖打发蛋清，直至出现如图状态，装盘": "加白糖打发蛋清，装盘",
    "[愉快]再把虾放去蒸5分钟[色]": "再把虾放去蒸5分钟",
    "放入圆葱和花哈，炒熟": "放入圆葱和花哈，炒熟",
    "倒入卡士达酱拌匀": "倒入卡士达酱拌匀",
    "锅中加入如图所示的油量": "锅中加入适量油",
    "加这么点点盐拌匀": "加一点盐拌匀",
    "最右边是糖浆，煮开": "煮开",
    "将步骤1中冷冻的蛋白打发": "将冷冻的蛋白打发",
    # Captions and counts.
    "成品出锅": "",
    "煮至收干汤汁出锅": "煮至收干汤汁出锅",
    "这道简单的蒸萝卜就出锅了！": "",
    "简易版酱烧老豆腐完成": "",
    "南瓜豆沙包": "",
    "过滤完成。": "",
    "一个春卷已经成型": "",
    "再铺上已经煮好的虾": "再铺上已经煮好的虾",
    "冷藏3小时后的样子。": "",
    "辣椒的选择": "",
    "腌制过程": "",
    "重复上述过程": "重复上述过程",
    "捞出的虾": "",
    "一盘红亮的油焖虾": "",
    "蒸好的状态，撒葱花": "撒葱花",
    "撒葱花，蒸好后的截面": "撒葱花",
    "准备饺子的食材": "",
    "全部准备好，进行下一步": "",
    "备料": "",
    "烹饪步骤：": "",
    # Figures that can mean one thing only.
    "取3/1的蛋白翻拌": "取1/3的蛋白翻拌",
    "放入烤箱烤40钟左右": "放入烤箱烤40分钟左右",
    "上锅蒸5分钟": "上锅蒸5分钟",
    "把虾沥干放\n入大碗中": "把虾沥干放入大碗中",
    "把蒸好的虾放入糖水就": "把蒸好的虾放入糖水",
    "面包": "",
    "所用低脂奶粉": "",
    "正好20个，两篦子。": "",
    "如果揉面没揉好": "",
    "如果没有发好就再等半小时": "如果没有发好就再等半小时",
    "可以不加。": "",
    "辅料": "",
    # Signs.
    "翻炒均匀。，加老抽": "翻炒均匀。加老抽",
    "放适量的油、，倒入面糊": "放适量的油，倒入面糊",
    "放高筋面粉（）揉匀": "放高筋面粉揉匀",
    "浇上芝麻油\\\\": "浇上芝麻油",
    "1∶把吉利丁片泡软": "把吉利丁片泡软",
    # Figures on keys, and numbers of steps after a word.
    "冷水浸泡🔟分钟捞出": "冷水浸泡10分钟捞出",
    "放入烤箱烤3️⃣0️⃣分钟": "放入烤箱烤30分钟",
    "放入5️⃣勺糖，2️⃣-3次翻匀": "放入5勺糖，2-3次翻匀",
    "1️⃣把虾洗净2️⃣放入锅中焯水煮熟3️⃣捞出": "把虾洗净\n放入锅中焯水煮熟\n捞出",
    "🔟把虾洗净": "把虾洗净",
    "第一步先把虾洗净": "先把虾洗净",
    "步骤一混合牛奶和黄油": "混合牛奶和黄油",
    "【3】切虾": "切虾",
    "准备工作2：虾肉剁碎": "虾肉剁碎",
    "b.虾肉剁碎": "虾肉剁碎",
    "3条虾切碎": "3条虾切碎",
    "七、4秒快速搅拌": "4秒快速搅拌",
    "操作方法：虾肉剁碎": "虾肉剁碎",
    "先做虾馅：1、虾肉剁碎2、葱切末备用": "先做虾馅：\n虾肉剁碎2、葱切末备用",
    "先做虾馅：1、虾肉剁碎；2、葱切末备用": "先做虾馅：\n虾肉剁碎；\n葱切末备用",
    "糖和水的比例是1：1。搅匀": "糖和水的比例是1：1。搅匀",
    "锅里放油，①放姜爆香，②放虾翻炒": "锅里放油，放姜爆香，放虾翻炒",
    # A step's number beside the name of what was made in it.
    "将步骤3中调好的酱汁倒入锅中": "将调好的酱汁倒入锅中",
    "把虾放入步骤二的酱汁里腌制": "把虾放入酱汁里腌制",
    "将2中的虾馅包成丸子": "将虾馅包成丸子",
    "将2中虾馅包成丸子": "将虾馅包成丸子",
    "把虾馅倒入步骤一锅中煮熟": "把虾馅倒入锅中煮熟",
    "铺上虾片（步骤4直接盖住即可）": "铺上虾片",
    "这步骤一定要快，搅匀": "这步骤一定要快，搅匀",
    "重复以上步骤，直到包完": "重复以上步骤，直到包完",
    "黄油化开。": "黄油化开。",
    "面皮在菜板上摊开2.用勺子把肉抹匀3.放上火腿4.卷好煎熟": (
        "面皮在菜板上摊开\n用勺子把肉抹匀\n放上火腿\n卷好煎熟"
    ),
    "葱切末备用2。将湿淀粉10克（淀粉5克加水）兑成汁3。锅内留油15克，炒香": (
        "葱切末备用\n将湿淀粉10克（淀粉5克加水）兑成汁\n锅内留油15克，炒香"
    ),
    "放糖2、盐3、醋1翻炒": "放糖2、盐3、醋1翻炒",
    "设定4秒/速度2。筛入低筋面粉，设定4秒/速度3。搅匀": (
        "设定4秒/速度2。筛入低筋面粉，设定4秒/速度3。搅匀"
    ),
}
LISTED = {
    "200g+低粉": ["200g低粉"],
    "50g+/-黄油": ["50g黄油"],
    "3勺A 酱油": ["3勺酱油"],
    "50g糯米粉*": ["50g糯米粉"],
    "低粉 120": ["120克低粉"],
    "0大勺生抽": ["适量生抽"],
    "0粒大杏仁1": ["10粒大杏仁"],
    "50+200克了猪油": ["50+200克猪油"],
    "5颗菠菜叶菠菜叶": ["5颗菠菜叶"],
    "适量勺（可不放）蜂蜜": ["适量蜂蜜（可不放）"],
    "杏仁奶油馅（约20": ["杏仁奶油馅"],
    "高筋面粉（）": ["高筋面粉"],
    "少于陈醋": ["少许陈醋"],
    "看天气冰块": ["适量冰块"],
    "10克都行糖": ["10克糖"],
    "有时牛肉": ["适量牛肉"],
    "腊肉主料": ["腊肉"],
    "200g高筋面粉（安佳）": ["200g高筋面粉"],
    "5克抹茶（飞燕牌）": ["5克抹茶"],
    "包子皮": ["包子皮"],
    "棉布袋子": [],
    "一只空瓶子": [],
    # One ingredient a line.
    "适量盐、胡椒粉、料酒": ["适量盐", "适量胡椒粉", "适量料酒"],
    "盐、糖少许": ["少许盐", "少许糖"],
    "各50g韭菜、菠菜": ["50g韭菜", "50g菠菜"],
    "葱，姜，花椒": ["葱", "姜", "花椒"],
    "腌肉料：料酒、生抽": ["腌肉料：", "料酒", "生抽"],
    "大酱三勺韩国辣酱一勺": ["大酱三勺", "韩国辣酱一勺"],
    "干、湿淀粉": ["干、湿淀粉"],
    "三、四片柠檬": ["三、四片柠檬"],
    "适量虾皮 香菜": ["适量虾皮", "适量香菜"],
    "虾皮、香菜、榨菜各适量": ["适量虾皮", "适量香菜", "适量榨菜"],
    "各2个八角和草果": ["2个八角", "2个草果"],
    "虾皮。榨菜。": ["虾皮", "榨菜"],
    "玉米 淀粉": ["玉米 淀粉"],
    "盐3g料酒10g淀粉6g": ["盐3g", "料酒10g", "淀粉6g"],
    "牛奶：70G吉利丁：5G": ["牛奶70G", "吉利丁5G"],
    "牛奶70克，白糖少许": ["牛奶70克", "白糖少许"],
    "2个土豆，1个切丝": ["2个土豆，1个切丝"],
    # A heading that runs into the first of its lines.
    "奶油馅：20克糖粉": ["奶油馅：", "20克糖粉"],
    "奶油馅：糖粉20克": ["奶油馅：", "糖粉20克"],
    "糖粉：20克左右": ["糖粉：20克左右"],
    # Seasonings run together.
    "花椒桂皮": ["花椒", "桂皮"],
    "少许盐味精": ["少许盐", "少许味精"],
    "油盐香醋": ["油", "盐", "香醋"],
    "各5克花椒大料": ["5克花椒", "5克大料"],
    "生抽酱油": ["生抽酱油"],
    "花椒盐": ["花椒盐"],
    "葱姜蒜": ["葱姜蒜"],
    # Amounts.
    "适量几片薄荷": ["几片薄荷"],
    "来几根芹菜": ["几根芹菜"],
    "各少许陈皮": ["少许陈皮"],
    "陈皮各5克": ["5克陈皮"],
    "好几根芹菜": ["几根芹菜"],
    "6.7根芹菜": ["6-7根芹菜"],
    "6.5根芹菜": ["6.5根芹菜"],
    "120.130克糯米粉": ["120-130克糯米粉"],
    "1tb sp陈醋": ["1汤匙陈醋"],
    "1/2tsp陈醋": ["1/2茶匙陈醋"],
    "玉米15克淀粉": ["15克玉米淀粉"],
    "面糊用15克白糖": ["15克白糖（面糊用）"],
    "切丁少许莲藕": ["少许莲藕（切丁）"],
    "量杯2杯小米": ["2杯小米（量杯）"],
    "少许莲藕少许": ["少许莲藕"],
    "3根芹菜（适量）": ["3根芹菜"],
    "300克豆腐一盒": ["300克豆腐（一盒）"],
    "（常温）30克牛奶": ["30克牛奶（常温）"],
    "+30克牛奶+": ["30克牛奶"],
    "n勺陈醋": ["适量陈醋"],
    "很多根芹菜": ["适量芹菜"],
    "多点陈醋": ["适量陈醋"],
    "l5克白糖": ["15克白糖"],
    "5克可不放白糖": ["5克白糖"],
    "莲藕等": ["莲藕"],
    "3蛋黄": ["3个蛋黄"],
    "3根莲藕（只剩这么多）": ["3根莲藕"],
    # Tools.
    "1个不锈钢大锅": [],
    "1包火锅底料": ["1包火锅底料"],
    "1个鸡架子": ["1个鸡架子"],
    "2根竹签(串肉)": [],
    "实耗约70克": [],
    "80克蛋糕模2个：": [],
    "工艺：炒": [],
    "一小把克芹菜": ["一小把芹菜"],
    "数量芹菜": ["适量芹菜"],
    "两斤基围虾，去壳抽筋": ["两斤基围虾，去壳抽筋"],
}


# What a recipe is called; "" where that is no dish.
NAMES = {
    "颜值高的双椒脆皮肠": "双椒脆皮肠",
    "吃一次就爱上的东北饭包": "东北饭包",
    "超级无敌好吃的猪颈骨": "猪颈骨",
    "简易版绿豆糕": "绿豆糕",
    "我家的叉烧包": "叉烧包",
    "元气早餐": "",
    "给老公儿子带饭10": "",
    "胡萝卜早餐包": "胡萝卜早餐包",
    "好吃又简单的红烧肉": "红烧肉",
    "网红肉松小贝": "肉松小贝",
    "美味鲜虾羹": "美味鲜虾羹",
    "阿李厨房之酸辣汤": "酸辣汤",
    "小张老师的戚风蛋糕": "戚风蛋糕",
    "一盘土豆丝": "土豆丝",
    "幼猫猫饭": "",
    "清洗猪肚": "",
    "解暑必备饮料": "",
}


def parts(text: str) -> tuple[list[str], list[str]]:
    """The ingredients and the steps of an answer."""
    listed, told = text.split("\n按以下方法制作:\n")
    return listed.split("\n")[1:], told.split("\n")


def test_a_step_that_no_cook_would_write_goes_or_is_mended(tmp_path: Path) -> None:
    data = numbered(list(STEPS), lambda text: usable(recipeInstructions=[LEAD, text, PLAIN]))
    _, outputs = run(tmp_path, data, test_size=0)
    told = {n: "\n".join(parts(text)[1][1:-1]) for n, text in answers(outputs).items()}
    assert dict(zip(STEPS, (told.get(n) for n in range(len(STEPS))), strict=True)) == STEPS


def test_a_line_holds_one_ingredient_and_its_amount(tmp_path: Path) -> None:
    data = numbered(list(LISTED), lambda text: usable(recipeIngredient=["1根黄瓜", text]))
    _, outputs = run(tmp_path, data, test_size=0)
    found = {n: parts(text)[0] for n, text in answers(outputs).items()}
    own = {n: [one for one in lines if "黄瓜" not in one][:-1] for n, lines in found.items()}
    assert dict(zip(LISTED, (own.get(n) for n in range(len(LISTED))), strict=True)) == LISTED


def test_a_name_is_a_dish_without_praise(tmp_path: Path) -> None:
    data = numbered(list(NAMES), lambda text: usable(name=text))
    _, outputs = run(tmp_path, data, test_size=0, forms={"的做法": 1.0})
    asked = {n: turn["input"].removesuffix("的做法") for n, turn in turns(outputs)}
    assert dict(zip(NAMES, (asked.get(n, "") for n in range(len(NAMES))), strict=True)) == NAMES


@pytest.mark.parametrize(
    "steps",
    [
        ["面团擀成", "5厘米厚的片", PLAIN],  # 0.5 or 1.5: the source was cut at the point
        ["香葱切", "5cm的小段备用。", PLAIN],
        ["倒入2勺老抽和生抽", "5勺炒匀", PLAIN],
        ["取出冻硬的面团，横着切", "3CM的薄片", PLAIN],
        ["倒入切碎的雪梨", "5h后加冰糖", PLAIN],
        ["把糖和水按1：", "4的比例倒入", PLAIN],
        ["放入烤箱烤40至表面上色", PLAIN],
        ["烤箱1175度烤熟", PLAIN],
        ["烤箱18度预热", PLAIN],
        ["倒入450升水煮开", PLAIN],
        ["开大火蒸20分钟即，关火", PLAIN],
    ],
)
def test_a_figure_that_lost_its_beginning_is_not_told(tmp_path: Path, steps: list[str]) -> None:
    data = numbered(["x"], lambda _: usable(recipeInstructions=[LEAD, *steps]))
    stats, _ = run(tmp_path, data, test_size=0)
    assert stats["reasons"] == {"torn_steps": 1}


# The name and the last step of a dish, and whether it is cooked.
COOKED = {
    ("荠菜饺子", "拌成馅，包饺子"): False,
    ("荠菜饺子", "拌成馅，包好饺子下锅"): True,
    ("饺子馅", "拌成馅"): True,
    ("爆炒虾仁", "加料酒腌制，出锅装盘"): False,
    ("爆炒虾仁", "加料酒腌制，下锅翻匀"): True,
    ("不用烤箱的蛋糕", "拌匀，放进冰箱冷藏"): True,
    ("面粉饼干", "拌匀，切成小块"): False,
    ("面粉饼干", "面团用面包机搅拌"): True,
}


@pytest.mark.parametrize(("name", "step"), COOKED)
def test_a_dish_that_is_not_cooked_is_not_told(name: str, step: str) -> None:
    assert uncooked(name, "100克面粉", f"把葱切碎\n{step}") != COOKED[name, step]


def test_an_amount_after_a_whole_one_has_its_beginning(tmp_path: Path) -> None:
    steps = ["倒入4勺生抽，2勺老抽", "1勺糖提鲜，翻炒均匀", PLAIN]
    data = numbered(["x"], lambda _: usable(recipeInstructions=steps))
    _, outputs = run(tmp_path, data, test_size=0)
    assert parts(answers(outputs)[0])[1] == steps


def test_a_list_among_the_steps_and_a_step_told_twice_go(tmp_path: Path) -> None:
    again = "锅里加入适量的油，放入洋葱和胡萝卜煸炒出香味，加水煮开"
    lists = [LEAD, "橄榄油 适量", "西红柿，2只；", "一根黄瓜", again, PLAIN, again]
    ends = ["两根黄瓜", "1先把肉切碎，装入盘中", "装入盘中。", PLAIN, f"{PLAIN}，出锅"]
    data = numbered([lists, ends], lambda told: usable(recipeInstructions=told))
    _, outputs = run(tmp_path, data, test_size=0)
    told = answers(outputs)
    assert parts(told[0])[1] == [again, PLAIN]
    assert parts(told[1])[1] == ["先把肉切碎，装入盘中", f"{PLAIN}，出锅"]
