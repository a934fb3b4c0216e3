"""What two versions of the corpus stage make of the same raw recipes: the differences, counted.

    python corpus_difference.py mark RAW.jsonl MARKED.jsonl
    python corpus_difference.py compare BEFORE AFTER

BEFORE and AFTER are folders with the train, test and rejected.jsonl that each version made of
MARKED.jsonl, with the settings that `mark` prints. A mark is an ingredient that tells a record's
line; it hides no_ingredients and duplicates.
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import common  # noqa: F401  (puts our package on the path)

from butler.corpus.rules.text import letters
from butler.errors import ButlerError, run_cli
from butler.recipe_form import INGREDIENTS_HEADING, STEPS_HEADING

FORM = "的做法"
# Nothing but the steps: 414 characters are the default and a mark.
SETTINGS = {"test_size": 1, "max_chars": 414, "recipes": {"question_forms": {FORM: 1.0}}}
SETTINGS |= {"near_duplicates": {"threshold": 0}, "decontaminate": {"share": 0}}
MARK = "克记号盐"  # behind the line's number
_MARK = re.compile(rf"^(\d+){MARK}$")
MOST_RECORDS = 999_999  # seven digits are a telephone number


@dataclass(frozen=True)
class Kept:
    """A sample, without its mark."""

    name: str
    ingredients: list[str]
    steps: list[str]


def mark(raw: Path, marked: Path) -> None:
    """Write `raw` with a mark in every record that has ingredients; lines keep their numbers."""
    lines = raw.read_text("utf-8", "surrogateescape").split("\n")
    if len(lines) > MOST_RECORDS:
        raise ButlerError(f"{raw} has more than {MOST_RECORDS} records; take fewer of them")
    for at, line in enumerate(lines):
        with suppress(ValueError, KeyError, TypeError):  # no record: the stage is to say so
            record = json.loads(line)
            if listed := record["recipeIngredient"]:
                record["recipeIngredient"] = [f"{at + 1}{MARK}", *listed]
                lines[at] = json.dumps(record, ensure_ascii=False)
    marked.write_text("\n".join(lines), "utf-8", "surrogateescape")
    print(json.dumps(SETTINGS, ensure_ascii=False))


def outcomes(folder: Path) -> dict[int, Kept | str]:
    """What became of each line: a sample, or the reason why it went."""
    found: dict[int, Kept | str] = {}
    with (folder / "rejected.jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            entry = json.loads(line)
            found[entry["line"]] = entry["reason"]
    for name in ("train.jsonl", "test.jsonl"):
        for line in (folder / name).read_text(encoding="utf-8").split("\n")[:-1]:
            turn = json.loads(line)["conversation"][0]
            listed, told = turn["output"].split(f"\n{STEPS_HEADING}\n", 1)
            ingredients = listed.removeprefix(f"{INGREDIENTS_HEADING}\n").split("\n")
            if not (own := next(filter(None, map(_MARK.match, ingredients)), None)):
                raise ButlerError(
                    f"{folder / name}: a sample has no mark; make them of what `mark` wrote"
                )
            question = turn["input"].removesuffix(FORM)
            ingredients.remove(own[0])
            found[int(own[1])] = Kept(question, ingredients, told.split("\n"))
    return found


def _is_within(short: str, long: str) -> bool:
    """Whether all characters of one text stand in the other, in their order."""
    rest = iter(long)
    return all(char in rest for char in short)


def differences(before: Sequence[str], after: Sequence[str]) -> set[str]:
    """What happened to lines: gone, added, split, joined, cut (nothing added), written anew."""
    found = set()
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for kind, first, last, begin, end in changes:
        old, new = before[first:last], after[begin:end]
        if kind == "delete":
            found.add("lines gone")
        elif kind == "insert":
            found.add("lines added")
        elif kind == "replace":
            told, told_now = letters("".join(old)), letters("".join(new))
            if told == told_now:
                same = len(new) == len(old)
                found.add("signs alone" if same else "split" if len(new) > len(old) else "joined")
            elif _is_within(told_now, told):
                found.add("cut within lines")
                if len(new) < len(old):
                    found.add("lines gone")
            elif sorted(told) == sorted(told_now):
                found.add("put in another order")
            else:
                found.add("written anew")
    return found


def kinds(was: Kept | str, now: Kept | str) -> list[str]:
    """What the table counts of a record."""
    if isinstance(was, str) or isinstance(now, str):
        if was == now:
            return ["rejected by both, for the same reason"]
        return [" → ".join(one if isinstance(one, str) else "kept" for one in (was, now))]
    found = ["kept by both", *["kept by both, to the letter"] * (was == now)]
    found += ["name changed"] * (was.name != now.name)
    for part in ("ingredients", "steps"):
        found += [f"{part}: {one}" for one in differences(getattr(was, part), getattr(now, part))]
    return found


def compare(before: Path, after: Path) -> None:
    """Print the table, with the first lines of each kind."""
    old, new = outcomes(before), outcomes(after)
    if old.keys() != new.keys():
        raise ButlerError(f"{before} and {after} were not made of the same records")
    lines: dict[str, list[int]] = defaultdict(list)
    for line in sorted(old):
        for kind in kinds(old[line], new[line]):
            lines[kind].append(line)
    print("| Difference | Records | First lines |\n|---|---|---|")
    for kind, found in sorted(lines.items(), key=lambda one: (one[0][:4] != "kept", one)):
        print(f"| {kind} | {len(found):,} | {', '.join(map(str, found[:3]))} |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("mark", "compare"))
    parser.add_argument("first", type=Path, help="the raw records, or the outputs before")
    parser.add_argument("second", type=Path, help="the marked records, or the outputs after")
    options = parser.parse_args()
    (mark if options.what == "mark" else compare)(options.first, options.second)


if __name__ == "__main__":
    run_cli(main)
