"""What a line of a recipe looks like after cleaning."""

import numpy as np
import pytest

from butler.corpus.choice import dish_of_each
from butler.corpus.pipeline import recipe_steps, run
from butler.corpus.records import Recipe, Rejected, read_recipe
from butler.corpus.rules.adverts import has_contact, scrub
from butler.corpus.rules.dish import dish_key
from butler.corpus.rules.ingredients import clean_line as clean_ingredient
from butler.corpus.rules.ingredients import rejoined
from butler.corpus.rules.names import bare_name
from butler.corpus.rules.steps import clean_steps, split_paragraph
from butler.corpus.rules.talk import without_talk
from butler.corpus.rules.text import spell
from butler.corpus.samples import stable_hash
from corpus_settings import corpus_settings


def parse(record: dict[str, object]) -> Recipe | Rejected:
    """The record after all steps, or why it goes."""
    try:
        return run(recipe_steps(corpus_settings()), read_recipe(record))
    except Rejected as why:
        return why


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("青菜（不用洗），沥干：备用！", "青菜（不用洗），沥干：备用！"),
        ("５００ｇ面粉", "500g面粉"),
        ("１０％糖＋２０ｇ水", "10%糖+20g水"),
        ("½杯", "1/2杯"),
        ("1½杯", "1 1/2杯"),
        ("180℃ ①号", "180℃ ①号"),
        ("\u2f9d菜", "身菜"),
        ("白\u200b砂\ufeff糖\x07", "白砂糖"),
        ("白砂糖\u3000\xa0 少许", "白砂糖 少许"),
        ("10 个鸡蛋", "10个鸡蛋"),
        ("30 ML水", "30ML水"),
        ("1 1/2杯", "1 1/2杯"),
        ("放入锅中 ，翻炒", "放入锅中，翻炒"),
        ("水➕鸡蛋", "水+鸡蛋"),
        ("草莓🍓酱", "草莓酱"),
        ("3个🥚", "3个鸡蛋"),
        ("好吃😋😋快做", "好吃 快做"),
        ("太好吃了！！！！", "太好吃了！"),
        ("。。。。。。", "……"),
        ("多喝水。。。早睡", "多喝水……早睡"),
        ("多喝水。。早睡。。", "多喝水。早睡。"),
        ("想起来O(∩_∩)O，拌匀(^_-)", "想起来，拌匀"),
        ("抓匀。(^o^)/~(^o^)/~", "抓匀。"),
        ("加水(约3杯)拌匀（别太稀^）", "加水(约3杯)拌匀（别太稀^）"),
    ],
)
def test_characters(raw: str, clean: str) -> None:
    assert spell(raw) == clean


