"""Greedy answers of a Hugging Face model folder: batches of chats in, answers out, as JSON lines.

A line of the input is {"chats": [messages, …], "max_new_tokens": N}; for each chat a line of the
output is {"index": its place in the batch, "finish": "stop" or "length", "text": answer}, in any
order. Ends when its input does. Runs in whichever environment can load the model.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from butler.errors import ButlerError, run_cli
from butler.manifest import check_unchanged

TOGETHER = 8  # chats that are answered at a time


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", required=True, type=Path)
    add("--trust-remote-code", action="store_true", help="run the folder's own code")
    return parser.parse_args()


def main() -> None:
    """Answer until the input ends."""
    arguments = parse_arguments()
    check_unchanged(arguments.model)
    # What a model's own code prints is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    model = FolderModel(arguments.model, arguments.trust_remote_code)
    for line in sys.stdin:
        batch = json.loads(line)
        for index, (finish, text) in model.answers(batch["chats"], batch["max_new_tokens"]):
            answer = {"index": index, "finish": finish, "text": text}
            print(json.dumps(answer), file=answers, flush=True)


class FolderModel:
    """A causal language model and its tokenizer, with the chat template of its folder.

    Raises:
        ButlerError: if transformers cannot load the folder, or it has no chat template.
    """

    def __init__(self, folder: Path, trust_remote_code: bool) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
        on_gpu = torch.cuda.is_available()
        # Half precision is some 50 times slower on a CPU.
        kept = {"torch_dtype": "auto", "device_map": "auto"} if on_gpu else {}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", **options)
            model = AutoModelForCausalLM.from_pretrained(folder, **options, **kept)
        except (OSError, ValueError, ImportError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ButlerError(
                f"transformers cannot load {folder} ({line[:200]}); if it needs the code in that "
                "folder and you trust it, set base.remote_code"
            ) from error
        if not self._tokenizer.chat_template:
            raise ButlerError(
                f"{folder} has no chat template; its tokenizer_config.json names none"
            )
        self._model = (model if on_gpu else model.float()).eval()
        stops = self._model.generation_config.eos_token_id
        if stops is None:
            stops = self._tokenizer.eos_token_id
        self._stops: list[int] = stops if isinstance(stops, list) else [stops]
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(self._stops[0])

    def answers(
        self, chats: list[list[dict[str, str]]], max_new_tokens: int
    ) -> Iterator[tuple[int, tuple[str, str]]]:
        """Yield the place of each chat, why its answer ended and the answer.

        Chats of like length go together.
        """
        texts = [
            self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            for chat in chats
        ]
        places = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        for start in range(0, len(places), TOGETHER):
            now = places[start : start + TOGETHER]
            answers = self._generate([texts[at] for at in now], max_new_tokens)
            yield from zip(now, answers, strict=True)

    def _generate(self, texts: list[str], max_new_tokens: int) -> list[tuple[str, str]]:
        import torch

        given = self._tokenizer(
            texts, add_special_tokens=False, padding=True, return_tensors="pt"
        ).to(self._model.device)
        with torch.inference_mode():
            tokens = self._model.generate(
                input_ids=given["input_ids"],
                attention_mask=given["attention_mask"],
                max_new_tokens=max_new_tokens,
                eos_token_id=self._stops,
                pad_token_id=self._tokenizer.pad_token_id,
                # Greedy, whatever else the folder's generation_config.json asks for.
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,
                temperature=None,
                top_p=None,
                top_k=None,
            )
        new = tokens[:, given["input_ids"].shape[1] :]
        stopped = torch.isin(new, torch.tensor(self._stops, device=new.device)).any(dim=1)
        finishes = ["stop" if one else "length" for one in stopped.tolist()]
        said = self._tokenizer.batch_decode(new, skip_special_tokens=True)
        return list(zip(finishes, said, strict=True))


if __name__ == "__main__":
    run_cli(main)
