#!/usr/bin/env python3
"""Write a corpus of any size that is as long, as repetitive and as dirty as the real one.

    python benchmarks/corpus_generator.py --records 1520327 --out CORPUS.jsonl [--processes 2]
    python benchmarks/corpus_generator.py --describe FILE    # the figures below, of any corpus

The shares were measured on 6,000 real records with --describe; words and sentences are our own.
A recipe's steps name what it lists, and its name does, so that most go through all of the stage.
The same seed, size and block give the same bytes with any number of processes.
"""

import argparse
import json
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import common  # noqa: F401  (puts our package on the path)
import orjson

from butler.corpus.rules.adverts import has_contact
from butler.corpus.rules.ingredients import clean_ingredients
from butler.corpus.rules.steps import clean_steps
from butler.corpus.rules.text import spell
from butler.errors import ButlerError, run_cli

BLOCK = 20_000  # records made with one seed
CLAUSES = 6_000
# Shares of records or lines (see --describe). How often a recipe is copied is not told by the
# sample, which is biased toward near-duplicates: 3 % copied as they are, 5 % with a change.
SHARES = {
    "unknown_dish": 0.57,
    "copied": 0.03,
    "changed": 0.05,
    "broken": 0.0005,
    "no_steps": 0.004,
    "short": 0.02,
    "line_break": 0.19,  # of records: two lines in one step
    "numbered": 0.05,  # of records
    "respelt_step": 0.07,  # of lines
    "picture": 0.012,
    "contact": 0.0022,
    "respelt_ingredient": 0.011,
    "torn_amount": 0.014,
    "ornate_name": 0.04,
}


def _words(text: str) -> list[str]:
    return text.split()


_MAINS = _words(
    "豆腐 鸡腿 排骨 牛腩 鲈鱼 虾仁 土豆 番茄 茄子 南瓜 冬瓜 白菜 菠菜 芹菜 莴笋 "
    "莲藕 香菇 木耳 银耳 玉米 山药 红薯 紫薯 芋头 豆角 黄瓜 苦瓜 丝瓜 西兰花 "
    "花菜 洋葱 韭菜 年糕 粉丝 面条 饺子 馄饨 米饭 吐司 蛋糕 饼干 曲奇 面包 酸奶 "
    "布丁 奶酪 燕麦 绿豆 红豆 薏米 花生 核桃 红枣 枸杞 桂圆 百合 雪梨 苹果 香蕉 "
    "芒果"
)
_SEASONINGS = _words(
    "盐 糖 生抽 老抽 料酒 蚝油 香油 白醋 陈醋 胡椒粉 花椒 八角 桂皮 豆瓣酱 淀粉 "
    "姜 葱 蒜 干辣椒 食用油"
)
_AMOUNTS = _words(
    "少许 适量 一把 两勺 半碗 1个 2个 3瓣 5克 10克 15克 20克 30克 "
    "50克 100克 150克 200克 250克 300毫升 500毫升"
)
_VERBS = _words(
    "洗净 切成 倒入 放入 加入 撒上 拌匀 煮至 蒸到 炒出 煎成 炸到 烤至 焖到 炖至 "
    "腌制 揉成 擀开 铺好 盛出"
)
_MANNERS = _words("慢慢 小火 大火 中火 轻轻 均匀 迅速 提前 再次 分次 用手 用勺 趁热 隔水 盖盖 沿边")
_ENDS = _words(
    "备用 微黄 变软 出香味 收汁 沥干 断生 浓稠 金黄 入味 十分钟 半小时 五分钟 "
    "两遍 小段 薄片 细丝 滚刀块 成团 光滑 起泡 发白 透明 松软 冷却 定型 即可 "
    "翻面 装盘 上桌"
)
_STYLES = _words(
    "红烧 清蒸 凉拌 香煎 蒜蓉 糖醋 麻辣 酸辣 葱油 孜然 咖喱 黑椒 自制 家常 简易 "
    "快手 懒人 电饭锅版 空气炸锅 奶香"
)
_CONTACTS = (
    "喜欢的加微信cook{n}",
    "更多菜谱请关注公众号厨房{n}",
    "交流QQ群：{n}",
    "见http://example.com/{n}",
)
_ODD = ("  ", "！！！", "😋", "👌", "\u200b", "　", "。。。。", "５０", "➕")


