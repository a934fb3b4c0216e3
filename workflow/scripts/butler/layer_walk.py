"""Going through a Hugging Face model one decoder layer after the other, all texts at a time.

The model is built without its weights; a layer has its own, in fp32, while it is the one that texts
go through. So memory holds one layer, and the hidden states of all texts on the host.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from butler.families import family_of
from butler.hf_folder import ModelTensors, keep_old_cache, read_config


class _FirstLayer(Exception):
    """Ends the forward pass of the whole model where its layers begin."""


@dataclass(frozen=True)
class Layer:
    """A decoder layer with its weights; its tensors' names begin with `prefix`, "….layers.3."."""

    prefix: str
    module: torch.nn.Module

    def linears(self) -> dict[str, torch.nn.Linear]:
        """Return its linear layers by their names within it."""
        found = self.module.named_modules()
        return {name: one for name, one in found if isinstance(one, torch.nn.Linear)}


class _Batch:
    """The hidden states of texts of one length before a layer, and what else the layers take."""

    def __init__(
        self, hidden: torch.Tensor, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self.hidden, self.arguments, self.options = hidden.cpu(), arguments, options


class Walk:
    """A model's layers in turn, and the texts on their way through them.

    Args:
        folder: the model. HF_HOME should name a folder that takes a copy of its code.
        texts: token ids, int64 [texts of one length, length] each.
        device: "cpu" or "cuda".

    Raises:
        ButlerError: if the model is of no known family.
    """

    def __init__(self, folder: Path, texts: Sequence[torch.Tensor], device: str) -> None:
        from accelerate import init_empty_weights
        from transformers import AutoConfig, AutoModelForCausalLM

        keep_old_cache(folder)
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=True)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(
                config, trust_remote_code=True, torch_dtype=torch.float32
            )
        model.eval().requires_grad_(False)
        family = family_of(read_config(folder), str(folder / "config.json"))
        self._tensors, self._device = ModelTensors(folder), device
        self._decoder = model.get_decoder()
        prefix = next(name for name, one in model.named_modules() if one is self._decoder)
        self._layers = [
            Layer(f"{prefix}.layers.{number}.", module)
            for number, module in enumerate(self._decoder.layers)
        ]
        self._embedding = family.embedding, model.get_submodule(family.embedding)
        self._batches: list[_Batch] = []
        self._enter(texts)

    def linears(self) -> list[str]:
        """Return the names of all linear layers."""
        return [one.prefix + name for one in self._layers for name in one.linears()]

    def layers(self) -> Iterator[Layer]:
        """Yield each layer with its weights; with those that it has then, the texts go on."""
        for layer in self._layers:
            with self._weights(layer.prefix, layer.module):
                yield layer
                for batch, hidden in zip(self._batches, self._run(layer), strict=True):
                    batch.hidden = hidden

    def observe(self, layer: Layer, see: Callable[[torch.nn.Linear, torch.Tensor], None]) -> None:
        """Put the texts through a layer, and show the inputs of its linears; they stay there."""
        handles = [
            one.register_forward_hook(lambda linear, inputs, _: see(linear, inputs[0]))
            for one in layer.linears().values()
        ]
        for _ in self._run(layer):
            pass
        for handle in handles:
            handle.remove()

    def _run(self, layer: Layer) -> Iterator[torch.Tensor]:
        """Yield what comes out of a layer for each batch, on the host."""
        for batch in self._batches:
            hidden = batch.hidden.to(self._device)
            found = layer.module(hidden, *batch.arguments, **batch.options)
            yield (found[0] if isinstance(found, tuple) else found).cpu()

    def _enter(self, texts: Sequence[torch.Tensor]) -> None:
        """Take the texts to the first layer."""
        name, embedding = self._embedding
        for child in self._decoder.children():
            if not any(parameter.is_meta for parameter in child.parameters()):
                child.to(self._device)  # the rotary embedding, where the layers share it

        def stop(_: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            self._batches.append(_Batch(arguments[0], arguments[1:], options))
            raise _FirstLayer

        handle = self._layers[0].module.register_forward_pre_hook(stop, with_kwargs=True)
        with self._weights(f"{name}.", embedding):
            for ids in texts:
                try:
                    self._decoder(input_ids=ids.to(self._device), use_cache=False)
                except _FirstLayer:
                    continue
        handle.remove()

    @contextmanager
    def _weights(self, prefix: str, module: torch.nn.Module) -> Iterator[None]:
        """Give a module its weights in fp32, and take them again afterwards."""
        from accelerate.utils import set_module_tensor_to_device

        for name, _ in list(module.named_parameters()):
            value = self._tensors[prefix + name].to(self._device).float()
            set_module_tensor_to_device(module, name, self._device, value=value)
        module.to(self._device)
        yield
        module.to("meta")
