"""Reading an LMDeploy 0.7.3 TurboMind workspace: its settings and its raw weight files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from butler.errors import ButlerError
from butler.lmdeploy.workspace_files import CONFIG, WEIGHTS, weight_bytes
from butler.reference.quant import dequantise_w4
from butler.reference.workspace_config import WEIGHT_TYPES, read_config

HEAD_ROWS = 4096  # of the output matrix at a time
KV_SCALES = "layers.{}.past_kv_scale.0.weight"  # of a layer, the same for every GPU


@dataclass(frozen=True)
class LayerWeights:
    """One decoder layer in fp32. Matrices are [in, out]; biases are None where there are none.

    `q_norm` and `k_norm` [head size], as the engine has a head: None where heads are not normed.
    """

    attention_norm: torch.Tensor
    w_qkv: torch.Tensor
    b_qkv: torch.Tensor | None
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    wo: torch.Tensor
    bo: torch.Tensor | None
    ffn_norm: torch.Tensor
    w1: torch.Tensor
    w2: torch.Tensor
    w3: torch.Tensor


@dataclass(frozen=True)
class Weights:
    """All weights in fp32: embedding [rows, hidden], output [vocab, hidden], norm [hidden]."""

    embedding: torch.Tensor
    layers: tuple[LayerWeights, ...]
    norm: torch.Tensor
    output: torch.Tensor

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return fp32 [..., hidden] of token ids [...]."""
        return F.embedding(tokens, self.embedding)


