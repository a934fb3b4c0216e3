"""Each tensor of a workspace held against the model folder that it was converted from.

LMDeploy's converter transposes matrices, interleaves the halves of each query's and key's head,
joins query, key and value, pads the MLP and the vocabulary to whole parts, splits all for several
GPUs, and packs 4-bit codes in another order. All of that is undone here, by code that shares
nothing with LMDeploy's, and what comes out must be the model's bits. A tensor of the model that no
file was made of (LMDeploy's readers pass over biases that they do not know) is named as well.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from butler.errors import ButlerError
from butler.families import Family, family_of
from butler.hf_folder import ModelTensors, read_config, sizes_of
from butler.lmdeploy.packed_weights import read_codes, read_zeros
from butler.lmdeploy.workspace_files import CONFIG
from butler.reference.quant import unpack_u4
from butler.reference.workspace_config import WEIGHT_TYPES, ModelConfig
from butler.reference.workspace_reader import Workspace

NO_SCALING = ("", "default")  # of rope: LMDeploy writes one, Hugging Face the other
COMPUTED = ".rotary_emb.inv_freq"  # ends a tensor of old folders that follows from config.json


@dataclass(frozen=True)
class FileKind:
    """One kind of file that a linear layer is made of, with its output features on the last axis.

    `ending` of the workspace's files, stored as `dtype`; `rows` of the whole, for a layer of so
    many input features; `stored` brings what was read there to [rows, out], and `wanted` returns
    the model's, by the module's name.
    """

    ending: str
    dtype: torch.dtype
    rows: Callable[[int], int]
    stored: Callable[[torch.Tensor], torch.Tensor]
    wanted: Callable[[str], torch.Tensor]


def compare(workspace: Workspace, model: Path) -> Iterator[str]:
    """Yield the name of each tensor of the workspace after it was found to be the model's.

    Raises:
        ButlerError: naming the first that differs, is missing or belongs to nothing, in either.
    """
    return _Comparison(workspace, model).run()


class _ReadTensors:
    """The tensors of a model folder, and which of them were asked for."""

    def __init__(self, folder: Path) -> None:
        self._tensors = ModelTensors(folder)
        self.unread = set(self._tensors.names())

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> torch.Tensor:
        found = self._tensors[name]
        self.unread.discard(name)
        return found


class _Comparison:
    def __init__(self, workspace: Workspace, model: Path) -> None:
        config = read_config(model)
        self._shown = str(model / "config.json")
        self._family: Family = family_of(config, self._shown)
        self._workspace, self._config, self._model = workspace, workspace.config, model
        self._tensors = _ReadTensors(model)
        self._tied = bool(config.get("tie_word_embeddings"))
        self._dtype = WEIGHT_TYPES[workspace.config.weight_type]
        self._seen = {CONFIG.name}
        check_config(workspace, config, self._shown)

    def run(self) -> Iterator[str]:
        family, c = self._family, self._config
        embedding, head = f"{family.embedding}.weight", f"{family.head}.weight"
        if self._tied:
            head = embedding
        parts = self._workspace.embedding_parts()
        yield self._same(parts, torch.cat([part for _, part in parts], 1), embedding)
        yield self._same(self._read("norm.weight", 0, c.hidden), None, "model.norm.weight")
        parts = self._workspace.output_parts()
        yield self._same(parts, torch.cat([part for _, part in parts]), head)
        for i in range(c.layers):
            yield from self._layer(i)
        folder = self._workspace.folder
        for path in sorted(folder.iterdir()):
            if path.name not in self._seen and "past_kv_scale" not in path.name:
                raise ButlerError(f"{path} belongs to no tensor of {self._model}; convert it again")
        # Of a tied head a folder may hold a copy, which no one reads.
        known = {f"{family.head}.weight"} if self._tied else set()
        for name in sorted(self._tensors.unread - known):
            if not name.endswith(COMPUTED) and self._tensors[name].any():
                raise ButlerError(
                    f"{name} of {self._model} is in no file of {folder}: LMDeploy's converter "
                    "passes over it, so the workspace is another model; take another base.model"
                )

    def _layer(self, i: int) -> Iterator[str]:
        c, names = self._config, self._family.layers
        here, there = f"layers.{i}", f"model.layers.{i}"
        for file, name in (
            ("attention_norm", names.attention_norm),
            ("ffn_norm", names.ffn_norm),
        ):
            found = self._read(f"{here}.{file}.weight", 0, c.hidden)
            yield self._same(found, None, f"{there}.{name}.weight")
        qkv, width = (c.heads + 2 * c.kv_heads) * c.head_dim, c.heads * c.head_dim
        attention, mlp = f"{here}.attention", f"{here}.feed_forward"
        for part in self._kinds():
            yield from self._attention(part, f"{attention}.w_qkv", there, qkv)
            for file, name, dim, rows, columns in (
                (f"{attention}.wo", names.attention_out, 0, width, c.hidden),
                (f"{mlp}.w1", names.gate, 1, c.hidden, c.inter_sizes[i]),
                (f"{mlp}.w2", names.down, 0, c.inter_sizes[i], c.hidden),
                (f"{mlp}.w3", names.up, 1, c.hidden, c.inter_sizes[i]),
            ):
                files, found = self._stored(part, file, dim, rows, columns)
                yield self._same(files, found, f"{there}.{name}", part.wanted)
        if c.attn_bias:
            yield from self._biases(attention, there, qkv)
        if c.qk_norm:
            yield from self._head_norms(attention, there)

    def _attention(self, part: FileKind, file: str, there: str, columns: int) -> Iterator[str]:
        names = self._family.layers
        files, found = self._stored(part, file, 1, self._config.hidden, columns)
        for name, values in self._separated(self._workspace.regrouped(found)):
            module = f"{there}.{getattr(names, name)}"
            yield self._same(files, values, module, part.wanted)

    def _biases(self, attention: str, there: str, columns: int) -> Iterator[str]:
        names = self._family.layers
        files = self._read(f"{attention}.w_qkv.{{}}.bias", 0, columns)
        joined = self._workspace.regrouped(torch.cat([part for _, part in files]))
        for name, values in self._separated(joined.unsqueeze(0)):
            bias = f"{there}.{getattr(names, name)}.bias"
            yield self._same(files, values.squeeze(0), bias)
        # Each GPU has the whole of it; zeros where the model has a bias on the others alone.
        bias = f"{there}.{names.attention_out}.bias"
        for rank in range(self._config.tp):
            copy = self._read(f"{attention}.wo.{rank}.bias", 0, self._config.hidden, split=False)
            zeros = torch.zeros(self._config.hidden, dtype=self._dtype)
            yield self._same(
                copy, None, bias, None if bias in self._tensors else lambda _, zeros=zeros: zeros
            )

    def _head_norms(self, attention: str, there: str) -> Iterator[str]:
        for file, name in (("q", "query_norm"), ("k", "key_norm")):
            module = getattr(self._family.layers, name)
            if module is None:
                raise ButlerError(
                    f"{self._workspace.path / CONFIG} says qk_norm, which no {self._shown} of "
                    f"architecture {self._family.architecture} has; convert it again"
                )
            found = self._read(f"{attention}.{file}_norm", 0, self._config.head_dim)
            halves = found[0][1].unflatten(0, (-1, 2)).t().flatten()
            yield self._same(found, halves, f"{there}.{module}.weight")

    def _separated(self, joined: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield query, key and value, or what fuses them, from [rows, out] as the engine has it."""
        c = self._config
        heads = joined.unflatten(1, (-1, c.head_dim))
        query, key, value = heads.split([c.heads, c.kv_heads, c.kv_heads], 1)
        query, key = (
            # Neighbours are feature j of a head and feature j + d/2.
            one.unflatten(2, (-1, 2)).transpose(2, 3).flatten(2)
            for one in (query, key)
        )
        if not self._family.fused_qkv:
            yield from (
                (name, one.flatten(1))
                for name, one in (("query", query), ("key", key), ("value", value))
            )
            return
        grouped = [one.unflatten(1, (c.kv_heads, -1)) for one in (query, key, value)]
        yield "query", torch.cat(grouped, 2).flatten(1)

    def _kinds(self) -> list[FileKind]:
        """Return the kinds of files of a linear layer."""
        tensors, dtype, group = self._tensors, self._dtype, self._config.group_size

        def same(found: torch.Tensor) -> torch.Tensor:
            return found

        if not self._config.w4:
            return [
                FileKind(
                    "weight",
                    dtype,
                    lambda rows: rows,
                    same,
                    lambda name: tensors[f"{name}.weight"].to(dtype).t(),
                )
            ]

        def groups(rows: int) -> int:
            return rows // group

        return [
            FileKind(
                "qweight",
                torch.int32,
                lambda rows: rows,
                unpack_u4,
                lambda name: read_codes(tensors, name),
            ),
            FileKind(
                "scales", dtype, groups, same, lambda name: tensors[f"{name}.scales"].to(dtype)
            ),
            FileKind(
                "zeros",
                dtype,
                groups,
                same,
                lambda name: read_zeros(tensors, name).to(dtype),
            ),
        ]

    def _stored(
        self, part: FileKind, file: str, dim: int, rows: int, columns: int
    ) -> tuple[list[tuple[str, torch.Tensor]], torch.Tensor]:
        """Return the files of one kind of a linear layer, and them joined as [rows, out]."""
        packed = 8 if part.dtype == torch.int32 else 1
        shape = part.rows(rows), columns // packed
        files = self._workspace.parts(f"{file}.{{}}.{part.ending}", dim, *shape, dtype=part.dtype)
        return files, torch.cat([part.stored(one) for _, one in files], dim)

    def _read(
        self, name: str, dim: int, *shape: int, split: bool = True
    ) -> list[tuple[str, torch.Tensor]]:
        """Read a tensor of the workspace's own precision; split only where its name has a rank."""
        if split and "{}" in name:
            return self._workspace.parts(name, dim, *shape)
        return [(name, self._workspace.read(name, self._dtype, shape))]

    def _same(
        self,
        files: list[tuple[str, torch.Tensor]],
        found: torch.Tensor | None,
        name: str,
        wanted: Callable[[str], torch.Tensor] | None = None,
    ) -> str:
        """Return the first file's name if `found`, or its content, is the model's tensor.

        What is larger is so by padding, which must be zeros.
        """
        names = [file for file, _ in files]
        self._seen.update(names)
        found = files[0][1] if found is None else found
        try:
            expected = wanted(name) if wanted else self._tensors[name].to(self._dtype)
        except KeyError:
            raise ButlerError(f"{self._model} lacks {name}, which {names[0]} was made of") from None
        if found.dim() == expected.dim() and all(
            a >= b for a, b in zip(found.shape, expected.shape, strict=True)
        ):
            inner = found
            for axis, size in enumerate(expected.shape):
                if inner.narrow(axis, size, inner.shape[axis] - size).any():
                    break
                inner = inner.narrow(axis, 0, size)
            if inner.shape == expected.shape and torch.equal(_bits(inner), _bits(expected)):
                return names[0]
        raise ButlerError(
            f"{self._workspace.folder / names[0]} is not {name} of {self._model}; convert it again"
        )


