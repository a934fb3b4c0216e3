"""What is told of the lengths of training samples."""

from sample_lengths import BINS, summary


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
