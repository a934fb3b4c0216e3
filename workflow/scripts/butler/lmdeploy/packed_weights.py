"""4-bit weights as the folders of AWQ and GPTQ hold them, and the model that such a folder is.

Both have eight codes in an int32 and mean w = (q − z)·s. AWQ's words (`lite auto_awq` of LMDeploy)
hold eight columns, in an order of their own. GPTQ's (AutoGPTQ's format, its first version) hold
eight rows of codes, of zero points eight columns, the first in the lowest bits; each zero point is
stored less 1; and `g_idx` says of which group a row is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from butler.errors import ButlerError
from butler.hf_folder import ModelTensors

CODES = 8  # 4-bit values in an int32
# Bit offset of column j among the eight of a word.
AWQ_SHIFTS = (0, 16, 4, 20, 8, 24, 12, 28)
IN_TURN = tuple(range(0, 32, 4))

PACKED = (".qweight", ".qzeros", ".scales")  # what a quantised linear has in place of `.weight`
GROUP_INDEX = ".g_idx"  # and one of GPTQ also has


class Readable(Protocol):
    """Tensors by name; ModelTensors is one."""

    def __contains__(self, name: str) -> bool:
        """Say whether there is a tensor of this name."""

    def __getitem__(self, name: str) -> torch.Tensor:
        """Return a tensor."""


def pack(values: torch.Tensor, shifts: Sequence[int] = AWQ_SHIFTS) -> torch.Tensor:
    """Return whole numbers 0..15 [rows, columns] as int32 [rows, columns / 8]."""
    eights = values.to(torch.int32).unflatten(1, (-1, CODES))
    packed = torch.zeros(eights.shape[:2], dtype=torch.int32, device=values.device)
    for column, shift in enumerate(shifts):
        packed |= eights[:, :, column] << shift
    return packed


def unpack(words: torch.Tensor, shifts: Sequence[int] = AWQ_SHIFTS) -> torch.Tensor:
    """Unpack int32 [rows, columns/8] to codes 0..15, uint8 [rows, columns]."""
    codes = torch.empty(*words.shape, CODES, dtype=torch.uint8, device=words.device)
    for column, shift in enumerate(shifts):  # one at a time: a whole int32 copy is eight times this
        codes[..., column] = (words >> shift) & 0xF
    return codes.flatten(-2)


def gptq_tensors(
    codes: torch.Tensor, zeros: torch.Tensor, scales: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return a linear as GPTQ's folders hold it, by the endings of the tensors' names.

    Args:
        codes: uint8 [in, out].
        zeros: uint8 [in/group, out], 1 to 16.
        scales: [in/group, out].
    """
    rows, groups = len(codes), len(scales)
    return {
        ".qweight": pack(codes.t(), IN_TURN).t().contiguous(),
        ".qzeros": pack(zeros - 1, IN_TURN),
        ".scales": scales.half().contiguous(),
        GROUP_INDEX: torch.arange(rows, dtype=torch.int32) // (rows // groups),
    }


def is_gptq(tensors: Readable, name: str) -> bool:
    """Say whether layer `name` of a folder is in GPTQ's format; it is in AWQ's if not."""
    return f"{name}{GROUP_INDEX}" in tensors


def read_codes(tensors: Readable, name: str, device: str = "cpu") -> torch.Tensor:
    """Return the codes of layer `name`, uint8 [in, out].

    Raises:
        ButlerError: if its rows are not in the order of their groups.
    """
    words = tensors[f"{name}.qweight"].to(device)
    if not is_gptq(tensors, name):
        return unpack(words)
    groups, rows = tensors[f"{name}{GROUP_INDEX}"], CODES * len(words)
    size = rows // len(tensors[f"{name}.scales"])
    if not torch.equal(groups.cpu(), torch.arange(rows, dtype=groups.dtype) // size):
        raise ButlerError(
            f"{name}{GROUP_INDEX} says that the rows are not in the order of their groups "
            "(desc_act), which TurboMind does not know; quantise again without"
        )
    return unpack(words.t(), IN_TURN).t()


def read_zeros(tensors: Readable, name: str, device: str = "cpu") -> torch.Tensor:
    """Return the zero points of layer `name`, uint8 [in/group, out]."""
    words = tensors[f"{name}.qzeros"].to(device)
    return unpack(words, IN_TURN) + 1 if is_gptq(tensors, name) else unpack(words)


@dataclass(frozen=True)
class QuantisedLinear:
    """One linear layer: codes and zero points as uint8, scales in fp16's precision as fp32.

    codes [in, out], zeros and scales [in/group, out].
    """

    codes: torch.Tensor
    zeros: torch.Tensor
    scales: torch.Tensor

    @classmethod
    def read(cls, tensors: Readable, name: str, device: str = "cpu") -> "QuantisedLinear":
        """Read layer `name` of a folder of 4-bit weights."""
        return cls(
            read_codes(tensors, name, device),
            read_zeros(tensors, name, device),
            # Whatever the file holds, the workspace has fp16: what is served counts.
            tensors[f"{name}.scales"].to(device).half().float(),
        )

    def grouped(self, rows: torch.Tensor) -> torch.Tensor:
        """Return `rows` [in, out] as [groups, rows of a group, out], which scales broadcast to."""
        return rows.unflatten(0, (self.scales.shape[0], -1))

    def steps(self) -> torch.Tensor:
        """Return each code less its zero point, fp32 [in, out]: weights in units of their scale."""
        return (self.grouped(self.codes) - self.zeros.float().unsqueeze(1)).flatten(0, 1)

    @property
    def shape(self) -> torch.Size:
        """That of the weight as a Linear holds it, [out, in]."""
        return self.codes.t().shape

    def in_steps(self, weights: torch.Tensor) -> torch.Tensor:
        """Return other weights, fp32 [in, out], in units of these scales; overwrites them."""
        return self.grouped(weights).div_(self.scales.unsqueeze(1)).flatten(0, 1)

    def weight(self) -> torch.Tensor:
        """Return the weight as a Linear holds it, fp32 [out, in]: (q − z)·s."""
        found = self.grouped(self.steps()).mul_(self.scales.unsqueeze(1))
        return found.flatten(0, 1).t().contiguous()


def quantised_layers(names: Iterable[str]) -> list[str]:
    """Return the names of the quantised linear layers among a folder's tensors."""
    ending = PACKED[0]
    return [name.removesuffix(ending) for name in names if name.endswith(ending)]


class DequantisedTensors:
    """The tensors of the model that a 4-bit folder stands for, by name, each made when asked for.

    Linear weights are fp32 and made on `device`, the rest as the folder has them.

    Raises:
        ButlerError: if the folder holds no layer of 4-bit weights.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._tensors, self._device = ModelTensors(folder), device
        names = self._tensors.names()
        self._quantised = {f"{name}.weight": name for name in quantised_layers(names)}
        if not self._quantised:
            raise ButlerError(f"{folder} holds no layer of 4-bit weights")
        self._plain = {
            name
            for name in names
            if not (
                name.endswith((*PACKED, GROUP_INDEX))
                and f"{name.rpartition('.')[0]}.weight" in self._quantised
            )
        }

    def __contains__(self, name: str) -> bool:
        return name in self._quantised or name in self._plain

    def __getitem__(self, name: str) -> torch.Tensor:
        if name in self._quantised:
            layer = QuantisedLinear.read(self._tensors, self._quantised[name], self._device)
            return layer.weight()
        return self._tensors[name]
