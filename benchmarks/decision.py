"""How often the decision errs, and what its care costs, in worlds whose true losses are known.

Each run draws a world (`decision_worlds.py`) and decides it through the functions that decide a
real one: rounds are planned and drawn, each variant is asked until `settled`, and `judge` gives the
verdicts. Exits with 1 where a bound is broken beyond three standard errors of the simulation.

    python benchmarks/decision.py --quick            # under a minute on two cores
    python benchmarks/decision.py --out FILE.json    # the table of docs/decision.md
"""

import argparse
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from common import markdown, publish, record
from decision_worlds import Questions, World, quick_worlds, worlds
from scipy.special import ndtr, ndtri

from butler.paired import PairedSample, paired_sample
from butler.rounds import Looks, Rounds, plan_rounds, round_of_each
from butler.verdicts import Outcome, holm_levels, judge, settled

LIMIT, ERROR = 2.0, 0.05  # points that a variant may lose; chance to call a worse one within
LOSSES = {0.0: 1.0, LIMIT: 1.0, 3.0: 0.5, 10.0: 0.1}  # that are simulated, and their share of runs
COVERAGE, POWER_LOST, SAVED, SURE = 0.94, 0.10, 1 / 3, 0.99
SIGMAS = 3  # standard errors of the simulation by which a bound may be missed
WITHIN = -float(ndtri(0.025))  # of the statistic at each point of `PairedSample.interval()`
BATCH = 25  # runs that share their assignment of questions to rounds
HEADER = (
    "world",
    "rounds",
    "runs",
    "ships, loses 2",
    "ships, loses 3",
    "called over, loses 2",
    "ships, loses 0",
    "one test of all",
    "interval covers",
    "asked, loses 0",
    "asked, loses 10",
)


def layout(world: World, seed: int) -> list[tuple[Rounds, np.ndarray]]:
    """Return the planned rounds of each benchmark, and the round of each of its questions."""
    found = []
    for each in world.benchmarks:
        plan = plan_rounds(each.count, world.first) if world.first else Rounds([each.count])
        when = round_of_each(each.data_sets.tolist(), each.clusters.tolist(), plan, seed)
        found.append((plan, np.array(when)))
    return found


def ask(
    differences: np.ndarray, questions: Questions, plan: tuple[Rounds, np.ndarray], world: World
) -> tuple[Looks, Outcome]:
    """Ask round after round until the variant is settled on this benchmark."""
    rounds, when = plan
    samples: list[PairedSample] = []
    looks, outcome = Looks(samples, rounds), Outcome.UNDECIDED
    for number in range(1, len(rounds.sizes) + 1):
        asked = when <= number
        samples.append(
            paired_sample(differences[asked], questions.data_sets[asked], questions.clusters[asked])
        )
        outcome = settled(looks, LIMIT, ERROR, world.variants, len(world.benchmarks))
        if outcome is not Outcome.UNDECIDED:
            break
    return looks, outcome


def decide(world: World, loss: float, runs: int, seed: int) -> Counter[str]:
    """Simulate `runs` decisions and return sums over them, by what was counted."""
    random = np.random.default_rng(seed)
    losses = world.losses(loss, LIMIT)
    found: Counter[str] = Counter()
    for run in range(runs):
        if run % BATCH == 0:
            plans = layout(world, seed + run)
        looks: dict[str, dict[str, Looks]] = defaultdict(dict)
        whole: dict[str, dict[str, PairedSample]] = defaultdict(dict)
        for place, (each, plan) in enumerate(zip(world.benchmarks, plans, strict=True)):
            drawn = each.draw([one[place] for one in losses], random)
            for variant, differences in enumerate(drawn):
                asked, outcome = ask(differences, each, plan, world)
                looks[str(variant)][str(place)] = asked
                done = len(asked.samples) == len(plan[0].sizes)
                whole[str(variant)][str(place)] = (
                    asked.last
                    if done
                    else paired_sample(differences, each.data_sets, each.clusters)
                )
        if len(losses[0]) == world.variants == 1:  # what `judge` would say then (test_verdicts.py)
            verdicts = [outcome]
        else:
            verdicts = [one.outcome for one in judge(looks, LIMIT, ERROR).values()]
        found.update(_count(world, losses, looks, whole, verdicts))
    return found


def _count(
    world: World,
    losses: Sequence[Sequence[float]],
    looks: Mapping[str, Mapping[str, Looks]],
    whole: Mapping[str, Mapping[str, PairedSample]],
    verdicts: Sequence[Outcome],
) -> Counter[str]:
    at_once = _one_test(whole)
    bad = [max(one) >= LIMIT for one in losses]
    asked = [one.last.questions for of in looks.values() for one in of.values()]
    return Counter(
        runs=1,
        ships=any(b and v is Outcome.WITHIN for b, v in zip(bad, verdicts, strict=True)),
        ships_at_once=any(b and v for b, v in zip(bad, at_once, strict=True)),
        over=_share(v is Outcome.OVER for v, b in zip(verdicts, bad, strict=True) if b),
        within=_share(v is Outcome.WITHIN for v in verdicts),
        within_at_once=_share(at_once),
        covered=abs(whole["0"]["0"].statistic(-losses[0][0])) <= WITHIN,
        asked=sum(asked) / (world.variants * sum(each.count for each in world.benchmarks)),
    )


def _share(which: Iterable[bool]) -> float:
    found = list(which)
    return sum(found) / len(found) if found else 0.0


