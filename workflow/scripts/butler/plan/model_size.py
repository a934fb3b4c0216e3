"""The bytes of a base model and of all that is made of it, from config.json alone."""

import os
import tempfile
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError

from butler.errors import ButlerError
from butler.hf_folder import read_config
from butler.lmdeploy.served_folder import ModelShape
from butler.schemes import KVScheme, WeightScheme
from butler.settings.training_stage import BaseSettings
from butler.xtuner.memory import DecoderShape

FP16 = 2
FP32 = 4
STORED_AS = {"float32": FP32}  # torch_dtype by bytes of a weight; all others take two
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
HUB_SECONDS = 10  # to wait for config.json
# Where a hub's client looks, the variable that names another place, and a file's path there.
HUB_ADDRESSES = {
    "huggingface": (
        "HF_ENDPOINT",
        "https://huggingface.co",
        "{model}/resolve/{revision}/config.json",
    ),
    "modelscope": (
        "MODELSCOPE_ENDPOINT",
        "https://modelscope.cn",
        "api/v1/models/{model}/repo?Revision={revision}&FilePath=config.json",
    ),
}


@dataclass(frozen=True)
class ModelSize:
    """A decoder's bytes. Biases are not counted: they are some 0.02 % of a Qwen2.

    `tied`: embedding and head are one tensor in a model folder; a workspace holds both.
    `stored`: bytes of the base's weight files. `eager`: attention holds its scores, since
    config.json asks for that; else transformers takes torch's own, which does not.
    """

    shape: DecoderShape
    tied: bool
    stored: int
    eager: bool = False

    @classmethod
    def read(cls, folder: Path) -> "ModelSize":
        """Read it from a folder with config.json and, if they are there, the weights.

        Raises:
            ButlerError: if a size is missing, or the model is of no known family.
        """
        config, shape = read_config(folder), DecoderShape.read(folder)
        tied = bool(config.get("tie_word_embeddings"))
        stored = sum(path.stat().st_size for form in WEIGHTS for path in folder.glob(form))
        each = STORED_AS.get(str(config.get("torch_dtype")), FP16)
        eager = config.get("attn_implementation") == "eager"
        return cls(shape, tied, stored or each * cls(shape, tied, 0).parameters, eager)

    @property
    def table(self) -> int:
        """Weights of the embedding, and as many of the head."""
        return self.shape.vocabulary * self.shape.hidden

    @property
    def norms(self) -> int:
        """Weights of the norms: two of a layer and the last."""
        return (2 * self.shape.layers + 1) * self.shape.hidden

    @property
    def parameters(self) -> int:
        """Weights of a model folder."""
        return self.shape.linear_parameters + self.norms + self.table * (1 if self.tied else 2)

    @property
    def expanded(self) -> int:
        """Weights that an engine holds: the head is a tensor of its own."""
        return self.shape.linear_parameters + self.norms + 2 * self.table

    @property
    def largest(self) -> int:
        """Weights of the largest tensor."""
        return max(self.table, *(rows * columns for rows, columns in self.shape.linears))

    @property
    def fp16(self) -> int:
        """Bytes of the merged model's folder."""
        return FP16 * self.parameters

    def group_bytes(self, group: int, scale: float, zero: float) -> float:
        """Bytes of 4-bit linear layers with a scale and a zero point for `group` weights each."""
        return self.shape.linear_parameters * (0.5 + (scale + zero) / group)

    def awq(self, group: int) -> float:
        """Bytes of the AWQ folder: 4-bit zero points, all else in fp16."""
        rest = self.parameters - self.shape.linear_parameters
        return self.group_bytes(group, FP16, 0.5) + FP16 * rest

    def eight_bits(self, weights: WeightScheme) -> float:
        """Bytes of the layers' matrices in 8 bits, with a scale for each block or row of them."""
        scales = self.shape.layers * sum(outputs for _, outputs in self.shape.linears)
        if weights.block:
            scales = self.shape.linear_parameters / weights.block**2
        return self.shape.linear_parameters + FP32 * scales

    def stored_in_eight(self, weights: WeightScheme) -> float:
        """Bytes of such a folder: all but those matrices in fp16."""
        return self.eight_bits(weights) + FP16 * (self.parameters - self.shape.linear_parameters)

    def served(self, weights: WeightScheme, group: int) -> float:
        """Bytes of a TurboMind workspace: scales and zero points of 4-bit weights are fp16."""
        linear = self.shape.linear_parameters
        rest = FP16 * (self.expanded - linear)
        if weights.grouped:
            return self.group_bytes(group, FP16, FP16) + rest
        return rest + (self.eight_bits(weights) if weights.bits == 8 else FP16 * linear)

    def kv_bytes(self, kv: KVScheme) -> int:
        """Bytes of one token's keys and values in all layers."""
        one = self.shape
        return ModelShape(one.layers, one.heads, one.kv_heads, one.head_dim).kv_bytes_per_token(kv)


def base_size(
    base: BaseSettings, repository: Path, build: Path = Path("build")
) -> ModelSize | None:
    """Return the size of the base, if its config.json is here: as given, or fetched for the run.

    Raises:
        ButlerError: if config.json lacks a size.
    """
    for folder in (repository / base.model, build / "base"):
        if (folder / "config.json").is_file():
            return ModelSize.read(folder)
    return None


def hub_endpoint(hub: str) -> tuple[str, str]:
    """Return the variable that says where a hub is asked, and where that is."""
    variable, usual, _ = HUB_ADDRESSES[hub]
    return variable, (os.environ.get(variable) or usual).rstrip("/")


def hub_size(base: BaseSettings) -> ModelSize:
    """Return the size of a hub's model by its config.json, fetched alone and without a client.

    A token for private models is HF_TOKEN, as there.

    Raises:
        ButlerError: if it cannot be had, or lacks a size.
    """
    variable, endpoint = hub_endpoint(base.hub)
    path = HUB_ADDRESSES[base.hub][2].format(model=base.model, revision=base.revision)
    address = f"{endpoint}/{path}"
    token = os.environ.get("HF_TOKEN") if variable == "HF_ENDPOINT" else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(address, headers=headers)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with urllib.request.urlopen(request, timeout=HUB_SECONDS) as answer:
                (Path(scratch) / "config.json").write_bytes(answer.read())
            return ModelSize.read(Path(scratch))
        except ButlerError as error:
            raise ButlerError(str(error).replace(scratch, base.model)) from None
        except (OSError, ValueError) as error:
            if isinstance(error, HTTPError) and error.code == HTTPStatus.NOT_FOUND:
                raise ButlerError(
                    f"{base.model} has no config.json at base.revision {base.revision} "
                    f"({address}: {error}); pin a commit that the hub lists for this model"
                ) from None
            raise ButlerError(
                f"the size of {base.model} is not known ({address}: {error}); set {variable} to a "
                "mirror, or give a folder as base.model"
            ) from None
