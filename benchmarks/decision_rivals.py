"""What other rules would do in the worlds of `decision.py`: why rounds with a spent error.

Besides the rounds: the point estimate against the limit, one Student's test of all questions, one
score test of all, and a confidence sequence that may stop after any question (betting, Waudby-Smith
and Ramdas, JRSS B 86, 2024) as the library `confseq` has it. It needs that library, which is no
dependency of the workflow: `pip install confseq "numpy<2"`, with CMake and Boost.

    python benchmarks/decision_rivals.py --out FILE.json
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from common import markdown, publish, record, versions
from confseq.betting import betting_mart
from decision import BATCH, ERROR, LIMIT, ask, layout, percent
from decision_worlds import Questions, World
from scipy.special import ndtr
from scipy.stats import ttest_1samp

from butler.paired import paired_sample
from butler.verdicts import Outcome

WORLDS = [
    World("400 q, 10 % flips", [Questions([400])], 100),
    World("1,346 q, 10 % flips", [Questions([1346])], 400),
    World("3,000 q, 10 % flips", [Questions([3000])], 400),
    World("12,000 q, 10 % flips", [Questions([12000])], 400),
    World("100 graded, rare losses", [Questions([100], "rare losses")], 400),
    World("1,346 graded, rare losses", [Questions([1346], "rare losses")], 400),
]
RULES = {
    "point": "mean above −2",
    "t": "Student's test of all",
    "score": "score test of all",
    "sequence": "confidence sequence (confseq)",
    "rounds": "rounds, as decided here",
}


def compare(world: World, loss: float, runs: int, seed: int) -> dict[str, Counter[str]]:
    """Return sums over runs by rule: how often it ships, what share of the questions it asks."""
    random = np.random.default_rng(seed)
    (questions,) = world.benchmarks
    found = {rule: Counter[str](runs=runs) for rule in RULES}
    for run in range(runs):
        if run % BATCH == 0:
            (plan,) = layout(world, seed + run)
        differences = questions.draw([loss], random)[0]
        sample = paired_sample(differences, questions.data_sets, questions.clusters)
        error = (sample.variance(-LIMIT) / sample.clusters) ** 0.5
        capital = betting_mart(
            (random.permutation(differences) + 100) / 200, (100 - LIMIT) / 200, ERROR, theta=1
        )
        proven = np.flatnonzero(capital >= 1 / ERROR)
        looks, outcome = ask(differences, questions, plan, world)
        shares = {
            "point": (sample.mean > -LIMIT, 1.0),
            "t": (ttest_1samp(differences, -LIMIT, alternative="greater").pvalue <= ERROR, 1.0),
            "score": (ndtr(-(sample.mean + LIMIT) / error) <= ERROR, 1.0),
            "sequence": (
                len(proven) > 0,
                (proven[0] + 1) / questions.count if len(proven) else 1.0,
            ),
            "rounds": (outcome is Outcome.WITHIN, looks.last.questions / questions.count),
        }
        for rule, (ships, asked) in shares.items():
            found[rule].update(ships=bool(ships), asked=asked)
    return found


def main() -> None:
    """Compare, print and publish the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=1000, help="of a world and loss; fewer of large"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines, figures = [], {}
    for number, world in enumerate(WORLDS):
        runs = int(args.runs * world.effort)
        bad = compare(world, LIMIT, runs, 2 * number)
        good = compare(world, 0.0, runs, 2 * number + 1)
        figures[world.name] = {rule: [dict(bad[rule]), dict(good[rule])] for rule in RULES}
        for rule, words in RULES.items():
            shares = [bad[rule]["ships"], good[rule]["ships"], good[rule]["asked"]]
            lines.append([world.name, words, *(percent(share / runs) for share in shares), runs])
    header = ("world", "rule", "ships, loses 2", "ships, loses 0", "asked, loses 0", "runs")
    publish(
        record(worlds=figures, libraries=versions(["confseq", "numpy", "scipy"])),
        args.out,
        markdown(header, lines),
    )


if __name__ == "__main__":
    main()