class Writer:
    """Makes the records of one block."""

    def __init__(self, seed: int, block: int) -> None:
        self.draw = random.Random(f"{seed} {block}")
        columns = [self.draw.choices(part, k=CLAUSES) for part in (_MANNERS, _VERBS, _ENDS)]
        self.clauses = [
            f"{manner}{verb}{{}}{end}" for manner, verb, end in zip(*columns, strict=True)
        ]
        self.made: list[tuple[dict[str, Any], list[str]]] = []

    def happens(self, what: str) -> bool:
        """Whether one of SHARES comes true this time."""
        return self.draw.random() < SHARES[what]

    def line(self) -> bytes:
        """One line of the corpus."""
        kind = self.draw.random()
        if self.made and kind < SHARES["copied"] + SHARES["changed"]:
            record, foods = self.draw.choice(self.made)
            record = record | {"author": f"author_{self.draw.randrange(10**6)}"}
            if kind < SHARES["changed"]:
                record["recipeInstructions"] = [
                    *record["recipeInstructions"][:-1],
                    self.step(cycle(foods)),
                ]
        else:
            record, foods = self.record()
            if len(self.made) < 2000:
                self.made.append((record, foods))
        line = orjson.dumps(record)
        return line[: len(line) // 2] if self.happens("broken") else line

    def record(self) -> tuple[dict[str, Any], list[str]]:
        """One record of its own, and the foods that it lists."""
        draw = self.draw
        count = min(max(round(draw.lognormvariate(1.75, 0.55)), 1), 40)
        mains = draw.choices(_MAINS, k=min(count, 2))
        foods = mains + [
            draw.choice(_SEASONINGS if draw.random() < 0.5 else _MAINS)
            for _ in range(count - len(mains))
        ]
        dish = draw.choice(_STYLES) + "".join(mains)
        name = f"{draw.choice(_STYLES)}{dish}" if draw.random() < 0.5 else dish
        if self.happens("ornate_name"):
            name += draw.choice(("😋", "！！", "～", "（简单版） "))
        named = cycle(draw.sample(foods, len(foods)))
        lines = min(max(round(draw.lognormvariate(1.72, 0.6)), 1), 60)
        steps = [self.step(named) for _ in range(lines)]
        if self.happens("line_break"):
            at = draw.randrange(len(steps))
            steps[at] += "\n" + self.step(named)
        if self.happens("numbered"):
            mark = draw.choice(("{}.", "{}、", "第{}步：", "{}. "))
            steps = [mark.format(number) + step for number, step in enumerate(steps, 1)]
        if self.happens("short"):
            steps = ["拌匀"]
        if self.happens("no_steps"):
            steps = [str(number) for number in range(1, 4)]
        record = {
            "name": name,
            "dish": "Unknown" if self.happens("unknown_dish") else dish,
            "description": "，".join(
                clause.format(next(named))
                for clause in draw.choices(self.clauses, k=draw.randrange(8))
            ),
            "recipeIngredient": list(map(self.ingredient, foods)),
            "recipeInstructions": steps,
            "author": f"author_{draw.randrange(10**6)}",
            "keywords": [
                f"{name}{end}"
                for end in ("的做法", "的家常做法", "的详细做法", "怎么做", "的最正宗做法")
            ],
        }
        return record, foods

    def ingredient(self, what: str) -> str:
        """One ingredient with its amount."""
        draw = self.draw
        if draw.random() < 0.25:
            what += f"（{draw.choice(_ENDS)}）"
        if self.happens("torn_amount"):
            return f"克{what} {draw.randrange(10, 300)}"
        if self.happens("respelt_ingredient"):
            return f"{draw.randrange(1, 900)} 克{what}{draw.choice(_ODD)}"
        return draw.choice(_AMOUNTS) + what

    def step(self, foods: Iterator[str]) -> str:
        """One step of one to six clauses, each with the next food."""
        draw = self.draw
        drawn = draw.choices(self.clauses, k=draw.choice((1, 2, 2, 3, 3, 4, 6)))
        clauses = [clause.format(next(foods)) for clause in drawn]
        if draw.random() < 0.3:
            clauses[0] += f"{draw.randrange(2, 99)}分钟"
        if self.happens("respelt_step"):
            clauses[-1] += draw.choice(_ODD)
        if self.happens("picture"):
            clauses[-1] += draw.choice(("，如图", "（如图）"))
        if self.happens("contact"):
            clauses.append(draw.choice(_CONTACTS).format(n=draw.randrange(10**6, 10**8)))
        return "，".join(clauses) + draw.choice(("。", "。", "", "；"))


def write_block(folder: Path, seed: int, block: int, records: int) -> Path:
    """Write one block to a file of its own."""
    writer = Writer(seed, block)
    path = folder / f"block_{block:06d}"
    with path.open("wb") as stream:
        stream.writelines(writer.line() + b"\n" for _ in range(records))
    return path


def generate(out: Path, records: int, seed: int, processes: int) -> None:
    """Write `records` records to `out`."""
    folder = out.with_name(f".{out.name}.blocks")
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [min(BLOCK, records - begin) for begin in range(0, records, BLOCK)]
    try:
        with ProcessPoolExecutor(processes) as pool, (folder / "all").open("wb") as whole:
            futures = [
                pool.submit(write_block, folder, seed, block, size)
                for block, size in enumerate(sizes)
            ]
            for future in futures:
                path = future.result()
                with path.open("rb") as part:
                    shutil.copyfileobj(part, whole, 1 << 24)
                path.unlink()
        (folder / "all").replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def describe(path: Path, records: int = 6000) -> dict[str, float]:
    """Measure the first records of a corpus: sizes, and shares of what the stage has to mend."""
    total = dict.fromkeys(("bytes", "records", "unknown", "break", "dirty"), 0)
    lines = {"recipeIngredient": [0] * 4, "recipeInstructions": [0] * 4}
    rules = {"recipeIngredient": clean_ingredients, "recipeInstructions": clean_steps}
    with path.open("rb") as stream:
        for line, _ in zip(stream, range(records), strict=False):
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            total["bytes"] += len(line)
            total["records"] += 1
            total["unknown"] += record["dish"] == "Unknown"
            total["break"] += any("\n" in step for step in record["recipeInstructions"])
            dirty = False
            for key, clean in rules.items():
                texts = [t for text in record[key] for t in text.splitlines() if t.strip()]
                cleaned = list(map(spell, texts))
                figures = (
                    len(texts),
                    sum(map(len, texts)),
                    texts != cleaned,
                    clean("\n".join(cleaned)) != "\n".join(cleaned),
                )
                dirty |= any(figures[2:])
                own = lines[key]
                own[0] += len(texts)
                own[1] += figures[1]
                own[2] += sum(a != b for a, b in zip(texts, cleaned, strict=True))
                own[3] += sum(map(has_contact, cleaned))
            total["dirty"] += dirty
    count = max(total["records"], 1)
    found = {name: round(value / count, 4) for name, value in total.items()}
    for key, own in lines.items():
        found |= {
            f"{key} lines": round(own[0] / count, 2),
            f"{key} characters a line": round(own[1] / max(own[0], 1), 1),
            f"{key} lines respelt": round(own[2] / max(own[0], 1), 4),
            f"{key} lines with a contact": round(own[3] / max(own[0], 1), 5),
        }
    return found | {"records": total["records"]}


def main() -> None:
    """Read the command line; write or describe a corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--describe", type=Path, metavar="FILE", help="measure this corpus instead")
    options = parser.parse_args()
    if options.describe:
        print(json.dumps(describe(options.describe), indent=2))
    elif options.out:
        generate(options.out, options.records, options.seed, options.processes)
    else:
        raise ButlerError("give --out FILE to write a corpus, or --describe FILE")


if __name__ == "__main__":
    run_cli(main)
