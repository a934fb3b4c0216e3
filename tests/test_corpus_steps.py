"""Steps that tell something to do, lists that go with them, and why a recipe without them goes."""

import pytest

from butler.corpus.records import Recipe, Rejected
from butler.corpus.rules.deeds import without_caption
from butler.corpus.rules.foods import run_together, unlisted, unused
from butler.corpus.rules.ingredients import clean_ingredients, clean_line, rejoined
from butler.corpus.rules.names import bare_name
from butler.corpus.rules.steps import clean_steps, split_paragraph, torn
from butler.corpus.rules.talk import without_talk
from butler.corpus.rules.text import spell
from test_corpus_text import parse, recipe

COOKED = ["青菜洗净切段，豆腐切成小块备用。", "水开后放入煮五分钟，加盐出锅。"]


@pytest.mark.parametrize(
    "line",
    [
        "切好的土豆丝",
        "烤好了",
        "这是冷藏后成型的奶糕",
        "搅拌均匀后的样子",
        "清热解暑好效果",
        "还是自己做的放心！",
        "一道美味的凉菜就做好了",
        "没经验",
        "隔壁小孩都馋了",
        "然后就开吃啦",
        "全家福",
    ],
)
def test_what_tells_nothing_to_do_is_no_step(line: str) -> None:
    assert without_talk(clean_steps(spell(line))) == ""


@pytest.mark.parametrize(
    "line",
    [
        "把切好的土豆丝放入锅中",
        "用巧克力笔画上细节",
        "大火15分钟",
        "先加油",
        "出锅",
        "蒜末、葱花置碗中",
        "按面包机的年糕功能",
        "不要倒太多，不然味道会过咸",
        "喜欢吃辣的，可以多放辣椒",
        "不喜欢吃韭菜的，也可以换成其他菜，就要先烫水，再切碎",
        "盖好盖子，不要放凉",
        "再次揉匀面团排气",
    ],
)
def test_what_tells_something_to_do_stays_whole(line: str) -> None:
    assert without_talk(clean_steps(spell(line))) == line


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("我一般放两勺糖", "放两勺糖"),
        ("我们得把水烧开", "把水烧开"),
        ("大家可以根据口味加盐", "可以根据口味加盐"),
        ("喜欢吃辣的朋友可以加小米辣", "喜欢吃辣的可以加小米辣"),
        ("超市买的面筋用凉水冲洗一下", "面筋用凉水冲洗一下"),
        ("打发成这样就可以了", "打发好就可以了"),
        ("切成如图所示状，备用", "切好，备用"),
        ("然后就这样切丝", "切丝"),
        # What hangs on a clause that goes, goes with it; what is to be done stays without its "so".
        ("由于我的蛋比较小，所以加2颗蛋黄，拌匀", "加2颗蛋黄，拌匀"),
        ("我家孩子不爱吃，所以没有放。加盐拌匀", "加盐拌匀"),
        ("切成丁，我用的是口蘑！下锅炒香", "切成丁。下锅炒香"),
        ("加糖拌匀（真心好吃啊），静置10分钟", "加糖拌匀，静置10分钟"),
        ("小火慢炖～最后收汁", "小火慢炖，最后收汁"),
        ("撒葱花出锅，美味的花甲就做好了！", "撒葱花出锅"),
    ],
)
def test_only_the_clause_that_is_talk_goes(raw: str, clean: str) -> None:
    assert without_talk(spell(raw)) == clean
    assert without_talk(clean) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (["把面团擀开成", "薄片"], ["把面团擀开成薄片"]),
        (["腌好后", "放入锅中"], ["腌好后，放入锅中"]),
        (["切块（不要太大", "也不要太小）备用"], ["切块（不要太大也不要太小）备用"]),
        (["加盐（少许"], ["加盐（少许）"]),
        (["加盐）拌匀"], ["加盐拌匀"]),
        (["放入锅中，然后", "加水"], ["放入锅中", "加水"]),
        (["然后和面", "下锅"], ["和面", "下锅"]),
        (["切丝；2、下锅；3、出锅"], ["切丝；", "下锅；", "出锅"]),
        (["最后", "和面", "混和"], ["最后", "和面", "混和"]),
    ],
)
def test_broken_lines_are_joined(raw: list[str], clean: list[str]) -> None:
    assert clean_steps(spell("\n".join(raw))).split("\n") == clean


