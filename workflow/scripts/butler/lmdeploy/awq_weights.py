"""AWQ tensors as LMDeploy writes them, and the model that an AWQ folder stands for."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from butler.errors import ButlerError
from butler.hf_folder import ModelTensors

# Bit offset of column j among the eight of a word (AWQ's "gemm" order).
SHIFTS = (0, 16, 4, 20, 8, 24, 12, 28)

PACKED = (".qweight", ".qzeros", ".scales")  # what a quantised linear has in place of `.weight`


def unpack(words: torch.Tensor) -> torch.Tensor:
    """Unpack int32 [rows, columns/8] to codes 0..15, uint8 [rows, columns]."""
    codes = torch.empty(*words.shape, len(SHIFTS), dtype=torch.uint8, device=words.device)
    for column, shift in enumerate(SHIFTS):  # one at a time: a whole int32 copy is eight times this
        codes[..., column] = (words >> shift) & 0xF
    return codes.flatten(-2)


@dataclass(frozen=True)
class QuantisedLinear:
    """One linear layer: codes and zero points as uint8, scales in fp16's precision as fp32.

    codes [in, out], zeros and scales [in/group, out].
    """

    codes: torch.Tensor
    zeros: torch.Tensor
    scales: torch.Tensor

    @classmethod
    def read(cls, tensors: ModelTensors, name: str, device: str = "cpu") -> "QuantisedLinear":
        """Read layer `name` of an AWQ folder."""
        return cls(
            unpack(tensors[f"{name}.qweight"].to(device)),
            unpack(tensors[f"{name}.qzeros"].to(device)),
            # Whatever the file holds, the workspace has fp16: what is served counts.
            tensors[f"{name}.scales"].to(device).half().float(),
        )

    def grouped(self, rows: torch.Tensor) -> torch.Tensor:
        """Return `rows` [in, out] as [groups, rows of a group, out], which scales broadcast to."""
        return rows.unflatten(0, (self.scales.shape[0], -1))

    def steps(self) -> torch.Tensor:
        """Return each code less its zero point, fp32 [in, out]: weights in units of their scale."""
        return (self.grouped(self.codes) - self.zeros.float().unsqueeze(1)).flatten(0, 1)

    def weight(self) -> torch.Tensor:
        """Return the weight as a Linear holds it, fp32 [out, in]: (q − z)·s."""
        found = self.grouped(self.steps()).mul_(self.scales.unsqueeze(1))
        return found.flatten(0, 1).t().contiguous()


def quantised_layers(names: Iterable[str]) -> list[str]:
    """Return the names of the quantised linear layers among a folder's tensors."""
    ending = PACKED[0]
    return [name.removesuffix(ending) for name in names if name.endswith(ending)]


class DequantisedTensors:
    """The tensors of the model that an AWQ folder stands for, by name, each made when asked for.

    Linear weights are fp32 and made on `device`, the rest as the folder has them.

    Raises:
        ButlerError: if the folder holds no AWQ layer.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._tensors, self._device = ModelTensors(folder), device
        names = self._tensors.names()
        self._quantised = {f"{name}.weight": name for name in quantised_layers(names)}
        if not self._quantised:
            raise ButlerError(f"{folder} holds no AWQ layer")
        self._plain = {
            name
            for name in names
            if not (
                name.endswith(PACKED) and f"{name.rpartition('.')[0]}.weight" in self._quantised
            )
        }

    def __contains__(self, name: str) -> bool:
        return name in self._quantised or name in self._plain

    def __getitem__(self, name: str) -> torch.Tensor:
        if name in self._quantised:
            layer = QuantisedLinear.read(self._tensors, self._quantised[name], self._device)
            return layer.weight()
        return self._tensors[name]