def test_every_line_break_cuts() -> None:
    assert spell("切丝\r\n下锅\u2028出锅\n\n \n装盘") == "切丝\n下锅\n出锅\n装盘"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (["1.洗净切块", "2、下锅", "3) 出锅"], ["洗净切块", "下锅", "出锅"]),
        (["第一步：洗净", "第2步，切块", "步骤3:下锅"], ["洗净", "切块", "下锅"]),
        (["①洗净", "(2)切块", "3⃣️下锅"], ["洗净", "切块", "下锅"]),
        (["1、2个鸡蛋打散", "2、3分钟后关火"], ["2个鸡蛋打散", "3分钟后关火"]),
        (["2、3分钟后关火"], ["2、3分钟后关火"]),
        (["1.5勺糖放入锅中", "1:1的糖和水"], ["1.5勺糖放入锅中", "1:1的糖和水"]),
        (
            ["1.预热", "2.190度烤熟", "2.5克盐放入"],
            ["预热", "190度烤熟", "2.5克盐放入"],
        ),
        (["-18度冷冻", "+油翻炒"], ["-18度冷冻", "+油翻炒"]),
        (["1、切丝；2、下锅；3、出锅"], ["切丝；", "下锅；", "出锅"]),
        (
            ["1", "2", "如图", "成品图", "。", "", "切块，如图。", "起锅。如图"],
            ["切块。", "起锅。"],
        ),
        (["大火煮开（如图）", "大火煮开"], ["大火煮开"]),
        # From here on: what reading 200 kept real records found.
        (["1先加油", "2倒入白菜翻炒", "3出锅～"], ["先加油", "倒入白菜翻炒", "出锅"]),
        (["1个鸡蛋打散", "2勺油烧热"], ["1个鸡蛋打散", "2勺油烧热"]),
        (["装入裱花袋中，如下图：", "切块，见图。拍一拍"], ["装入裱花袋中", "切块。拍一拍"]),
        (["大火收汁", "再来一张", "dengdeng", "OK！"], ["大火收汁"]),
    ],
)
def test_steps_lose_numbers_and_placeholders(raw: list[str], clean: list[str]) -> None:
    told = without_talk(clean_steps(spell("\n".join(raw))))
    assert clean_steps(told).split("\n") == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("克面粉 250", "250克面粉"),
        ("个鸡蛋：2", "2个鸡蛋"),
        ("克6抹茶", "6克抹茶"),
        ("勺料酒", "料酒"),
        ("克 1盐", "1克盐"),
        ("碗米饭", "米饭"),
        ("张豆皮", "豆皮"),
        ("碗豆", "碗豆"),
        ("根据口味加盐", "适量盐"),
        ("#面团", "面团："),
        ("【调料】", "【调料】"),
        ("1500克上海青", "1500克上海青"),
    ],
)
def test_amounts_and_headings_of_ingredients(raw: str, clean: str) -> None:
    assert clean_ingredient(raw) == (clean,)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("切片后下锅炒（做法见http://a.example.com/1?x=2;3）。", "切片后下锅炒。"),
        ("切片后下锅炒，红油做法见https://a.example.com/x", "切片后下锅炒"),
        ("加盐炒匀出锅。想学更多加微信：cook_abc123", "加盐炒匀出锅。"),
        ("加盐炒匀出锅。加V信 cook22096 进群", "加盐炒匀出锅。"),
        ("面见https://a.example.com/1/。肉丸炸熟，拌匀", "肉丸炸熟，拌匀"),
        ("喜欢请关注我的公众号‘某某厨房’", ""),
        ("QQ群：556492927", ""),
        ("电话 138 0013 8000", ""),
        ("按@某某的方子和面，再加水揉匀面团", "再加水揉匀面团"),
        *(
            (f"加盐炒匀出锅。{contact}", "加盐炒匀出锅。")
            for contact in (
                "打138 001 38000",
                "打138.0013.8000",
                "打138-001-38000",
                "打1380 0138 000",
                "打138—0013—8000",
                "打一三八零零一三八零零零",
                "座机010 8888 6666",
                "QQ是654321",
                "企鹅654321",
                "加微abc123",
                "徽信abc123",
                "微.信abc",
                "抖音：abcabc",
                "小红书id：abc",
                "dwz.xyz/abc",
                "youtu.be/abc",
                "ftp://1.2.3.4/a",
                "www。taobao。com",
                "﹫小厨娘",
            )
        ),
        ("加微量盐，微火炖一小时", "加微量盐，微火炖一小时"),
        ("面粉150 200 180克，180-200度烤", "面粉150 200 180克，180-200度烤"),
        ("分成一三五七份，切1380.5克", "分成一三五七份，切1380.5克"),
        ("一包QQ糖隔水融化", "一包QQ糖隔水融化"),
        ("盖上盖子，中间关注一下别烧干", "盖上盖子，中间关注一下别烧干"),
        ("批发市场买的鱼洗净", "批发市场买的鱼洗净"),
    ],
)
def test_adverts_are_cut_and_cooking_stays(raw: str, clean: str) -> None:
    assert scrub(raw) == clean
    assert not has_contact(scrub(raw))


def recipe(**changes: object) -> dict[str, object]:
    """A usable raw record with some fields changed."""
    record: dict[str, object] = {
        "name": "青菜豆腐汤",
        "dish": "豆腐汤",
        "description": "",
        "recipeIngredient": ["200克青菜", "1块豆腐", "适量盐"],
        "recipeInstructions": [
            "青菜洗净切段，豆腐切成小块备用。",
            "水开后放入煮五分钟，加盐出锅。",
        ],
        "author": "author_1",
        "keywords": ["青菜豆腐汤的做法", "青菜豆腐汤怎么做"],
    }
    return record | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": None}, "no_name"),
        ({"name": "🍓～"}, "no_name"),
        ({"name": 7}, "wrong_type"),
        ({"name": "加微信chufang看菜谱"}, "advert"),
        ({"recipeIngredient": []}, "no_ingredients"),
        ({"recipeIngredient": ["调料："]}, "no_ingredients"),
        ({"recipeIngredient": "盐"}, "wrong_type"),
        ({"recipeInstructions": ["1", "2", "如图"]}, "no_steps"),
        ({"recipeInstructions": ["想吃的加微信"]}, "advert"),
        ({"recipeInstructions": ["切", 3]}, "wrong_type"),
        ({"dish": ["汤"]}, "wrong_type"),
    ],
)
def test_unusable_fields_are_named(changes: dict[str, object], reason: str) -> None:
    found = parse(recipe(**changes))
    assert isinstance(found, Rejected) and found.reason == reason


def test_fields_that_are_not_used_may_be_anything() -> None:
    assert parse(recipe(author=3, description=[1], other={})).name == "青菜豆腐汤"


@pytest.mark.parametrize(
    "name",
    [
        "自制腌菜",
        "腌菜（超简单版）",
        "家常腌菜的做法",
        "腌菜🥬～",
        "【懒人】腌菜",
        "10寸腌菜",
    ],
)
def test_names_of_one_dish_share_a_key(name: str) -> None:
    assert dish_key(spell(name)) == "腌菜"