@pytest.mark.parametrize(
    ("line", "is_torn"),
    [
        ("将蒜剁成", True),
        ("炒至，出锅", True),
        ("炖40分钟后", True),
        ("完成", False),
        ("搅和", False),
    ],
)
def test_what_still_breaks_off_is_torn(line: str, is_torn: bool) -> None:
    assert bool(torn(line)) == is_torn


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("个（350克）茄子3", ["3个茄子（350克）"]),
        ("朵鲜香菇十", ["十朵鲜香菇"]),
        ("1/4个#肉末腌制", ["肉末腌制："]),
        ("各少许克盐", ["少许盐"]),
        ("蛋黄1个克", ["蛋黄1个"]),
        ("黑胡椒碎少许黄油30g", ["黑胡椒碎少许", "黄油30g"]),
        ("200g或者根据自己喜好藕", ["200g藕"]),
        ("500大米", ["500克大米"]),
        ("20虾", ["20虾"]),
        ("150克冷藏牛奶", ["150克冷藏牛奶"]),
        ("葱和姜", ["葱", "姜"]),
        ("豆瓣酱、王致和腐乳汁、辣椒酱", ["豆瓣酱、王致和腐乳汁、辣椒酱"]),
        ("烤箱下层 180度 20分钟左右", []),
        *((none, []) for none in ("180度", "20分钟左右", "烤箱下层", "蒸10分钟", "见下图", "500g")),
    ],
)
def test_torn_amounts_are_joined_and_what_is_none_goes(raw: str, clean: list[str]) -> None:
    assert list(clean_line(raw)) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("两根不要也行蒜苔", "两根蒜苔"),
        ("可以放也可以不放盐", "适量盐"),
        ("2个，约100克鸡蛋", "2个鸡蛋"),
        ("随意年糕，肉丝，新鲜荠菜", "适量年糕，肉丝，新鲜荠菜"),
        ("15克水（先加5克，再看情况）", "15克水（先加5克，再看情况）"),
    ],
)
def test_amounts_that_go_on_in_talk_end_where_the_name_begins(raw: str, clean: str) -> None:
    assert rejoined(raw, "蒜苔切段，鸡蛋打散，加盐和水") == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("淡奶油 450毫升 超市即有售", "淡奶油 450毫升"),
        ("超市买的全麦卷饼", "全麦卷饼"),
        ("辣椒段一个，家里宝宝可以不放", "辣椒段一个"),
        ("200g或者根据自己喜好藕", "200g藕"),
        ("适量自己喜欢的水果", "适量水果"),
        ("5个好想你红枣", "5个好想你红枣"),
        ("盐就OK了！", ""),
        ("下面是食材，就不按多少量了，喜欢的多放", ""),
        # A list is none of talk, though its amount stands before its first name only.
        ("少许食用油，花椒，白糖和老抽", "少许食用油，花椒，白糖和老抽"),
        ("2小个土豆，西红柿", "2小个土豆，西红柿"),
    ],
)
def test_a_remark_goes_and_the_ingredient_stays(raw: str, clean: str) -> None:
    assert rejoined(raw, "西红柿、辣椒段切块，下食用油和老抽翻炒，放水果，最后撒盐就OK了") == clean


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "排骨汤", "recipeInstructions": ["排骨洗净焯水。", *COOKED]}, "not_listed"),
        ({"recipeInstructions": [*COOKED, "转小火，炖到"]}, "torn_steps"),
        (
            {
                "name": "杂酱面",
                "recipeIngredient": ["猪肉", "香菇", "豆瓣酱", "黄瓜", "面条"],
                "recipeInstructions": ["喜欢吃带汤汁的就多放点水", "煮开后关火盛出，趁热吃完"],
            },
            "steps_missing",
        ),
        (
            {"recipeIngredient": ["青菜豆腐豆瓣酱", "豆腐青菜香菇", "盐"]},
            "torn_ingredients",
        ),
    ],
)
def test_what_cannot_be_mended_is_rejected_by_its_fault(
    changes: dict[str, object], reason: str
) -> None:
    assert isinstance(parse(recipe()), Recipe)
    found = parse(recipe(**changes))
    assert isinstance(found, Rejected) and found.reason == reason


