"""Check that prompts are byte for byte those that the model was trained on.

Compares, for the same records, the tokens before the answer in training (XTuner's own code) with
the prompt of the workspace's server (its tokenizer and chat template), and the text of the latter
with what LMDeploy renders from the workspace's chat_template.json.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from butler.chat_tokenizer import ChatTokenizer
from butler.checks import conclude
from butler.errors import run_cli
from butler.lmdeploy.on_cpu import without_cuda
from butler.progress import counted, progress

IGNORED = -100


def training_prompt(record: dict[str, Any]) -> list[int] | None:
    """Return the tokens up to the first that carries loss; None if the sample was cut before it."""
    first = next((i for i, label in enumerate(record["labels"]) if label != IGNORED), None)
    return None if first is None else record["input_ids"][:first]


def messages_of(record: dict[str, Any]) -> list[dict[str, str]]:
    """Return the record's question as chat messages."""
    turn = record["conversation"][0]
    system = [{"role": "system", "content": turn["system"]}] if turn.get("system") else []
    return [*system, {"role": "user", "content": turn["input"]}]


def lmdeploy_prompt(path: Path, messages: list[dict[str, str]]) -> str:
    """Return what `lmdeploy serve` renders from the template in `path`."""
    from lmdeploy.model import ChatTemplateConfig

    return ChatTemplateConfig.from_json(str(path)).chat_template.messages2prompt(messages)


def differences(workspace: Path, records: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return how many records hold a whole prompt, and a sentence for each difference in those."""
    without_cuda()
    tokenizer = ChatTokenizer(workspace, trust_remote_code=True)
    compared, found = 0, []
    for number, record in enumerate(_told(records), start=1):
        messages = messages_of(record)
        trained, served = training_prompt(record), tokenizer.encode_chat(messages)
        if trained is None:
            continue
        compared += 1
        if trained != served:
            found.append(f"record {number} {_first_difference(tokenizer, trained, served)}")
            continue
        found += _lmdeploy_difference(workspace, tokenizer, messages)
        # Benchmarks ask without a system turn; LMDeploy likes to add one.
        found += _lmdeploy_difference(workspace, tokenizer, messages[-1:])
    return compared, found


def _told(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the records, and say now and then how many are compared."""
    done, started = 0, time.monotonic()
    with progress("check_template", lambda: counted(done, len(records), "prompts", started)):
        for record in records:
            yield record
            done += 1


def _lmdeploy_difference(
    workspace: Path, tokenizer: ChatTokenizer, messages: list[dict[str, str]]
) -> list[str]:
    text = tokenizer.render(messages)
    by_lmdeploy = lmdeploy_prompt(workspace / "chat_template.json", messages)
    # LMDeploy leaves BOS to the tokenizer; all else must be there.
    before = text.removesuffix(by_lmdeploy)
    config = json.loads((workspace / "tokenizer_config.json").read_text(encoding="utf-8"))
    bos = config.get("bos_token") or ""
    allowed = {"", bos if isinstance(bos, str) else bos["content"]}
    if before == text or before not in allowed:
        return [f"LMDeploy would ask {by_lmdeploy!r}, our server asks {text!r}"]
    return []


def _first_difference(tokenizer: ChatTokenizer, trained: list[int], served: list[int]) -> str:
    pairs = zip(trained, served, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(trained), len(served)))
    return (
        f"is asked otherwise than it was trained, from token {at} on: trained "
        f"{tokenizer.decode(trained[at : at + 12])!r} {trained[at : at + 4]}, asked "
        f"{tokenizer.decode(served[at : at + 12])!r} {served[at : at + 4]}"
    )


def main() -> None:
    """Check one workspace against the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=Path, required=True, help="of training_prompts.py")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lines = args.prompts.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    compared, wrong = differences(args.workspace, records)
    cut = len(records) - compared
    said = f"{compared} prompts are byte for byte those of the training"
    if cut:
        said += f"; {cut} more are cut before their answer, at train.max_length"
    if not compared:
        said = f"train.max_length cuts each of {cut} prompts before its answer: raise it"
    conclude(
        args.out,
        "template",
        compared > 0 and not wrong,
        wrong[0] if wrong else said,
        {"prompts": compared, "cut": cut, "different": len(wrong)},
        {"different": 0},
    )


if __name__ == "__main__":
    run_cli(main)
