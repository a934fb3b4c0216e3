"""Reading what mmengine logged of a training, over all the runs that it took."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from butler.errors import ButlerError

_ITERATION = re.compile(
    r"Iter\(train\) +\[ *(?P<done>\d+)/(?P<total>\d+)\].*? eta: (?P<left>.+?)  "
    r".*? loss: (?P<loss>\S+)"
)
_TAIL_BYTES = 20_000
# What a training does before it logs a step, and what mmengine logs between one and the next. With
# DeepSpeed the base is loaded after the first of the marks.
_PHASES = (
    "starting XTuner",
    "loading the base model",
    "preparing samples and model",
    "running the first steps",
)
_MARKS = ("Hooks will be executed in the following order", "Checkpoints will be saved to")


@dataclass(frozen=True)
class LoggedStep:
    """Mean loss since the step logged before, in nats per token that carries loss.

    A step is an update of the optimiser. Tokens per second count every position of the packs, over
    all processes; None where the log has no time. The gradient's norm, before it is clipped, is the
    mean over the same updates; None where XTuner logs none, which is so with DeepSpeed.
    """

    step: int
    loss: float
    learning_rate: float
    tokens_per_second: float | None = None
    gradient_norm: float | None = None


def read_log(work: Path, accumulation: int = 1, tokens: int = 0) -> list[LoggedStep]:
    """Return the steps logged below `work`, in order; of a step run twice, the later run's.

    XTuner counts iterations: `accumulation` of them are a step, and each takes `tokens` tokens.

    Raises:
        ButlerError: if there are none.
    """
    steps: dict[int, LoggedStep] = {}
    for path in sorted(work.glob("*/vis_data/scalars.json")):
        for line in path.read_text(encoding="utf-8").splitlines():
            # A run that was killed may leave half a line at the end.
            if not line.endswith("}"):
                continue
            row = json.loads(line)
            if "loss" in row and "step" in row:
                step = -(-row["step"] // accumulation)
                seconds = float(row.get("time", 0))
                rate = round(tokens / seconds, 1) if seconds and tokens else None
                norm = float(row["grad_norm"]) if "grad_norm" in row else None
                steps[step] = LoggedStep(step, float(row["loss"]), float(row["lr"]), rate, norm)
    if not steps:
        raise ButlerError(f"training logged no loss below {work}; lower train.log_interval")
    return [steps[step] for step in sorted(steps)]


def check_finite(steps: list[LoggedStep]) -> None:
    """Check that the training did not diverge.

    Raises:
        ButlerError: naming the first step whose loss is not finite.
    """
    broken = [step.step for step in steps if not math.isfinite(step.loss)]
    if broken:
        raise ButlerError(
            f"the training diverged: the loss is not finite at step {broken[0]}; lower "
            "train.learning_rate"
        )


def training_status(work: Path, accumulation: int = 1) -> str:
    """Return how far the training in `work` is: steps, loss, time left; before those, its phase."""
    logs = sorted(work.glob("*/*.log"))
    if not logs:
        return _PHASES[0]
    with logs[-1].open("rb") as stream:
        stream.seek(max(0, logs[-1].stat().st_size - _TAIL_BYTES))
        found = list(_ITERATION.finditer(stream.read().decode("utf-8", "replace")))
    if not found:
        text = logs[-1].read_text(encoding="utf-8", errors="replace")
        return _PHASES[1 + sum(mark in text for mark in _MARKS)]
    last = found[-1]
    done, total = (-(-int(last[name]) // accumulation) for name in ("done", "total"))
    return f"step {done:,} of {total:,}, loss {last['loss']}, about {last['left']} left"