def test_one_name_for_many_foods_is_no_list() -> None:
    assert unlisted("炖肉", "鸡爪", "鸡爪焯水，加姜片、生抽、冰糖炖煮")
    assert not unlisted("番茄炒蛋", "2个西红柿\n3个鸡蛋", "番茄切块，鸡蛋打散下锅")
    assert not unlisted("鸡爪", "鸡爪，姜，生抽，冰糖", "鸡爪焯水，加姜片、生抽、冰糖炖煮")
    seasoned = "金针菇撕开，肥牛焯水，爆香葱姜蒜，放番茄，加生抽、老抽、蚝油煮开，撒芝麻"
    assert not unlisted("番茄肥牛", "肥牛、金针菇、西红柿", seasoned), "three foods in one line"
    assert unlisted("冷吃兔", "干辣椒\n花椒\n大蒜生姜", "兔肉切块飞水，下锅翻炒")
    assert not unlisted("豆腐皮卷", "千张\n金针菇", "千张切条，把豆腐皮卷放进烤箱")
    assert not unlisted("泡椒藕", "200克莲菜\n泡椒", "藕切丁焯熟，拌入泡椒")
    assert not unlisted("香菇馒头", "150克面粉\n78克牛奶", "和成面团，做成香菇的样子，上锅蒸熟")


def test_steps_that_speak_of_all_ingredients_lack_none() -> None:
    listed = "面粉\n牛奶\n鸡蛋\n黄油\n酵母\n白糖"
    assert unused(listed, "揉成团，发酵后入炉") == "1 of 5"
    assert unused(listed, "所有材料揉成团，发酵后入炉") == ""
    assert run_together("葱姜蒜\n鸡蛋\n盐") == ""
    assert run_together("一个红薯粉丝\n一把地瓜粉条") == "", "vermicelli of sweet potatoes is one"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("超简单的番茄炒蛋", "番茄炒蛋"),
        ("超级下饭的茄子", "茄子"),
        ("虎皮青椒家常版", "虎皮青椒"),
        ("钳花包系列③", "钳花包"),
        ("曲奇饼干做法", "曲奇饼干"),
    ],
)
def test_a_name_is_without_praise_and_series(raw: str, clean: str) -> None:
    assert bare_name(raw) == clean


@pytest.mark.parametrize(
    "line",
    [
        "已经变软了",
        "正在烤",
        "正在发酵中...",
        "准备开吃！",
        "拉丝不错",
        "脱模成功",
        "饺子煮好！",
        "用小砂锅煮的",
        "用了5个蛋，50克糖",
        "共计烤了20分钟，一点都不糊",
        "1斤面粉做了10张饼",
        "一碗香气袭人的炒饭就做好。",
        "蛋皮的制作过程",
        "400g高筋面粉",
        "食材：燕麦片 30克，香蕉 半个，酸奶30克",
        "Merry Christmas！",
        "接下来",
        "早上拍的",
        "丝滑香甜的布丁口感",
        "好了，素炒河粉做好了",
    ],
)
def test_what_tells_how_it_went_or_what_was_used_is_no_step(line: str) -> None:
    assert without_talk(clean_steps(spell(line))) == ""


@pytest.mark.parametrize(
    "line",
    [
        "放凉就可以享用了",
        "90g黄油隔水融化",
        "2000ml水下锅煮沸",
        "一勺香油拌匀",
        "泡好的糯米上蒸锅蒸熟！",
        "根据自己口味放盐和糖",
        "全程小火不停搅拌，以免糊锅",
        "调料：盐、糖拌匀",
        "出锅装盘",
    ],
)
def test_terse_steps_are_steps(line: str) -> None:
    assert without_talk(clean_steps(spell(line))) == line


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("加少许盐和适\n量水淀粉搅匀", "加少许盐和适量水淀粉搅匀"),
        ("五花肉改刀成\n小丁", "五花肉改刀成小丁"),
        ("关🔥出锅", "关火出锅"),
        ("抹上糖浆，冷藏一晚后", "抹上糖浆，冷藏一晚"),
        ("按湿豆键即可\n十几分钟后", "按湿豆键即可"),
        ("1.洗净\n2.切块\n3.20分钟后取出", "洗净\n切块\n20分钟后取出"),
        ("1.洗净\n2.切块\n3.3-4小时后加盐", "洗净\n切块\n3-4小时后加盐"),
        ("1.洗净\n2.切块\n3.30秒后下锅", "洗净\n切块\n30秒后下锅"),
        ("四周抹匀", "四周抹匀"),
        ("1.5小时后取出", "1.5小时后取出"),
    ],
)
def test_steps_are_whole_without_their_numbers(raw: str, clean: str) -> None:
    assert clean_steps(spell(raw)) == clean