def test_dishes_join_through_a_third_in_any_order() -> None:
    pairs = [("b", "c"), ("a", "b"), ("d", "e"), ("e", "c"), ("f", "")]
    for order in (pairs, pairs[::-1]):
        keys = [[stable_hash(key) if key else 0 for key in pair] for pair in order]
        own = dish_of_each(np.array(keys, np.uint64)).tolist()
        assert len(set(own)) == 2
        assert [own.count(dish) for dish in own] == [1 if pair[0] == "f" else 4 for pair in order]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("董太的私房菜--京酱蘑菇面", "京酱蘑菇面"),
        ("【下班】【快手菜】蒜蓉鸡毛菜", "蒜蓉鸡毛菜"),
        ("【电饭煲煎饺】", "电饭煲煎饺"),
        ("家庭版【麻辣香锅】", "家庭版麻辣香锅"),
        ("抹茶手作 | 抹茶蛋糕卷", "抹茶蛋糕卷"),
        ("#夏日清凉# 凉拌黄瓜", "凉拌黄瓜"),
        ("宝宝辅食：香蕉马蹄卷", "香蕉马蹄卷"),
        ("《够味儿：80道经典菜》——焖酥鱼", "焖酥鱼"),
        ("Crispy Sweet and Sour Pork 脆皮糖醋肉", "脆皮糖醋肉"),
        ("超级美味 零失败的 8寸酸奶蛋糕", "8寸酸奶蛋糕"),
        ("红烧肉", "红烧肉"),
        ("番茄炒蛋～", "番茄炒蛋"),
    ],
)
def test_a_name_is_the_dish(raw: str, clean: str) -> None:
    assert bare_name(spell(raw)) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("适量克姜丝", ["适量姜丝"]),
        ("1个一个鸡蛋", ["1个鸡蛋"]),
        ("看心情放哈肉松", ["适量肉松"]),
        ("根据个人口味添加即可绵白糖", ["适量绵白糖"]),
        ("适量。蒜", ["适量蒜"]),
        ("8个（自制）酸辣椒", ["8个酸辣椒（自制）"]),
        ("15小块（因为是五个人吃）牛腩", ["15小块牛腩"]),
        ("枧水 2克中筋面粉 200克", ["枧水2克", "中筋面粉200克"]),
        ("食材:腐竹150克 木耳150克 盐", ["腐竹150克", "木耳150克", "盐"]),
        (
            "15克，白糖35克，酵母1克。主面团原料：高粉10克，蛋白20克，奶粉",
            ["主面团原料：", "高粉10克", "蛋白20克", "奶粉15克", "白糖35克", "酵母1克"],
        ),
        ("28*28烤盘", []),
    ],
)
def test_amounts_are_mended(raw: str, clean: list[str]) -> None:
    assert list(clean_ingredient(raw)) == clean


def test_an_amount_that_goes_on_in_talk_is_joined_with_what_the_steps_name() -> None:
    steps = "鸡蛋打散，加水蒸熟。"
    assert rejoined("1个，我用了两个有点多鸡蛋", steps) == "1个鸡蛋"
    assert rejoined("适量，能化开糖就好水\n3克盐", steps) == "适量水\n3克盐"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("撒上小葱花，颜色无比诱人啊！", "撒上小葱花"),
        ("小伙子一口气吃了六个丸子", ""),
        ("切成如图的条，备用", "切成条，备用"),
        ("加水，我放了四小碗，大火烧开", "加水，放四小碗，大火烧开"),
        ("过程忘记拍照了，切块下锅。", "切块下锅。"),
        ("喜欢吃辣的多放两勺辣椒油", "喜欢吃辣的多放两勺辣椒油"),
        ("揉3~5分钟，特别好吃", "揉3~5分钟"),
        ("（一个人操作，没办法拍视频）做好后装盘", "做好后装盘"),
        ("图案朝上摆放，拍碎蒜头", "图案朝上摆放，拍碎蒜头"),
        ("完工", ""),
        # Words of cooking that look like talk.
        ("放入粉丝和娃娃菜拌匀", "放入粉丝和娃娃菜拌匀"),
        ("放在烤网上晾凉，轻拍几下", "放在烤网上晾凉，轻拍几下"),
        ("提前年糕泡软", "提前年糕泡软"),
        ("开心果和鲜香菇，辣妹子酱，贴上保鲜膜", "开心果和鲜香菇，辣妹子酱，贴上保鲜膜"),
    ],
)
def test_talk_goes_and_what_is_to_be_done_stays(raw: str, clean: str) -> None:
    assert without_talk(spell(raw)) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("虾洗净。盐铺在锡纸上（加热。5分钟）左右。烤10分钟", 3),
        ("1。虾洗净；2。盐铺在锡纸上；3。烤10分钟", 3),
        ("虾洗净下锅，加葱姜料酒炒香，倒入一大碗水盖上锅盖，煮到汤汁收干，撒葱花出锅", 3),
        ("拌匀", 1),
    ],
)
def test_one_paragraph_becomes_steps(raw: str, clean: int) -> None:
    steps = clean_steps(split_paragraph(clean_steps(spell(raw))))
    assert len(steps.split("\n")) == clean