def _bits(values: torch.Tensor) -> torch.Tensor:
    """Return 16-bit numbers as integers, which are equal where they are the same bits."""
    return values.contiguous().view(torch.int16) if values.dtype.is_floating_point else values


def check_config(workspace: Workspace, config: Mapping[str, Any], shown: str) -> None:
    """Check that config.yaml says of the model what config.json does; `shown` is that file.

    Raises:
        ButlerError: naming the first key that differs, with both values.
    """
    c: ModelConfig = workspace.config
    sizes = sizes_of(config, shown, hidden="hidden_size", vocab="vocab_size")
    scaling = config.get("rope_scaling") or {}
    kind = str(scaling.get("rope_type") or scaling.get("type") or "")
    told = {
        "num_layer": (c.layers, sizes["layers"]),
        "head_num": (c.heads, sizes["heads"]),
        "kv_head_num": (c.kv_heads, sizes["kv_heads"]),
        "size_per_head": (c.head_dim, sizes["head_dim"]),
        "hidden_units": (c.hidden, sizes["hidden"]),
        "vocab_size": (c.vocab, sizes["vocab"]),
        "norm_eps": (c.norm_eps, config["rms_norm_eps"]),
        "rope_theta": (c.rope.theta, float(config.get("rope_theta", 10000.0))),
        "rope_scaling_type": (
            "" if c.rope.kind in NO_SCALING else c.rope.kind,
            "" if kind in NO_SCALING else kind,
        ),
    }
    if kind not in NO_SCALING:
        told["rope_scaling_factor"] = (c.rope.factor, float(scaling.get("factor", 0.0)))
    if kind == "llama3":
        for key, here in (
            ("low_freq_factor", c.rope.low_freq_factor),
            ("high_freq_factor", c.rope.high_freq_factor),
            ("original_max_position_embeddings", c.rope.original_positions),
        ):
            told[key] = (here, scaling.get(key))
    for key, (here, there) in told.items():
        if here != there:
            raise ButlerError(
                f"{workspace.path / CONFIG} says {key} {here}, {shown} {there}; convert it again"
            )