def test_degrees_that_lost_their_number_are_torn() -> None:
    assert torn("放入烤箱，以\n℃烘烤12分钟") == "℃"
    assert torn("放入烤箱\n180℃烘烤12分钟") == ""


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("200g克浓稠酸奶", ("200g浓稠酸奶",)),
        ("一勺克牛奶", ("一勺牛奶",)),
        ("2勺克力架", ("2勺克力架",)),
        ("一两勺酱油", ("一两勺酱油",)),
        ("50m|料酒", ("50ml料酒",)),
        ("半个柠檬柠檬汁", ("半个柠檬汁",)),
        ("350菜心", ("350克菜心",)),
        ("100只虾", ("100只虾",)),
        ("350克淡奶油总统牌", ("350克淡奶油",)),
        ("石材胡萝卜1根", ("胡萝卜1根",)),
        ("100克用料3. 红豆泥", ("100克红豆泥",)),
        ("先将1勺生抽", ("1勺生抽",)),
        ("1勺蚝油混合在小碗里备用", ("1勺蚝油",)),
        ("蛋白糊用50克", ()),
        ("揉成面团，擀成面片20×40厘米低粉250+盐2", ()),
        (
            "食材:腐竹150克 木耳150克 葱小半根 姜两片 盐 生抽 鸡精 醋",
            ("腐竹150克", "木耳150克", "葱小半根", "姜两片", "盐", "生抽", "鸡精", "醋"),
        ),
    ],
)
def test_an_ingredient_has_one_amount_and_no_label(raw: str, clean: tuple[str, ...]) -> None:
    assert clean_line(spell(raw)) == clean


def test_a_bare_ingredient_is_not_listed_beside_its_amount() -> None:
    assert clean_ingredients("植物油\n18克植物油\n盐\n盐") == "18克植物油\n盐"
    parted = "面团：\n糖\n馅：\n10克糖"
    assert clean_ingredients(parted) == parted
    assert clean_ingredients("30克奶油\n30克奶油") == "30克奶油\n30克奶油"


def test_a_recipe_stays_where_much_talk_was_cut_and_the_rest_cooks_the_list() -> None:
    talk = "我家儿子每天都吵着要吃这道菜，我觉得非常好吃，老公也说比外面买的好吃多了。" * 3
    kept = parse(recipe(recipeInstructions=[*COOKED, talk]))
    assert isinstance(kept, Recipe) and kept.steps.split("\n") == COOKED
    gone = parse(
        recipe(recipeInstructions=["准备好碗，洗净擦干备用。", "盛出来装在碗里面。", talk])
    )
    assert isinstance(gone, Rejected) and gone.reason == "talk"


def test_seasonings_alone_make_no_list_incomplete() -> None:
    told = "葱姜蒜切丝，肉片炒熟，加老抽、蚝油、醋、干辣椒，下蘑菇和油菜"
    assert not unlisted("蘑菇肉片", "猪肉\n平菇\n油菜", told)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("记录汉堡坯", "汉堡坯"),
        ("可颂记录", "可颂"),
        ("炸炸炸炸薯条来咯", "炸薯条"),
        ("减肥助手紫甘蓝汁", "紫甘蓝汁"),
    ],
)
def test_a_name_is_without_slogans(raw: str, clean: str) -> None:
    assert bare_name(raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("大火炒了7分钟", "大火炒7分钟"),
        ("鸡蛋打了两次，过筛", "鸡蛋打两次，过筛"),
        ("小贴士：枸杞提前用清水泡5分钟", "枸杞提前用清水泡5分钟"),
        ("煎至你想要的熟度即可", "煎至想要的熟度即可"),
        ("根据你自己的口味加盐", "根据口味加盐"),
        ("切成小块，让你的孩子拌匀", "切成小块，让你的孩子拌匀"),
    ],
)
def test_what_was_done_and_who_is_spoken_to_is_told_as_what_to_do(raw: str, clean: str) -> None:
    assert without_talk(clean_steps(spell(raw))) == clean


def test_the_name_of_the_dish_is_no_step() -> None:
    assert without_caption("切丝\n青椒肉丝！\n炒青椒肉丝", "青椒肉丝") == "切丝\n炒青椒肉丝"


def test_sentences_in_one_line_are_parted_at_dots_between_words() -> None:
    assert (
        split_paragraph("海带丝焯水.葱切粒放入.加1.5勺醋拌匀")
        == "海带丝焯水.\n葱切粒放入.\n加1.5勺醋拌匀"
    )