def _one_test(whole: Mapping[str, Mapping[str, PairedSample]]) -> list[bool]:
    """Return which variants Tango's score test of all questions at once calls within the limit."""

    def p(sample: PairedSample) -> float:
        error = (sample.variance(-LIMIT) / sample.clusters) ** 0.5
        return float(ndtr(-(sample.mean + LIMIT) / error))

    values = {name: max(map(p, of.values())) for name, of in whole.items()}
    levels = holm_levels(values, ERROR)
    return [values[name] <= levels[name] for name in whole]


def rate(found: Counter[str], what: str) -> float:
    """Return what was counted per run."""
    return found[what] / found["runs"]


def _beyond(share: float, bound: float, runs: int) -> bool:
    return share > bound + SIGMAS * (bound * (1 - bound) / runs) ** 0.5


def broken(world: World, by_loss: Mapping[float, Counter[str]]) -> list[str]:
    """Return what the world shows against the bounds, as sentences."""

    found = []
    for loss in (LIMIT, 3.0):
        ships = rate(by_loss[loss], "ships")
        if _beyond(ships, ERROR, by_loss[loss]["runs"]):
            found.append(f"ships a variant that loses {loss:g} in {ships:.1%}")
    over = rate(by_loss[LIMIT], "over")
    if _beyond(over, ERROR, by_loss[LIMIT]["runs"]):
        found.append(f"calls a variant at the limit over it in {over:.1%}")
    missed = {loss: 1 - rate(one, "covered") for loss, one in by_loss.items()}
    for loss, share in missed.items():
        if _beyond(share, 1 - COVERAGE, by_loss[loss]["runs"]):
            found.append(f"interval at a loss of {loss:g} covers {1 - share:.1%}")
    none, limit = by_loss[0.0], by_loss[LIMIT]
    power, once = rate(none, "within"), rate(none, "within_at_once")
    sound = not _beyond(rate(limit, "ships_at_once"), ERROR, limit["runs"])
    noise = ((power * (1 - power) + once * (1 - once)) / none["runs"]) ** 0.5
    if sound and once - power > POWER_LOST + SIGMAS * noise:
        found.append(f"power {power:.1%}, of one test {once:.1%}")
    alone = len(world.benchmarks) == world.variants == 1
    if alone and once >= SURE and power >= SURE and _rounds(world) > 1:
        saved = 1 - rate(none, "asked")
        if saved < SAVED:
            found.append(f"stopping early saves {saved:.0%} of the questions")
    return found


def _rounds(world: World) -> int:
    first = world.first
    return max(
        len(plan_rounds(each.count, first).sizes) if first else 1 for each in world.benchmarks
    )


def percent(share: float) -> str:
    """Return a share as it stands in a table."""
    return f"{share * 100:.1f} %"


def _line(world: World, by_loss: Mapping[float, Counter[str]]) -> list[str]:
    limit, none = by_loss[LIMIT], by_loss[0.0]
    ships, runs = rate(limit, "ships"), limit["runs"]
    once = percent(rate(none, "within_at_once"))
    if _beyond(rate(limit, "ships_at_once"), ERROR, runs):
        once += f", errs {percent(rate(limit, 'ships_at_once'))}"
    return [
        world.name,
        str(_rounds(world)),
        str(runs),
        f"{percent(ships)} ± {(ships * (1 - ships) / runs) ** 0.5 * 100:.1f}",
        percent(rate(by_loss[3.0], "ships")),
        percent(rate(limit, "over")),
        percent(rate(none, "within")),
        once,
        percent(min(rate(limit, "covered"), rate(none, "covered"))),
        percent(rate(none, "asked")),
        percent(rate(by_loss[10.0], "asked")),
    ]


def _task(task: tuple[World, float, int, int]) -> Counter[str]:
    return decide(*task)


def main() -> int:
    """Simulate, print and publish the table; return 1 where a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few worlds, few runs")
    parser.add_argument("--only", default="", help="regular expression of the worlds' names")
    parser.add_argument("--runs", type=int, help="of a world and loss (default 2500; quick 1000)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON; its table lies beside it as Markdown")
    args = parser.parse_args()
    runs = args.runs or (1000 if args.quick else 2500)
    chosen = [
        world
        for world in (quick_worlds() if args.quick else worlds())
        if re.search(args.only, world.name)
    ]
    begun = time.monotonic()
    keys, tasks = [], []
    for number, world in enumerate(chosen):
        for place, (loss, share) in enumerate(LOSSES.items()):
            left = max(BATCH, int(runs * share * world.effort))
            for part in range(0, left, 4 * BATCH):
                keys.append((number, loss))
                seed = ((args.seed * 1000 + number) * 10 + place) * 1_000_000 + part
                tasks.append((world, loss, min(4 * BATCH, left - part), seed))
    sums: dict[int, dict[float, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    with ProcessPoolExecutor(args.processes) as pool:
        for (number, loss), counted in zip(keys, pool.map(_task, tasks), strict=True):
            sums[number][loss].update(counted)
            print(
                f"\r{time.monotonic() - begun:.0f} s: {chosen[number].name}",
                end="\033[K",
                file=sys.stderr,
            )
    table = markdown(HEADER, [_line(chosen[number], of) for number, of in sums.items()])
    found = {chosen[number].name: broken(chosen[number], of) for number, of in sums.items()}
    publish(
        record(
            limit=LIMIT,
            error=ERROR,
            seconds=round(time.monotonic() - begun),
            processes=args.processes,
            worlds={
                chosen[number].name: {f"{loss:g}": dict(one) for loss, one in of.items()}
                for number, of in sums.items()
            },
            broken={name: of for name, of in found.items() if of},
        ),
        args.out,
        table,
    )
    for name, of in found.items():
        for sentence in of:
            print(f"broken: {name}: {sentence}", file=sys.stderr)
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
