"""The sample: so many of the records that are left, among the recipes with the least in doubt."""

from collections.abc import Iterator

import numpy as np

from butler.corpus.choice import Drops, drawn, in_order
from butler.corpus.doubt import like_talk, weights
from butler.corpus.ngrams import Array
from butler.corpus.samples import parts
from butler.corpus.table import Table
from butler.progress import say
from butler.settings.corpus_stage import CorpusSettings

_LEARNT_FROM = 100_000  # records, drawn by seed
_LENGTHS = 10  # classes of as many records each
_TOGETHER = 5000  # records looked at at a time


def draw_sample(
    table: Table, kept: Array, settings: CorpusSettings, seed: int, drops: Drops
) -> Array:
    """Keep `sample` records by seed; a larger sample holds the smaller one.

    Of recipes first those with the least in doubt: the share `sample_from` of each length.
    """
    size = settings.sample
    if not size or size >= len(kept):
        return kept
    doubt = np.zeros(len(kept))
    if settings.weighs_doubt:
        say("corpus", f"weighing what is in doubt in {len(kept):,} recipes")
        doubt = doubts(table, kept, seed)
    ranks = least_first(doubt, table.columns["characters"][kept], settings.sample_from)
    keys = table.columns["contents"][kept]
    order = np.lexsort((keys[:, 1], keys[:, 0], drawn(keys[:, 0], seed, "sample"), ranks))
    drops.drop(kept[order[size:]], "not_sampled")
    drops.sample = size
    if settings.weighs_doubt:
        shares = {"all": doubt, "sample": doubt[order[:size]]}
        drops.doubt = {name: round(float(found.mean()), 4) for name, found in shares.items()}
    return drops.staying(kept)


def least_first(doubt: Array, sizes: Array, share: float) -> Array:
    """What to sort records by: 0 for the share of each length with the least doubt, then the doubt.

    Long recipes have more that may be doubted: by length, the sample gets no shorter by this.

    Args:
        doubt: of each record, float64 [records].
        sizes: their lengths.
    """
    lengths = np.digitize(sizes, np.quantile(sizes, np.arange(1, _LENGTHS) / _LENGTHS))
    ranks = doubt.copy()
    for length in np.unique(lengths):
        own = lengths == length
        ranks[own & (doubt <= np.quantile(doubt[own], share, method="higher"))] = 0
    return ranks


def doubts(table: Table, records: Array, seed: int) -> Array:
    """The share of each record's characters that is in doubt, as float64 [records]."""
    learnt_from = in_order(table, records, seed, "doubt")[:_LEARNT_FROM]
    ratios = weights(
        ("\n".join(table.taken_out(some)), "\n".join(_steps(table, some)))
        for some in _batches(learnt_from)
    )
    found = []
    for some in _batches(records):
        known, sizes = table.columns["in_doubt"][some].T
        found.append((known + like_talk(_steps(table, some), ratios)) / sizes)
    return np.concatenate(found)


def _batches(records: Array) -> Iterator[Array]:
    for begin in range(0, len(records), _TOGETHER):
        yield records[begin : begin + _TOGETHER]


def _steps(table: Table, records: Array) -> list[str]:
    return [parts(line)[1] for line in table.samples(records)]