class StreamedWeights:
    """The weights of a workspace, each read when it is used and dropped after.

    Memory holds one layer and a block of the head, whatever the model's size; each pass reads all.
    """

    def __init__(self, workspace: "Workspace") -> None:
        self._workspace = workspace
        self.norm = workspace.norm()

    @property
    def layers(self) -> Iterator[LayerWeights]:
        """The decoder layers in order."""
        return (self._workspace.layer(i) for i in range(self._workspace.config.layers))

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return fp32 [..., hidden] of token ids [...]."""
        parts = self._workspace.embedding_parts()
        return torch.cat(
            [self._finite(name, F.embedding(tokens, part).float()) for name, part in parts], -1
        )

    def head_blocks(self) -> Iterator[torch.Tensor]:
        """Yield the output matrix in blocks of rows, fp32 [rows, hidden]."""
        left = self._workspace.config.vocab
        for name, part in self._workspace.output_parts():
            for block in part.split(HEAD_ROWS):
                if left > 0:
                    yield self._finite(name, block[:left].float())
                left -= len(block)

    def _finite(self, name: str, found: torch.Tensor) -> torch.Tensor:
        return check_finite(self._workspace.folder / name, found)


def check_finite(path: Path, found: torch.Tensor) -> torch.Tensor:
    """Return `found`, which was read from `path`.

    Raises:
        ButlerError: if it holds an infinity or what is no number.
    """
    if not torch.isfinite(found).all():
        raise ButlerError(
            f"{path} holds values that are no finite numbers: it is damaged; convert it again"
        )
    return found


class Workspace:
    """A TurboMind workspace on disk.

    Raises:
        ButlerError: if it is not one, was made by another LMDeploy version, or holds a model
            that this engine cannot run.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.folder = self.path / WEIGHTS
        found = read_config(self.path, self.path / CONFIG)
        self.config, self.kv = found.model, found.kv
        self.session_len = found.session_len  # longest prompt + answer, in tokens

    def weight_bytes(self) -> int:
        """Return the size of all weight files together, in bytes."""
        return weight_bytes(self.path)

    def load_weights(self) -> Weights:
        """Read every weight into fp32. W4 is dequantised here, once.

        Raises:
            ButlerError: naming the file that is missing or has the wrong size.
        """
        c = self.config

        def joined(parts: list[tuple[str, torch.Tensor]], dim: int) -> torch.Tensor:
            return torch.cat(
                [check_finite(self.folder / n, part.float()) for n, part in parts], dim
            )

        return Weights(
            embedding=joined(self.embedding_parts(), 1),
            layers=tuple(self.layer(i) for i in range(c.layers)),
            norm=self.norm(),
            output=joined(self.output_parts(), 0)[: c.vocab],
        )

    def embedding_parts(self) -> list[tuple[str, torch.Tensor]]:
        """Return file and embedding of each GPU, [rows, hidden / tp] in the files' precision."""
        c = self.config
        return self.parts("tok_embeddings.{}.weight", 1, self._padded(c.embedding_rows), c.hidden)

    def output_parts(self) -> list[tuple[str, torch.Tensor]]:
        """Return file and head of each GPU, [rows / tp, hidden] in the files' precision."""
        return self.parts(
            "output.{}.weight", 0, self._padded(self.config.vocab), self.config.hidden
        )

    def norm(self) -> torch.Tensor:
        """Return the last norm's weights, fp32 [hidden]."""
        return self._floats("norm.weight", self.config.hidden)

    def _padded(self, vocab: int) -> int:
        return -(-vocab // self.config.tp) * self.config.tp

    def has_kv_scales(self) -> bool:
        """Say whether static KV parameters lie beside the weights."""
        return (self.folder / KV_SCALES.format(0)).is_file()

    def load_kv_scales(self) -> torch.Tensor:
        """Return the static KV parameters, fp32 [layers, 4]: k_scale, k_zp, v_scale, v_zp.

        Raises:
            ButlerError: if a file is missing, has the wrong size, or a scale is not positive.
        """
        rows = []
        for i in range(self.config.layers):
            name = KV_SCALES.format(i)
            row = self.read(name, torch.float32, (4,))
            if not (torch.isfinite(row).all() and row[0] > 0 and row[2] > 0):
                raise ButlerError(
                    f"{self.folder / name} holds no usable KV scales ({row.tolist()}): "
                    "they must be finite and the scales above 0; make them again with "
                    "static_kv_parameters.py"
                )
            rows.append(row)
        return torch.stack(rows)

    def layer(self, i: int) -> LayerWeights:
        """Read one decoder layer; W4 is dequantised."""
        c = self.config
        attention, mlp = f"layers.{i}.attention", f"layers.{i}.feed_forward"
        qkv = (c.heads + 2 * c.kv_heads) * c.head_dim
        inter = c.inter_sizes[i]
        bias = c.attn_bias
        q_norm, k_norm = (
            self._floats(f"{attention}.{name}_norm", c.head_dim) if c.qk_norm else None
            for name in "qk"
        )
        return LayerWeights(
            attention_norm=self._floats(f"layers.{i}.attention_norm.weight", c.hidden),
            w_qkv=self.regrouped(self._linear(f"{attention}.w_qkv", 1, c.hidden, qkv)),
            b_qkv=self.regrouped(self._joined(f"{attention}.w_qkv.{{}}.bias", 0, qkv))
            if bias
            else None,
            q_norm=q_norm,
            k_norm=k_norm,
            wo=self._linear(f"{attention}.wo", 0, c.heads * c.head_dim, c.hidden),
            # Every GPU has the whole of it, as LMDeploy's converter writes it.
            bo=self._floats(f"{attention}.wo.0.bias", c.hidden) if bias else None,
            ffn_norm=self._floats(f"layers.{i}.ffn_norm.weight", c.hidden),
            w1=self._linear(f"{mlp}.w1", 1, c.hidden, inter),
            w2=self._linear(f"{mlp}.w2", 0, inter, c.hidden),
            w3=self._linear(f"{mlp}.w3", 1, c.hidden, inter),
        )

    def _linear(self, name: str, dim: int, rows: int, columns: int) -> torch.Tensor:
        """Return a linear layer as fp32 [in, out], from its parts along `dim`."""
        if not self.config.w4:
            return self._joined(f"{name}.{{}}.weight", dim, rows, columns)
        groups = rows // self.config.group_size
        packed = self._joined(f"{name}.{{}}.qweight", dim, rows, columns // 8, dtype=torch.int32)
        return dequantise_w4(
            packed,
            self._joined(f"{name}.{{}}.scales", dim, groups, columns),
            self._joined(f"{name}.{{}}.zeros", dim, groups, columns),
        )

    def _joined(
        self, name: str, dim: int, *shape: int, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Read the files of all GPUs as `parts` does and join them along `dim`.

        Without `dtype`, fp32 is made of the workspace's own precision.
        """
        parts = self.parts(name, dim, *shape, dtype=dtype)
        if dtype is None:
            parts = [(one, check_finite(self.folder / one, part.float())) for one, part in parts]
        return parts[0][1] if len(parts) == 1 else torch.cat([part for _, part in parts], dim)

    def parts(
        self, name: str, dim: int, *shape: int, dtype: torch.dtype | None = None
    ) -> list[tuple[str, torch.Tensor]]:
        """Read the files of all GPUs, `name` with the rank filled in; return names and contents.

        `shape` is that of the whole, split along `dim`; `dtype` by default the workspace's own.
        """
        part = list(shape)
        part[dim] //= self.config.tp
        dtype = dtype or WEIGHT_TYPES[self.config.weight_type]
        names = [name.format(rank) for rank in range(self.config.tp)]
        return [(one, self.read(one, dtype, tuple(part))) for one in names]

    def regrouped(self, joined: torch.Tensor) -> torch.Tensor:
        """Put the queries, keys and values [..., out] of all GPUs together, in that order."""
        c = self.config
        if c.tp == 1:
            return joined
        sizes = [n * c.head_dim // c.tp for n in (c.heads, c.kv_heads, c.kv_heads)]
        parts = [one.split(sizes, -1) for one in joined.chunk(c.tp, -1)]
        return torch.cat([part[which] for which in range(3) for part in parts], -1)

    def _floats(self, name: str, *shape: int) -> torch.Tensor:
        found = self.read(name, WEIGHT_TYPES[self.config.weight_type], shape)
        return check_finite(self.folder / name, found.float())

    def read(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        """Read one raw little-endian file of exactly `shape`."""
        path = self.folder / name
        if not path.is_file():
            raise ButlerError(f"{path} is missing: the workspace is incomplete; convert it again")
        expected = torch.Size(shape).numel() * dtype.itemsize
        found = path.stat().st_size
        if found != expected:
            raise ButlerError(
                f"{path} has {found} bytes where {list(shape)} of {str(dtype)[6:]} need "
                f"{expected}: it is damaged or config.yaml is not its own; convert it again"
            )
        count = torch.Size(shape).numel()
        return torch.from_file(str(path), shared=False, size=count, dtype=dtype).view(shape)
