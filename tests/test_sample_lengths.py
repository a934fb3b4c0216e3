"""What is told of the lengths of training samples."""

import pytest

from butler.errors import ButlerError
from butler.histograms import BINS, histogram
from sample_lengths import check_cut, summary


def test_samples_are_counted_by_length_and_those_that_are_cut_told() -> None:
    found = summary([12, 18, 25, 600], trained=131, max_length=512)
    assert found["tokens"] == {"0": 2, "20": 1, "600": 1}
    assert (found["records"], found["longest"], found["cut"]) == (4, 600, 1)
    assert found["median"] == 21.5
    assert found["trained_share"] == 0.2


def test_a_sample_of_the_full_length_is_not_cut() -> None:
    assert summary([512], trained=100, max_length=512)["cut"] == 0


def test_the_bins_stay_few_whatever_the_lengths() -> None:
    for longest in (7, 399, 4000, 1_000_000):
        counts = summary(list(range(1, longest, max(1, longest // 500))), 1, 512)["tokens"]
        assert len(counts) <= BINS + 1


def test_lengths_close_together_are_told_apart() -> None:
    """Answers of 60 to 190 characters were two bars."""
    found = histogram(list(range(60, 190)))
    assert len(found) == 13 and sum(found.values()) == 130
    assert histogram([]) == {}


def test_as_many_as_the_limit_allows_may_be_cut() -> None:
    counted = summary([500, 500, 500, 600], trained=1, max_length=512)
    check_cut(counted, 0.25)
    with pytest.raises(ButlerError, match=r"1 of 4 .* train.max_length 512 .* corpus.max_chars"):
        check_cut(counted, 0.24)
