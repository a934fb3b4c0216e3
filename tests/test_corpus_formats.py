"""What each format's entries become: conversations, tables, Markdown recipes, question sets."""

import csv
import io
import json
from pathlib import Path

import pytest
from openpyxl import Workbook

from corpus_settings import corpus_settings
from test_corpus import conversations, kept, raw_lines
from test_corpus_input import build, reasons

ANSWER = "感冒时多喝温水，注意休息，饮食清淡，可以喝姜汤发汗驱寒。"
PAIR = ("风寒感冒怎么办？", ANSWER)


ENTRIES: dict[str, tuple[str, bytes]] = {
    "alpaca": (
        "a.json",
        json.dumps(
            [
                {"instruction": PAIR[0], "input": "", "output": PAIR[1]},
                {"instruction": "写一首诗", "output": 3},
            ],
            indent=1,
        ).encode(),
    ),
    "sharegpt": (
        "a.jsonl",
        raw_lines(
            [
                {
                    "conversations": [
                        {"from": "system", "value": "x"},
                        {"from": "human", "value": PAIR[0]},
                        {"from": "gpt", "value": PAIR[1]},
                    ]
                },
                {"conversations": [{"from": "gpt", "value": "好"}]},
            ]
        ),
    ),
    "xtuner": (
        "a.jsonl",
        raw_lines(
            [
                {"conversation": [{"system": "x", "input": PAIR[0], "output": PAIR[1]}]},
                {"conversation": [{}, {}]},
            ]
        ),
    ),
}


@pytest.mark.parametrize("name", list(ENTRIES))
def test_conversation_files(tmp_path: Path, name: str) -> None:
    file, content = ENTRIES[name]
    (tmp_path / file).write_bytes(content)
    stats, outputs = build(tmp_path / file, tmp_path / "out", format=name)
    assert [(turn["input"], turn["output"]) for turn in kept(outputs)] == [PAIR]
    assert conversations(outputs.train)[0]["system"] == "你是厨师"
    assert [line for _, line, _ in reasons(outputs)] == [2]
    assert stats["read"] == 2


def table_bytes(kind: str) -> bytes:
    rows = [("编号", "问题", "答案"), (1, *PAIR), (2, "胃痛怎么办", 5), (), (3, "", ANSWER)]
    if kind == "xlsx":
        book, stream = Workbook(), io.BytesIO()
        for row in rows:
            book.active.append(row)
        book.save(stream)
        return stream.getvalue()
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("gb18030" if kind == "csv" else "utf-8-sig")


@pytest.mark.parametrize("kind", ["csv", "xlsx", "utf8.csv"])
def test_tables_of_questions_and_answers(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"medical.{kind}"
    path.write_bytes(table_bytes(kind))
    stats, outputs = build(path, tmp_path / "out", format="qa_table", min_chars=2)
    assert [(turn["input"], turn["output"]) for turn in kept(outputs)] == [PAIR]
    assert [line for _, line, _ in reasons(outputs)] == [3, 5]
    assert stats["read"] == 3


MARKDOWN = """# 豆腐汤的做法

![成品](a.jpg) 一道好汤。

## 必备原料和工具

- **豆腐** 一块
- [青菜](https://example.com/1)

### 调料

* 盐 2 g

## 操作

1. 豆腐切成小块，青菜洗净切段备用。
2. 水开后放入，煮五分钟，加盐出锅。

## 附加内容

如果有问题请提 Issue。
"""


def test_a_folder_of_markdown_recipes(tmp_path: Path) -> None:
    folder = tmp_path / "dishes"
    (folder / "soup").mkdir(parents=True)
    (folder / "soup" / "豆腐汤.md").write_text(MARKDOWN, encoding="utf-8")
    (folder / "说明.md").write_text("# 说明\n\n没有做法。\n", encoding="utf-8")
    _, outputs = build(folder, tmp_path / "out", format="markdown", forms={"的做法": 1.0})
    (turn,) = kept(outputs)
    assert turn["input"] == "豆腐汤的做法"
    assert turn["output"] == (
        "您需要准备以下食材:\n豆腐 一块\n青菜\n调料：\n盐 2g\n按以下方法制作:\n"
        "豆腐切成小块，青菜洗净切段备用。\n水开后放入，煮五分钟，加盐出锅。"
    )
    assert reasons(outputs) == [("说明.md", 1, "no_ingredients")]


def test_markdown_tables_list_an_ingredient_a_row(tmp_path: Path) -> None:
    table = "| 食材 | 用量 |\n| --- | :-: |\n| 豆腐 | 一块 |\n|**青菜**|200g|\n| 盐 | |\n"
    steps = "1. 豆腐切成小块，青菜洗净切段备用。\n2. 水开后放入，煮五分钟，加盐出锅。\n"
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "汤.md").write_text(
        f"# 豆腐汤\n\n## 食材\n\n{table}\n## 步骤\n\n{steps}", encoding="utf-8"
    )
    _, outputs = build(tmp_path / "raw", tmp_path / "out", format="markdown")
    (turn,) = kept(outputs)
    assert turn["output"].split("\n")[1:4] == ["豆腐 一块", "青菜 200g", "盐"]


