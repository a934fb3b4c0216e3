"""How far one variant's next token is from another's in LMDeploy's engines; needs a CUDA GPU.

One engine at a time is on the card: the baseline's distributions wait in a folder for the
variant's. Run as a module, in a process of its own, by `divergences`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from butler.divergence import AnswerDivergence, HeldOutAnswer
from butler.errors import run_cli
from butler.held_out import KEPT_BYTES
from butler.lmdeploy.engine_likelihood import LmdeployServer, all_logits, answer, ask
from butler.lmdeploy.release import quant_policy
from butler.lmdeploy.served_folder import ServedFolder
from butler.model_likelihood import LOGITS

if TYPE_CHECKING:
    import torch

LOG_BYTES = 2  # of a log-probability there, fp16: a divergence is off by less than 1 %
NEVER = -1e4  # nats: what is less likely has a probability of 0 in fp32 anyway


def fitting(answers: Sequence[HeldOutAnswer], vocab: int) -> list[HeldOutAnswer]:
    """Return the first answers, as many as KEPT_BYTES hold the distributions of, but one at least.

    That is 10,800 tokens of a vocabulary of 92,544 and 6,600 of one of 151,936.
    """
    taken, left = [answers[0]], KEPT_BYTES // (LOG_BYTES * vocab) - sum(answers[0].counted)
    for one in answers[1:]:
        left -= sum(one.counted)
        if left < 0:
            break
        taken.append(one)
    return taken


def divergences(
    server: LmdeployServer,
    baseline: ServedFolder,
    variant: ServedFolder,
    answers: Sequence[HeldOutAnswer],
) -> list[AnswerDivergence]:
    """Return the divergence of each answer, both folders with the KV cache of their own.

    Args:
        server: what serves.
        baseline, variant: of the same vocabulary.
        answers: no longer than a session of either; as many as are `fitting`.

    Raises:
        ButlerError: if there is no GPU, LMDeploy is another version, or the engine fails.
    """
    sequences = [one.tokens for one in answers]
    with tempfile.TemporaryDirectory() as folder:
        for one in (baseline, variant):
            found = ask(
                "butler.lmdeploy.engine_divergence",
                server,
                one.path,
                sequences,
                quant_policy(one.kv, server.release),
                one.backend,
                starts=[one.start for one in answers],
                vocab=one.vocab,
                folder=folder,
                compare=one is variant,
            )
    return [AnswerDivergence(**one) for one in found]


def keep(path: Path, logits: "torch.Tensor", wanted: Sequence[int]) -> None:
    """Write the distributions of logits [tokens, vocab], the likeliest token and the loss of each.

    Args:
        path: ends in .npz.
        logits: of any precision, on any device.
        wanted: the tokens that came.
    """
    logs, losses, tops = [], [], []
    for rows, came in _parts(logits, wanted):
        logs.append(rows.half().cpu().numpy())
        losses.append(_losses(rows, came))
        tops.append(rows.argmax(-1).cpu().numpy())
    np.savez(path, *map(np.concatenate, (logs, losses, tops)))


def compare(path: Path, logits: "torch.Tensor", wanted: Sequence[int]) -> AnswerDivergence:
    """Return how far logits are from the distributions that `keep` wrote for the same tokens."""
    import torch

    with np.load(path) as kept:
        before, losses, tops = (kept[f"arr_{number}"] for number in range(3))
    divergences, after, found, start = [], [], [], 0
    for rows, came in _parts(logits, wanted):
        block = torch.from_numpy(before[start : start + len(rows)]).to(rows.device)
        p = block.float().log_softmax(-1)  # the sum is 1 again after fp16's rounding
        divergences.append((p.exp() * (p - rows)).sum(-1).clamp(min=0).cpu().numpy())
        after.append(_losses(rows, came))
        found.append(rows.argmax(-1).cpu().numpy())
        start += len(rows)
    return AnswerDivergence(
        divergences=np.concatenate(divergences).tolist(),
        baseline=losses.tolist(),
        variant=np.concatenate(after).tolist(),
        same=(np.concatenate(found) == tops).tolist(),
    )


def _parts(logits: "torch.Tensor", wanted: Sequence[int]) -> Any:
    """Yield log-probabilities, fp32 [rows, vocab], and the tokens that came, in parts."""
    import torch

    at_once = max(1, LOGITS // logits.shape[-1])
    targets = torch.tensor(list(wanted))
    for rows, came in zip(logits.split(at_once), targets.split(at_once), strict=True):
        yield rows.float().log_softmax(-1).clamp(min=NEVER), came


def _losses(logs: "torch.Tensor", came: "torch.Tensor") -> np.ndarray:
    return -logs.gather(-1, came.to(logs.device).unsqueeze(-1)).squeeze(-1).cpu().numpy()


def reply(pipe: Any, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Keep the distributions of each answer or, if asked to, compare with those that are kept."""
    found = []
    for number, (tokens, start) in enumerate(
        zip(request["sequences"], request["starts"], strict=True)
    ):
        path = Path(request["folder"]) / f"{number}.npz"
        logits = all_logits(pipe, tokens)[start - 1 : len(tokens) - 1, : request["vocab"]]
        if request["compare"]:
            found.append(vars(compare(path, logits, tokens[start:])))
        else:
            keep(path, logits, tokens[start:])
    return found


def main() -> None:
    """Answer one request, as JSON."""
    answer(reply)


if __name__ == "__main__":
    run_cli(main)
