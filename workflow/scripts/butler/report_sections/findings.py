"""What was measured, of every benchmark and variant: what all sections of the report start from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from butler.comparisons import Change, Pair, change_of, common, key_of, looks_of
from butler.decision import Candidate
from butler.efficiency.target import meets
from butler.errors import ButlerError
from butler.evaluations import Evaluation, check_same_questions, read_evaluation
from butler.results import Efficiency, read_efficiency
from butler.rounds import Looks
from butler.schemes import BASE, BASELINE
from butler.settings.judging_stage import DecisionSettings


@dataclass(frozen=True)
class Findings:
    """Evaluations by (benchmark, model) and efficiencies by variant, in the order asked for.

    A model is a variant or, first, the model before fine-tuning.
    `labels` are the benchmarks' display names by name.
    """

    labels: Mapping[str, str]
    variants: Sequence[str]
    evaluations: Mapping[tuple[str, str], Evaluation]
    efficiencies: Mapping[str, Efficiency]

    @property
    def models(self) -> list[str]:
        """The model before fine-tuning, and the variants."""
        return [BASE, *self.variants]

    @property
    def compared(self) -> list[str]:
        """The variants that are compared with the baseline."""
        return [name for name in self.variants if name != BASELINE]

    def of(self, benchmark: str) -> dict[str, Evaluation]:
        """Return the evaluations of one benchmark by model."""
        return {model: self.evaluations[benchmark, model] for model in self.models}

    def shared(self, benchmark: str) -> dict[str, Evaluation]:
        """Return the answers of each model to the questions that all were asked, in one order."""
        found = self.of(benchmark)
        asked = set.intersection(*(one.keys for one in found.values()))
        order = [key for key in map(key_of, found[BASELINE].details) if key in asked]
        return {model: one.only(order) for model, one in found.items()}

    def pairs(self, benchmark: str, model: str, other: str = BASELINE) -> list[Pair]:
        """Return what both answered to each question that was asked of both."""
        found = self.evaluations
        return common(found[benchmark, model].details, found[benchmark, other].details)

    def looks(self, benchmark: str, variant: str) -> Looks:
        """Return what was seen of a variant against the baseline after each round."""
        rounds = self.evaluations[benchmark, BASELINE].rounds
        return looks_of(self.pairs(benchmark, variant), rounds)

    def right_or_wrong(self, benchmark: str) -> bool:
        """Whether every question scored 0 or 100 in every model."""
        return all(one.right_or_wrong for one in self.of(benchmark).values())

    @cached_property
    def since_base(self) -> dict[str, Change]:
        """Change of the fine-tuned model against that before fine-tuning, by benchmark."""
        return {name: change_of(self.pairs(name, BASELINE, BASE)) for name in self.labels}

    @property
    def zero(self) -> list[str]:
        """The benchmarks on which the baseline scores nothing."""
        return [name for name in self.labels if self.evaluations[name, BASELINE].average == 0]

    def candidates(self, rule: DecisionSettings) -> list[Candidate]:
        """Return what the decision needs of each variant, as far as the rule goes by it."""
        found = []
        for variant, efficiency in self.efficiencies.items():
            names = () if variant == BASELINE else self.labels
            changes = {name: change_of(self.pairs(name, variant)) for name in names}
            looks = {name: self.looks(name, variant) for name in names}
            memory, speed = efficiency.memory_bytes(rule.tokens), efficiency.decode_tokens_per_s
            target = None if rule.target is None else meets(efficiency, rule.target)
            found.append(Candidate(variant, changes, looks, memory, speed, target))
        return found


def read_findings(
    results: Path,
    evaluations: Path,
    labels: Mapping[str, str],
    variants: Sequence[str],
) -> Findings:
    """Read all tables and answers.

    Raises:
        ButlerError: if the baseline is not among the variants, a file is missing or broken, or a
            model was not asked the baseline's questions.
    """
    if BASELINE not in variants:
        raise ButlerError(f"--variants must name {BASELINE}: the others are compared with it")
    models = [BASE, *variants]
    found = {}
    for benchmark in labels:
        read = [read_evaluation(results, evaluations, benchmark, model) for model in models]
        own = {one.variant: one for one in read}
        check_same_questions(own[BASELINE], read)
        found |= {(benchmark, name): one for name, one in own.items()}
    efficiencies = {name: read_efficiency(results, name) for name in variants}
    return Findings(labels, variants, found, efficiencies)
