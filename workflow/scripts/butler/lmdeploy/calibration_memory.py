"""What LMDeploy 0.7.3 takes of GPU memory while it calibrates, beside the weights."""

from dataclasses import dataclass

MOST_AT_A_TIME = 8  # samples; more gain nothing
RESERVE = 2 * 2**30  # bytes of GPU memory for CUDA, one layer's fp32 and what is small
SCORE = 12  # bytes of a score of the attention: fp16, fp32, weights and mask
FP16 = 2


@dataclass(frozen=True)
class Calibration:
    """Bytes beside the layers.

    `sample`: the attention's scores of a sample, [heads, length, length]. `states`: the hidden
    states of all samples before and after a layer, and one copy more while they are put together,
    fp16.
    """

    sample: int
    states: int

    @classmethod
    def of(cls, heads: int, hidden: int, samples: int, length: int) -> "Calibration":
        """Return what so many samples of `length` tokens take of a model."""
        return cls(SCORE * heads * length**2, 3 * FP16 * samples * length * hidden)

    def fits_beside(self, weights: int, free: int) -> bool:
        """Say whether two samples at a time leave room for the whole model in `free` bytes."""
        return weights + self.states + 2 * self.sample + RESERVE <= free

    def at_a_time(self, free: int) -> int:
        """Return how many samples to take at a time in `free` bytes; LMDeploy's default is 1.

        Half of the memory is left for the rest.
        """
        return max(1, min(MOST_AT_A_TIME, free // 2 // self.sample))