def test_question_answer_sets_keep_short_answers_and_mend_broken_ones(tmp_path: Path) -> None:
    pairs = [
        ("发烧多少度算高烧？", "39度以上"),
        ("怎样熬姜汤？", "['姜切片\\n下锅', '煮十分钟']"),
        ("头疼怎么办？", "多休息，少看屏幕。\\n多喝水。\n\n注意事项："),
        ("失眠怎么办？", "睡前不喝咖啡和浓茶。睡前不喝咖啡和浓茶。"),
        ("怎么换行？", '在程序里用 printf("a\\n") 换行。'),
    ]
    data = raw_lines([{"instruction": asked, "output": said} for asked, said in pairs])
    (tmp_path / "raw.jsonl").write_bytes(data)
    settings = corpus_settings(0, format="alpaca", language=None)
    assert (settings.least_chars, settings.like_from) == (1, 0.0)
    _, outputs = build(tmp_path / "raw.jsonl", tmp_path / "out", format="alpaca", language=None)
    told = {turn["input"]: turn["output"] for turn in kept(outputs)}
    assert told == {
        pairs[0][0]: "39度以上",
        pairs[1][0]: "姜切片\n下锅\n煮十分钟",
        pairs[2][0]: "多休息，少看屏幕。\n多喝水。",
        pairs[3][0]: "睡前不喝咖啡和浓茶。",
        pairs[4][0]: pairs[4][1].replace("printf(", "printf("),
    }


COOK = """# 豆腐汤的做法

预估烹饪难度：★★

## 必备原料和工具

- 豆腐
- 青菜
- 汤锅

## 计算

每份：

- 豆腐 一块
- 青菜 = 份数 * 200 g
- 盐 2 g

## 操作

- 豆腐切成小块，青菜洗净切段备用。
- 水开后放入，煮五分钟，加盐出锅。

## 附加内容

如果您遵循本指南的制作流程而发现有问题，请提出 Issue 。
"""


def test_markdown_lists_each_ingredient_once_without_tools_and_arithmetic(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "豆腐汤.md").write_text(COOK, encoding="utf-8")
    _, outputs = build(tmp_path / "raw", tmp_path / "out", format="markdown")
    (turn,) = kept(outputs)
    assert turn["output"].split("\n")[1:4] == ["豆腐 一块", "青菜 200g", "盐 2g"]
    assert "锅铲" not in turn["output"] and "Issue" not in turn["output"]


LISTED = """# 酸汤面的做法

## 必备原料和工具

可选工具

- 漏勺
- 砂锅（炖汤用）

必须材料

- 必备：面条（细的）
- 白醋/米醋
- 油
- 豌豆尖或菠菜
- 番茄
- 小碗若干
- 大号的炒锅一个（太小难炒）
- [可选] 压蒜器
- 香菜（可选）

### 可选配料

- 花生

### 工具

- 秤：称东西用，很准

## 计算

这里以一人份为例，多人请等比例增加。

酱料：

- 白醋 20ml
- 食用油 10 ml
- 酱油 5ml，一般超市的都可以
- 菠菜 = 50g
- 香菜两根
- 面条量 = 份数 * 120 g
- 番茄 2 个（约 300g），切碎（或番茄酱 30ml）
- 一份正好够 2 个人吃
- 如果喜欢辣，可以加入 2 克辣椒
- 100 : 70 : 7
- 调料：盐 3g、糖 2g、胡椒粉 1g

## 操作

- 番茄炒出汁，加水煮开后下面条和菠菜。
- 煮五分钟，加盐、糖、白醋、酱油和香菜出锅。
"""


def test_markdown_lists_ingredients_with_their_amounts_and_no_remarks(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "面.md").write_text(LISTED, encoding="utf-8")
    _, outputs = build(tmp_path / "raw", tmp_path / "out", format="markdown")
    (turn,) = kept(outputs)
    assert turn["output"].split("\n按以下方法制作:")[0].split("\n")[1:] == [
        "面条 120g",
        "白醋 20ml",
        "食用油 10ml",
        "菠菜 50g",
        "番茄 2个（约 300g），切碎（或番茄酱 30ml）",
        "香菜两根",
        "可选配料：",
        "花生",
        "酱油 5ml",
        "调料：",
        "盐 3g",
        "糖 2g",
        "胡椒粉 1g",
    ]
