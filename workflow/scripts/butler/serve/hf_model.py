"""Answers of a Hugging Face model folder, token by token, as the engine gives a workspace's."""

import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.reference.sampling import SamplingParams


class _Tokens:
    """A streamer for transformers' generate(): hands on the new tokens, not the prompt."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        self._prompt = True

    def put(self, value: Any) -> None:
        if not self._prompt:
            for token in value.flatten().tolist():
                self.queue.put(token)
        self._prompt = False

    def end(self) -> None:
        self.queue.put(None)


class HfModel:
    """A causal language model in transformers.

    Args:
        folder: weights and configuration.
        bits: None for the folder's own precision; 8 or 4 (NF4) by bitsandbytes.
        offload: folder for the layers that no device has room for.
        trust_remote_code: run the folder's own model code.

    Raises:
        ButlerError: if transformers cannot load the folder.
    """

    def __init__(
        self, folder: Path, bits: int | None, offload: Path | None, trust_remote_code: bool
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        import butler.xtuner.support  # noqa: F401  bitsandbytes on a CPU

        options: dict[str, Any] = {"torch_dtype": "auto", "trust_remote_code": trust_remote_code}
        if bits:
            kind = {f"load_in_{bits}bit": True}
            nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
            options["quantization_config"] = BitsAndBytesConfig(
                **kind, **(nf4 if bits == 4 else {})
            )
        if torch.cuda.is_available() or offload:
            options["device_map"] = "auto"
        if offload:
            options["offload_folder"] = str(offload)
        try:
            self._model = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, **options
            ).eval()
        except (OSError, ValueError, ImportError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ButlerError(
                f"transformers cannot load {folder} ({line}); if it needs the code in that folder "
                "and you trust it, give --trust-remote-code"
            ) from error
        self._session_len = getattr(self._model.config, "max_position_embeddings", 2048)

    def stream(
        self, prompt: Sequence[int], params: SamplingParams, stop_ids: Sequence[int]
    ) -> Generator[int, None, None]:
        """Yield the answer's tokens as they come, without the stop token.

        Raises:
            ButlerError: if the prompt leaves no room for an answer.
        """
        room = self._session_len - len(prompt)
        if room < 1:
            raise ButlerError(
                f"the chat has {len(prompt)} tokens, more than the model reads; type RESET"
            )
        tokens, ended = _Tokens(), threading.Event()
        limited = replace(params, max_new_tokens=min(params.max_new_tokens or room, room))

        def generate() -> None:
            try:
                self._generate(prompt, limited, stop_ids, tokens, ended)
            except BaseException as error:  # noqa: BLE001  raised where the tokens are awaited
                tokens.queue.put(error)

        # Waited for, also when the caller wants no more: torch aborts a process that ends while one
        # of its threads still computes.
        thread = threading.Thread(target=generate, daemon=True)
        thread.start()
        try:
            while (token := tokens.queue.get()) is not None:
                if isinstance(token, BaseException):
                    raise token
                if token not in stop_ids:
                    yield token
        finally:
            ended.set()
            thread.join()

    def _generate(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        stop_ids: Sequence[int],
        tokens: _Tokens,
        ended: threading.Event,
    ) -> None:
        """Put the answer's tokens into `tokens` until it ends or `ended` is set."""
        import torch
        from transformers import set_seed

        options: dict[str, Any] = {"do_sample": not params.greedy}
        if not params.greedy:
            options |= {"temperature": params.temperature, "top_k": params.top_k}
            options |= {"top_p": params.top_p}
        ids = torch.tensor([list(prompt)], device=self._model.device)
        if params.seed is not None:
            set_seed(params.seed)
        self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            streamer=tokens,
            max_new_tokens=params.max_new_tokens,
            repetition_penalty=params.repetition_penalty,
            eos_token_id=list(stop_ids),
            pad_token_id=next(iter(stop_ids)),
            stopping_criteria=[
                lambda row, _: torch.full_like(row[:, 0], ended.is_set(), dtype=torch.bool)
            ],
            **options,
        )
