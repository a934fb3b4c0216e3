"""Memory of NVIDIA GPUs as the driver counts it, by whatever allocator it was taken."""

import os
import threading
from types import TracebackType

from butler.driver import Card
from butler.errors import ButlerError

SAMPLE_SECONDS = 0.05


def visible_gpus(count: int, visible: str | None) -> list[int | str]:
    """Return the first `count` GPUs that CUDA will number 0, 1, …, as NVML knows them.

    Args:
        count: how many GPUs a process uses.
        visible: CUDA_VISIBLE_DEVICES, numbers or UUIDs; None shows all.

    Raises:
        ButlerError: if fewer are visible.
    """
    if visible is None:
        return list(range(count))
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if len(names) < count:
        raise ButlerError(
            f"{count} GPUs are needed, but CUDA_VISIBLE_DEVICES={visible} shows {len(names)}"
        )
    return [int(name) if name.isdigit() else name for name in names[:count]]


class GpuMemory:
    """Used, free and total bytes of `count` GPUs that share a model evenly.

    Raises:
        ButlerError: if there is no NVIDIA driver or too few GPUs.
    """

    def __init__(self, count: int = 1) -> None:
        import pynvml

        self._nvml = pynvml
        # CUDA must number the GPUs as NVML does; read when the process first uses CUDA.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        wanted = visible_gpus(count, os.environ.get("CUDA_VISIBLE_DEVICES"))
        try:
            pynvml.nvmlInit()
            self._handles = [
                pynvml.nvmlDeviceGetHandleByIndex(one)
                if isinstance(one, int)
                else pynvml.nvmlDeviceGetHandleByUUID(one)
                for one in wanted
            ]
        except pynvml.NVMLError as error:
            raise ButlerError(f"no NVIDIA GPU can be asked for its memory: {error}") from error

    def names(self) -> str:
        """Return what GPUs they are, as `2 × NVIDIA H200`."""
        found = [str(self._nvml.nvmlDeviceGetName(handle)) for handle in self._handles]
        counts = {name: found.count(name) for name in found}
        return ", ".join(f"{count} × {name}" for name, count in counts.items())

    def cards(self) -> list[Card]:
        """Return what identifies each of them."""
        return [
            Card(
                str(self._nvml.nvmlDeviceGetName(one)),
                tuple(self._nvml.nvmlDeviceGetCudaComputeCapability(one)),
                int(self._nvml.nvmlDeviceGetMemoryInfo(one).total) // 2**20,
            )
            for one in self._handles
        ]

    def used(self) -> int:
        """Return the bytes in use, those of other processes among them."""
        infos = (self._nvml.nvmlDeviceGetMemoryInfo(handle) for handle in self._handles)
        return sum(int(info.used) for info in infos)

    def least_free(self) -> int:
        """Return the bytes that the fullest GPU has left."""
        infos = (self._nvml.nvmlDeviceGetMemoryInfo(handle) for handle in self._handles)
        return min(int(info.free) for info in infos)

    def free(self) -> int:
        """Return the bytes that can be used: of each GPU as much as the fullest has left."""
        return len(self._handles) * self.least_free()


class Peak:
    """The most bytes in use while the block runs, sampled every SAMPLE_SECONDS."""

    def __init__(self, memory: GpuMemory) -> None:
        self.bytes = 0
        self._memory = memory
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self.bytes = self._memory.used()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.bytes = max(self.bytes, self._memory.used())

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, self._memory.used())
