"""The paired test's error without simulation: every outcome of so many right-or-wrong questions.

All numbers of lost and gained answers are put to the test, each with its multinomial chance at a
true loss of exactly the limit; beside it Tango's score test without the corrections of `paired.py`.

    python benchmarks/decision_exact.py --out FILE.json
"""

import argparse
from pathlib import Path

import numpy as np
from common import markdown, publish, record
from decision import ERROR, LIMIT, percent
from scipy.special import ndtri
from scipy.stats import binom

from butler.paired import paired_sample

QUESTIONS, FLIPS = (100, 133, 200, 400, 800, 1346), (0.02, 0.03, 0.05, 0.1, 0.15)
RARE = 1e-7  # outcomes of a smaller chance are left out


def errors(questions: int, flips: float) -> dict[str, float]:
    """Return the chances to call a variant within and over, with the corrections and without."""
    quantile = -float(ndtri(ERROR))
    found = dict.fromkeys(("within", "over", "within_tango", "over_tango"), 0.0)
    share = (flips + LIMIT / 100) / (2 * flips)  # of the changes, those for the worse
    changes = np.arange(questions + 1)
    for changed, chance in zip(changes, binom.pmf(changes, questions, flips), strict=True):
        for lost, part in enumerate(binom.pmf(np.arange(changed + 1), changed, share)):
            if chance * part < RARE:
                continue
            gained = changed - lost
            differences = np.zeros(questions)
            differences[:lost], differences[lost : lost + gained] = -100.0, 100.0
            sample = paired_sample(differences, np.zeros(questions), np.arange(questions))
            z = sample.statistic(-LIMIT)
            tango = (sample.mean + LIMIT) / (sample.variance(-LIMIT) / sample.clusters) ** 0.5
            for kind, value in (("", z), ("_tango", tango)):
                found[f"within{kind}"] += chance * part * (value >= quantile)
                found[f"over{kind}"] += chance * part * (value <= -quantile)
    return found


def main() -> None:
    """Enumerate, print and publish the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = {flips: {count: errors(count, flips) for count in QUESTIONS} for flips in FLIPS}
    lines = []
    for flips, of in found.items():
        for kind, words in (("", "as here"), ("_tango", "uncorrected")):
            ships, over = (
                [f"{of[count][f'{what}{kind}'] * 100:.1f}" for count in QUESTIONS]
                for what in ("within", "over")
            )
            lines.append([f"{flips * 100:g} % flips, {words}", *ships, *over])
    header = ["called, in % of runs", *(f"within, {count:,} q" for count in QUESTIONS)]
    header += [f"over, {count:,} q" for count in QUESTIONS]
    worst = max(max(one["within"], one["over"]) for of in found.values() for one in of.values())
    table = markdown(header, lines)
    publish(record(errors=found, worst=percent(worst)), args.out, table)


if __name__ == "__main__":
    main()
